/* A pack whose end is damaged, read header by header from its front: see pack.h. */
#include "engine/objects/footer.h"

#include <stdlib.h>
#include <string.h>

/* Behind a damaged header the next one is looked for at every byte, as far as the longest record
 * that the writer makes: some seconds, where neither footer nor parity nor index knew better. */
#define SCAN (BAK_SEG_MAX_RAW + (64u << 10))

struct walk {
	struct bak_backend *backend;
	const struct bak_keyring *ring;
	const uint8_t *id;
	char name[BAK_PACK_NAME_LEN];
	uint64_t size, off;
	uint64_t explained; /* bytes of records whose header opened */
	struct bak_seg_codec codec;
	struct bak_buf segs, kept, ranges, nodes, record;
};

/* Whether the bytes are the header of a record that fits at `at`. 1, 0, -1. */
static int open_header(struct walk *w, const uint8_t *p, uint64_t at, struct bak_seg_header *out,
		       size_t *out_master, struct bak_error *err)
{
	int opened = bak_segment_open_header(w->ring, p, out, out_master, err);
	if (opened <= 0)
		return opened;
	return out->stored_len <= w->size - at - BAK_SEG_OVERHEAD;
}

/* The header at w->off, or else the next one behind it; w->off is moved there. 1 a segment of the
 * pack; 0 none, or the footer; -1. */
static int next_header(struct walk *w, struct bak_seg_header *out, size_t *out_master,
		       struct bak_error *err)
{
	int opened = 0;
	size_t want = BAK_SEG_HEAD_BYTES;
	for (int turn = 0; turn < 2 && opened == 0; turn++) {
		w->record.len = 0;
		int found = bak_backend_get(w->backend, w->name, w->off, want, &w->record, err);
		if (found <= 0)
			return found;
		for (size_t i = 0; opened == 0 && i + BAK_SEG_HEAD_BYTES <= w->record.len &&
				   w->size - w->off - i >= BAK_SEG_OVERHEAD;
		     i++) {
			opened = open_header(w, w->record.p + i, w->off + i, out, out_master, err);
			w->off += opened == 1 ? i : 0;
		}
		want = SCAN;
	}
	return opened == 1 ? out->type != BAK_SEG_FOOTER : opened;
}

static int add_node(struct walk *w, const struct bak_seg_id *id, uint32_t at, uint32_t end,
		    const uint8_t *payload, uint32_t len, struct bak_error *err)
{
	struct bak_span span;
	struct bak_error why = BAK_ERROR_INIT;
	if (bak_span_decode(payload, len, &span, &why) < 0) {
		if (why.code != BAK_NO_MEMORY)
			return 0; /* a node that nobody can read is found by nobody */
		*err = why;
		return -1;
	}
	struct bak_node_row row = {.hash = span.hash,
				   .ref = {.seg = *id, .off = at, .len = end - at},
				   .span_len = span.len};
	bak_span_release(&span);
	return bak_buf_append(&w->nodes, &row, sizeof row) < 0 ? bak_error_nomem(err) : 0;
}

/* All span nodes of a decoded tree segment, up to where its objects stop making sense. */
static int add_nodes(struct walk *w, const struct bak_segment *tree, struct bak_error *err)
{
	uint32_t at = 0, len, start;
	enum bak_object_kind kind;
	const uint8_t *payload;
	for (start = 0;
	     bak_object_next(tree->data, tree->header.raw_len, &at, &kind, &payload, &len) == 1;
	     start = at)
		if (kind == BAK_OBJECT_SPAN &&
		    add_node(w, &tree->header.id, start, at, payload, len, err) < 0)
			return -1;
	return 0;
}

/* What the holed copy that was added last keeps. */
static int add_kept(struct walk *w, const struct bak_segment *segment, struct bak_error *err)
{
	struct bak_kept_rows row = {.seg = w->segs.len / sizeof(struct bak_seg_copy) - 1,
				    .first = w->ranges.len / sizeof *segment->kept,
				    .n = segment->n_kept};
	return bak_buf_append(&w->kept, &row, sizeof row) < 0 ||
			       bak_buf_append(&w->ranges, segment->kept,
					      segment->n_kept * sizeof *segment->kept) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

/* Opens what says more than its header does: trees, holed segments. */
static int read_body(struct walk *w, const struct bak_seg_copy *copy, struct bak_error *err)
{
	struct bak_segment segment;
	struct bak_error why = BAK_ERROR_INIT;
	w->record.len = 0;
	int found = bak_backend_get(w->backend, w->name, copy->off, copy->len, &w->record, err);
	if (found < 0)
		return -1;
	if (bak_segment_open(w->ring, &w->codec, (enum bak_seg_type)copy->type, &copy->id,
			     w->record.p, w->record.len, &segment, &why) < 0) {
		if (why.code == BAK_CORRUPT)
			return 0;
		*err = why;
		return -1;
	}
	/* In a holed tree segment objects do not lie one behind another. */
	int result = segment.header.holed ? add_kept(w, &segment, err)
					  : add_nodes(w, &segment, err);
	bak_segment_release(&segment);
	return result;
}

static int walk_all(struct walk *w, struct bak_error *err)
{
	struct bak_seg_header header;
	size_t master = 0;
	int found;
	while ((found = next_header(w, &header, &master, err)) == 1) {
		struct bak_seg_copy copy = {.id = header.id,
					    .off = w->off,
					    .len = BAK_SEG_OVERHEAD + header.stored_len,
					    .raw_len = header.raw_len,
					    .key = w->ring->masters[master].number,
					    .type = (uint8_t)header.type,
					    .holed = header.holed};
		memcpy(copy.pack, w->id, BAK_PACK_ID_BYTES);
		if (bak_buf_append(&w->segs, &copy, sizeof copy) < 0)
			return bak_error_nomem(err);
		if ((header.type == BAK_SEG_TREE || header.holed) && read_body(w, &copy, err) < 0)
			return -1;
		w->off += copy.len;
		w->explained += copy.len;
	}
	return found;
}

/* Hands the rows over to out. */
static void hand_over(struct walk *w, struct bak_footer *out)
{
	*out = (struct bak_footer){.segs = (struct bak_seg_copy *)w->segs.p,
				   .kept = (struct bak_kept_rows *)w->kept.p,
				   .ranges = (struct bak_seg_range *)w->ranges.p,
				   .nodes = (struct bak_node_row *)w->nodes.p};
	memcpy(out->rows.pack.id, w->id, BAK_PACK_ID_BYTES);
	out->rows.pack.size = w->size;
	out->rows.pack.walked = true;
	out->rows.segs = out->segs;
	out->rows.n_segs = w->segs.len / sizeof *out->segs;
	out->rows.kept = out->kept;
	out->rows.n_kept = w->kept.len / sizeof *out->kept;
	out->rows.ranges = out->ranges;
	out->rows.nodes = out->nodes;
	out->rows.n_nodes = w->nodes.len / sizeof *out->nodes;
	w->segs = w->kept = w->ranges = w->nodes = (struct bak_buf)BAK_BUF_INIT;
}

int bak_pack_walk(struct bak_backend *backend, const struct bak_keyring *ring,
		  const uint8_t id[BAK_PACK_ID_BYTES], struct bak_footer *out, uint64_t *out_lost,
		  struct bak_error *err)
{
	struct walk w = {.backend = backend, .ring = ring, .id = id};
	bak_pack_name(id, w.name);
	int result = bak_backend_size(backend, w.name, &w.size, err);
	if (result == 1 && walk_all(&w, err) < 0)
		result = -1;
	if (result == 1) {
		*out_lost = w.size - w.explained;
		hand_over(&w, out);
	}
	bak_buf_release(&w.segs);
	bak_buf_release(&w.kept);
	bak_buf_release(&w.ranges);
	bak_buf_release(&w.nodes);
	bak_buf_release(&w.record);
	bak_seg_codec_release(&w.codec);
	return result < 0 ? bak_error_wrap(err, "pack %.32s", w.name + 9) : result;
}
