/*
 * Some databases of an RDB file that streams by, as an RDB file of their own: what belongs to the
 * server (functions too) and to the databases that are wanted stands there byte for byte, the rest
 * is left out, and a checksum of what is left follows.
 *
 * Errors: those of the parser (rdb.h), and BAK_UNSUPPORTED for a file that has records that are not
 * known: nobody can tell which database they are of.
 */
#ifndef BAK_STORES_RDB_FILTER_H
#define BAK_STORES_RDB_FILTER_H

#include "stores/redis/rdb.h"

struct bak_rdb_filter;
struct bak_rdb_filter_conf {
	void *ctx;
	bool (*wants)(void *ctx, uint64_t db);
	/* Takes the next bytes of the new file. */
	int (*take)(void *ctx, const void *p, size_t len, struct bak_error *err);
};
int bak_rdb_filter_new(const struct bak_rdb_filter_conf *conf, struct bak_rdb_filter **out,
		       struct bak_error *err);
void bak_rdb_filter_free(struct bak_rdb_filter *filter); /* NULL is fine */
int bak_rdb_filter_feed(struct bak_rdb_filter *filter, const void *p, size_t len,
			struct bak_error *err);
/* There are no more: whether what came was whole; only then the new file has an end. */
int bak_rdb_filter_end(struct bak_rdb_filter *filter, struct bak_error *err);

#endif
