/* Snapshots, forget records and tags in the index: see index.h. */
#include "engine/storage/index.h"

#include "engine/base/buf.h"
#include "engine/storage/index_db.h"

#include <stdlib.h>
#include <string.h>

/* Rows that one look into the index copies while it holds the mutex. */
#define BATCH 64

void bak_snapshot_row_release(struct bak_snapshot_row *row)
{
	free(row->store);
	free(row->type);
	free(row->host);
	free(row->run);
	free(row->description);
	free(row->driver);
	free(row->tags);
	*row = (struct bak_snapshot_row){.number = 0};
}

static void bind_int(sqlite3_stmt *stmt, int at, uint64_t v)
{
	sqlite3_bind_int64(stmt, at, (sqlite3_int64)v);
}

static void bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
	sqlite3_bind_text(stmt, at, text ? text : "", -1, SQLITE_STATIC);
}

int bak_index_add_snapshot(struct bak_index *index, const struct bak_snapshot_row *row,
			   struct bak_error *err)
{
	int result = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_SNAPSHOT_ADD, err);
	if (stmt && bak_index_write_begin(index, err) == 0) {
		bind_int(stmt, 1, row->number);
		bind_text(stmt, 2, row->store);
		bind_text(stmt, 3, row->type);
		bind_text(stmt, 4, row->host);
		bind_text(stmt, 5, row->run);
		bind_text(stmt, 6, row->description);
		bind_text(stmt, 7, row->driver);
		sqlite3_bind_int64(stmt, 8, row->stamp);
		sqlite3_bind_int64(stmt, 9, row->run_stamp);
		bind_int(stmt, 10, row->entries);
		bind_int(stmt, 11, row->files);
		bind_int(stmt, 12, row->escaped);
		bind_int(stmt, 13, row->bytes);
		bind_int(stmt, 14, row->sums_len);
		bind_int(stmt, 15, row->added);
		bind_int(stmt, 16, row->manifest_len);
		bind_int(stmt, 17, row->object_len);
		result = bak_index_write_end(index, bak_index_run(index, stmt, err), err);
	}
	pthread_mutex_unlock(&index->lock);
	return result;
}

int bak_index_drop_snapshot(struct bak_index *index, uint64_t number, struct bak_error *err)
{
	int result = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *drop = bak_index_sql(index, SQL_SNAPSHOT_DROP, err);
	sqlite3_stmt *tags = bak_index_sql(index, SQL_TAGS_DROP, err);
	if (drop && tags && bak_index_write_begin(index, err) == 0) {
		bind_int(drop, 1, number);
		bind_int(tags, 1, number);
		result = bak_index_run(index, drop, err) < 0 ? -1 : bak_index_run(index, tags, err);
		result = bak_index_write_end(index, result, err);
	}
	pthread_mutex_unlock(&index->lock);
	return result;
}

/* Adds or removes a record, and marks the rows that it is about. */
static int change_forgotten(struct bak_index *index, enum index_statement which, uint64_t first,
			    uint64_t last, struct bak_error *err)
{
	int result = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *change = bak_index_sql(index, which, err);
	sqlite3_stmt *mark = bak_index_sql(index, SQL_FORGOTTEN_MARK, err);
	if (change && mark && bak_index_write_begin(index, err) == 0) {
		bind_int(change, 1, first);
		bind_int(change, 2, last);
		bind_int(mark, 1, first);
		bind_int(mark, 2, last);
		result = bak_index_run(index, change, err) < 0 ? -1
							       : bak_index_run(index, mark, err);
		result = bak_index_write_end(index, result, err);
	}
	pthread_mutex_unlock(&index->lock);
	return result;
}

int bak_index_forget(struct bak_index *index, uint64_t first, uint64_t last, struct bak_error *err)
{
	return change_forgotten(index, SQL_FORGET, first, last, err);
}

int bak_index_unforget(struct bak_index *index, uint64_t first, uint64_t last,
		       struct bak_error *err)
{
	return change_forgotten(index, SQL_UNFORGET, first, last, err);
}

int bak_index_has_forgotten(struct bak_index *index, uint64_t first, uint64_t last,
			    struct bak_error *err)
{
	int found = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_FORGOTTEN_FIND, err);
	if (stmt) {
		bind_int(stmt, 1, first);
		bind_int(stmt, 2, last);
		found = bak_index_step(index, stmt, err);
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return found;
}

int bak_index_tag_version(struct bak_index *index, uint64_t number, uint64_t *out_version,
			  struct bak_error *err)
{
	int found = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_TAGS_FIND, err);
	if (stmt) {
		bind_int(stmt, 1, number);
		found = bak_index_step(index, stmt, err);
		if (found == 1)
			*out_version = (uint64_t)sqlite3_column_int64(stmt, 0);
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return found;
}

int bak_index_set_tags(struct bak_index *index, uint64_t number, uint64_t version, const char *tags,
		       struct bak_error *err)
{
	int result = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_TAGS_SET, err);
	if (stmt && bak_index_write_begin(index, err) == 0) {
		bind_int(stmt, 1, number);
		bind_int(stmt, 2, version);
		bind_text(stmt, 3, tags);
		result = bak_index_write_end(index, bak_index_run(index, stmt, err), err);
	}
	pthread_mutex_unlock(&index->lock);
	return result;
}

int bak_index_drop_tags(struct bak_index *index, uint64_t number, struct bak_error *err)
{
	int result = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_TAGS_DROP, err);
	if (stmt && bak_index_write_begin(index, err) == 0) {
		bind_int(stmt, 1, number);
		result = bak_index_write_end(index, bak_index_run(index, stmt, err), err);
	}
	pthread_mutex_unlock(&index->lock);
	return result;
}

/* A copy of a text column, NULL for lack of memory. */
static char *column_text(sqlite3_stmt *stmt, int at)
{
	const unsigned char *text = sqlite3_column_text(stmt, at);
	return strdup(text ? (const char *)text : "");
}

static uint64_t column_int(sqlite3_stmt *stmt, int at)
{
	return (uint64_t)sqlite3_column_int64(stmt, at);
}

/* The columns of SNAPSHOT_COLUMNS. */
static int snapshot_row(sqlite3_stmt *stmt, struct bak_snapshot_row *out, struct bak_error *err)
{
	*out = (struct bak_snapshot_row){
		.number = column_int(stmt, 0),
		.store = column_text(stmt, 1),
		.type = column_text(stmt, 2),
		.host = column_text(stmt, 3),
		.run = column_text(stmt, 4),
		.description = column_text(stmt, 5),
		.driver = column_text(stmt, 6),
		.stamp = sqlite3_column_int64(stmt, 7),
		.run_stamp = sqlite3_column_int64(stmt, 8),
		.entries = column_int(stmt, 9),
		.files = column_int(stmt, 10),
		.escaped = column_int(stmt, 11),
		.bytes = column_int(stmt, 12),
		.sums_len = column_int(stmt, 13),
		.added = column_int(stmt, 14),
		.manifest_len = column_int(stmt, 15),
		.object_len = column_int(stmt, 16),
		.forgotten = column_int(stmt, 17) != 0,
		.tags = column_text(stmt, 18),
	};
	if (out->store && out->type && out->host && out->run && out->description && out->driver &&
	    out->tags)
		return 0;
	bak_snapshot_row_release(out);
	return bak_error_nomem(err);
}

int bak_index_snapshot(struct bak_index *index, uint64_t number, struct bak_snapshot_row *out,
		       struct bak_error *err)
{
	int found = -1;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_SNAPSHOT_FIND, err);
	if (stmt) {
		bind_int(stmt, 1, number);
		found = bak_index_step(index, stmt, err);
	}
	if (found == 1) {
		if (snapshot_row(stmt, out, err) < 0)
			found = -1;
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return found;
}

/* Copies up to BATCH rows behind number `after`. */
static int next_batch(struct bak_index *index, const char *store, uint64_t after,
		      struct bak_snapshot_row rows[BATCH], size_t *out_n, struct bak_error *err)
{
	int result = -1;
	*out_n = 0;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_SNAPSHOT_NEXT, err);
	if (stmt) {
		bind_int(stmt, 1, after);
		if (store)
			bind_text(stmt, 2, store);
		else
			sqlite3_bind_null(stmt, 2);
		bind_int(stmt, 3, BATCH);
		while ((result = bak_index_step(index, stmt, err)) == 1) {
			if (snapshot_row(stmt, &rows[*out_n], err) < 0) {
				sqlite3_reset(stmt);
				result = -1;
				break;
			}
			++*out_n;
		}
	}
	pthread_mutex_unlock(&index->lock);
	return result;
}

int bak_index_each_snapshot(struct bak_index *index, const char *store, bak_snapshot_fn *fn,
			    void *ctx, struct bak_error *err)
{
	struct bak_snapshot_row rows[BATCH];
	uint64_t after = 0;
	size_t n = BATCH;
	int result = 0;
	while (result == 0 && n == BATCH) {
		result = next_batch(index, store, after, rows, &n, err);
		for (size_t i = 0; i < n; i++) {
			after = rows[i].number;
			if (result == 0)
				result = fn(ctx, &rows[i]);
			bak_snapshot_row_release(&rows[i]);
		}
	}
	return result;
}

void bak_snapshot_rows_free(struct bak_snapshot_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bak_snapshot_row_release(&rows[i]);
	free(rows);
}

int bak_index_snapshots(struct bak_index *index, const char *store,
			struct bak_snapshot_row **out_rows, size_t *out_n, struct bak_error *err)
{
	struct bak_snapshot_row *rows = NULL;
	size_t n = 0, cap = 0, more = BATCH;
	while (more == BATCH) {
		while (cap < n + BATCH)
			if (bak_grow(&rows, &cap, cap, sizeof *rows) < 0)
				goto fail_nomem;
		int rc = next_batch(index, store, n ? rows[n - 1].number : 0, rows + n, &more, err);
		n += more;
		if (rc < 0)
			goto fail;
	}
	*out_rows = rows;
	*out_n = n;
	return 0;
fail_nomem:
	bak_error_nomem(err);
fail:
	bak_snapshot_rows_free(rows, n);
	return -1;
}

/* All rows of a statement without parameters, of `columns` integers each. */
static int all_integers(struct bak_index *index, enum index_statement which, int columns,
			uint64_t **out, size_t *out_n, struct bak_error *err)
{
	struct bak_buf values = BAK_BUF_INIT;
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, which, err);
	int result = stmt ? 1 : -1;
	while (result == 1 && (result = bak_index_step(index, stmt, err)) == 1)
		for (int i = 0; i < columns && result == 1; i++) {
			uint64_t value = column_int(stmt, i);
			if (bak_buf_append(&values, &value, sizeof value) < 0) {
				sqlite3_reset(stmt);
				result = bak_error_nomem(err);
			}
		}
	pthread_mutex_unlock(&index->lock);
	if (result < 0) {
		bak_buf_release(&values);
		return -1;
	}
	*out = (uint64_t *)values.p;
	*out_n = values.len / sizeof **out / (size_t)columns;
	return 0;
}

int bak_index_snapshot_numbers(struct bak_index *index, uint64_t **out_numbers, size_t *out_n,
			       struct bak_error *err)
{
	return all_integers(index, SQL_SNAPSHOT_NUMBERS, 1, out_numbers, out_n, err);
}

int bak_index_snapshot_objects(struct bak_index *index, struct bak_snapshot_object **out,
			       size_t *out_n, struct bak_error *err)
{
	return all_integers(index, SQL_SNAPSHOT_OBJECTS, 2, (uint64_t **)out, out_n, err);
}

int bak_index_forgotten(struct bak_index *index, struct bak_numbers **out_ranges, size_t *out_n,
			struct bak_error *err)
{
	return all_integers(index, SQL_FORGOTTEN_ALL, 2, (uint64_t **)out_ranges, out_n, err);
}

int bak_index_tag_versions(struct bak_index *index, struct bak_tag_version **out, size_t *out_n,
			   struct bak_error *err)
{
	return all_integers(index, SQL_TAGS_ALL, 2, (uint64_t **)out, out_n, err);
}

int bak_index_highest(struct bak_index *index, uint64_t *out_number, struct bak_error *err)
{
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_HIGHEST, err);
	int result = stmt ? bak_index_step(index, stmt, err) : -1;
	if (result == 1) {
		*out_number = column_int(stmt, 0);
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return result < 0 ? -1 : 0;
}
