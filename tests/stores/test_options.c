/* Stores' options as data: looked up, checked, and of a form that the man page can list. */
#include "stores/drivers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bak_store_conf *conf_of(const char *driver, ...)
{
	struct bak_store_conf *conf = calloc(1, sizeof *conf);
	const char *key;
	va_list ap;

	conf->name = strdup("app");
	conf->driver = strdup(driver);
	va_start(ap, driver);
	while ((key = va_arg(ap, const char *)) != NULL) {
		conf->pairs = realloc(conf->pairs, (conf->n + 1) * sizeof *conf->pairs);
		conf->pairs[conf->n++] = (struct bak_store_pair){
			.key = strdup(key), .value = strdup(va_arg(ap, const char *))};
	}
	va_end(ap);
	return conf;
}

static void drop(struct bak_store_conf *conf)
{
	bak_store_conf_release(conf);
	free(conf);
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms; /* UINT64_MAX: refused */
	} cases[] = {{"0", 0},
		     {"30", 30000},
		     {"30s", 30000},
		     {"5m", 300000},
		     {"2h", 7200000},
		     {"1d", 86400000},
		     {"", UINT64_MAX},
		     {"s", UINT64_MAX},
		     {"-1", UINT64_MAX},
		     {"+1", UINT64_MAX},
		     {" 1", UINT64_MAX},
		     {"1 s", UINT64_MAX},
		     {"1w", UINT64_MAX},
		     {"1ms", UINT64_MAX},
		     {"1.5h", UINT64_MAX},
		     {"99999999999999999999", UINT64_MAX},
		     {"9999999999999999d", UINT64_MAX}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint64_t ms = UINT64_MAX;
		bool ok = bak_duration_parse(cases[i].text, &ms);

		if (ok != (cases[i].ms != UINT64_MAX) || ms != cases[i].ms)
			fail_msg("\"%s\": %d, %llu", cases[i].text, ok, (unsigned long long)ms);
	}
}

static void test_look_ups(void **state)
{
	struct bak_store_conf *conf = conf_of("files", "type", "files", "path", "/x", "exclude",
					      "a", "exclude", "b", "reread", "5", "xattrs", "no",
					      NULL);

	(void)state;
	assert_string_equal(bak_store_get(conf, "path"), "/x");
	assert_string_equal(bak_store_get_item(conf, "exclude", 1), "b");
	assert_null(bak_store_get_item(conf, "exclude", 2));
	assert_int_equal(bak_store_get_number(conf, "reread"), 5);
	assert_false(bak_store_get_bool(conf, "xattrs"));
	/* as the driver says, and as every store has it */
	assert_true(bak_store_get_bool(conf, "one_file_system"));
	assert_string_equal(bak_store_get(conf, "restore"), "yes");
	assert_int_equal(bak_store_get_number(conf, "level"), 3);
	assert_null(bak_store_get(conf, "uri")); /* another driver's */
	drop(conf);

	conf = conf_of("sqlite", "path", "/x", NULL);
	assert_int_equal(bak_store_get_duration_ms(conf, "busy_timeout"), 30000);
	drop(conf);
}

static void assert_bad(struct bak_store_conf *conf, size_t pair, const char *why)
{
	struct bak_error err = BAK_ERROR_INIT;
	size_t at = 77;

	assert_int_equal(bak_store_conf_check(conf, &at, &err), -1);
	assert_int_equal(err.code, BAK_USAGE);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
	assert_true(at == pair);
	drop(conf);
}

static void test_checks(void **state)
{
	(void)state;
	assert_bad(conf_of("nonsense", NULL), SIZE_MAX, "unknown type \"nonsense\"");
	assert_bad(conf_of("files", NULL), SIZE_MAX, "option \"path\" is missing");
	assert_bad(conf_of("files", "path", "/x", "uri", "y", NULL), 1,
		   "type files has no option \"uri\"");
	assert_bad(conf_of("files", "path", "", NULL), 0, "path: \"\" is not a path");
	assert_bad(conf_of("files", "path", "/x", "xattrs", "true", NULL), 1,
		   "xattrs: \"true\" is not yes or no");
	assert_bad(conf_of("files", "path", "/x", "reread", "-1", NULL), 1, "is not a number");
	assert_bad(conf_of("files", "path", "/x", "reread", "3x", NULL), 1, "is not a number");
	assert_bad(conf_of("sqlite", "path", "/x", "busy_timeout", "soon", NULL), 1,
		   "is not a duration");
	assert_bad(conf_of("files", "restore", "maybe", "path", "/x", NULL), 0,
		   "is not yes|no|force");
	assert_bad(conf_of("files", "restore", "ye", "path", "/x", NULL), 0, "yes|no|force");
	assert_bad(conf_of("files", "level", "20", "path", "/x", NULL), 0, "level is 1 to 19");
	assert_bad(conf_of("command", "dump", "", NULL), 0, "dump: \"\" is not something");
}

/* Whatever says something of every driver can rely on it. */
static void test_every_driver_is_whole(void **state)
{
	(void)state;
	for (size_t i = 0; bak_store_drivers[i]; i++) {
		const struct bak_store_driver *d = bak_store_drivers[i];
		bool has_address = !d->address_option;

		assert_ptr_equal(bak_store_driver_find(d->name), d);
		assert_non_null(d->summary);
		assert_non_null(d->open && d->probe && d->backup && d->restore && d->close ? d->name
											   : NULL);
		assert_true(!!d->rollback == !!(d->features & BAK_STORE_KEEPS_OLD));
		assert_true(!!d->counts == !!(d->features & BAK_STORE_COUNTS));
		d->close(NULL);
		for (const struct bak_store_option *o = d->options; o->name; o++) {
			assert_non_null(o->help);
			assert_true(!!o->choices == (o->kind == BAK_OPTION_CHOICE));
			assert_false(o->required && o->fallback);
			has_address = has_address || !strcmp(o->name, d->address_option);
			for (const struct bak_store_option *c = bak_store_common_options; c->name;
			     c++)
				assert_string_not_equal(o->name, c->name);
		}
		assert_true(has_address);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_look_ups),
		cmocka_unit_test(test_checks),
		cmocka_unit_test(test_every_driver_is_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
