/* Some databases of an RDB file: see rdb_filter.h. */
#include "stores/redis/rdb_filter.h"

#include "stores/redis/rdb_crc.h"
#include "stores/redis/rdb_grammar.h"

#include <endian.h>
#include <stdlib.h>

struct bak_rdb_filter {
	struct bak_rdb_filter_conf conf;
	struct bak_rdb *rdb;
	uint64_t crc; /* of what is left */
	bool selected;
	uint64_t db; /* the one that is selected there */
};

static int put(struct bak_rdb_filter *f, const void *p, size_t len, struct bak_error *err)
{
	f->crc = bak_rdb_crc(f->crc, p, len);
	return f->conf.take(f->conf.ctx, p, len, err);
}

static int put_select(struct bak_rdb_filter *f, uint64_t db, struct bak_error *err)
{
	uint8_t bytes[1 + BAK_RDB_LENGTH_MAX] = {BAK_RDB_OP_SELECT};

	f->selected = true;
	f->db = db;
	return put(f, bytes, 1 + bak_rdb_length_put(bytes + 1, db), err);
}

static int on_part(void *ctx, enum bak_rdb_part part, uint64_t db, const void *p, size_t len,
		   struct bak_error *err)
{
	struct bak_rdb_filter *f = ctx;

	if (part == BAK_RDB_PART_SERVER)
		return put(f, p, len, err);
	if (part != BAK_RDB_PART_DB || !f->conf.wants(f->conf.ctx, db))
		return 0;
	if ((!f->selected || f->db != db) && put_select(f, db, err) < 0)
		return -1;
	return put(f, p, len, err);
}

int bak_rdb_filter_new(const struct bak_rdb_filter_conf *conf, struct bak_rdb_filter **out,
		       struct bak_error *err)
{
	struct bak_rdb_filter *f = calloc(1, sizeof *f);
	const struct bak_rdb_events events = {.ctx = f, .part = on_part};

	if (!f)
		return bak_error_nomem(err);
	f->conf = *conf;
	if (bak_rdb_new(&events, &f->rdb, err) < 0) {
		free(f);
		return -1;
	}
	*out = f;
	return 0;
}

void bak_rdb_filter_free(struct bak_rdb_filter *f)
{
	if (!f)
		return;
	bak_rdb_free(f->rdb);
	free(f);
}

int bak_rdb_filter_feed(struct bak_rdb_filter *f, const void *p, size_t len, struct bak_error *err)
{
	if (bak_rdb_feed(f->rdb, p, len, err) < 0)
		return -1;
	if (bak_rdb_stats(f->rdb)->opaque)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "RDB version %u has records that bakfs does not know, so "
				     "databases cannot be taken out: save all of them",
				     bak_rdb_stats(f->rdb)->version);
	return 0;
}

int bak_rdb_filter_end(struct bak_rdb_filter *f, struct bak_error *err)
{
	const uint8_t end = BAK_RDB_OP_END;

	if (bak_rdb_end(f->rdb, err) < 0 || put(f, &end, 1, err) < 0)
		return -1;
	uint64_t sum = htole64(f->crc);
	return f->conf.take(f->conf.ctx, &sum, sizeof sum, err);
}
