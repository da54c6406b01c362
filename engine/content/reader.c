/* Bytes of a file from its content: see reader.h. */
#include "engine/content/reader.h"

#include "engine/content/cache.h"

#include <stdlib.h>

#define MAX_LEVELS 24

static const uint8_t zero_page[64 << 10];

void bak_slices_release(struct bak_slices *slices)
{
	for (size_t i = 0; i < slices->n_pins; i++)
		bak_pin_put(slices->pins[i]);
	free(slices->pins);
	free(slices->v);
	*slices = (struct bak_slices)BAK_SLICES_INIT;
}

static int slices_add(struct bak_slices *slices, const uint8_t *p, size_t len)
{
	if (bak_grow(&slices->v, &slices->cap, slices->n, sizeof *slices->v) < 0)
		return -1;
	slices->v[slices->n++] = (struct bak_slice){p, len};
	return 0;
}

static int add_zeros(struct bak_slices *slices, uint64_t len)
{
	while (len > 0) {
		size_t n = len < sizeof zero_page ? (size_t)len : sizeof zero_page;
		if (slices_add(slices, zero_page, n) < 0)
			return -1;
		len -= n;
	}
	return 0;
}

/* --- walking extents of [off, end) --- */

/* One walk: fn gets each piece of an extent that lies in [off, end), in order; non-zero ends it. */
struct walk {
	struct bak_source *source;
	uint64_t off, end;
	int (*fn)(void *ctx, uint64_t off, const struct bak_extent *piece, struct bak_error *err);
	void *ctx;
	uint64_t scatter; /* of the last span met */
};

/* extent starts at `at` in the file. */
static int walk_extent(struct walk *w, uint64_t at, const struct bak_extent *extent,
		       struct bak_error *err)
{
	uint64_t from = at > w->off ? at : w->off;
	uint64_t to = at + extent->len < w->end ? at + extent->len : w->end;
	if (from >= to)
		return 0;
	struct bak_extent piece = *extent;
	piece.len = to - from;
	if (piece.kind == BAK_EXTENT_BYTES)
		piece.off += (uint32_t)(from - at);
	return w->fn(w->ctx, from, &piece, err);
}

static int walk_span(struct walk *w, uint64_t at, uint64_t want_len, const struct bak_ref *ref,
		     struct bak_error *err)
{
	const struct bak_span *span;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	if (bak_source_span(w->source, ref, &span, &pin, err) < 0)
		return -1;
	if (span->len != want_len)
		return bak_error_set(err, BAK_CORRUPT,
				     "a span has not the length that its file says");
	w->scatter = span->scatter;
	size_t i = w->off > at ? bak_span_find(span, w->off - at) : 0;
	for (; i < span->n_extents && at + span->at[i] < w->end; i++) {
		int rc = walk_extent(w, at + span->at[i], &span->extents[i], err);
		if (rc)
			return rc;
	}
	return 0;
}

static size_t inner_find(const struct bak_inner *inner, uint64_t off)
{
	size_t lo = 0, hi = inner->n;
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;
		if (inner->at[mid] <= off)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static int walk_inner(struct walk *w, uint64_t at, uint64_t want_len, const struct bak_ref *ref,
		      int level, struct bak_error *err);

static int walk_line(struct walk *w, uint64_t at, const struct bak_line *line, int level,
		     struct bak_error *err)
{
	if (line->kind == BAK_LINE_SPAN)
		return walk_span(w, at, line->len, &line->ref, err);
	if (line->kind == BAK_LINE_INNER)
		return walk_inner(w, at, line->len, &line->ref, level + 1, err);
	struct bak_extent extent = {.kind = line->kind == BAK_LINE_HOLE ? BAK_EXTENT_HOLE
									: BAK_EXTENT_ZEROS,
				    .len = line->len};
	return walk_extent(w, at, &extent, err);
}

static int walk_inner(struct walk *w, uint64_t at, uint64_t want_len, const struct bak_ref *ref,
		      int level, struct bak_error *err)
{
	const struct bak_inner *inner;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	if (level > MAX_LEVELS)
		return bak_error_set(err, BAK_CORRUPT, "a file's nodes are nested too deeply");
	if (bak_source_inner(w->source, ref, &inner, &pin, err) < 0)
		return -1;
	if (inner->at[inner->n] != want_len)
		return bak_error_set(err, BAK_CORRUPT,
				     "a node has not the length that its file says");
	size_t i = w->off > at ? inner_find(inner, w->off - at) : 0;
	for (; i < inner->n && at + inner->at[i] < w->end; i++) {
		int rc = walk_line(w, at + inner->at[i], &inner->lines[i], level, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int walk_content(struct walk *w, const struct bak_content *content, uint64_t size,
			struct bak_error *err)
{
	struct bak_extent extent;
	switch (content->kind) {
	case BAK_CONTENT_NONE:
		if (size == 0)
			return 0;
		break;
	case BAK_CONTENT_EXTENT:
		extent = content->extent;
		extent.len = size;
		return walk_extent(w, 0, &extent, err);
	case BAK_CONTENT_SPAN:
		return walk_span(w, 0, size, &content->ref, err);
	case BAK_CONTENT_INNER:
		return walk_inner(w, 0, size, &content->ref, 0, err);
	}
	return bak_error_set(err, BAK_CORRUPT, "a file without content has a size");
}

/* --- reading --- */

/* A scattered span goes back and forth between the same segments, for a few bytes each time: those
 * met last are kept at hand, so that the cache is not asked for each extent. */
#define HELD 32u

struct slicing {
	struct bak_source *source;
	struct bak_slices *out;
	struct held {
		struct bak_seg_id seg;
		struct bak_pin *pin; /* of out */
	} held[HELD];
	unsigned n_held, last;
};

/* The segment's pin and the bytes, if they lie in a segment at hand. */
static struct bak_pin *at_hand(struct slicing *s, const struct bak_extent *piece,
			       const uint8_t **out)
{
	unsigned n = s->n_held < HELD ? s->n_held : HELD;
	for (unsigned i = 0; i < n; i++) {
		unsigned at = (s->last + i) % n;
		if (!bak_seg_id_equal(&s->held[at].seg, &piece->seg))
			continue;
		s->last = at;
		struct bak_pin *pin = s->held[at].pin;
		return bak_source_within(pin, piece->off, (uint32_t)piece->len, out) ? pin : NULL;
	}
	return NULL;
}

/* Puts the segment at hand, and its pin in charge of the slices. */
static int hold(struct slicing *s, const struct bak_extent *piece, struct bak_pin *pin)
{
	struct bak_slices *out = s->out;
	if (bak_grow(&out->pins, &out->cap_pins, out->n_pins, sizeof(struct bak_pin *)) < 0) {
		bak_pin_put(pin);
		return -1;
	}
	out->pins[out->n_pins++] = pin;
	s->held[s->n_held++ % HELD] = (struct held){piece->seg, pin};
	return 0;
}

static int add_piece(void *ctx, uint64_t off, const struct bak_extent *piece, struct bak_error *err)
{
	struct slicing *s = ctx;
	(void)off;
	if (piece->kind != BAK_EXTENT_BYTES)
		return add_zeros(s->out, piece->len) < 0 ? bak_error_nomem(err) : 0;
	const uint8_t *p;
	struct bak_pin *pin = at_hand(s, piece, &p);
	if (!pin) {
		if (bak_source_bytes(s->source, &piece->seg, piece->off, (uint32_t)piece->len, &p,
				     &pin, err) < 0)
			return -1;
		if (hold(s, piece, pin) < 0)
			return bak_error_nomem(err);
	}
	if (s->out->in_order && bak_source_ends(pin, piece->off, (uint32_t)piece->len))
		bak_pin_spend(pin);
	return slices_add(s->out, p, (size_t)piece->len) < 0 ? bak_error_nomem(err) : 0;
}

int bak_read_slices(struct bak_source *source, const struct bak_content *content, uint64_t size,
		    uint64_t off, size_t len, struct bak_slices *out, struct bak_error *err)
{
	if (off >= size || len == 0)
		return 0;
	uint64_t end = len < size - off ? off + len : size;
	size_t before = out->n, pins_before = out->n_pins;
	struct slicing s = {.source = source, .out = out};
	struct walk w = {source, off, end, add_piece, &s};
	if (walk_content(&w, content, size, err) == 0)
		return 0;
	out->n = before;
	while (out->n_pins > pins_before)
		bak_pin_put(out->pins[--out->n_pins]);
	return -1;
}

int bak_read(struct bak_source *source, const struct bak_content *content, uint64_t size,
	     uint64_t off, void *buf, size_t len, size_t *out_n, struct bak_error *err)
{
	BAK_AUTO(bak_slices_release) struct bak_slices slices = BAK_SLICES_INIT;
	if (bak_read_slices(source, content, size, off, len, &slices, err) < 0)
		return -1;
	size_t n = 0;
	for (size_t i = 0; i < slices.n; i++) {
		memcpy((uint8_t *)buf + n, slices.v[i].p, slices.v[i].len);
		n += slices.v[i].len;
	}
	*out_n = n;
	return 0;
}

/* --- holes --- */

struct seek {
	bool want_hole;
	uint64_t at;
};

static int seek_piece(void *ctx, uint64_t off, const struct bak_extent *piece,
		      struct bak_error *err)
{
	struct seek *s = ctx;
	(void)err;
	if ((piece->kind == BAK_EXTENT_HOLE) != s->want_hole)
		return 0;
	s->at = off;
	return 1;
}

static int seek(struct bak_source *source, const struct bak_content *content, uint64_t size,
		uint64_t off, bool want_hole, uint64_t *out, struct bak_error *err)
{
	struct seek s = {.want_hole = want_hole};
	struct walk w = {source, off, size, seek_piece, &s};
	int rc = walk_content(&w, content, size, err);
	if (rc == 1)
		*out = s.at;
	return rc;
}

int bak_seek_data(struct bak_source *source, const struct bak_content *content, uint64_t size,
		  uint64_t off, uint64_t *out, struct bak_error *err)
{
	return seek(source, content, size, off, false, out, err);
}

int bak_seek_hole(struct bak_source *source, const struct bak_content *content, uint64_t size,
		  uint64_t off, uint64_t *out, struct bak_error *err)
{
	int rc = seek(source, content, size, off, true, out, err);
	if (rc == 0)
		*out = size;
	return rc < 0 ? -1 : 1;
}

static int add_allocated(void *ctx, uint64_t off, const struct bak_extent *piece,
			 struct bak_error *err)
{
	(void)off;
	(void)err;
	if (piece->kind != BAK_EXTENT_HOLE)
		*(uint64_t *)ctx += piece->len;
	return 0;
}

int bak_allocated(struct bak_source *source, const struct bak_content *content, uint64_t size,
		  uint64_t *out, struct bak_error *err)
{
	struct walk w = {source, 0, size, add_allocated, out};
	*out = 0;
	return walk_content(&w, content, size, err);
}

int bak_each_extent(struct bak_source *source, const struct bak_content *content, uint64_t size,
		    bak_extent_fn *fn, void *ctx, struct bak_error *err)
{
	struct walk w = {source, 0, size, fn, ctx};
	return walk_content(&w, content, size, err);
}

int bak_each_extent_in(struct bak_source *source, const struct bak_content *content, uint64_t size,
		       uint64_t off, uint64_t len, bak_extent_fn *fn, void *ctx,
		       struct bak_error *err)
{
	struct walk w = {source, off, off + len, fn, ctx};
	return walk_content(&w, content, size, err);
}

static int stop_here(void *ctx, uint64_t off, const struct bak_extent *piece, struct bak_error *err)
{
	(void)ctx;
	(void)off;
	(void)piece;
	(void)err;
	return 1;
}

int bak_scatter_at(struct bak_source *source, const struct bak_content *content, uint64_t size,
		   uint64_t off, uint64_t *out, struct bak_error *err)
{
	struct walk w = {source, off, off + 1, stop_here, NULL};
	int rc = walk_content(&w, content, size, err);
	*out = w.scatter;
	return rc < 0 ? -1 : 0;
}
