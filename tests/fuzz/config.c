/* The configuration. Input: the file. What is accepted has good, different names, known drivers and
 * absolute paths. */
#include "tools/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static void check_path(const char *path)
{
	if (path && path[0] != '/' && !strstr(path, "://"))
		abort();
}

static void check_store(const struct bak_config *config, size_t i)
{
	const struct bak_config_store *store = &config->stores[i];

	if (!bak_store_name_ok(store->conf.name) || !store->line ||
	    bak_config_store(config, store->conf.name) != store ||
	    !bak_store_driver_find(store->conf.driver) || !store->conf.n || !store->lines[0])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_config config;
	size_t i;

	bak_config_init(&config);
	if (bak_config_parse(&config, "/etc/x.conf", (const char *)p, len, &err) < 0) {
		if (!err.code || !err.msg[0] || config.n_stores || config.path)
			abort();
		return 0;
	}
	check_path(config.path);
	check_path(config.key_file);
	check_path(config.password_file);
	check_path(config.spool);
	for (i = 0; i < config.n_stores; i++)
		check_store(&config, i);
	bak_config_release(&config);
	return 0;
}
