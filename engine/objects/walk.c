/* A pack whose end is damaged, read header by header from its front: see pack.h. */
#include "engine/objects/footer.h"

#include <stdlib.h>
#include <string.h>

struct walk {
	struct bak_backend *backend;
	const struct bak_keyring *ring;
	const uint8_t *id;
	char name[BAK_PACK_NAME_LEN];
	uint64_t size, off;
	struct bak_seg_codec codec;
	struct bak_buf segs, nodes, record;
};

/* The header at w->off: 1 a segment of the pack, 0 none, -1. */
static int next_header(struct walk *w, struct bak_seg_header *out, size_t *out_master,
		       struct bak_error *err)
{
	if (w->size - w->off < BAK_SEG_OVERHEAD)
		return 0;
	w->record.len = 0;
	int found = bak_backend_get(w->backend, w->name, w->off, BAK_SEG_HEAD_BYTES, &w->record,
				    err);
	if (found <= 0 || w->record.len != BAK_SEG_HEAD_BYTES)
		return found < 0 ? -1 : 0;
	int opened = bak_segment_open_header(w->ring, w->record.p, out, out_master, err);
	if (opened <= 0)
		return opened;
	return out->type != BAK_SEG_FOOTER &&
	       out->stored_len <= w->size - w->off - BAK_SEG_OVERHEAD;
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

static int read_tree(struct walk *w, const struct bak_seg_copy *copy, struct bak_error *err)
{
	struct bak_segment tree;
	struct bak_error why = BAK_ERROR_INIT;
	w->record.len = 0;
	int found = bak_backend_get(w->backend, w->name, copy->off, copy->len, &w->record, err);
	if (found < 0)
		return -1;
	if (bak_segment_open(w->ring, &w->codec, BAK_SEG_TREE, &copy->id, w->record.p,
			     w->record.len, &tree, &why) < 0) {
		if (why.code == BAK_CORRUPT)
			return 0;
		*err = why;
		return -1;
	}
	/* In a holed tree segment objects do not lie one behind another. */
	int result = tree.header.holed ? 0 : add_nodes(w, &tree, err);
	bak_segment_release(&tree);
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
		if (header.type == BAK_SEG_TREE && read_tree(w, &copy, err) < 0)
			return -1;
		w->off += copy.len;
	}
	return found;
}

/* Hands the rows over to out. */
static void hand_over(struct walk *w, struct bak_footer *out)
{
	*out = (struct bak_footer){.segs = (struct bak_seg_copy *)w->segs.p,
				   .nodes = (struct bak_node_row *)w->nodes.p};
	memcpy(out->rows.pack.id, w->id, BAK_PACK_ID_BYTES);
	out->rows.pack.size = w->size;
	out->rows.pack.walked = true;
	out->rows.segs = out->segs;
	out->rows.n_segs = w->segs.len / sizeof *out->segs;
	out->rows.nodes = out->nodes;
	out->rows.n_nodes = w->nodes.len / sizeof *out->nodes;
	w->segs = w->nodes = (struct bak_buf)BAK_BUF_INIT;
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
		*out_lost = w.size - w.off;
		hand_over(&w, out);
	}
	bak_buf_release(&w.segs);
	bak_buf_release(&w.nodes);
	bak_buf_release(&w.record);
	bak_seg_codec_release(&w.codec);
	return result < 0 ? bak_error_wrap(err, "pack %.32s", w.name + 9) : result;
}
