/*
 * Stores of the configuration: sections with their pairs, and those named on the command line.
 */
#include "tools/config_private.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int bak_config_add_pair(struct bak_config_store *store, const char *key, const char *value,
			unsigned line)
{
	struct bak_store_conf *conf = &store->conf;
	struct bak_store_pair *pairs = realloc(conf->pairs, (conf->n + 1) * sizeof(*pairs));
	unsigned *lines;

	if (!pairs)
		return -1;
	conf->pairs = pairs;
	lines = realloc(store->lines, (conf->n + 1) * sizeof(*lines));
	if (!lines)
		return -1;
	store->lines = lines;
	pairs[conf->n] = (struct bak_store_pair){.key = strdup(key), .value = strdup(value)};
	lines[conf->n] = line;
	conf->n++;
	return pairs[conf->n - 1].key && pairs[conf->n - 1].value ? 0 : -1;
}

struct bak_config_store *bak_config_add_store(struct bak_config *config, const char *name,
					      unsigned line)
{
	struct bak_config_store *stores = realloc(config->stores,
						  (config->n_stores + 1) * sizeof(*stores));
	struct bak_config_store *store;

	if (!stores)
		return NULL;
	config->stores = stores;
	store = &stores[config->n_stores++];
	*store = (struct bak_config_store){.conf.name = strdup(name), .line = line};
	return store->conf.name ? store : NULL;
}

static const struct bak_store_option *find_option(const struct bak_store_option *options,
						  const char *key)
{
	for (; options && options->name; options++) {
		if (!strcmp(options->name, key))
			return options;
	}
	return NULL;
}

/* An option of the driver, or one that every store has; NULL for none. */
static const struct bak_store_option *option_of(const struct bak_store_driver *driver,
						const char *key)
{
	const struct bak_store_option *option = find_option(driver->options, key);

	return option ? option : find_option(bak_store_common_options, key);
}

/* What only the configuration knows: keys given twice, paths relative to folder. *out_pair as in
 * bak_store_conf_check. */
static int settle_pairs(struct bak_store_conf *conf, const struct bak_store_driver *driver,
			const char *folder, size_t *out_pair, struct bak_error *err)
{
	size_t i, j;

	for (i = 0; i < conf->n; i++) {
		const struct bak_store_option *option = option_of(driver, conf->pairs[i].key);
		char *path;

		*out_pair = i;
		for (j = 0; option && option->kind != BAK_OPTION_LIST && j < i; j++) {
			if (!strcmp(conf->pairs[j].key, conf->pairs[i].key))
				return bak_error_set(err, BAK_USAGE, "%s is given twice",
						     conf->pairs[i].key);
		}
		if (!option || option->kind != BAK_OPTION_PATH || !*conf->pairs[i].value)
			continue;
		path = bak_config_absolute(folder, conf->pairs[i].value);
		if (!path)
			return bak_error_nomem(err);
		free(conf->pairs[i].value);
		conf->pairs[i].value = path;
	}
	*out_pair = SIZE_MAX;
	return 0;
}

int bak_config_settle(struct bak_config_store *store, const char *folder, size_t *out_pair,
		      struct bak_error *err)
{
	struct bak_store_conf *conf = &store->conf;
	const struct bak_store_driver *driver;
	size_t i;

	*out_pair = SIZE_MAX;
	for (i = 0; i < conf->n && strcmp(conf->pairs[i].key, "type"); i++)
		;
	if (i == conf->n)
		return bak_error_set(err, BAK_USAGE, "store %s has no type", conf->name);
	driver = bak_store_driver_find(conf->pairs[i].value);
	if (!driver) {
		*out_pair = i;
		return bak_error_set(err, BAK_USAGE,
				     "unknown type \"%s\" (bakfs --version lists what is in)",
				     conf->pairs[i].value);
	}
	conf->driver = strdup(driver->name);
	if (!conf->driver)
		return bak_error_nomem(err);
	if (settle_pairs(conf, driver, folder, out_pair, err) < 0)
		return -1;
	return bak_store_conf_check(conf, out_pair, err);
}

/* "/var/lib/app.db" is "app", "/" is fallback. */
static void name_after(const char *address, const char *fallback, char out[BAK_STORE_NAME_MAX + 1])
{
	size_t end = strlen(address), begin, len, i;
	const char *dot;

	while (end && address[end - 1] == '/')
		end--;
	for (begin = end; begin && address[begin - 1] != '/'; begin--)
		;
	dot = memrchr(address + begin, '.', end - begin);
	if (dot && dot > address + begin)
		end = (size_t)(dot - address);
	len = end - begin < BAK_STORE_NAME_MAX ? end - begin : BAK_STORE_NAME_MAX;
	for (i = 0; i < len; i++) {
		char c = address[begin + i];

		out[i] = isalnum((unsigned char)c) || c == '-' ? c : '_';
	}
	out[len] = 0;
	if (!len)
		snprintf(out, BAK_STORE_NAME_MAX + 1, "%s", fallback);
}

/* The driver of "DRIVER:ADDRESS", NULL with err filled. */
static const struct bak_store_driver *adhoc_driver(const char *spec, struct bak_error *err)
{
	const char *colon = strchr(spec, ':');
	const struct bak_store_driver *driver;
	char *type;

	assert(colon);
	type = strndup(spec, (size_t)(colon - spec));
	if (!type) {
		bak_error_nomem(err);
		return NULL;
	}
	driver = bak_store_driver_find(type);
	if (!driver)
		bak_error_set(err, BAK_USAGE, "%s: unknown type \"%s\"", spec, type);
	else if (!driver->address_option)
		bak_error_set(err, BAK_USAGE, "%s: a store of type %s needs a configuration", spec,
			      type);
	else if (!colon[1])
		bak_error_set(err, BAK_USAGE, "%s: say what to back up behind the colon", spec);
	free(type);
	return driver && driver->address_option && colon[1] ? driver : NULL;
}

int bak_config_add_adhoc(struct bak_config *config, const char *spec, const char *name,
			 size_t *out_index, struct bak_error *err)
{
	const struct bak_store_driver *driver = adhoc_driver(spec, err);
	const char *address = strchr(spec, ':') + 1;
	char own_name[BAK_STORE_NAME_MAX + 1];
	struct bak_config_store *store;
	size_t pair;
	char *cwd;
	int rc;

	if (!driver)
		return -1;
	name_after(address, driver->name, own_name);
	name = name ? name : own_name;
	if (!bak_store_name_ok(name))
		return bak_error_set(err, BAK_USAGE,
				     "\"%s\" is no store name (1 to %d letters, digits, _ and -)",
				     name, BAK_STORE_NAME_MAX);
	if (bak_config_store(config, name))
		return bak_error_set(err, BAK_USAGE,
				     "%s: there is a store %s already; choose a name with --name",
				     spec, name);
	store = bak_config_add_store(config, name, 0);
	if (!store || bak_config_add_pair(store, "type", driver->name, 0) < 0 ||
	    bak_config_add_pair(store, driver->address_option, address, 0) < 0)
		return bak_error_nomem(err);
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return bak_error_sys(err, errno, "the current folder");
	rc = bak_config_settle(store, cwd, &pair, err);
	free(cwd);
	*out_index = config->n_stores - 1;
	return rc < 0 ? bak_error_wrap(err, "%s", spec) : 0;
}
