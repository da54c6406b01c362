/*
 * What the doctors of several drivers look at: paths that must be readable, folders that a restore
 * writes to, room beside them, commands that must be there. Each tells its findings itself.
 */
#ifndef BAK_STORES_CHECKUP_H
#define BAK_STORES_CHECKUP_H

#include "stores/stores.h"

/* path is there and we may read it (and enter it, when it is a folder). False: told. */
bool bak_checkup_readable(const struct bak_checkup *checkup, const char *path);
/* The folder that path lies in: we may write there, and there is room for the last snapshot. */
void bak_checkup_restorable(const struct bak_checkup *checkup, const char *path);
/* The program that a shell command begins with can be found. Commands that begin with anything
 * cleverer than a name are not judged. option is where the command stands. */
void bak_checkup_command(const struct bak_checkup *checkup, const char *option,
			 const char *command);
/* The file of the option password_file, if there is one, is nobody else's to read. */
void bak_checkup_password_file(const struct bak_checkup *checkup,
			       const struct bak_store_conf *conf);

#endif
