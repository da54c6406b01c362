/*
 * A server's password, from where its store says: the options `password`, `password_file` (its
 * first line) or `password_command` (the first line that it prints). A driver that takes these
 * options calls this when it connects.
 */
#ifndef BAK_STORES_PASSWORD_H
#define BAK_STORES_PASSWORD_H

#include "stores/stores.h"

/* *out: NULL when none of the options is set. BAK_USAGE when several are. */
int bak_store_password(const struct bak_store_conf *conf, const struct bak_store_env *env,
		       char **out, struct bak_error *err);
/* Wipes and frees; for BAK_AUTO. */
void bak_store_password_free(char **password);

#endif
