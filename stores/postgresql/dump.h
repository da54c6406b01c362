/*
 * Dumps that PostgreSQL's tools write, walked as their bytes come, so that a file shows whether it
 * is whole. Not a reader of what they hold: strings are passed over, or handed on.
 *
 * pg_dump -Fc, archive versions 1.12 to 1.16 (PostgreSQL 9.0 to 18), src/bin/pg_dump:
 *
 *   "PGDMP" | major | minor | revision | int size | offset size | format: 1
 *   compression: int, or from 1.15 on one byte | seven ints of time | database | server's version |
 *     pg_dump's version | number of entries
 *   an entry: id | has data | table oid | oid | tag | kind | section | definition | drop | copy |
 *     schema | tablespace | from 1.14 access method | from 1.16 relkind | owner | "false" |
 *     dependencies: texts, the last one of length -1 | offset: a flag and offset size bytes
 *   a block: 1 or 3 | id | 1: chunks; 3: large objects, each oid and chunks, the last oid 0
 *   chunks: length and bytes each, the last one of length 0
 *
 *   int: a sign byte, int size bytes, little-endian. text: its length as an int, -1 for none, bytes
 *
 * Nothing marks the end: a dump is whole when each entry that has data had its block, and the last
 * one is over. Plain SQL ends with a comment that says so.
 *
 * Threads: one at a time per struct. All of it is plain memory: zero is the beginning.
 */
#ifndef BAK_STORES_PG_DUMP_H
#define BAK_STORES_PG_DUMP_H

#include "engine/base/error.h"
#include "engine/base/proof.h"

#include <stdbool.h>

/* Which text of the archive is handed on. */
enum bak_pg_text {
	BAK_PG_TEXT_DATABASE,
	BAK_PG_TEXT_SERVER,
	BAK_PG_TEXT_TOOL,
	BAK_PG_TEXT_TAG,
	BAK_PG_TEXT_KIND,
	BAK_PG_TEXT_DEFINITION,
	BAK_PG_TEXT_SCHEMA,
	BAK_PG_TEXT_DEPENDENCY, /* an id in digits */
	BAK_PG_TEXT_ENTRY,      /* no text: an entry is over, with id and has_data as they are */
	BAK_PG_TEXT_BLOCK,      /* no text: the block of that id begins */
	BAK_PG_TEXT_NONE,
};

struct bak_pg_archive {
	uint64_t at;          /* bytes seen; as an entry is over, or a block's head, behind that */
	uint8_t phase, field; /* what comes next; where in an entry */
	uint8_t getting;      /* a number or raw bytes, or passing over them */
	uint8_t got, need;    /* bytes of it */
	uint8_t raw[12];
	uint8_t int_size, offset_size, minor, wrong;
	bool in_text, blobs;
	uint64_t skip;
	uint64_t entries;              /* of the contents, still to come */
	uint64_t n_wanted, n_seen;     /* blocks */
	uint64_t ids_wanted, ids_seen; /* sums of a mix of their ids */
	int64_t id;                    /* of the entry, or block */
	bool has_data;
};
/* Takes a part of a text, in order; len 0 ends it. May be NULL. */
typedef void bak_pg_text_fn(void *ctx, enum bak_pg_text which, const uint8_t *p, size_t len);
void bak_pg_archive_feed(struct bak_pg_archive *a, const uint8_t *p, size_t len,
			 bak_pg_text_fn *text, void *ctx);
/* All of the table of contents was fed, and perhaps more. */
bool bak_pg_archive_in_data(const struct bak_pg_archive *a);
/* Where the block begins that was just told of. */
uint64_t bak_pg_archive_block_at(const struct bak_pg_archive *a);
/* Where the entry that was just told of says where its block is, or may: a flag and offset_size bytes,
 * little-endian. */
#define BAK_PG_OFFSET_SET 2
uint64_t bak_pg_archive_offset_at(const struct bak_pg_archive *a);
enum bak_verdict bak_pg_archive_verdict(const struct bak_pg_archive *a,
					char why[BAK_PROOF_WHY_LEN]);

/* What pg_dump writes into a pipe does not say where in it the rows of a table begin, and each of
 * several jobs of pg_restore would look for them from the start. Of an archive that is shown from its
 * beginning on, its copy in a file is told so. */
struct bak_pg_places {
	struct bak_pg_archive walk;
	struct bak_pg_place {
		int64_t id;
		uint64_t field, block; /* block 0: not seen */
	} * v;
	size_t n, cap;
	size_t next; /* blocks stand in the order of their entries */
	bool no_memory;
};
int bak_pg_places_see(void *places, const void *p, size_t len, struct bak_error *err);
int bak_pg_places_write(const struct bak_pg_places *places, int file, struct bak_error *err);
void bak_pg_places_release(struct bak_pg_places *places);

#define BAK_PG_LINE_LEN 72
#define BAK_PG_LINE_END 12

struct bak_pg_sql {
	uint64_t at; /* bytes seen */
	uint64_t line_len;
	char line[BAK_PG_LINE_LEN];     /* how it begins */
	char line_end[BAK_PG_LINE_END]; /* its last bytes, oldest first */
	bool nul, in_copy, begun;       /* begun: something else than comments came */
	bool dump, cluster;             /* it says what it is */
	bool ended;                     /* and that it is over, with nothing behind that */
	/* Where the last \restrict in front of everything, or \unrestrict behind it, begins; those of
	 * a dump are no data. UINT64_MAX: the piece fed last had none. */
	uint64_t command_at;
};
void bak_pg_sql_feed(struct bak_pg_sql *s, const uint8_t *p, size_t len);
enum bak_verdict bak_pg_sql_verdict(const struct bak_pg_sql *s, char why[BAK_PROOF_WHY_LEN]);

/* Either of them, as an upload shows it. */
extern const struct bak_proof_format bak_pg_proof;
struct bak_pg_dump {
	uint64_t fed;
	bool archive;
	union {
		struct bak_pg_archive archive;
		struct bak_pg_sql sql;
	} as;
};
void bak_pg_dump_feed(struct bak_pg_dump *dump, const uint8_t *p, size_t len, bak_pg_text_fn *text,
		      void *ctx);
enum bak_verdict bak_pg_dump_verdict(const struct bak_pg_dump *dump, char why[BAK_PROOF_WHY_LEN]);

#endif
