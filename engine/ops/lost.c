/* Which bytes of a file cannot be read: see lost.h. */
#include "engine/ops/lost.h"

#include "engine/ops/walk.h"

#include <inttypes.h>
#include <stdlib.h>

#define MAX_LEVELS 24

struct finding {
	struct bak_source *source;
	bak_sound_fn *sound;
	void *ctx;
	uint64_t base; /* where in the file the content at hand begins */
	struct bak_place_set *nodes;
	struct bak_lost_ranges *out;
	struct bak_error *why;
};

void bak_lost_release(struct bak_lost_ranges *ranges)
{
	free(ranges->v);
	*ranges = (struct bak_lost_ranges){.n = 0};
}

static int add(struct finding *f, uint64_t off, uint64_t len, const struct bak_error *why,
	       struct bak_error *err)
{
	struct bak_lost_ranges *out = f->out;
	if (out->n == 0)
		*f->why = *why;
	if (out->n > 0 && out->v[out->n - 1].off + out->v[out->n - 1].len == off) {
		out->v[out->n - 1].len += len;
		return 0;
	}
	if (bak_grow(&out->v, &out->cap, out->n, sizeof *out->v) < 0)
		return bak_error_nomem(err);
	out->v[out->n++] = (struct bak_lost_range){off, len};
	return 0;
}

/* A node does not open: all below it is lost. */
static int add_node(struct finding *f, const struct bak_content *content, uint64_t size,
		    const struct bak_error *why, struct bak_error *err)
{
	struct bak_place place = {.seg = content->ref.seg};
	if ((content->kind == BAK_CONTENT_SPAN || content->kind == BAK_CONTENT_INNER) &&
	    bak_place_set_add(f->nodes, &place) < 0)
		return bak_error_nomem(err);
	return add(f, f->base, size, why, err);
}

static int look_at_extent(void *ctx, uint64_t off, const struct bak_extent *extent,
			  struct bak_error *err)
{
	struct finding *f = ctx;
	struct bak_error why = BAK_ERROR_INIT;
	if (extent->kind != BAK_EXTENT_BYTES)
		return 0;
	int rc = f->sound(f->ctx, extent, &why);
	if (rc < 0)
		*err = why;
	return rc == 0 ? add(f, f->base + off, extent->len, &why, err) : rc < 0 ? -1 : 0;
}

/* Everything but inner nodes: one node at most, and no range is added before it opened. */
static int look_at_leaf(struct finding *f, const struct bak_content *content, uint64_t size,
			struct bak_error *err)
{
	struct bak_error why = BAK_ERROR_INIT;
	size_t before = f->out->n;
	if (bak_each_extent(f->source, content, size, look_at_extent, f, &why) == 0)
		return 0;
	if (!bak_is_damage(&why) || f->out->n != before) {
		*err = why;
		return -1;
	}
	return add_node(f, content, size, &why, err);
}

static int look_at(struct finding *f, const struct bak_content *content, uint64_t size, int level,
		   struct bak_error *err)
{
	static const struct bak_error deep = {BAK_CORRUPT, 0, "nodes are nested too deeply"};
	const struct bak_inner *inner;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	struct bak_error why = BAK_ERROR_INIT;
	uint64_t base = f->base;
	if (content->kind != BAK_CONTENT_INNER)
		return look_at_leaf(f, content, size, err);
	if (level > MAX_LEVELS)
		return add(f, base, size, &deep, err);
	int rc = bak_source_inner(f->source, &content->ref, &inner, &pin, &why);
	if (rc == 0 && inner->at[inner->n] != size)
		rc = bak_error_set(&why, BAK_CORRUPT, "a node has not its file's length");
	if (rc < 0 && !bak_is_damage(&why)) {
		*err = why;
		return -1;
	}
	if (rc < 0)
		return add_node(f, content, size, &why, err);
	for (size_t i = 0; i < inner->n && rc == 0; i++) {
		const struct bak_line *line = &inner->lines[i];
		struct bak_content below = {.kind = line->kind == BAK_LINE_SPAN ? BAK_CONTENT_SPAN
										: BAK_CONTENT_INNER,
					    .ref = line->ref};
		f->base = base + inner->at[i];
		if (line->kind == BAK_LINE_SPAN || line->kind == BAK_LINE_INNER)
			rc = look_at(f, &below, line->len, level + 1, err);
	}
	f->base = base;
	return rc;
}

int bak_lost_find(struct bak_source *source, const struct bak_content *content, uint64_t size,
		  bak_sound_fn *sound, void *ctx, struct bak_place_set *nodes,
		  struct bak_lost_ranges *out, struct bak_error *why, struct bak_error *err)
{
	struct finding f = {source, sound, ctx, 0, nodes, out, why};
	return look_at(&f, content, size, 0, err);
}

int bak_lost_text(const struct bak_lost_ranges *ranges, uint64_t size, struct bak_buf *out)
{
	for (size_t i = 0; i < ranges->n; i++)
		if (bak_buf_printf(out, "%s%" PRIu64 "-%" PRIu64, i ? ", " : "bytes ",
				   ranges->v[i].off, ranges->v[i].off + ranges->v[i].len - 1) < 0)
			return -1;
	return bak_buf_printf(out, " of %" PRIu64, size);
}
