/* Packs, segments, chunks and nodes in the index: see index.h. */
#include "engine/storage/index.h"

#include "engine/base/bytes.h"
#include "engine/storage/index_db.h"

#include <stdlib.h>
#include <string.h>

/* Stale rows are purged when they are a fourth of the live ones: then a purge, which reads all
 * rows, costs each dropped row four reads. */
#define STALE_PART 4

static void bind_blob(sqlite3_stmt *stmt, int at, const void *p, int len)
{
	sqlite3_bind_blob(stmt, at, p, len, SQLITE_STATIC);
}

static void bind_int(sqlite3_stmt *stmt, int at, uint64_t v)
{
	sqlite3_bind_int64(stmt, at, (sqlite3_int64)v);
}

/* Copies a blob of exactly len bytes; the index is a file on disk and may be anything. */
static bool column_blob(sqlite3_stmt *stmt, int at, void *out, int len)
{
	const void *p = sqlite3_column_blob(stmt, at);
	if (!p || sqlite3_column_bytes(stmt, at) != len)
		return false;
	memcpy(out, p, (size_t)len);
	return true;
}

static int malformed(struct bak_index *index, sqlite3_stmt *stmt, struct bak_error *err)
{
	sqlite3_reset(stmt);
	return bak_error_set(err, BAK_CORRUPT, "index %s is malformed: run `bakfs reindex`",
			     index->path ? index->path : "in memory");
}

/* The number of a run part; added when new. */
static int run_number(struct bak_index *index, const uint8_t run[BAK_RUN_BYTES], int64_t *out,
		      struct bak_error *err)
{
	if (!index->last_run_number || memcmp(run, index->last_run, BAK_RUN_BYTES) != 0) {
		sqlite3_stmt *find = bak_index_sql(index, SQL_RUN_FIND, err);
		sqlite3_stmt *add = bak_index_sql(index, SQL_RUN_ADD, err);
		if (!find || !add)
			return -1;
		bind_blob(find, 1, run, BAK_RUN_BYTES);
		int found = bak_index_step(index, find, err);
		int64_t number = found == 1 ? sqlite3_column_int64(find, 0) : 0;
		sqlite3_reset(find);
		if (found == 0) {
			bind_blob(add, 1, run, BAK_RUN_BYTES);
			found = bak_index_run(index, add, err);
			number = sqlite3_last_insert_rowid(index->db);
		}
		if (found < 0)
			return -1;
		memcpy(index->last_run, run, BAK_RUN_BYTES);
		index->last_run_number = number;
	}
	*out = index->last_run_number;
	return 0;
}

static int add_pack_row(struct bak_index *index, const struct bak_pack_rows *rows, int64_t *out,
			struct bak_error *err)
{
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_PACK_ADD, err);
	if (!stmt)
		return -1;
	bind_blob(stmt, 1, rows->pack.id, BAK_PACK_ID_BYTES);
	bind_int(stmt, 2, rows->pack.size);
	bind_blob(stmt, 3, rows->pack.run, sizeof rows->pack.run);
	bind_int(stmt, 4, rows->pack.condemned);
	bind_int(stmt, 5, rows->pack.walked);
	bind_int(stmt, 6, rows->n_segs);
	bind_int(stmt, 7, rows->n_chunks);
	bind_int(stmt, 8, rows->n_nodes);
	int result = bak_index_step(index, stmt, err);
	if (result == 1)
		*out = sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	return result < 0 ? -1 : 0;
}

/* The kept ranges of segs[seg], as they stand in the database: u32 off, u32 len each. *k: the place
 * in rows->kept, moved along. */
static int pack_kept(const struct bak_pack_rows *rows, size_t seg, size_t *k, struct bak_buf *out)
{
	out->len = 0;
	while (*k < rows->n_kept && rows->kept[*k].seg < seg)
		++*k;
	if (*k == rows->n_kept || rows->kept[*k].seg != seg)
		return 0;
	const struct bak_kept_rows *kept = &rows->kept[*k];
	if (bak_buf_resize(out, 8 * kept->n) < 0)
		return -1;
	for (size_t i = 0; i < kept->n; i++) {
		bak_store_u32(out->p + 8 * i, rows->ranges[kept->first + i].off);
		bak_store_u32(out->p + 8 * i + 4, rows->ranges[kept->first + i].len);
	}
	return 0;
}

static int add_segs(struct bak_index *index, const struct bak_pack_rows *rows, int64_t pack,
		    struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf kept = BAK_BUF_INIT;
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_SEG_ADD, err);
	size_t k = 0;
	for (size_t i = 0; stmt && i < rows->n_segs; i++) {
		const struct bak_seg_copy *seg = &rows->segs[i];
		int64_t run;
		if (run_number(index, seg->id.run, &run, err) < 0)
			return -1;
		bind_int(stmt, 1, (uint64_t)run);
		bind_int(stmt, 2, seg->id.n);
		bind_int(stmt, 3, (uint64_t)pack);
		bind_int(stmt, 4, seg->off);
		bind_int(stmt, 5, seg->len);
		bind_int(stmt, 6, seg->raw_len);
		bind_int(stmt, 7, seg->key);
		bind_int(stmt, 8, seg->type);
		bind_int(stmt, 9, seg->holed);
		if (pack_kept(rows, i, &k, &kept) < 0)
			return bak_error_nomem(err);
		/* Without bytes this binds NULL. */
		bind_blob(stmt, 10, kept.len ? kept.p : NULL, (int)kept.len);
		if (bak_index_run(index, stmt, err) < 0)
			return -1;
	}
	return stmt ? 0 : -1;
}

static int hash_cmp(const void *a, const void *b)
{
	const struct bak_hash *const *x = a, *const *y = b;
	return memcmp(*x, *y, BAK_HASH_BYTES);
}

/* Pointers to rows' hashes, sorted: neighbours in the tree are written together. hash must be the
 * first member of a row of row_size bytes. */
static const struct bak_hash **sorted(const void *rows, size_t n, size_t row_size)
{
	const struct bak_hash **order = calloc(n ? n : 1, sizeof *order);
	for (size_t i = 0; order && i < n; i++)
		order[i] = (const struct bak_hash *)((const uint8_t *)rows + i * row_size);
	if (order)
		qsort(order, n, sizeof *order, hash_cmp);
	return order;
}

static int add_chunks(struct bak_index *index, const struct bak_pack_rows *rows,
		      struct bak_error *err)
{
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_CHUNK_ADD, err);
	BAK_AUTO(bak_free_ptr)
	const struct bak_hash **order = sorted(rows->chunks, rows->n_chunks, sizeof *rows->chunks);
	if (!order)
		return bak_error_nomem(err);
	for (size_t i = 0; stmt && i < rows->n_chunks; i++) {
		const struct bak_chunk_row *row = (const struct bak_chunk_row *)order[i];
		int64_t run;
		if (run_number(index, row->seg.run, &run, err) < 0)
			return -1;
		bind_blob(stmt, 1, row->hash.b, BAK_HASH_BYTES);
		bind_int(stmt, 2, (uint64_t)run);
		bind_int(stmt, 3, row->seg.n);
		bind_int(stmt, 4, row->off);
		bind_int(stmt, 5, row->len);
		if (bak_index_run(index, stmt, err) < 0)
			return -1;
	}
	return stmt ? 0 : -1;
}

static int add_nodes(struct bak_index *index, const struct bak_pack_rows *rows,
		     struct bak_error *err)
{
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_NODE_ADD, err);
	BAK_AUTO(bak_free_ptr)
	const struct bak_hash **order = sorted(rows->nodes, rows->n_nodes, sizeof *rows->nodes);
	if (!order)
		return bak_error_nomem(err);
	for (size_t i = 0; stmt && i < rows->n_nodes; i++) {
		const struct bak_node_row *row = (const struct bak_node_row *)order[i];
		int64_t run;
		if (run_number(index, row->ref.seg.run, &run, err) < 0)
			return -1;
		bind_blob(stmt, 1, row->hash.b, BAK_HASH_BYTES);
		bind_int(stmt, 2, (uint64_t)run);
		bind_int(stmt, 3, row->ref.seg.n);
		bind_int(stmt, 4, row->ref.off);
		bind_int(stmt, 5, row->ref.len);
		bind_int(stmt, 6, row->span_len);
		if (bak_index_run(index, stmt, err) < 0)
			return -1;
	}
	return stmt ? 0 : -1;
}

/* Call inside a transaction. 1 dropped, 0 was not there. */
static int drop_pack(struct bak_index *index, const uint8_t id[BAK_PACK_ID_BYTES],
		     uint64_t *out_rows, struct bak_error *err)
{
	sqlite3_stmt *find = bak_index_sql(index, SQL_PACK_FIND, err);
	sqlite3_stmt *segs = bak_index_sql(index, SQL_SEG_DROP, err);
	sqlite3_stmt *drop = bak_index_sql(index, SQL_PACK_DROP, err);
	if (!find || !segs || !drop)
		return -1;
	bind_blob(find, 1, id, BAK_PACK_ID_BYTES);
	int found = bak_index_step(index, find, err);
	if (found <= 0)
		return found;
	sqlite3_int64 number = sqlite3_column_int64(find, 0);
	*out_rows = (uint64_t)sqlite3_column_int64(find, 1);
	sqlite3_reset(find);
	sqlite3_bind_int64(segs, 1, number);
	sqlite3_bind_int64(drop, 1, number);
	return bak_index_run(index, segs, err) < 0 || bak_index_run(index, drop, err) < 0 ? -1 : 1;
}

int bak_index_add_pack(struct bak_index *index, const struct bak_pack_rows *rows,
		       struct bak_error *err)
{
	uint64_t replaced;
	int64_t pack = 0;
	pthread_mutex_lock(&index->lock);
	int result = bak_index_write_begin(index, err);
	if (result == 0) {
		/* Two processes may read the same footer at once: the later one replaces. */
		if (drop_pack(index, rows->pack.id, &replaced, err) < 0 ||
		    add_pack_row(index, rows, &pack, err) < 0 ||
		    add_segs(index, rows, pack, err) < 0 || add_chunks(index, rows, err) < 0 ||
		    add_nodes(index, rows, err) < 0)
			result = -1;
		result = bak_index_write_end(index, result, err);
	}
	pthread_mutex_unlock(&index->lock);
	return result;
}

/* Counts rows that have become stale, and purges all of them when there are many. */
static int add_stale(struct bak_index *index, uint64_t rows, struct bak_error *err)
{
	sqlite3_stmt *get = bak_index_sql(index, SQL_STALE_GET, err);
	sqlite3_stmt *set = bak_index_sql(index, SQL_STALE_SET, err);
	sqlite3_stmt *chunks = bak_index_sql(index, SQL_CHUNK_PURGE, err);
	sqlite3_stmt *nodes = bak_index_sql(index, SQL_NODE_PURGE, err);
	sqlite3_stmt *refs = bak_index_sql(index, SQL_REFS_PURGE, err);
	if (!get || !set || !chunks || !nodes || !refs || bak_index_step(index, get, err) < 0)
		return -1;
	uint64_t stale = (uint64_t)sqlite3_column_int64(get, 0) + rows;
	uint64_t live = (uint64_t)sqlite3_column_int64(get, 1);
	sqlite3_reset(get);
	if (stale > live / STALE_PART) {
		if (bak_index_run(index, chunks, err) < 0 || bak_index_run(index, nodes, err) < 0 ||
		    bak_index_run(index, refs, err) < 0)
			return -1;
		stale = 0;
	}
	bind_int(set, 1, stale);
	return bak_index_run(index, set, err);
}

int bak_index_drop_pack(struct bak_index *index, const uint8_t id[BAK_PACK_ID_BYTES],
			struct bak_error *err)
{
	uint64_t rows = 0;
	pthread_mutex_lock(&index->lock);
	int result = bak_index_write_begin(index, err);
	if (result == 0) {
		result = drop_pack(index, id, &rows, err);
		if (result == 1)
			result = add_stale(index, rows, err);
		result = bak_index_write_end(index, result, err);
	}
	pthread_mutex_unlock(&index->lock);
	return result < 0 ? -1 : 0;
}

int bak_index_condemn_pack(struct bak_index *index, const uint8_t id[BAK_PACK_ID_BYTES],
			   bool condemned, struct bak_error *err)
{
	int result = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_PACK_CONDEMN, err);
	if (stmt && bak_index_write_begin(index, err) == 0) {
		bind_blob(stmt, 1, id, BAK_PACK_ID_BYTES);
		bind_int(stmt, 2, condemned);
		result = bak_index_write_end(index, bak_index_run(index, stmt, err), err);
	}
	pthread_mutex_unlock(&index->lock);
	return result;
}

static bool pack_row(sqlite3_stmt *stmt, struct bak_pack_row *out)
{
	out->size = (uint64_t)sqlite3_column_int64(stmt, 1);
	out->condemned = sqlite3_column_int(stmt, 3) != 0;
	out->walked = sqlite3_column_int(stmt, 4) != 0;
	return column_blob(stmt, 0, out->id, BAK_PACK_ID_BYTES) &&
	       column_blob(stmt, 2, out->run, sizeof out->run);
}

int bak_index_packs(struct bak_index *index, struct bak_pack_row **out_packs, size_t *out_n,
		    struct bak_error *err)
{
	struct bak_buf rows = BAK_BUF_INIT;
	struct bak_pack_row row = {.size = 0};
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_PACK_ALL, err);
	int result = stmt ? 1 : -1;
	while (result == 1 && (result = bak_index_step(index, stmt, err)) == 1) {
		if (!pack_row(stmt, &row))
			result = malformed(index, stmt, err);
		else if (bak_buf_append(&rows, &row, sizeof row) < 0)
			result = bak_error_nomem(err);
	}
	if (stmt)
		sqlite3_reset(stmt);
	pthread_mutex_unlock(&index->lock);
	if (result < 0) {
		bak_buf_release(&rows);
		return -1;
	}
	*out_packs = (struct bak_pack_row *)rows.p;
	*out_n = rows.len / sizeof row;
	return 0;
}

int bak_index_find_chunk(struct bak_index *index, const struct bak_hash *hash,
			 struct bak_chunk_row *out, struct bak_error *err)
{
	int found = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_CHUNK_FIND, err);
	if (stmt) {
		bind_blob(stmt, 1, hash->b, BAK_HASH_BYTES);
		found = bak_index_step(index, stmt, err);
	}
	if (found == 1) {
		out->hash = *hash;
		out->seg.n = (uint32_t)sqlite3_column_int64(stmt, 1);
		out->off = (uint32_t)sqlite3_column_int64(stmt, 2);
		out->len = (uint32_t)sqlite3_column_int64(stmt, 3);
		if (!column_blob(stmt, 0, out->seg.run, BAK_RUN_BYTES))
			found = malformed(index, stmt, err);
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return found;
}

int bak_index_find_node(struct bak_index *index, const struct bak_hash *hash,
			struct bak_node_row *out, struct bak_error *err)
{
	int found = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_NODE_FIND, err);
	if (stmt) {
		bind_blob(stmt, 1, hash->b, BAK_HASH_BYTES);
		found = bak_index_step(index, stmt, err);
	}
	if (found == 1) {
		out->hash = *hash;
		out->ref.seg.n = (uint32_t)sqlite3_column_int64(stmt, 1);
		out->ref.off = (uint32_t)sqlite3_column_int64(stmt, 2);
		out->ref.len = (uint32_t)sqlite3_column_int64(stmt, 3);
		out->span_len = (uint64_t)sqlite3_column_int64(stmt, 4);
		if (!column_blob(stmt, 0, out->ref.seg.run, BAK_RUN_BYTES))
			found = malformed(index, stmt, err);
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return found;
}

static bool seg_row(sqlite3_stmt *stmt, struct bak_seg_copy *out)
{
	out->id.n = (uint32_t)sqlite3_column_int64(stmt, 1);
	out->off = (uint64_t)sqlite3_column_int64(stmt, 3);
	out->len = (uint32_t)sqlite3_column_int64(stmt, 4);
	out->raw_len = (uint32_t)sqlite3_column_int64(stmt, 5);
	out->key = (uint32_t)sqlite3_column_int64(stmt, 6);
	out->type = (uint8_t)sqlite3_column_int(stmt, 7);
	out->holed = sqlite3_column_int(stmt, 8) != 0;
	out->condemned = sqlite3_column_int(stmt, 9) != 0;
	return column_blob(stmt, 0, out->id.run, BAK_RUN_BYTES) &&
	       column_blob(stmt, 2, out->pack, BAK_PACK_ID_BYTES);
}

int bak_index_find_segment(struct bak_index *index, const struct bak_seg_id *id,
			   struct bak_seg_copy *out, size_t max, size_t *out_n,
			   struct bak_error *err)
{
	struct bak_seg_copy beyond = {.off = 0};
	int result = -1;
	*out_n = 0;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_SEG_FIND, err);
	if (stmt) {
		bind_blob(stmt, 1, id->run, BAK_RUN_BYTES);
		bind_int(stmt, 2, id->n);
		while ((result = bak_index_step(index, stmt, err)) == 1) {
			if (!seg_row(stmt, *out_n < max ? &out[*out_n] : &beyond)) {
				result = malformed(index, stmt, err);
				break;
			}
			++*out_n;
		}
	}
	pthread_mutex_unlock(&index->lock);
	return result < 0 ? -1 : *out_n > 0;
}

/* Whether the packed ranges hold [off, off + len). */
static bool kept_has(const uint8_t *p, size_t n, uint32_t off, uint32_t len)
{
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (bak_load_u32(p + 8 * mid) <= off)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0)
		return false;
	uint64_t from = bak_load_u32(p + 8 * (low - 1)), kept = bak_load_u32(p + 8 * low - 4);
	return (uint64_t)off + len <= from + kept;
}

/* What the copy in the statement's row says of the range. */
static enum bak_keeps row_keeps(sqlite3_stmt *stmt, uint32_t off, uint32_t len)
{
	bool condemned = sqlite3_column_int(stmt, 0) != 0, holed = sqlite3_column_int(stmt, 1) != 0;
	uint64_t raw_len = (uint64_t)sqlite3_column_int64(stmt, 2);
	const uint8_t *kept = sqlite3_column_blob(stmt, 3);
	bool has = holed ? kept && kept_has(kept, (size_t)sqlite3_column_bytes(stmt, 3) / 8, off,
					    len)
			 : (uint64_t)off + len <= raw_len;
	if (!has)
		return BAK_KEEPS_NOT;
	return condemned ? BAK_KEEPS_CONDEMNED : holed ? BAK_KEEPS_RANGE : BAK_KEEPS_WHOLE;
}

int bak_index_keeps(struct bak_index *index, const struct bak_seg_id *id, uint32_t off,
		    uint32_t len, enum bak_keeps *out, struct bak_error *err)
{
	int result = -1;
	*out = BAK_KEEPS_NOT;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_SEG_KEEPS, err);
	if (stmt) {
		bind_blob(stmt, 1, id->run, BAK_RUN_BYTES);
		bind_int(stmt, 2, id->n);
		while (*out < BAK_KEEPS_RANGE && (result = bak_index_step(index, stmt, err)) == 1) {
			enum bak_keeps keeps = row_keeps(stmt, off, len);
			*out = keeps > *out ? keeps : *out;
		}
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return result < 0 ? -1 : 0;
}

int bak_index_kept(struct bak_index *index, const struct bak_seg_copy *copy,
		   struct bak_seg_range **out, size_t *out_n, struct bak_error *err)
{
	int result = -1;
	*out = NULL;
	*out_n = 0;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_SEG_KEPT, err);
	if (stmt) {
		bind_blob(stmt, 1, copy->id.run, BAK_RUN_BYTES);
		bind_int(stmt, 2, copy->id.n);
		bind_blob(stmt, 3, copy->pack, BAK_PACK_ID_BYTES);
		bind_int(stmt, 4, copy->off);
		result = bak_index_step(index, stmt, err);
	}
	if (result == 1) {
		const uint8_t *p = sqlite3_column_blob(stmt, 0);
		*out_n = p ? (size_t)sqlite3_column_bytes(stmt, 0) / 8 : 0;
		*out = calloc(*out_n + 1, sizeof **out);
		if (!*out)
			result = bak_error_nomem(err);
		for (size_t i = 0; *out && i < *out_n; i++)
			(*out)[i] = (struct bak_seg_range){.off = bak_load_u32(p + 8 * i),
							   .len = bak_load_u32(p + 8 * i + 4)};
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return result < 0 ? -1 : 0;
}

int bak_index_pack_segments(struct bak_index *index, const uint8_t id[BAK_PACK_ID_BYTES],
			    struct bak_seg_copy **out, size_t *out_n, struct bak_error *err)
{
	struct bak_buf rows = BAK_BUF_INIT;
	struct bak_seg_copy row = {.off = 0};
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_SEG_OF_PACK, err);
	int result = stmt ? 1 : -1;
	if (stmt)
		bind_blob(stmt, 1, id, BAK_PACK_ID_BYTES);
	while (result == 1 && (result = bak_index_step(index, stmt, err)) == 1) {
		if (!seg_row(stmt, &row))
			result = malformed(index, stmt, err);
		else if (bak_buf_append(&rows, &row, sizeof row) < 0)
			result = bak_error_nomem(err);
	}
	if (stmt)
		sqlite3_reset(stmt);
	pthread_mutex_unlock(&index->lock);
	if (result < 0) {
		bak_buf_release(&rows);
		return -1;
	}
	*out = (struct bak_seg_copy *)rows.p;
	*out_n = rows.len / sizeof row;
	return 0;
}

int bak_index_counts(struct bak_index *index, struct bak_index_counts *out, struct bak_error *err)
{
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_COUNTS, err);
	int result = stmt ? bak_index_step(index, stmt, err) : -1;
	if (result == 1) {
		out->packs = (uint64_t)sqlite3_column_int64(stmt, 0);
		out->pack_bytes = (uint64_t)sqlite3_column_int64(stmt, 1);
		out->segments = (uint64_t)sqlite3_column_int64(stmt, 2);
		out->chunks = (uint64_t)sqlite3_column_int64(stmt, 3);
		out->nodes = (uint64_t)sqlite3_column_int64(stmt, 4);
		out->snapshots = (uint64_t)sqlite3_column_int64(stmt, 5);
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return result < 0 ? -1 : 0;
}
