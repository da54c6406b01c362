/* Prints the keys of the configuration and of the stores, one a line, for docs.sh: "config SECTION
 * KEY" and "store DRIVER KEY", with "every" as the driver of what all stores know. */
#include "tools/config.h"

#include <stdio.h>

static void print_options(const char *driver, const struct bak_store_option *option)
{
	for (; option && option->name; option++)
		printf("store %s %s\n", driver, option->name);
}

int main(void)
{
	const struct bak_store_driver *const *driver;
	const struct bak_config_key *key;

	for (key = bak_config_keys; key->key; key++)
		printf("config %s %s\n", key->section, key->key);
	print_options("every", bak_store_common_options);
	for (driver = bak_store_drivers; *driver; driver++)
		print_options((*driver)->name, (*driver)->options);
	return 0;
}
