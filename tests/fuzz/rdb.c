/* RDB files. Input: one, in pieces whose size its first byte says. What the parser makes of it must
 * not depend on the pieces; a key's value is never told of outside of a key. With the odd databases
 * taken out it is a sound file still, with the keys of the others. */
#include "engine/base/buf.h"
#include "stores/redis/rdb_filter.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

struct seen {
	uint64_t keys, even_keys, bytes;
	bool inside;
};

static int on_key(void *ctx, const struct bak_rdb_key *key, struct bak_error *err)
{
	struct seen *seen = ctx;

	(void)err;
	if (seen->inside || key->class > BAK_RDB_FUNCTION)
		abort();
	seen->inside = true;
	seen->keys++;
	seen->even_keys += key->class == BAK_RDB_FUNCTION || key->db % 2 == 0;
	seen->bytes += key->name_len;
	return 0;
}

static int on_value(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct seen *seen = ctx;

	(void)p;
	(void)err;
	if (!seen->inside || !len)
		abort();
	seen->bytes += len;
	return 0;
}

static int on_key_end(void *ctx, struct bak_error *err)
{
	struct seen *seen = ctx;

	(void)err;
	if (!seen->inside)
		abort();
	seen->inside = false;
	return 0;
}

static int parse(const uint8_t *p, size_t len, size_t piece, struct seen *seen)
{
	const struct bak_rdb_events events = {
		.ctx = seen, .key = on_key, .value = on_value, .key_end = on_key_end};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_rdb *rdb;
	int rc = bak_rdb_new(&events, &rdb, &err);

	*seen = (struct seen){.keys = 0};
	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = bak_rdb_feed(rdb, p + at, len - at < piece ? len - at : piece, &err);
	if (rc == 0)
		rc = bak_rdb_end(rdb, &err);
	bak_rdb_free(rdb);
	return rc;
}

static bool is_even(void *ctx, uint64_t db)
{
	(void)ctx;
	return db % 2 == 0;
}

static int take(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct bak_buf *out = ctx;

	return bak_buf_append(out, p, len) < 0 ? bak_error_nomem(err) : 0;
}

static int filter(const uint8_t *p, size_t len, struct bak_buf *out)
{
	const struct bak_rdb_filter_conf conf = {.ctx = out, .wants = is_even, .take = take};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_rdb_filter *f;

	if (bak_rdb_filter_new(&conf, &f, &err) < 0)
		abort();
	int rc = bak_rdb_filter_feed(f, p, len, &err);
	if (rc == 0)
		rc = bak_rdb_filter_end(f, &err);
	bak_rdb_filter_free(f);
	/* Only what the parser does not know is refused here and not there. */
	return rc < 0 && err.code == BAK_UNSUPPORTED ? 1 : rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	BAK_AUTO(bak_buf_release) struct bak_buf even = BAK_BUF_INIT;
	struct seen whole, pieces, some;

	if (!len)
		return 0;
	int rc = parse(p + 1, len - 1, len, &whole);
	if (parse(p + 1, len - 1, (size_t)*p + 1, &pieces) != rc)
		abort();
	if (rc == 0 && (whole.keys != pieces.keys || whole.bytes != pieces.bytes))
		abort();
	int filtered = filter(p + 1, len - 1, &even);
	if (filtered < 0 && rc == 0)
		abort();
	if (filtered == 0 && rc == 0 &&
	    (parse(even.p, even.len, even.len, &some) < 0 || some.keys != whole.even_keys))
		abort();
	return 0;
}
