/* The index's database: schema, opening, statements, transactions. See index.h and index_db.h. */
#include "engine/storage/index_db.h"

#include "engine/base/buf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Raised whenever the tables change: an index of another version is made anew. */
#define SCHEMA_VERSION 4

/* How long a writer waits for another one: a reindex is one transaction and may take minutes. */
#define BUSY_MS 300000

/*
 * A segment id's run part (12 bytes) stands once in runs; rows hold its number. A chunk or node row
 * whose segment has no copy left is stale: look-ups pass over it, and stale rows are purged
 * together when there are many (meta.stale counts them), because finding those of one pack would
 * need a second index as large as the first.
 */
static const char schema[] =
	"CREATE TABLE meta(one INTEGER PRIMARY KEY CHECK(one = 1), stale INTEGER NOT NULL);"
	"INSERT INTO meta VALUES(1, 0);"
	"CREATE TABLE runs(number INTEGER PRIMARY KEY, run BLOB NOT NULL UNIQUE);"
	"CREATE TABLE packs(number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE,"
	" size INTEGER NOT NULL, run BLOB NOT NULL, condemned INTEGER NOT NULL,"
	" walked INTEGER NOT NULL, segments INTEGER NOT NULL, chunks INTEGER NOT NULL,"
	" nodes INTEGER NOT NULL);"
	"CREATE TABLE segments(run INTEGER, n INTEGER, pack INTEGER, off INTEGER,"
	" len INTEGER NOT NULL, raw_len INTEGER NOT NULL, key INTEGER NOT NULL,"
	" type INTEGER NOT NULL, holed INTEGER NOT NULL, kept BLOB,"
	" PRIMARY KEY(run, n, pack, off)) WITHOUT ROWID;"
	"CREATE INDEX segments_of_pack ON segments(pack, off);"
	"CREATE TABLE chunks(hash BLOB PRIMARY KEY, run INTEGER NOT NULL, n INTEGER NOT NULL,"
	" off INTEGER NOT NULL, len INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE nodes(hash BLOB PRIMARY KEY, run INTEGER NOT NULL, n INTEGER NOT NULL,"
	" off INTEGER NOT NULL, len INTEGER NOT NULL, span_len INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE refs(run INTEGER, n INTEGER, off INTEGER, len INTEGER NOT NULL,"
	" refs BLOB NOT NULL, PRIMARY KEY(run, n, off)) WITHOUT ROWID;"
	"CREATE TABLE snapshots(number INTEGER PRIMARY KEY, store TEXT NOT NULL,"
	" type TEXT NOT NULL, host TEXT NOT NULL, run TEXT NOT NULL, description TEXT NOT NULL,"
	" driver TEXT NOT NULL, stamp INTEGER NOT NULL, run_stamp INTEGER NOT NULL,"
	" entries INTEGER NOT NULL, files INTEGER NOT NULL, escaped INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL, sums_len INTEGER NOT NULL, added INTEGER NOT NULL,"
	" manifest_len INTEGER NOT NULL, object_len INTEGER NOT NULL,"
	" forgotten INTEGER NOT NULL);"
	"CREATE TABLE forgotten(first INTEGER, last INTEGER, PRIMARY KEY(first, last)) WITHOUT "
	"ROWID;"
	"CREATE TABLE tags(number INTEGER PRIMARY KEY, version INTEGER NOT NULL,"
	" tags TEXT NOT NULL);";

static const char *const tables[] = {"runs", "packs",     "segments",  "chunks", "nodes",
				     "refs", "snapshots", "forgotten", "tags"};

#define IS_FORGOTTEN(number) \
	"EXISTS(SELECT 1 FROM forgotten WHERE first <= " number " AND last >= " number ")"
#define HAS_COPY(row) \
	"EXISTS(SELECT 1 FROM segments AS g WHERE g.run = " row ".run AND g.n = " row ".n)"
#define SNAPSHOT_COLUMNS                                                                      \
	"s.number, store, type, host, s.run, description, driver, stamp, run_stamp, entries," \
	" files, escaped, bytes, sums_len, added, manifest_len, object_len, forgotten"        \
	", coalesce(t.tags, '') FROM snapshots AS s LEFT JOIN tags AS t ON t.number = s.number "

static const char *const sql[SQL_COUNT] = {
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",
	[SQL_DATA_VERSION] = "PRAGMA data_version",

	[SQL_RUN_FIND] = "SELECT number FROM runs WHERE run = ?1",
	[SQL_RUN_ADD] = "INSERT INTO runs(run) VALUES(?1)",
	[SQL_PACK_FIND] = "SELECT number, chunks + nodes FROM packs WHERE id = ?1",
	[SQL_PACK_ADD] = "INSERT INTO packs(id, size, run, condemned, walked, segments, chunks,"
			 " nodes) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING number",
	[SQL_PACK_DROP] = "DELETE FROM packs WHERE number = ?1",
	[SQL_PACK_CONDEMN] = "UPDATE packs SET condemned = ?2 WHERE id = ?1 AND condemned <> ?2",
	[SQL_PACK_ALL] = "SELECT id, size, run, condemned, walked FROM packs ORDER BY id",
	[SQL_SEG_ADD] = "INSERT OR REPLACE INTO segments VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,"
			" ?9, ?10)",
	[SQL_SEG_DROP] = "DELETE FROM segments WHERE pack = ?1",
	[SQL_SEG_FIND] = "SELECT r.run, s.n, p.id, off, len, raw_len, key, type, holed, condemned"
			 " FROM runs AS r JOIN segments AS s ON s.run = r.number"
			 " JOIN packs AS p ON p.number = s.pack WHERE r.run = ?1 AND s.n = ?2"
			 " ORDER BY condemned, holed, p.number, off",
	[SQL_SEG_OF_PACK] = "SELECT r.run, s.n, p.id, off, len, raw_len, key, type, holed,"
			    " condemned FROM packs AS p JOIN segments AS s ON s.pack = p.number"
			    " JOIN runs AS r ON r.number = s.run WHERE p.id = ?1 ORDER BY off",
	[SQL_SEG_KEEPS] = "SELECT condemned, holed, raw_len, kept FROM runs AS r"
			  " JOIN segments AS s ON s.run = r.number"
			  " JOIN packs AS p ON p.number = s.pack WHERE r.run = ?1 AND s.n = ?2"
			  " ORDER BY condemned, holed",
	[SQL_SEG_KEPT] = "SELECT kept FROM runs AS r JOIN segments AS s ON s.run = r.number"
			 " JOIN packs AS p ON p.number = s.pack"
			 " WHERE r.run = ?1 AND s.n = ?2 AND p.id = ?3 AND s.off = ?4",
	[SQL_CHUNK_ADD] = "INSERT OR REPLACE INTO chunks VALUES(?1, ?2, ?3, ?4, ?5)",
	[SQL_CHUNK_FIND] = "SELECT r.run, c.n, off, len FROM chunks AS c JOIN runs AS r"
			   " ON r.number = c.run WHERE hash = ?1 AND " HAS_COPY("c"),
	[SQL_CHUNK_PURGE] = "DELETE FROM chunks WHERE NOT " HAS_COPY("chunks"),
	[SQL_NODE_ADD] = "INSERT OR REPLACE INTO nodes VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[SQL_NODE_FIND] = "SELECT r.run, c.n, off, len, span_len FROM nodes AS c JOIN runs AS r"
			  " ON r.number = c.run WHERE hash = ?1 AND " HAS_COPY("c"),
	[SQL_NODE_PURGE] = "DELETE FROM nodes WHERE NOT " HAS_COPY("nodes"),
	[SQL_REFS_ADD] = "INSERT OR REPLACE INTO refs SELECT number, ?2, ?3, ?4, ?5 FROM runs"
			 " WHERE run = ?1",
	[SQL_REFS_FIND] = "SELECT refs FROM runs AS r JOIN refs AS o ON o.run = r.number"
			  " WHERE r.run = ?1 AND n = ?2 AND off = ?3",
	[SQL_REFS_OF_SEG] = "SELECT off, len, refs FROM runs AS r JOIN refs AS o"
			    " ON o.run = r.number WHERE r.run = ?1 AND n = ?2 ORDER BY off",
	[SQL_REFS_PURGE] = "DELETE FROM refs WHERE NOT " HAS_COPY("refs"),
	[SQL_STALE_GET] = "SELECT stale, (SELECT coalesce(sum(chunks + nodes), 0) FROM packs)"
			  " FROM meta",
	[SQL_STALE_SET] = "UPDATE meta SET stale = ?1",
	[SQL_COUNTS] = "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(segments), 0),"
		       " coalesce(sum(chunks), 0), coalesce(sum(nodes), 0),"
		       " (SELECT count(*) FROM snapshots WHERE NOT forgotten) FROM packs",

	[SQL_SNAPSHOT_ADD] = "INSERT OR REPLACE INTO snapshots VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7,"
			     " ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, " IS_FORGOTTEN(
				     "?1") ")",
	[SQL_SNAPSHOT_DROP] = "DELETE FROM snapshots WHERE number = ?1",
	[SQL_SNAPSHOT_FIND] = "SELECT " SNAPSHOT_COLUMNS "WHERE s.number = ?1",
	[SQL_SNAPSHOT_NEXT] = "SELECT " SNAPSHOT_COLUMNS
			      "WHERE s.number > ?1 AND (?2 IS NULL OR store = ?2) AND NOT forgotten"
			      " ORDER BY s.number LIMIT ?3",
	[SQL_SNAPSHOT_NUMBERS] = "SELECT number FROM snapshots ORDER BY number",
	[SQL_SNAPSHOT_OBJECTS] = "SELECT number, object_len FROM snapshots ORDER BY number",
	[SQL_HIGHEST] = "SELECT max(coalesce((SELECT max(number) FROM snapshots), 0),"
			" coalesce((SELECT max(last) FROM forgotten), 0))",
	[SQL_FORGET] = "INSERT OR IGNORE INTO forgotten VALUES(?1, ?2)",
	[SQL_UNFORGET] = "DELETE FROM forgotten WHERE first = ?1 AND last = ?2",
	[SQL_FORGOTTEN_FIND] = "SELECT 1 FROM forgotten WHERE first = ?1 AND last = ?2",
	[SQL_FORGOTTEN_MARK] = "UPDATE snapshots SET forgotten = " IS_FORGOTTEN(
		"snapshots.number") " WHERE number BETWEEN ?1 AND ?2",
	[SQL_FORGOTTEN_ALL] = "SELECT first, last FROM forgotten ORDER BY first, last",
	[SQL_TAGS_SET] = "INSERT OR REPLACE INTO tags VALUES(?1, ?2, ?3)",
	[SQL_TAGS_FIND] = "SELECT version FROM tags WHERE number = ?1",
	[SQL_TAGS_ALL] = "SELECT number, version FROM tags ORDER BY number",
	[SQL_TAGS_DROP] = "DELETE FROM tags WHERE number = ?1",
};

static enum bak_errc code_of(int sqlite_code)
{
	switch (sqlite_code & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return BAK_CORRUPT;
	case SQLITE_FULL:
		return BAK_NO_SPACE;
	case SQLITE_NOMEM:
		return BAK_NO_MEMORY;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return BAK_BUSY;
	default:
		return BAK_IO;
	}
}

int bak_index_fail(struct bak_index *index, struct bak_error *err)
{
	enum bak_errc code = code_of(sqlite3_extended_errcode(index->db));
	return bak_error_set(err, code, "index %s: %s%s", index->path ? index->path : "in memory",
			     sqlite3_errmsg(index->db),
			     code == BAK_CORRUPT ? " (`bakfs reindex` makes it anew)" : "");
}

sqlite3_stmt *bak_index_sql(struct bak_index *index, enum index_statement which,
			    struct bak_error *err)
{
	sqlite3_stmt **slot = &index->statements[which];
	if (!*slot && sqlite3_prepare_v3(index->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, slot,
					 NULL) != SQLITE_OK) {
		bak_index_fail(index, err);
		return NULL;
	}
	return *slot;
}

int bak_index_step(struct bak_index *index, sqlite3_stmt *stmt, struct bak_error *err)
{
	int code = sqlite3_step(stmt);
	if (code == SQLITE_ROW)
		return 1;
	int result = code == SQLITE_DONE ? 0 : bak_index_fail(index, err);
	sqlite3_reset(stmt);
	return result;
}

int bak_index_run(struct bak_index *index, sqlite3_stmt *stmt, struct bak_error *err)
{
	int result = bak_index_step(index, stmt, err);
	sqlite3_reset(stmt);
	return result < 0 ? -1 : 0;
}

static int run_plain(struct bak_index *index, enum index_statement which, struct bak_error *err)
{
	sqlite3_stmt *stmt = bak_index_sql(index, which, err);
	return stmt ? bak_index_run(index, stmt, err) : -1;
}

int bak_index_write_begin(struct bak_index *index, struct bak_error *err)
{
	index->changes++;
	return index->batch ? 0 : run_plain(index, SQL_BEGIN, err);
}

int bak_index_write_end(struct bak_index *index, int result, struct bak_error *err)
{
	struct bak_error ignored;
	if (index->batch)
		return result;
	if (result >= 0 && run_plain(index, SQL_COMMIT, err) < 0)
		result = -1;
	if (result < 0) {
		/* A run that was new in this transaction is no more. */
		index->last_run_number = 0;
		if (!sqlite3_get_autocommit(index->db))
			run_plain(index, SQL_ROLLBACK, &ignored);
	}
	return result;
}

static void close_db(struct bak_index *index)
{
	for (size_t i = 0; i < SQL_COUNT; i++) {
		sqlite3_finalize(index->statements[i]);
		index->statements[i] = NULL;
	}
	sqlite3_close(index->db);
	index->db = NULL;
	index->last_run_number = 0;
}

static int exec(struct bak_index *index, const char *text, struct bak_error *err)
{
	return sqlite3_exec(index->db, text, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : bak_index_fail(index, err);
}

static int get_version(struct bak_index *index, int *out, struct bak_error *err)
{
	sqlite3_stmt *stmt;
	if (sqlite3_prepare_v2(index->db, "PRAGMA user_version", -1, &stmt, NULL) != SQLITE_OK)
		return bak_index_fail(index, err);
	int found = sqlite3_step(stmt) == SQLITE_ROW;
	*out = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return found ? 0 : bak_index_fail(index, err);
}

/* Makes the tables where there are none. Two processes may come here at once: the version is read
 * again inside the transaction. */
static int make_schema(struct bak_index *index, int *out_version, bool *out_fresh,
		       struct bak_error *err)
{
	char text[64];
	int result = get_version(index, out_version, err);
	if (result < 0 || *out_version != 0)
		return result;
	if (exec(index, "BEGIN IMMEDIATE", err) < 0)
		return -1;
	result = get_version(index, out_version, err);
	if (result == 0 && *out_version == 0) {
		snprintf(text, sizeof text, "PRAGMA user_version = %d", SCHEMA_VERSION);
		result = exec(index, schema, err) < 0 || exec(index, text, err) < 0 ? -1 : 0;
		*out_version = SCHEMA_VERSION;
		*out_fresh = true;
	}
	if (result < 0) {
		sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL);
		return -1;
	}
	return exec(index, "COMMIT", err);
}

/* 0 open; 1 it must be made anew (another version); -1, with BAK_CORRUPT also when malformed. */
static int open_db(struct bak_index *index, bool *out_fresh, struct bak_error *err)
{
	int version = 0;
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	if (sqlite3_open_v2(index->path ? index->path : ":memory:", &index->db, flags, NULL) !=
	    SQLITE_OK) {
		if (!index->db)
			return bak_error_nomem(err);
		return bak_index_fail(index, err);
	}
	sqlite3_extended_result_codes(index->db, 1);
	sqlite3_busy_timeout(index->db, BUSY_MS);
	/* NORMAL: a power cut may lose the last rows, never more; footers have them. */
	if (exec(index,
		 "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
		 "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 20000;"
		 "PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY",
		 err) < 0 ||
	    make_schema(index, &version, out_fresh, err) < 0)
		return -1;
	return version != SCHEMA_VERSION;
}

static void remove_files(const char *path)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
	char name[PATH_MAX];
	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
		unlink(name);
	}
}

/* Opens; what is malformed or of another version goes and is made anew. */
static int open_or_replace(struct bak_index *index, bool *out_fresh, struct bak_error *err)
{
	int result = open_db(index, out_fresh, err);
	if (result == 0 || !index->path || (result < 0 && err->code != BAK_CORRUPT))
		return result;
	close_db(index);
	remove_files(index->path);
	result = open_db(index, out_fresh, err);
	if (result > 0)
		return bak_error_set(err, BAK_BUG, "index %s cannot be made anew", index->path);
	return result;
}

/* mkdir -p for the folder part of path. */
static int make_folders(const char *path, struct bak_error *err)
{
	char part[PATH_MAX];
	if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
		return bak_error_set(err, BAK_USAGE, "the index's path is too long");
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return bak_error_sys(err, errno, "cannot make folder %s", part);
		*slash = '/';
	}
	return 0;
}

/* SQLite gives its side files the mode of the database: so the file is made before it is opened. */
static int make_private(const char *path, struct bak_error *err)
{
	if (make_folders(path, err) < 0)
		return -1;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return bak_error_sys(err, errno, "cannot open index %s", path);
	close(fd);
	return 0;
}

int bak_index_open(const char *path, struct bak_index **out_index, bool *out_fresh,
		   struct bak_error *err)
{
	*out_fresh = false;
	if (path && make_private(path, err) < 0)
		return -1;
	struct bak_index *index = calloc(1, sizeof *index);
	if (!index)
		return bak_error_nomem(err);
	pthread_mutex_init(&index->lock, NULL);
	index->path = path ? strdup(path) : NULL;
	if (path && !index->path)
		bak_error_nomem(err);
	else if (open_or_replace(index, out_fresh, err) == 0) {
		*out_index = index;
		return 0;
	}
	bak_index_close(index);
	return -1;
}

int bak_index_limit(struct bak_index *index, size_t bytes, struct bak_error *err)
{
	char text[64];
	snprintf(text, sizeof text, "PRAGMA cache_size = -%zu", bytes >> 10);
	pthread_mutex_lock(&index->lock);
	int result = exec(index, text, err);
	pthread_mutex_unlock(&index->lock);
	return result;
}

void bak_index_close(struct bak_index *index)
{
	if (!index)
		return;
	close_db(index);
	pthread_mutex_destroy(&index->lock);
	free(index->path);
	free(index);
}

static int clear(struct bak_index *index, struct bak_error *err)
{
	char text[64];
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		snprintf(text, sizeof text, "DELETE FROM %s", tables[i]);
		if (exec(index, text, err) < 0)
			return -1;
	}
	index->last_run_number = 0;
	return exec(index, "UPDATE meta SET stale = 0", err);
}

/* The transaction of a batch; clearing may find that the file is malformed. */
static int batch_begin(struct bak_index *index, bool clear_all, struct bak_error *err)
{
	int result = bak_index_write_begin(index, err);
	if (result == 0 && clear_all && clear(index, err) < 0)
		result = bak_index_write_end(index, -1, err);
	return result;
}

int bak_index_begin(struct bak_index *index, bool clear_all, struct bak_error *err)
{
	bool fresh;
	pthread_mutex_lock(&index->lock);
	assert(!index->batch);
	int result = batch_begin(index, clear_all, err);
	if (result < 0 && clear_all && err->code == BAK_CORRUPT && index->path) {
		close_db(index);
		remove_files(index->path);
		result = make_private(index->path, err);
		if (result == 0)
			result = open_db(index, &fresh, err);
		if (result == 0)
			result = batch_begin(index, true, err);
	}
	index->batch = result == 0;
	pthread_mutex_unlock(&index->lock);
	return result;
}

int bak_index_end(struct bak_index *index, bool commit, struct bak_error *err)
{
	struct bak_error ignored;
	pthread_mutex_lock(&index->lock);
	index->batch = false;
	int result = commit ? bak_index_write_end(index, 0, err)
			    : bak_index_write_end(index, -1, &ignored);
	pthread_mutex_unlock(&index->lock);
	return commit ? result : 0;
}

int bak_index_version(struct bak_index *index, uint64_t *out_version, struct bak_error *err)
{
	pthread_mutex_lock(&index->lock);
	sqlite3_stmt *stmt = bak_index_sql(index, SQL_DATA_VERSION, err);
	int result = stmt ? bak_index_step(index, stmt, err) : -1;
	if (result == 1) {
		*out_version = ((uint64_t)sqlite3_column_int64(stmt, 0) << 40) + index->changes;
		sqlite3_reset(stmt);
	}
	pthread_mutex_unlock(&index->lock);
	return result < 0 ? -1 : 0;
}
