/*
 * RDB, the file format of Redis and Valkey, read as it streams by: checked to its end, counted, and
 * cut into keys with their values, as they are wanted.
 *
 * A file is a head ("REDIS" and four digits, or "VALKEY" and three: the version), records, the byte
 *   255, and a CRC-64 of all before, little-endian; 0 when the server wrote none. Values are not
 *   looked into: each type is a little grammar over lengths, strings and raw bytes (rdb.c).
 * What is not known: in versions older than the newest that this file knows, an unknown record is
 *   damage. In newer ones it ends the counting (stats.opaque): from there on only the CRC proves.
 * Bounds: nothing is allocated by a length that the file claims; names grow as their bytes arrive
 *   and end at BAK_RDB_NAME_MAX. Nesting is fixed by the grammars.
 * Errors: BAK_CORRUPT with the offset; BAK_UNSUPPORTED for files of a time before checksums.
 * Threads: one parser is one thread's.
 * Source: rdb.h and rdb.c of redis and valkey, and files written by real servers.
 */
#ifndef BAK_STORES_RDB_H
#define BAK_STORES_RDB_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <stdbool.h>

#define BAK_RDB_NAME_MAX (64u << 20)
/* What stands in records[]: keys by type, as TYPE says, and what is no key. */
enum bak_rdb_class {
	BAK_RDB_STRING,
	BAK_RDB_LIST,
	BAK_RDB_SET,
	BAK_RDB_ZSET,
	BAK_RDB_HASH,
	BAK_RDB_STREAM,
	BAK_RDB_MODULE,
	BAK_RDB_N_CLASSES,
	BAK_RDB_FUNCTION = BAK_RDB_N_CLASSES, /* a library of functions; it has no name here */
};
/* "string", "list" ... as TYPE and SCAN name them. */
extern const char *const bak_rdb_class_names[BAK_RDB_N_CLASSES];

struct bak_rdb_db {
	uint64_t number;
	uint64_t keys, expires, types[BAK_RDB_N_CLASSES];
};

struct bak_rdb_stats {
	bool valkey;      /* which of the two heads */
	unsigned version; /* RDB version */
	bool opaque;      /* it has records that are not known: no counts */
	bool checksum;    /* it has one */
	bool fields_expire;
	uint64_t bytes, functions, used_memory;
	int64_t created;         /* seconds, 0 unknown */
	char server_version[32]; /* of the one that wrote it, "" unknown */
	size_t n_dbs;
	struct bak_rdb_db *dbs; /* in the file's order, each once */
};

struct bak_rdb_key {
	uint64_t db;
	enum bak_rdb_class class;
	uint8_t type; /* the byte before it in the file, and the first of a DUMP payload */
	bool expires; /* at expires_ms since 1970 */
	int64_t expires_ms;
	const void *name; /* valid during the call */
	size_t name_len;
};

/* What a stretch of the file belongs to. */
enum bak_rdb_part {
	BAK_RDB_PART_SERVER, /* the head, what the server says of itself, functions, modules' own */
	BAK_RDB_PART_SELECT, /* which database comes */
	BAK_RDB_PART_DB,     /* a database's: keys, and hints at how many there are */
	BAK_RDB_PART_END,    /* the byte 255 and the checksum */
};

/* Told in the order of the file. Each may be NULL; -1 ends the parsing. */
struct bak_rdb_events {
	void *ctx;
	int (*key)(void *ctx, const struct bak_rdb_key *key, struct bak_error *err);
	/* The value's bytes as they stand in the file, in pieces; between key and key_end. */
	int (*value)(void *ctx, const void *p, size_t len, struct bak_error *err);
	int (*key_end)(void *ctx, struct bak_error *err);
	/* All bytes of the file, in pieces; what a record is of is the same for all its pieces. */
	int (*part)(void *ctx, enum bak_rdb_part part, uint64_t db, const void *p, size_t len,
		    struct bak_error *err);
};

struct bak_rdb;
/* events may be NULL: then it only checks and counts. */
int bak_rdb_new(const struct bak_rdb_events *events, struct bak_rdb **out, struct bak_error *err);
void bak_rdb_free(struct bak_rdb *rdb); /* NULL is fine */
/* The next bytes of the file, in pieces of any size. */
int bak_rdb_feed(struct bak_rdb *rdb, const void *p, size_t len, struct bak_error *err);
/* There are no more: is it whole? */
int bak_rdb_end(struct bak_rdb *rdb, struct bak_error *err);
/* Complete only after bak_rdb_end. Belongs to the parser. */
const struct bak_rdb_stats *bak_rdb_stats(const struct bak_rdb *rdb);

#endif
