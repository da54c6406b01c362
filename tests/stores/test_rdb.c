/* RDB: the checksum, lengths, every type of value, names packed or as numbers, and what is cut off,
 * damaged or of another time. Files of real servers are in the scripts. */
#include "stores/redis/rdb.h"
#include "stores/redis/rdb_crc.h"
#include "stores/redis/rdb_filter.h"
#include "stores/redis/rdb_proof.h"
#include "stores/redis/rdb_string.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- files made here --- */

struct file {
	uint8_t p[4096];
	size_t len;
};

static void put(struct file *f, const void *p, size_t len)
{
	assert_true(f->len + len <= sizeof f->p);
	memcpy(f->p + f->len, p, len);
	f->len += len;
}
#define PUT(f, text) put(f, text, sizeof(text) - 1)

static void seal(struct file *f)
{
	PUT(f, "\xff");
	uint64_t sum = bak_rdb_crc(0, f->p, f->len);
	put(f, &sum, 8);
}

/* One of everything that has a grammar; keys are "k" and their type. */
static struct file everything(bool valkey)
{
	static const char *const values[] = {
		[0] = "\x01v",
		[1] = "\x02\x01"
		      "a\x01"
		      "b",
		[2] = "\x01\xc0\x05",
		[3] = "\x02\x01"
		      "a\x03"
		      "1.5\x01"
		      "b\xff",
		[4] = "\x01\x01"
		      "f\x01v",
		[5] = "\x01\x01"
		      "a12345678",
		[7] = "\x40\x10\x02\x05\x04"
		      "12345678\x05\x02xy\x03"
		      "1234\x00",
		[18] = "\x02\x01\x01"
		       "a\x02\x01"
		       "b",
		[21] = "\x01\x01n\x01v\x01\x02\x03\x04\x05\x06\x07\x08"
		       "\x01\x01g\x01\x02\x03"
		       "\x01"
		       "1234567890abcdef12345678\x01"
		       "\x01\x01"
		       "c1234567812345678\x01"
		       "1234567890abcdef",
		[22] = "\x01\x01"
		       "f\x01v12345678",
		[24] = "12345678\x01\x07\x01"
		       "f\x01v",
	};
	static const size_t lens[] = {[7] = 23};
	struct file f = {.len = 0};

	if (valkey)
		PUT(&f, "VALKEY080");
	else
		PUT(&f, "REDIS0012");
	PUT(&f, "\xfa\x09redis-ver\x05"
		"7.0.0\xfa\x05"
		"ctime\xc2\x80\x51\x01\x40\xf5\x04"
		"code\xf7\x01\x02\x02\x00\xfe\x03\xfb\x08\x01");
	for (size_t type = 0; type < sizeof values / sizeof *values; type++) {
		char key[8];

		if (!values[type] || type == (valkey ? 24 : 22))
			continue;
		if (type == 1)
			PUT(&f, "\xfc\x01\x00\x00\x00\x00\x00\x00\x00");
		snprintf(key, sizeof key, "%c%ck%02zu", (int)type, 3, type);
		put(&f, key, 5);
		put(&f, values[type],
		    type < sizeof lens / sizeof *lens && lens[type] ? lens[type]
								    : strlen(values[type]));
	}
	seal(&f);
	return f;
}

/* --- parsing --- */

struct seen {
	char text[4096];
	size_t n_values;
};

static int on_key(void *ctx, const struct bak_rdb_key *key, struct bak_error *err)
{
	struct seen *seen = ctx;
	size_t at = strlen(seen->text);

	(void)err;
	snprintf(seen->text + at, sizeof seen->text - at, "%u.%d=%.*s:", (unsigned)key->db,
		 key->class, (int)key->name_len, (const char *)key->name);
	return 0;
}

static int on_value(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct seen *seen = ctx;
	size_t at = strlen(seen->text);

	(void)err;
	for (size_t i = 0; i < len && at + 3 < sizeof seen->text; i++, at += 2)
		snprintf(seen->text + at, 3, "%02x", ((const uint8_t *)p)[i]);
	return 0;
}

static int on_key_end(void *ctx, struct bak_error *err)
{
	struct seen *seen = ctx;

	(void)err;
	seen->n_values++;
	strncat(seen->text, "\n", sizeof seen->text - strlen(seen->text) - 1);
	return 0;
}

static int parse(const void *p, size_t len, size_t piece, struct seen *seen,
		 struct bak_rdb_stats *out, struct bak_error *err)
{
	const struct bak_rdb_events events = {
		.ctx = seen, .key = on_key, .value = on_value, .key_end = on_key_end};
	struct bak_rdb *rdb;
	int rc = bak_rdb_new(seen ? &events : NULL, &rdb, err);

	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = bak_rdb_feed(rdb, (const uint8_t *)p + at, len - at < piece ? len - at : piece,
				  err);
	if (rc == 0)
		rc = bak_rdb_end(rdb, err);
	if (out) {
		*out = *bak_rdb_stats(rdb);
		out->dbs = NULL;
	}
	bak_rdb_free(rdb);
	return rc;
}

/* What a driver would be told of an upload that arrives in such pieces. */
static enum bak_verdict prove(const void *p, size_t len, size_t piece)
{
	uint64_t state[BAK_PROOF_STATE_LEN / 8] = {0};
	char why[BAK_PROOF_WHY_LEN];

	for (size_t at = 0; at < len; at += piece)
		bak_rdb_proof.feed(state, (const uint8_t *)p + at,
				   len - at < piece ? len - at : piece);
	return bak_rdb_proof.verdict(state, len, why);
}

/* --- tests --- */

static void test_crc(void **state)
{
	(void)state;
	assert_true(bak_rdb_crc(0, "123456789", 9) == 0xe9c6d914c4b8d9ca);
	assert_true(bak_rdb_crc(bak_rdb_crc(0, "1234", 4), "56789", 5) == 0xe9c6d914c4b8d9ca);
	assert_true(bak_rdb_crc(17, "", 0) == 17);
}

static void test_lengths(void **state)
{
	static const struct {
		const char *p;
		size_t n;
		int used;
		uint64_t value;
	} cases[] = {
		{"", 0, 0, 0},
		{"\x3f", 1, 1, 63},
		{"\x7f", 1, 0, 0},
		{"\x7f\xff", 2, 2, 16383},
		{"\x80\x01\x02\x03", 4, 0, 0},
		{"\x80\x01\x02\x03\x04", 5, 5, 0x01020304},
		{"\x81\xff\xff\xff\xff\xff\xff\xff\xff", 9, 9, UINT64_MAX},
		{"\x82\x01\x02\x03\x04", 5, -1, 0},
		{"\xc0", 1, -1, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint64_t value = 0;

		assert_int_equal(bak_rdb_length_at((const uint8_t *)cases[i].p, cases[i].n, &value),
				 cases[i].used);
		if (cases[i].used > 0)
			assert_true(value == cases[i].value);
	}
}

static void test_lzf(void **state)
{
	/* A literal, then a run of it, then a reference further back with a long length. */
	static const uint8_t packed[] = {0x02, 'a', 'b', 'c', 0xe0, 0x05, 0x02};
	uint8_t out[32];

	(void)state;
	assert_true(bak_rdb_lzf_unpack(packed, sizeof packed, out, 17));
	assert_memory_equal(out, "abcabcabcabcabcab", 17);
	assert_false(bak_rdb_lzf_unpack(packed, sizeof packed, out, 16));
	assert_false(bak_rdb_lzf_unpack(packed, sizeof packed, out, 18));
	assert_false(bak_rdb_lzf_unpack(packed, sizeof packed - 1, out, 17));
	/* further back than there is */
	assert_false(bak_rdb_lzf_unpack((const uint8_t *)"\x00"
							 "a\x20\x05",
					4, out, 4));
}

/* The same in whatever pieces it comes. */
static void test_every_type(void **state)
{
	(void)state;
	for (int valkey = 0; valkey < 2; valkey++) {
		struct file f = everything(valkey);
		struct seen whole = {.n_values = 0};
		struct bak_rdb_stats stats;
		struct bak_error err = BAK_ERROR_INIT;

		if (parse(f.p, f.len, f.len, &whole, &stats, &err) < 0)
			fail_msg("%s", err.msg);
		assert_int_equal(stats.n_dbs, 1);
		assert_int_equal(stats.functions, 1);
		assert_true(stats.valkey == valkey && stats.checksum && !stats.opaque);
		assert_true(stats.fields_expire);
		assert_int_equal(stats.created, 1073828224);
		assert_string_equal(stats.server_version, "7.0.0");
		assert_int_equal(whole.n_values, 11);
		assert_non_null(strstr(whole.text, "3.0=k00:0176\n"));
		assert_non_null(strstr(whole.text, "3.3=k05:01016131"));
		assert_non_null(strstr(whole.text, "0.7=:04636f6465\n"));
		for (size_t piece = 1; piece < 80; piece++) {
			struct seen seen = {.n_values = 0};

			assert_int_equal(parse(f.p, f.len, piece, &seen, NULL, &err), 0);
			assert_string_equal(seen.text, whole.text);
			assert_int_equal(prove(f.p, f.len, piece), BAK_VERDICT_WHOLE);
		}
	}
}

static void test_names(void **state)
{
	struct file f = {.len = 0};
	struct seen seen = {.n_values = 0};
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	PUT(&f, "REDIS0009\xfe\x00");
	put(&f, "\0\xc0\xff\x01v\0\xc1\x18\xfc\x01v\0\xc2\0\0\0\x80\x01v", 19);
	PUT(&f, "\0\xc3\x07\x11\x02"
		"abc\xe0\x05\x02\x01v");
	seal(&f);
	assert_int_equal(parse(f.p, f.len, f.len, &seen, NULL, &err), 0);
	assert_string_equal(seen.text, "0.0=-1:0176\n0.0=-1000:0176\n0.0=-2147483648:0176\n"
				       "0.0=abcabcabcabcabcab:0176\n");
}

/* Every shorter file and every flipped bit is refused, and nothing is read beyond the end. */
static void test_damage(void **state)
{
	struct file f = everything(true);
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	for (size_t len = 0; len < f.len; len++) {
		uint8_t *copy = malloc(len + 1);

		memcpy(copy, f.p, len);
		assert_int_equal(parse(copy, len, 16, NULL, NULL, &err), -1);
		if (len)
			assert_int_not_equal(prove(copy, len, 16), BAK_VERDICT_WHOLE);
		free(copy);
	}
	for (size_t bit = 0; bit < f.len * 8; bit++) {
		struct seen seen = {.n_values = 0};

		f.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(parse(f.p, f.len, 16, &seen, NULL, &err), -1);
		assert_int_not_equal(prove(f.p, f.len, 16), BAK_VERDICT_WHOLE);
		f.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(parse(f.p, f.len, 16, NULL, NULL, &err), 0);
	f.p[f.len++] = 'x';
	assert_int_equal(parse(f.p, f.len, 16, NULL, NULL, &err), -1);
	assert_non_null(strstr(err.msg, "bytes behind the end"));
}

static void test_versions(void **state)
{
	static const char zeros[8];
	struct file f = {.len = 0};
	struct bak_rdb_stats stats;
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	/* A record that nobody knows: damage, unless the file is newer than we are. */
	PUT(&f, "REDIS0011\xfe\x00\x1dkey");
	seal(&f);
	assert_int_equal(parse(f.p, f.len, 7, NULL, NULL, &err), -1);
	assert_non_null(strstr(err.msg, "unknown type"));
	f.len = 0;
	PUT(&f, "REDIS0099\xfe\x00\x1dkey");
	seal(&f);
	assert_int_equal(parse(f.p, f.len, 7, NULL, &stats, &err), 0);
	assert_true(stats.opaque);
	f.p[12] ^= 1;
	assert_int_equal(parse(f.p, f.len, 7, NULL, NULL, &err), -1);
	f.len = 0;
	PUT(&f, "REDIS0004\xff");
	assert_int_equal(parse(f.p, f.len, 7, NULL, NULL, &err), -1);
	assert_int_equal(err.code, BAK_UNSUPPORTED);
	/* No checksum: parsed to its end it is whole, but an upload cannot prove it. */
	f.len = 0;
	PUT(&f, "REDIS0009\xfe\x00\x00\x01k\x01v\xff");
	put(&f, zeros, 8);
	assert_int_equal(parse(f.p, f.len, 7, NULL, &stats, &err), 0);
	assert_false(stats.checksum);
	assert_int_equal(prove(f.p, f.len, 7), BAK_VERDICT_UNPROVABLE);
	assert_int_equal(prove("SQLite format 3", 15, 4), BAK_VERDICT_WRONG);
}

/* A file may claim any length: nothing is allocated for it. */
static void test_claims(void **state)
{
	struct file f = {.len = 0};
	struct seen seen = {.n_values = 0};
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	PUT(&f, "REDIS0009\xfe\x00\x00\x81\x7f\xff\xff\xff\xff\xff\xff\xff");
	assert_int_equal(parse(f.p, f.len, 7, &seen, NULL, &err), -1);
	assert_non_null(strstr(err.msg, "name is too long"));
	f.len = 0;
	PUT(&f, "REDIS0009\xfe\x00\x00\xc3\x02\x81\x00\x00\x00\x00\x03\x00\x00\x00\x01"
		"ab");
	assert_int_equal(parse(f.p, f.len, 7, &seen, NULL, &err), -1);
	f.len = 0;
	PUT(&f, "REDIS0009\xfe\x00\x01\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01v");
	assert_int_equal(parse(f.p, f.len, 7, &seen, NULL, &err), -1);
	assert_non_null(strstr(err.msg, "cut off"));
}

/* --- some databases --- */

struct wanted {
	uint64_t from, to; /* databases, [from, to) */
	struct file out;
};

static bool wants(void *ctx, uint64_t db)
{
	const struct wanted *wanted = ctx;

	return db >= wanted->from && db < wanted->to;
}

static int take(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct wanted *wanted = ctx;

	(void)err;
	put(&wanted->out, p, len);
	return 0;
}

static int filter(const struct file *in, size_t piece, struct wanted *wanted, struct bak_error *err)
{
	const struct bak_rdb_filter_conf conf = {.ctx = wanted, .wants = wants, .take = take};
	struct bak_rdb_filter *f;
	int rc = bak_rdb_filter_new(&conf, &f, err);

	wanted->out.len = 0;
	for (size_t at = 0; rc == 0 && at < in->len; at += piece)
		rc = bak_rdb_filter_feed(f, in->p + at, in->len - at < piece ? in->len - at : piece,
					 err);
	if (rc == 0)
		rc = bak_rdb_filter_end(f, err);
	bak_rdb_filter_free(f);
	return rc;
}

/* All of them: the very same file; one: as a server would have written it with that one alone. */
static void test_filter(void **state)
{
	struct file all = {.len = 0}, one = {.len = 0};
	struct wanted wanted = {.from = 0, .to = UINT64_MAX};
	struct bak_error err = BAK_ERROR_INIT;

	(void)state;
	PUT(&all, "REDIS0010\xfa\x01"
		  "a\x01"
		  "b\xf5\x04"
		  "code");
	put(&one, all.p, all.len);
	PUT(&all, "\xfe\x00\xfb\x01\x00\x00\x01k\x03one\xfe\x05\xfb\x01\x01");
	PUT(&one, "\xfe\x44\x00\xfb\x02\x00\xf8\x09\x00\x01k\x05three\x00\x01l\x04"
		  "four");
	PUT(&all, "\xfc"
		  "12345678\x00\x01k\x03two");
	PUT(&all, "\xfe\x44\x00\xfb\x02\x00\xf8\x09\x00\x01k\x05three\x00\x01l\x04"
		  "four");
	PUT(&all, "\xf7\x01\x02\x02\x00");
	PUT(&one, "\xf7\x01\x02\x02\x00");
	seal(&all);
	seal(&one);
	for (size_t piece = 1; piece < 80; piece++) {
		wanted.from = 0;
		assert_int_equal(filter(&all, piece, &wanted, &err), 0);
		assert_int_equal(wanted.out.len, all.len);
		assert_memory_equal(wanted.out.p, all.p, all.len);
		wanted.from = 1024;
		assert_int_equal(filter(&all, piece, &wanted, &err), 0);
		assert_int_equal(wanted.out.len, one.len);
		assert_memory_equal(wanted.out.p, one.p, one.len);
		/* What comes in must be whole, also where nobody wants it. */
		all.p[45] ^= 1;
		assert_int_equal(filter(&all, piece, &wanted, &err), -1);
		all.p[45] ^= 1;
	}
	struct file unknown = {.len = 0};
	PUT(&unknown, "REDIS0099\xfe\x00\x1dkey");
	seal(&unknown);
	assert_int_equal(filter(&unknown, 7, &wanted, &err), -1);
	assert_int_equal(err.code, BAK_UNSUPPORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc),      cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_lzf),      cmocka_unit_test(test_every_type),
		cmocka_unit_test(test_names),    cmocka_unit_test(test_damage),
		cmocka_unit_test(test_versions), cmocka_unit_test(test_claims),
		cmocka_unit_test(test_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
