/* A stretch of an older version's bytes: see window.h. */
#include "engine/content/window.h"

#include <stdlib.h>

void bak_window_begin(struct bak_window *w, struct bak_source *source,
		      const struct bak_content *content, uint64_t size)
{
	w->source = source;
	w->content = *content;
	w->size = size;
	w->from = w->to = 0;
}

void bak_window_release(struct bak_window *w)
{
	free(w->buf);
	*w = (struct bak_window){0};
}

/* Room for [from, to), of which [from, w->to) is there already, at the front of the buffer. */
static int make_room(struct bak_window *w, uint64_t from, uint64_t to)
{
	size_t want = (size_t)(to - w->from);
	if (want <= w->cap)
		return 0;
	size_t kept = (size_t)(w->to - from);
	if (kept > 0)
		memmove(w->buf, w->buf + (from - w->from), kept);
	w->from = from;
	want = (size_t)(to - from);
	if (want <= w->cap)
		return 0;
	uint8_t *p = realloc(w->buf, want + w->slack);
	if (!p)
		return -1;
	w->buf = p;
	w->cap = want + w->slack;
	return 0;
}

int bak_window_cover(struct bak_window *w, uint64_t from, uint64_t to, uint64_t *out_new,
		     struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	size_t n;
	*out_new = w->to;
	if (bak_window_has(w, from, to))
		return 1;
	if (from < w->from || from > w->to)
		w->from = w->to = from;
	if (make_room(w, from, to) < 0)
		return bak_error_nomem(err);
	uint64_t at = *out_new = w->to;
	if (bak_read(w->source, &w->content, w->size, at, w->buf + (at - w->from),
		     (size_t)(to - at), &n, &scratch) < 0 ||
	    n != to - at)
		return 0;
	w->to = to;
	return 1;
}
