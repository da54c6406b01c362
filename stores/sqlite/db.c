/* SQLite databases opened and asked, with errors in our form: see sqlite.h. */
#include "stores/sqlite/sqlite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* How long SQLite waits by itself before we look whether to go on. */
#define BUSY_SLICE_MS 200

static enum bak_errc code_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return BAK_BUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return BAK_CORRUPT;
	case SQLITE_FULL:
		return BAK_NO_SPACE;
	case SQLITE_NOMEM:
		return BAK_NO_MEMORY;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return BAK_REFUSED;
	default:
		return BAK_IO;
	}
}

int bak_sqlite_error(sqlite3 *db, const char *path, int rc, struct bak_error *err)
{
	const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
	char holders[256];

	if (rc == SQLITE_NOMEM)
		return bak_error_nomem(err);
	if (db && (sqlite3_errcode(db) & 0xff) == SQLITE_OK)
		text = sqlite3_errstr(rc);
	if (code_of(rc) == BAK_BUSY && bak_lock_holders(path, holders, sizeof holders))
		return bak_error_set(err, BAK_BUSY, "%s: %s, by %s", path, text, holders);
	if ((rc & 0xff) == SQLITE_NOTADB)
		return bak_error_set(err, BAK_CORRUPT, "%s: %s (or it is encrypted)", path, text);
	if ((rc & 0xff) == SQLITE_CANTOPEN)
		return bak_error_set(err, BAK_IO,
				     "%s: %s (may it be read, and in WAL mode its folder written?)",
				     path, text);
	return bak_error_set(err, code_of(rc), "%s: %s", path, text);
}

/* "file:" and the path, with what has a meaning in URIs escaped. */
static char *uri_of(const char *path, const char *query)
{
	struct bak_buf uri = BAK_BUF_INIT;
	int rc = bak_buf_append(&uri, "file:", 5);

	for (const char *p = path; *p && rc == 0; p++)
		rc = strchr("%?#", *p) ? bak_buf_printf(&uri, "%%%02x", (unsigned char)*p)
				       : bak_buf_append(&uri, p, 1);
	if (rc == 0)
		rc = bak_buf_append(&uri, query, strlen(query) + 1);
	if (rc == 0)
		return (char *)uri.p;
	bak_buf_release(&uri);
	return NULL;
}

/* Whoever closes a WAL database last and may write tidies its side files up, and only who may not
 * write leaves new ones behind. So where there are none, we open it as if to write. */
static int read_flags(const char *path)
{
	BAK_AUTO(bak_free_ptr) char *wal = NULL;
	struct stat st;

	if (asprintf(&wal, "%s-wal", path) < 0) {
		wal = NULL;
		return SQLITE_OPEN_READONLY;
	}
	return stat(wal, &st) == 0 ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
}

int bak_sqlite_open(const char *path, enum bak_sqlite_open how, const char *vfs, sqlite3 **out_db,
		    struct bak_error *err)
{
	int flags = how == BAK_SQLITE_WRITE  ? SQLITE_OPEN_READWRITE
		    : how == BAK_SQLITE_READ ? read_flags(path)
					     : SQLITE_OPEN_READONLY;
	BAK_AUTO(bak_free_ptr)
	char *uri = uri_of(path, how == BAK_SQLITE_IMMUTABLE ? "?immutable=1" : "");
	sqlite3 *db = NULL;
	int rc;

	if (!uri)
		return bak_error_nomem(err);
	rc = sqlite3_open_v2(uri, &db, flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, vfs);
	if (rc == SQLITE_OK && how != BAK_SQLITE_WRITE)
		rc = sqlite3_exec(db, "PRAGMA query_only = 1", NULL, NULL, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(db, 1);
		sqlite3_busy_timeout(db, BUSY_SLICE_MS);
		/* Schemas of strangers: no functions of theirs with side effects. */
		sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		*out_db = db;
		return 0;
	}
	bak_sqlite_error(db, path, rc, err);
	sqlite3_close(db);
	return -1;
}

void bak_sqlite_close(sqlite3 **db)
{
	sqlite3_close(*db);
	*db = NULL;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool is_locked(int rc)
{
	return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

int bak_sqlite_exec(const struct bak_sqlite *s, sqlite3 *db, const char *path, const char *sql,
		    struct bak_error *err)
{
	int64_t until = now_ms() + (int64_t)s->busy_ms;
	int rc;

	while (is_locked(rc = sqlite3_exec(db, sql, NULL, NULL, NULL)) && now_ms() < until) {
		if (bak_store_check_cancelled(s->env, err) < 0)
			return -1;
	}
	return rc == SQLITE_OK ? 0 : bak_sqlite_error(db, path, rc, err);
}

/* Steps to the first row: *out_stmt is to be finalized by the caller also on failure. */
static int first_row(sqlite3 *db, const char *path, const char *sql, sqlite3_stmt **out_stmt,
		     struct bak_error *err)
{
	int rc = sqlite3_prepare_v2(db, sql, -1, out_stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(*out_stmt);
	if (rc == SQLITE_ROW)
		return 0;
	if (rc == SQLITE_DONE)
		return bak_error_set(err, BAK_BUG, "%s: no row from: %s", path, sql);
	return bak_sqlite_error(db, path, rc, err);
}

int bak_sqlite_int(sqlite3 *db, const char *path, const char *sql, int64_t *out,
		   struct bak_error *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = first_row(db, path, sql, &stmt, err);

	if (rc == 0)
		*out = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return rc;
}

int bak_sqlite_text(sqlite3 *db, const char *path, const char *sql, char *out, size_t len,
		    struct bak_error *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = first_row(db, path, sql, &stmt, err);

	if (rc == 0) {
		const unsigned char *text = sqlite3_column_text(stmt, 0);

		snprintf(out, len, "%s", text ? (const char *)text : "");
	}
	sqlite3_finalize(stmt);
	return rc;
}

int bak_sqlite_pin(const struct bak_sqlite *s, sqlite3 *db, const char *path, struct bak_error *err)
{
	if (bak_sqlite_exec(s, db, path, "BEGIN", err) < 0)
		return -1;
	return bak_sqlite_exec(s, db, path, "SELECT count(*) FROM sqlite_master", err);
}

/* --- counts --- */

static int count_table(sqlite3 *db, const char *path, const char *table, json_t *counts,
		       struct bak_error *err)
{
	char *sql = sqlite3_mprintf("SELECT count(*) FROM \"%w\"", table);
	int64_t n = 0;
	int rc;

	if (!sql)
		return bak_error_nomem(err);
	rc = bak_sqlite_int(db, path, sql, &n, err);
	sqlite3_free(sql);
	if (rc == 0 && json_object_set_new(counts, table, json_integer(n)) < 0)
		return bak_error_set(err, BAK_UNSUPPORTED, "%s: a table's name is not UTF-8", path);
	return rc;
}

int bak_sqlite_counts(const struct bak_sqlite *s, sqlite3 *db, const char *path, json_t *counts,
		      struct bak_error *err)
{
	static const char sql[] = "SELECT name FROM sqlite_master WHERE type = 'table' AND "
				  "name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND "
				  "sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name";
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), failed = 0;

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		const char *table = (const char *)sqlite3_column_text(stmt, 0);
		failed = bak_store_check_cancelled(s->env, err) < 0 ||
			 count_table(db, path, table ? table : "", counts, err) < 0;
		if (failed)
			break;
	}
	if (!failed && rc != SQLITE_DONE)
		failed = bak_sqlite_error(db, path, rc, err) < 0;
	sqlite3_finalize(stmt);
	return failed ? -1 : 0;
}

/* --- checks --- */

static int stop_if_cancelled(void *ctx)
{
	const struct bak_sqlite *s = ctx;

	return s->env->cancelled && s->env->cancelled(s->env->ctx);
}

int bak_sqlite_check(const struct bak_sqlite *s, sqlite3 *db, const char *path, bool quick,
		     struct bak_error *err)
{
	char text[400];
	int rc;

	sqlite3_progress_handler(db, 100000, stop_if_cancelled, (void *)(uintptr_t)s);
	rc = bak_sqlite_text(db, path,
			     quick ? "PRAGMA quick_check(1)" : "PRAGMA integrity_check(1)", text,
			     sizeof text, err);
	sqlite3_progress_handler(db, 0, NULL, NULL);
	if (bak_store_check_cancelled(s->env, err) < 0 || rc < 0)
		return -1;
	if (strcmp(text, "ok") == 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return bak_error_set(err, BAK_CORRUPT, "%s: malformed: %s", path, text);
}
