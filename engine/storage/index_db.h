/*
 * Inside the index: the connection, its statements, transactions. For index*.c alone.
 *
 * Threads: every function but open and close is called with index->lock held.
 */
#ifndef BAK_STORAGE_INDEX_DB_H
#define BAK_STORAGE_INDEX_DB_H

#include "engine/storage/index.h"

#include <pthread.h>
#include <sqlite3.h>

enum index_statement {
	SQL_BEGIN,
	SQL_COMMIT,
	SQL_ROLLBACK,
	SQL_DATA_VERSION,

	SQL_RUN_FIND,
	SQL_RUN_ADD,
	SQL_PACK_FIND,
	SQL_PACK_ADD,
	SQL_PACK_DROP,
	SQL_PACK_CONDEMN,
	SQL_PACK_ALL,
	SQL_SEG_ADD,
	SQL_SEG_DROP,
	SQL_SEG_FIND,
	SQL_SEG_OF_PACK,
	SQL_SEG_KEEPS,
	SQL_SEG_KEPT,
	SQL_CHUNK_ADD,
	SQL_CHUNK_FIND,
	SQL_CHUNK_PURGE,
	SQL_NODE_ADD,
	SQL_NODE_FIND,
	SQL_NODE_PURGE,
	SQL_REFS_ADD,
	SQL_REFS_FIND,
	SQL_REFS_OF_SEG,
	SQL_REFS_PURGE,
	SQL_STALE_GET,
	SQL_STALE_SET,
	SQL_COUNTS,

	SQL_SNAPSHOT_ADD,
	SQL_SNAPSHOT_DROP,
	SQL_SNAPSHOT_FIND,
	SQL_SNAPSHOT_NEXT,
	SQL_SNAPSHOT_NUMBERS,
	SQL_SNAPSHOT_OBJECTS,
	SQL_HIGHEST,
	SQL_FORGET,
	SQL_UNFORGET,
	SQL_FORGOTTEN_FIND,
	SQL_FORGOTTEN_MARK,
	SQL_FORGOTTEN_ALL,
	SQL_TAGS_SET,
	SQL_TAGS_FIND,
	SQL_TAGS_ALL,
	SQL_TAGS_DROP,

	SQL_COUNT,
};

struct bak_index {
	pthread_mutex_t lock; /* guards everything below */
	sqlite3 *db;
	char *path; /* NULL: in memory */
	sqlite3_stmt *statements[SQL_COUNT];
	uint64_t changes;                /* our own, committed or not */
	bool batch;                      /* between bak_index_begin and bak_index_end */
	uint8_t last_run[BAK_RUN_BYTES]; /* and its number, 0 for none */
	int64_t last_run_number;
};

/* A statement, reset, ready to be bound; NULL and err. */
sqlite3_stmt *bak_index_sql(struct bak_index *index, enum index_statement which,
			    struct bak_error *err);
/* 1 a row, 0 done (and reset), -1 error (and reset). */
int bak_index_step(struct bak_index *index, sqlite3_stmt *stmt, struct bak_error *err);
/* Runs a statement that gives no rows. */
int bak_index_run(struct bak_index *index, sqlite3_stmt *stmt, struct bak_error *err);
int bak_index_fail(struct bak_index *index, struct bak_error *err);

/* A transaction of its own, unless a batch is open. end: result is passed through; < 0 rolls back.
 */
int bak_index_write_begin(struct bak_index *index, struct bak_error *err);
int bak_index_write_end(struct bak_index *index, int result, struct bak_error *err);

#endif
