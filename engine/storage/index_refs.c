/* What tree objects refer to, kept in the index for the next prune: see index.h. */
#include "engine/storage/index_db.h"

#include <stdlib.h>

static void bind_place(sqlite3_stmt *stmt, const struct bak_seg_id *seg)
{
	sqlite3_bind_blob(stmt, 1, seg->run, BAK_RUN_BYTES, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, seg->n);
}

static int add_all(struct bak_index *index, const struct bak_refs_row *rows, size_t n,
		   const struct bak_buf *bytes, struct bak_error *err)
{
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_REFS_ADD, err);
	for (size_t i = 0; stmt && i < n; i++) {
		bind_place(stmt, &rows[i].seg);
		sqlite3_bind_int64(stmt, 3, rows[i].off);
		sqlite3_bind_int64(stmt, 4, rows[i].len);
		sqlite3_bind_blob(stmt, 5, bytes->p + rows[i].at, (int)rows[i].n, SQLITE_STATIC);
		if (bak_index_run(index, stmt, err) < 0)
			return -1;
	}
	return stmt ? 0 : -1;
}

int bak_index_add_refs(struct bak_index *index, const struct bak_refs_row *rows, size_t n,
		       const struct bak_buf *bytes, struct bak_error *err)
{
	pthread_mutex_lock(&index->lock);
	int result = bak_index_write_begin(index, err);
	if (result == 0)
		result = bak_index_write_end(index, add_all(index, rows, n, bytes, err), err);
	pthread_mutex_unlock(&index->lock);
	return result;
}

static int append_column(sqlite3_stmt *stmt, int at, struct bak_buf *out, struct bak_error *err)
{
	return bak_buf_append(out, sqlite3_column_blob(stmt, at),
			      (size_t)sqlite3_column_bytes(stmt, at)) < 0
		       ? bak_error_nomem(err)
		       : 1;
}

int bak_index_find_refs(struct bak_index *index, const struct bak_seg_id *seg, uint32_t off,
			struct bak_buf *out, struct bak_error *err)
{
	int found = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_REFS_FIND, err);
	if (stmt) {
		bind_place(stmt, seg);
		sqlite3_bind_int64(stmt, 3, off);
		found = bak_index_step(index, stmt, err);
	}
	if (found == 1) {
		found = append_column(stmt, 0, out, err);
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return found;
}

static int take_row(sqlite3_stmt *stmt, const struct bak_seg_id *seg, struct bak_buf *rows,
		    struct bak_buf *out, struct bak_error *err)
{
	struct bak_refs_row row = {.seg = *seg,
				   .off = (uint32_t)sqlite3_column_int64(stmt, 0),
				   .len = (uint32_t)sqlite3_column_int64(stmt, 1),
				   .at = out->len};
	if (append_column(stmt, 2, out, err) < 0)
		return -1;
	row.n = out->len - row.at;
	return bak_buf_append(rows, &row, sizeof row) < 0 ? bak_error_nomem(err) : 0;
}

int bak_index_refs_of_segment(struct bak_index *index, const struct bak_seg_id *seg,
			      struct bak_refs_row **out_rows, size_t *out_n, struct bak_buf *out,
			      struct bak_error *err)
{
	struct bak_buf rows = BAK_BUF_INIT;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_REFS_OF_SEG, err);
	int result = stmt ? 1 : -1;
	if (stmt)
		bind_place(stmt, seg);
	while (result == 1 && (result = bak_index_step(index, stmt, err)) == 1)
		if (take_row(stmt, seg, &rows, out, err) < 0) {
			sqlite3_reset(stmt);
			result = -1;
		}
	pthread_mutex_unlock(&index->lock);
	if (result < 0) {
		bak_buf_release(&rows);
		return -1;
	}
	*out_rows = (struct bak_refs_row *)rows.p;
	*out_n = rows.len / sizeof **out_rows;
	return 0;
}
