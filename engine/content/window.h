/*
 * A stretch of an older version's bytes, held in memory: read where it is wanted, slid along.
 *
 * Ownership: buf is the window's; it moves with the next bak_window_cover. Threads: one.
 * Errors: an old version that cannot be read is no error, there is only nothing of it.
 */
#ifndef BAK_CONTENT_WINDOW_H
#define BAK_CONTENT_WINDOW_H

#include "engine/content/reader.h"

/* Invariant: from <= to <= size; buf holds [from, to). */
struct bak_window {
	struct bak_source *source; /* borrowed */
	struct bak_content content;
	uint64_t size, from, to;
	uint8_t *buf;
	size_t cap, slack; /* slack: room beyond what is wanted, so that sliding copies little */
};

/* Another old version; the memory is kept. content is copied. */
void bak_window_begin(struct bak_window *w, struct bak_source *source,
		      const struct bak_content *content, uint64_t size);
void bak_window_release(struct bak_window *w);

/* Makes [from, to) part of the window. 1 and where bytes begin that were not there before; 0 it
 * cannot be read; -1 only for lack of memory. */
int bak_window_cover(struct bak_window *w, uint64_t from, uint64_t to, uint64_t *out_new,
		     struct bak_error *err);

static inline bool bak_window_has(const struct bak_window *w, uint64_t from, uint64_t to)
{
	return from >= w->from && to <= w->to && from <= to;
}

static inline const uint8_t *bak_window_at(const struct bak_window *w, uint64_t off)
{
	return w->buf + (off - w->from);
}

#endif
