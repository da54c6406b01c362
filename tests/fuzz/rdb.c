/* RDB files. Input: one, in pieces whose size its first byte says. What the parser makes of it must
 * not depend on the pieces; a key's value is never told of outside of a key. */
#include "stores/redis/rdb.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

struct seen {
	uint64_t keys, bytes;
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

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct seen whole, pieces;

	if (!len)
		return 0;
	int rc = parse(p + 1, len - 1, len, &whole);
	if (parse(p + 1, len - 1, (size_t)*p + 1, &pieces) != rc)
		abort();
	if (rc == 0 && (whole.keys != pieces.keys || whole.bytes != pieces.bytes))
		abort();
	return 0;
}
