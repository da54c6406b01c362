/*
 * The parts of the sqlite driver: databases opened and asked (db.c), their pages in order
 * out of a pinned moment (stream.c), whether an upload is whole (proof.c), putting
 * one in the place of another (restore.c). The driver itself is sqlite.c.
 */
#ifndef BAK_STORES_SQLITE_H
#define BAK_STORES_SQLITE_H

#include "stores/stores.h"

#include <sqlite3.h>

struct bak_sqlite {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	const char *path;
	uint64_t busy_ms;
	bool check;
	json_t *restored_counts; /* taken in the restore itself, before others could write */
};

/* --- db.c --- */

/* -1 with SQLite's own words behind "path: ". A lock names who holds it. */
int bak_sqlite_error(sqlite3 *db, const char *path, int rc, struct bak_error *err);

enum bak_sqlite_open {
	BAK_SQLITE_READ,      /* side files are left as they are found */
	BAK_SQLITE_WRITE,     /* must exist */
	BAK_SQLITE_IMMUTABLE, /* nobody else has it; a -wal beside it is not looked at */
};
/* vfs: name of one, NULL for the usual. */
int bak_sqlite_open(const char *path, enum bak_sqlite_open how, const char *vfs, sqlite3 **out_db,
		    struct bak_error *err);
/* For BAK_AUTO. */
void bak_sqlite_close(sqlite3 **db);
/* Runs sql; tries again while it is locked, for busy_ms. */
int bak_sqlite_exec(const struct bak_sqlite *s, sqlite3 *db, const char *path, const char *sql,
		    struct bak_error *err);
/* First column of the first row. */
int bak_sqlite_int(sqlite3 *db, const char *path, const char *sql, int64_t *out,
		   struct bak_error *err);
int bak_sqlite_text(sqlite3 *db, const char *path, const char *sql, char *out, size_t len,
		    struct bak_error *err);
/* Begins a read transaction that sees one moment until the connection ends it. */
int bak_sqlite_pin(const struct bak_sqlite *s, sqlite3 *db, const char *path,
		   struct bak_error *err);
/* Rows of every table but virtual ones, into an empty object. */
int bak_sqlite_counts(const struct bak_sqlite *s, sqlite3 *db, const char *path, json_t *counts,
		      struct bak_error *err);
/* quick: without what only a second pass finds. BAK_CORRUPT with the first finding. */
int bak_sqlite_check(const struct bak_sqlite *s, sqlite3 *db, const char *path, bool quick,
		     struct bak_error *err);

/* --- stream.c --- */

typedef int bak_sqlite_sink(void *ctx, const void *p, size_t len, struct bak_error *err);

/* A connection of which page 1 is seen when it is read: the copy needs it first and SQLite hands it
 * out last. */
struct bak_sqlite_source {
	sqlite3 *db;
	const char *path;
	struct bak_sqlite_tap *tap;
};
int bak_sqlite_source_open(const char *path, enum bak_sqlite_open how,
			   struct bak_sqlite_source *out, struct bak_error *err);
void bak_sqlite_source_close(struct bak_sqlite_source *source);
/* The whole database, in order, as bytes of a file in rollback mode (bytes 18 and 19 are 1). The
 * source is pinned. */
int bak_sqlite_stream(const struct bak_sqlite *s, struct bak_sqlite_source *source,
		      bak_sqlite_sink *sink, void *ctx, struct bak_error *err);

/* --- holders.c --- */

/* Who holds locks on the inode of path, or has it open: "process 12 (name)", at most three. 1, 0
 * nobody. Nothing but our own process is passed over. */
int bak_lock_holders(const char *path, char *out, size_t len);
int bak_open_holders(const char *path, char *out, size_t len);

/* --- proof.c --- */

extern const struct bak_proof_format bak_sqlite_proof;

/* --- restore.c --- */

int bak_sqlite_restore(struct bak_sqlite *s, const struct bak_restore_from *from,
		       struct bak_error *err);

#endif
