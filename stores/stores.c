/* The list of drivers, the options of configured stores, and small helpers for drivers: see
 * stores.h. */
#include "stores/stores.h"
#include "stores/drivers.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A new driver is a file and a line here. */
const struct bak_store_driver *const bak_store_drivers[] = {
	&bak_store_chroma,     &bak_store_command,
	&bak_store_files,      &bak_store_neo4j,
	&bak_store_opensearch, &bak_store_postgresql,
	&bak_store_qdrant,
#ifdef BAKFS_WITH_REDIS
	&bak_store_redis,
#endif
	&bak_store_sqlite,     NULL,
};

const struct bak_store_option bak_store_common_options[] = {
	{.name = "type",
	 .kind = BAK_OPTION_TEXT,
	 .required = true,
	 .help = "which driver: what kind of data this is"},
	{.name = "restore",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "yes|no|force",
	 .fallback = "yes",
	 .help = "no: nothing restores this store; force: a restore may end other connections"},
	{.name = "level",
	 .kind = BAK_OPTION_NUMBER,
	 .fallback = "3",
	 .help = "zstd compression level, 1 to 19"},
	{.name = "alike",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "yes",
	 .help = "find what changed files still have in common with the version before"},
	{.name = "dedup",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "yes",
	 .help = "store once what is the same in any file, by its hash"},
	{.name = "accept_foreign",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "no",
	 .help = "accept dumps that name another database than this store's"},
	{.name = NULL},
};

#define LEVEL_MAX 19

const struct bak_store_driver *bak_store_driver_find(const char *name)
{
	for (size_t i = 0; bak_store_drivers[i]; i++) {
		if (strcmp(bak_store_drivers[i]->name, name) == 0)
			return bak_store_drivers[i];
	}
	return NULL;
}

/* --- values --- */

bool bak_duration_parse(const char *text, uint64_t *out_ms)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	uint64_t unit = 1000;
	if (*end) {
		static const struct {
			char letter;
			uint64_t ms;
		} units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
		size_t i = 0;

		while (i < 4 && units[i].letter != *end)
			i++;
		if (i == 4 || end[1])
			return false;
		unit = units[i].ms;
	}
	/* INT64_MAX, so that a deadline may be added to a clock. */
	if (errno || n > INT64_MAX / 2 / unit)
		return false;
	*out_ms = n * unit;
	return true;
}

static bool parse_number(const char *text, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return !errno && !*end;
}

static bool is_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);

	while (choices) {
		size_t n = strcspn(choices, "|");

		if (n == len && memcmp(choices, value, n) == 0)
			return true;
		choices = choices[n] ? choices + n + 1 : NULL;
	}
	return false;
}

/* NULL when value is one of that kind, else what it should be. */
static const char *value_wanted(const struct bak_store_option *option, const char *value)
{
	uint64_t n;

	switch (option->kind) {
	case BAK_OPTION_TEXT:
	case BAK_OPTION_LIST:
	case BAK_OPTION_SECRET:
		return *value || !option->required ? NULL : "something";
	case BAK_OPTION_PATH:
		return value[0] == '/' ? NULL : "a path";
	case BAK_OPTION_BOOL:
		return is_choice("yes|no", value) ? NULL : "yes or no";
	case BAK_OPTION_NUMBER:
		return parse_number(value, &n) ? NULL : "a number";
	case BAK_OPTION_DURATION:
		return bak_duration_parse(value, &n) ? NULL
						     : "a duration such as 30, 30s, 5m, 2h or 1d";
	case BAK_OPTION_CHOICE:
		return is_choice(option->choices, value) ? NULL : option->choices;
	}
	return "something";
}

/* --- a store's section --- */

static const struct bak_store_option *find_in(const struct bak_store_option *options,
					      const char *name)
{
	for (; options && options->name; options++) {
		if (strcmp(options->name, name) == 0)
			return options;
	}
	return NULL;
}

static const struct bak_store_option *find_option(const struct bak_store_driver *driver,
						  const char *name)
{
	const struct bak_store_option *option = driver ? find_in(driver->options, name) : NULL;

	return option ? option : find_in(bak_store_common_options, name);
}

const char *bak_store_get_item(const struct bak_store_conf *conf, const char *key, size_t i)
{
	for (size_t p = 0; p < conf->n; p++) {
		if (strcmp(conf->pairs[p].key, key) == 0 && i-- == 0)
			return conf->pairs[p].value;
	}
	return NULL;
}

const char *bak_store_get(const struct bak_store_conf *conf, const char *key)
{
	const char *value = bak_store_get_item(conf, key, 0);
	if (value)
		return value;

	const struct bak_store_option *option = find_option(bak_store_driver_find(conf->driver),
							    key);
	return option ? option->fallback : NULL;
}

bool bak_store_get_bool(const struct bak_store_conf *conf, const char *key)
{
	const char *value = bak_store_get(conf, key);

	return value && strcmp(value, "yes") == 0;
}

uint64_t bak_store_get_number(const struct bak_store_conf *conf, const char *key)
{
	const char *value = bak_store_get(conf, key);
	uint64_t n = 0;

	return value && parse_number(value, &n) ? n : 0;
}

uint64_t bak_store_get_duration_ms(const struct bak_store_conf *conf, const char *key)
{
	const char *value = bak_store_get(conf, key);
	uint64_t ms = 0;

	return value && bak_duration_parse(value, &ms) ? ms : 0;
}

static int check_pair(const struct bak_store_conf *conf, size_t i, struct bak_error *err)
{
	const struct bak_store_pair *pair = &conf->pairs[i];
	const struct bak_store_option *option = find_option(bak_store_driver_find(conf->driver),
							    pair->key);

	if (!option)
		return bak_error_set(err, BAK_USAGE, "store %s: type %s has no option \"%s\"",
				     conf->name, conf->driver, pair->key);

	const char *wanted = value_wanted(option, pair->value);
	if (wanted && option->kind == BAK_OPTION_SECRET)
		return bak_error_set(err, BAK_USAGE, "store %s: %s is empty", conf->name,
				     pair->key);
	if (wanted)
		return bak_error_set(err, BAK_USAGE, "store %s: %s: \"%s\" is not %s", conf->name,
				     pair->key, pair->value, wanted);
	if (strcmp(pair->key, "level") == 0) {
		uint64_t level = bak_store_get_number(conf, "level");

		if (level < 1 || level > LEVEL_MAX)
			return bak_error_set(err, BAK_USAGE, "store %s: level is 1 to %d",
					     conf->name, LEVEL_MAX);
	}
	return 0;
}

static int check_required(const struct bak_store_conf *conf, const struct bak_store_option *options,
			  struct bak_error *err)
{
	for (; options && options->name; options++) {
		if (options->required && !bak_store_get_item(conf, options->name, 0))
			return bak_error_set(err, BAK_USAGE, "store %s: option \"%s\" is missing",
					     conf->name, options->name);
	}
	return 0;
}

int bak_store_conf_check(const struct bak_store_conf *conf, size_t *out_pair, struct bak_error *err)
{
	*out_pair = SIZE_MAX;

	const struct bak_store_driver *driver = bak_store_driver_find(conf->driver);
	if (!driver)
		return bak_error_set(err, BAK_USAGE, "store %s: unknown type \"%s\"", conf->name,
				     conf->driver);
	for (size_t i = 0; i < conf->n; i++) {
		if (check_pair(conf, i, err) < 0) {
			*out_pair = i;
			return -1;
		}
	}
	/* The driver stands in conf->driver; a section may leave its `type` out of the pairs. */
	return check_required(conf, driver->options, err);
}

void bak_store_conf_release(struct bak_store_conf *conf)
{
	for (size_t i = 0; i < conf->n; i++) {
		free(conf->pairs[i].key);
		free(conf->pairs[i].value);
	}
	free(conf->pairs);
	free(conf->name);
	free(conf->driver);
	*conf = (struct bak_store_conf){.name = NULL};
}

/* --- for drivers --- */

__attribute__((format(printf, 3, 0))) static void tell(void (*fn)(void *ctx, const char *line),
						       void *ctx, const char *fmt, va_list ap)
{
	char line[1024];

	if (!fn)
		return;
	vsnprintf(line, sizeof line, fmt, ap);
	fn(ctx, line);
}

void bak_store_log(const struct bak_store_env *env, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(env->log, env->ctx, fmt, ap);
	va_end(ap);
}

void bak_store_warn(const struct bak_store_env *env, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(env->warn, env->ctx, fmt, ap);
	va_end(ap);
}

int bak_store_check_cancelled(const struct bak_store_env *env, struct bak_error *err)
{
	if (env->cancelled && env->cancelled(env->ctx))
		return bak_error_set(err, BAK_CANCELLED, "cancelled");
	return 0;
}

int bak_store_no_return(const struct bak_store_env *env, struct bak_error *err)
{
	if (bak_store_check_cancelled(env, err) < 0)
		return -1;
	if (env->point_of_no_return && env->point_of_no_return(env->ctx, err) != 0)
		return -1;
	return 0;
}

void bak_checkup_tell(const struct bak_checkup *checkup, enum bak_ailment ailment, const char *todo,
		      const char *fmt, ...)
{
	char what[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	checkup->finding(checkup->ctx, ailment, what, todo);
}

const char *bak_restore_wish(const struct bak_restore_from *from, const char *key, size_t i)
{
	for (size_t w = 0; w < from->n_wishes; w++) {
		if (strcmp(from->wishes[w].key, key) == 0 && i-- == 0)
			return from->wishes[w].value;
	}
	return NULL;
}

json_t *bak_snapshot_facts(const struct bak_snapshot *snapshot)
{
	json_t *manifest = snapshot->manifest
				   ? json_loadb(snapshot->manifest, snapshot->manifest_len, 0, NULL)
				   : NULL;
	json_t *facts = json_object_get(manifest, "data");

	facts = json_is_object(facts) ? json_incref(facts) : json_object();
	json_decref(manifest);
	return facts;
}
