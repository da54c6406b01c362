/*
 * What stands in an RDB file, as little programs: each record has one, whose letters say what
 * follows. A program is run with as many bytes as there are and goes on where it was when more come.
 *
 *   l  a length                      s  a string
 *   n  a string kept as a name       t  a string kept as text
 *   1 4 8 6  so many raw bytes (6: sixteen)
 *   d  a double of old: a byte that says how many characters, or 253 to 255 for none
 *   ( )  a length, then what is between them as many times
 *   m  items of a module until their end
 *
 * The programs are constants of rdb.c; the bytes are anybody's.
 */
#ifndef BAK_STORES_RDB_PROGRAM_H
#define BAK_STORES_RDB_PROGRAM_H

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "stores/redis/rdb_string.h"

/* No letter needs more bytes at once: a module's item has 9 of opcode and a string's head of 19. */
#define BAK_RDB_UNIT_MAX 64
#define BAK_RDB_DEPTH_MAX 4

/* What a run works on: [p, end) of one feed, or of what was held back. */
struct bak_rdb_window {
	const uint8_t *p, *end;
	uint64_t base; /* offset in the file of begin */
	const uint8_t *begin;
	const uint8_t *value; /* where the value's bytes begin that nobody was told of */
	const uint8_t *part;  /* and a record's */
};

static inline size_t bak_rdb_room(const struct bak_rdb_window *w)
{
	return (size_t)(w->end - w->p);
}
/* BAK_CORRUPT, with the offset of p. */
int bak_rdb_damaged(const struct bak_rdb_window *w, struct bak_error *err, const char *what);

struct bak_rdb_program {
	const char *pc;  /* the letter that runs */
	uint64_t number; /* what `l` read last */
	uint8_t raw[16]; /* what raw bytes were read last */
	struct bak_rdb_frame {
		const char *start;
		uint64_t left;
	} stack[BAK_RDB_DEPTH_MAX];
	size_t depth;

	uint64_t skip;        /* bytes of a string's body that are still to come */
	struct bak_buf *keep; /* where they go, NULL: nowhere */
	enum bak_rdb_encoding encoding;
	uint64_t plain_len; /* of LZF */
	struct bak_buf name, text, packed;
};

/* What a step answers, but -1. */
enum { BAK_RDB_MORE = 0, BAK_RDB_DONE = 1 };

void bak_rdb_program_begin(struct bak_rdb_program *prog, const char *text);
void bak_rdb_program_release(struct bak_rdb_program *prog);
static inline bool bak_rdb_program_is_over(const struct bak_rdb_program *prog)
{
	return !prog->skip && !*prog->pc;
}
/* One letter, or a part of a string's body. */
int bak_rdb_program_step(struct bak_rdb_program *prog, struct bak_rdb_window *w,
			 struct bak_error *err);

#endif
