/*
 * What the files of the configuration share.
 */
#ifndef BAK_TOOLS_CONFIG_PRIVATE_H
#define BAK_TOOLS_CONFIG_PRIVATE_H

#include "tools/config.h"

/* "~/x" below the home folder, a relative path below folder; to free, NULL for lack of memory. */
char *bak_config_absolute(const char *folder, const char *path);

/* NULL and -1 for lack of memory. line: 0 when there is none. */
struct bak_config_store *bak_config_add_store(struct bak_config *config, const char *name,
					      unsigned line);
int bak_config_add_pair(struct bak_config_store *store, const char *key, const char *value,
			unsigned line);
/* Finds the driver, makes paths absolute and checks the whole section. *out_pair: the offending
 * pair, or SIZE_MAX. */
int bak_config_settle(struct bak_config_store *store, const char *folder, size_t *out_pair,
		      struct bak_error *err);

#endif
