/* The configuration: what it says, and file and line of what it must not say. */
#include "tools/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int parse_n(struct bak_config *config, const char *text, size_t len, struct bak_error *err)
{
	*err = (struct bak_error)BAK_ERROR_INIT;
	bak_config_init(config);
	return bak_config_parse(config, "/etc/bakfs/x.conf", text, len, err);
}

static int parse(struct bak_config *config, const char *text, struct bak_error *err)
{
	return parse_n(config, text, strlen(text), err);
}

static void test_everything(void **state)
{
	static const char text[] = "\xef\xbb\xbf# a comment\r\n"
				   "[repository] ; the place\r\n"
				   "path = backup\n"
				   "  key_file=~/key   ; not #2\n"
				   "\thost = a#b;c\n"
				   "cache = 1G\n"
				   "workers = 3\n"
				   "memory = 96M\n"
				   "parity = 5%\n"
				   "\n"
				   "[store etc]\n"
				   "  type = files\n"
				   "  path = /etc\n"
				   "  exclude = *.tmp\n"
				   "  exclude = a b\n"
				   "[mount]\n"
				   "restore_delay = 2m\n"
				   "spool = /spool";
	struct bak_config config;
	struct bak_error err;

	(void)state;
	setenv("HOME", "/home/me", 1);
	assert_int_equal(parse(&config, text, &err), 0);
	assert_string_equal(config.path, "/etc/bakfs/backup");
	assert_string_equal(config.key_file, "/home/me/key");
	assert_string_equal(config.host, "a#b;c");
	assert_int_equal(config.cache_bytes, 1u << 30);
	assert_int_equal(config.workers, 3);
	assert_int_equal(config.memory, 96 << 20);
	assert_int_equal(config.parity, 5);
	assert_int_equal(config.restore_delay_s, 120);
	assert_string_equal(config.spool, "/spool");
	assert_int_equal(config.n_stores, 1);
	assert_non_null(bak_config_store(&config, "etc"));
	assert_null(bak_config_store(&config, "et"));
	assert_int_equal(config.stores[0].line, 11);
	assert_int_equal(config.stores[0].lines[3], 15);
	assert_string_equal(config.stores[0].conf.driver, "files");
	assert_string_equal(bak_store_get_item(&config.stores[0].conf, "exclude", 1), "a b");
	bak_config_release(&config);
}

static void test_nothing(void **state)
{
	struct bak_config config;
	struct bak_error err;

	(void)state;
	assert_int_equal(parse(&config, "", &err), 0);
	assert_null(config.path);
	assert_int_equal(config.restore_delay_s, BAK_CONFIG_RESTORE_DELAY_S);
	bak_config_release(&config);
}

/* A value as long as a path, and the longest name of a store: libinih alone would cut both. */
static void test_long(void **state)
{
	char text[2 * BAK_CONFIG_LINE_MAX], name[BAK_STORE_NAME_MAX + 1], path[4001];
	struct bak_config config;
	struct bak_error err;

	(void)state;
	memset(name, 'n', sizeof(name));
	name[BAK_STORE_NAME_MAX] = 0;
	memset(path, 'p', sizeof(path));
	path[0] = '/';
	path[4000] = 0;
	snprintf(text, sizeof(text), "[store %s]\ntype=files\npath=%s\n", name, path);
	assert_int_equal(parse(&config, text, &err), 0);
	assert_string_equal(config.stores[0].conf.name, name);
	assert_string_equal(bak_store_get(&config.stores[0].conf, "path"), path);
	bak_config_release(&config);
}

static void test_errors(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"path = /x\n", ":1: \"path\" stands before the first section"},
		{"[repository]\npaht = /x\n", ":2: unknown key \"paht\" in [repository]"},
		{"[mount]\npath = /x\n", ":2: unknown key \"path\" in [mount]"},
		{"[repository]\npath=/x\npath=/y\n", ":3: path is given twice"},
		{"[repository]\npath =\n", ":2: a path is missing"},
		{"[repository]\nhost =\n", ":2: a value is missing"},
		{"[repository]\n\n= x\n", ":3: a key is missing"},
		{"[repository]\ncache = 1X\n", ":2: \"1X\" is not a size such as 256M or 1G"},
		{"[repository]\ncache = 99999999T\n", ":2: \"99999999T\" is not a size"},
		{"[repository]\nmemory = 31M\n", ":2: memory is at least 32M"},
		{"[repository]\nworkers = -1\n", ":2: \"-1\" is not a number from 0 to 1024"},
		{"[repository]\nparity = 51%\n", ":2: \"51%\" is not a share from 0% to 50%"},
		{"[repository]\nparity = 5%%\n", ":2: \"5%%\" is not a share from 0% to 50%"},
		{"[repository]\nparity = %\n", ":2: \"%\" is not a share from 0% to 50%"},
		{"[mount]\nrestore_delay = soon\n", ":2: \"soon\" is not a time"},
		{"[repository]\nkey_file=/a\npassword_file=/b\n", ":3: give one of key_file"},
		{"[repository\n", ":1: the section's ']' is missing"},
		{"[repository] x\n", ":1: nothing may follow the section's ']'"},
		{"[stores]\n", ":1: unknown section [stores]"},
		{"[]\n", ":1: unknown section []"},
		{"[store a.b]\n", ":1: \"a.b\" is no store name"},
		{"[store ]\n", ":1: \"\" is no store name"},
		{"[store a]\ntype=files\npath=/x\n[store a]\n", ":4: store a is there twice"},
		{"\n[store a]\n", ":2: store a has no type"},
		{"[store a]\ntype = nosuch\n", ":2: unknown type \"nosuch\""},
		{"[store a]\ntype = files\n", ":1: "}, /* path is missing */
		{"[store a]\ntype=files\npath=/x\nptah=/y\n", ":4: "},
		{"[store a]\ntype=files\npath=/x\npath=/y\n", ":4: path is given twice"},
		{"[repository]\njust a line\n", ":2: neither a [section] nor key = value"},
		{"[repository]\njust a line\nmore = x\n", ":2: neither a [section]"},
	};
	struct bak_config config;
	struct bak_error err;
	char expected[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(expected, sizeof(expected), "/etc/bakfs/x.conf%s", cases[i].message);
		assert_int_equal(parse(&config, cases[i].text, &err), -1);
		assert_int_equal(err.code, BAK_USAGE);
		if (!strstr(err.msg, expected))
			fail_msg("\"%s\" instead of \"%s\"", err.msg, expected);
		assert_int_equal(config.n_stores, 0);
	}
}

static void test_not_text(void **state)
{
	char text[BAK_CONFIG_LINE_MAX + 32];
	struct bak_config config;
	struct bak_error err;

	(void)state;
	assert_int_equal(parse_n(&config, "[repository]\npa\0th", 18, &err), -1);
	assert_non_null(strstr(err.msg, ":2: a NUL byte"));
	memset(text, 'x', sizeof(text));
	assert_int_equal(parse_n(&config, text, sizeof(text), &err), -1);
	assert_non_null(strstr(err.msg, ":1: the line is too long"));
}

static void check_adhoc(const char *spec, const char *name, const char *expected)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_config config;
	size_t index;

	bak_config_init(&config);
	if (bak_config_add_adhoc(&config, spec, name, &index, &err) < 0)
		fail_msg("%s: %s", spec, err.msg);
	assert_int_equal(index, 0);
	assert_string_equal(config.stores[0].conf.name, expected);
	assert_int_equal(bak_store_get(&config.stores[0].conf, "path")[0], '/');
	bak_config_release(&config);
}

static void test_adhoc(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_config config;
	size_t index;

	(void)state;
	check_adhoc("files:/etc", NULL, "etc");
	check_adhoc("files:/etc///", NULL, "etc");
	check_adhoc("files:relative/my site", NULL, "my_site");
	check_adhoc("files:/", NULL, "files");
	check_adhoc("sqlite:/var/lib/app.db", NULL, "app");
	check_adhoc("sqlite:/var/lib/.hidden", NULL, "_hidden");
	check_adhoc("files:/etc", "other", "other");
	bak_config_init(&config);
	assert_int_equal(bak_config_add_adhoc(&config, "nosuch:/x", NULL, &index, &err), -1);
	assert_int_equal(bak_config_add_adhoc(&config, "files:", NULL, &index, &err), -1);
	assert_int_equal(bak_config_add_adhoc(&config, "files:/x", "a.b", &index, &err), -1);
	assert_int_equal(bak_config_add_adhoc(&config, "files:/x", NULL, &index, &err), 0);
	assert_int_equal(bak_config_add_adhoc(&config, "files:/y/x", NULL, &index, &err), -1);
	assert_non_null(strstr(err.msg, "--name"));
	bak_config_release(&config);
}

static void test_sizes(void **state)
{
	uint64_t n;

	(void)state;
	assert_true(bak_parse_size("0", &n) && n == 0);
	assert_true(bak_parse_size("17k", &n) && n == 17 * 1024);
	assert_true(bak_parse_size("1MiB", &n) && n == 1 << 20);
	assert_true(bak_parse_size("16777215T", &n));
	assert_false(bak_parse_size("16777216T", &n));
	assert_false(bak_parse_size("", &n));
	assert_false(bak_parse_size("-1", &n));
	assert_false(bak_parse_size("1iB", &n));
	assert_false(bak_parse_size("18446744073709551616", &n));
}

static void test_read(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_config config;
	char path[] = "/tmp/bakfs-config.XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "[repository]\npath=r\n", 20), 20);
	close(fd);
	bak_config_init(&config);
	assert_int_equal(bak_config_read(&config, path, &err), 0);
	assert_string_equal(config.file, path);
	assert_string_equal(config.path, "/tmp/r");
	bak_config_release(&config);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(bak_config_read(&config, path, &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything), cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_long),       cmocka_unit_test(test_errors),
		cmocka_unit_test(test_not_text),   cmocka_unit_test(test_adhoc),
		cmocka_unit_test(test_sizes),      cmocka_unit_test(test_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
