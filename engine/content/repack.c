/* Copies of segments into new packs: see repack.h. */
#include "engine/content/repack.h"

#include "engine/base/bytes.h"
#include "engine/base/place_set.h"

#include <stdlib.h>

/* Two packs are open: copies of one segment never share one. */
#define SLOTS 2

struct bak_repack {
	struct bak_repack_conf conf;
	struct slot {
		struct bak_pack *pack;
		struct bak_place_set has; /* segments in it; off 0 */
	} slots[SLOTS];
	uint64_t added;
	struct bak_seg_codec codec;
	struct bak_buf record, sealed, raw;
	/* Of the pack that was copied from last: what lies in it. */
	bool has_footer;
	struct bak_footer footer;
};

int bak_repack_new(const struct bak_repack_conf *conf, struct bak_repack **out_repack,
		   struct bak_error *err)
{
	struct bak_repack *r = calloc(1, sizeof *r);
	if (!r)
		return bak_error_nomem(err);
	r->conf = *conf;
	if (!r->conf.level)
		r->conf.level = 3;
	*out_repack = r;
	return 0;
}

void bak_repack_free(struct bak_repack *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < SLOTS; i++) {
		bak_pack_free(r->slots[i].pack);
		bak_place_set_release(&r->slots[i].has);
	}
	bak_footer_release(&r->footer);
	bak_seg_codec_release(&r->codec);
	bak_buf_release(&r->record);
	bak_buf_release(&r->sealed);
	bak_buf_release(&r->raw);
	free(r);
}

static int finish_slot(struct bak_repack *r, struct slot *slot, struct bak_error *err)
{
	struct bak_pack_rows rows;
	struct bak_pack *pack = slot->pack;
	if (!pack)
		return 0;
	slot->pack = NULL;
	bak_place_set_release(&slot->has);
	int rc = bak_pack_finish(pack, &rows, err);
	if (rc == 0)
		rc = bak_index_add_pack(r->conf.index, &rows, err);
	if (rc == 0)
		r->added += rows.pack.size;
	bak_pack_free(pack);
	return rc;
}

int bak_repack_finish(struct bak_repack *r, uint64_t *out_added, struct bak_error *err)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (finish_slot(r, &r->slots[i], err) < 0)
			return -1;
	*out_added = r->added;
	return 0;
}

/* An open pack that does not hold the segment yet. */
static int slot_for(struct bak_repack *r, const struct bak_seg_id *id, struct slot **out,
		    struct bak_error *err)
{
	struct bak_place place = {.seg = *id};
	struct slot *slot = &r->slots[0];
	if (bak_place_set_has(&slot->has, &place))
		slot = &r->slots[1];
	if ((bak_place_set_has(&slot->has, &place) ||
	     (slot->pack && bak_pack_len(slot->pack) >= BAK_PACK_SIZE)) &&
	    finish_slot(r, slot, err) < 0)
		return -1;
	if (!slot->pack && bak_pack_new(r->conf.backend, r->conf.ring, r->conf.run,
					r->conf.run_start, &slot->pack, err) < 0)
		return -1;
	bak_pack_set_parity(slot->pack, r->conf.parity);
	if (bak_place_set_add(&slot->has, &place) < 0)
		return bak_error_nomem(err);
	*out = slot;
	return 0;
}

/* --- what lies in a segment --- */

/* Footers are read, not asked from the index: that one knows places by hash, not the other way. A
 * damaged one is walked: nodes are found again, chunks are not. */
static int load_footer(struct bak_repack *r, const uint8_t pack[BAK_PACK_ID_BYTES],
		       struct bak_error *err)
{
	uint64_t lost;
	struct bak_error scratch = BAK_ERROR_INIT;
	if (r->has_footer && memcmp(r->footer.rows.pack.id, pack, BAK_PACK_ID_BYTES) == 0)
		return 0;
	bak_footer_release(&r->footer);
	r->has_footer = false;
	struct bak_backend *mended = r->conf.mended ? r->conf.mended : r->conf.backend;
	int rc = bak_pack_read_footer(r->conf.backend, r->conf.ring, pack, &r->footer, &scratch);
	if (rc < 0 && scratch.code == BAK_CORRUPT && r->conf.mended)
		rc = bak_pack_read_footer(mended, r->conf.ring, pack, &r->footer, &scratch);
	if (rc < 0 && (scratch.code == BAK_CORRUPT || scratch.code == BAK_UNSUPPORTED))
		rc = bak_pack_walk(mended, r->conf.ring, pack, &r->footer, &lost, err);
	else if (rc < 0)
		*err = scratch;
	if (rc == 0)
		return bak_error_set(err, BAK_CORRUPT, "its pack is gone");
	r->has_footer = rc == 1;
	return rc < 0 ? -1 : 0;
}

/* Whether the kept ranges hold [off, off + len); NULL keeps all. */
static bool keeps(const struct bak_seg_range *kept, size_t n, uint32_t off, uint32_t len)
{
	for (size_t i = 0; kept && i < n; i++)
		if (kept[i].off <= off &&
		    (uint64_t)off + len <= (uint64_t)kept[i].off + kept[i].len)
			return true;
	return !kept;
}

/* The footer has its rows in the order of the pack: a segment's stand together. */
static int add_rows(struct bak_repack *r, struct bak_pack *to, const struct bak_seg_id *id,
		    const struct bak_seg_range *kept, size_t n, struct bak_error *err)
{
	const struct bak_pack_rows *rows = &r->footer.rows;
	for (size_t i = 0; i < rows->n_chunks; i++) {
		const struct bak_chunk_row *chunk = &rows->chunks[i];
		if (bak_seg_id_equal(&chunk->seg, id) && keeps(kept, n, chunk->off, chunk->len) &&
		    bak_pack_add_chunk(to, chunk, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < rows->n_nodes; i++) {
		const struct bak_node_row *node = &rows->nodes[i];
		if (bak_seg_id_equal(&node->ref.seg, id) &&
		    keeps(kept, n, node->ref.off, node->ref.len) &&
		    bak_pack_add_node(to, node, err) < 0)
			return -1;
	}
	return 0;
}

/* --- copying --- */

static int open_record(struct bak_repack *r, const struct bak_seg_copy *copy, const void *record,
		       size_t len, struct bak_segment *out, struct bak_error *err)
{
	return bak_segment_open(r->conf.ring, &r->codec, (enum bak_seg_type)copy->type, &copy->id,
				record, len, out, err);
}

/* Into r->record, opened. */
static int read_from(struct bak_repack *r, struct bak_backend *backend,
		     const struct bak_seg_copy *copy, struct bak_segment *out,
		     struct bak_error *err)
{
	char name[BAK_PACK_NAME_LEN];
	bak_pack_name(copy->pack, name);
	r->record.len = 0;
	int rc = bak_backend_get(backend, name, copy->off, copy->len, &r->record, err);
	if (rc == 0)
		return bak_error_set(err, BAK_CORRUPT, "it is gone");
	return rc < 0 ? -1 : open_record(r, copy, r->record.p, r->record.len, out, err);
}

/* As it lies, else as parity gives it back. */
static int read_copy(struct bak_repack *r, const struct bak_seg_copy *copy, struct bak_segment *out,
		     struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	if (read_from(r, r->conf.backend, copy, out, err) == 0)
		return 0;
	if ((err->code != BAK_CORRUPT && err->code != BAK_IO) || !r->conf.mended ||
	    read_from(r, r->conf.mended, copy, out, &scratch) < 0)
		return -1;
	return 0;
}

/* The master that opened the header is the one that the footer has to name. */
static int key_of(const struct bak_repack *r, const void *record, uint32_t *out,
		  struct bak_error *err)
{
	struct bak_seg_header header;
	size_t master;
	int rc = bak_segment_open_header(r->conf.ring, record, &header, &master, err);
	if (rc == 1)
		*out = r->conf.ring->masters[master].number;
	return rc == 1 ? 0 : rc < 0 ? -1 : bak_error_set(err, BAK_CORRUPT, "bad header");
}

static int add(struct bak_repack *r, const struct bak_seg_copy *copy, const void *record,
	       size_t len, const struct bak_segment *segment, struct bak_error *err)
{
	struct slot *slot = NULL;
	uint32_t key = 0;
	if (key_of(r, record, &key, err) < 0 || load_footer(r, copy->pack, err) < 0 ||
	    slot_for(r, &copy->id, &slot, err) < 0)
		return -1;
	if (bak_pack_add(slot->pack, record, len, &segment->header, key, segment->kept,
			 segment->n_kept, err) < 0)
		return -1;
	return add_rows(r, slot->pack, &copy->id, segment->header.holed ? segment->kept : NULL,
			segment->n_kept, err);
}

int bak_repack_record(struct bak_repack *r, const struct bak_seg_copy *copy, const void *record,
		      size_t len, struct bak_error *err)
{
	struct bak_segment segment;
	if (open_record(r, copy, record, len, &segment, err) < 0)
		return -1;
	int rc = add(r, copy, record, len, &segment, err);
	bak_segment_release(&segment);
	return rc;
}

int bak_repack_whole(struct bak_repack *r, const struct bak_seg_copy *copy, struct bak_error *err)
{
	struct bak_segment segment;
	if (read_copy(r, copy, &segment, err) < 0)
		return -1;
	int rc = add(r, copy, r->record.p, r->record.len, &segment, err);
	bak_segment_release(&segment);
	return rc;
}

/* The holed form of what is kept: table, then bytes. */
static int make_holed(struct bak_repack *r, const struct bak_segment *segment,
		      const struct bak_seg_range *kept, size_t n, struct bak_error *err)
{
	const uint8_t *p;
	r->raw.len = 0;
	int bad = bak_put_u32(&r->raw, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		bad |= bak_put_u32(&r->raw, kept[i].off) < 0 ||
		       bak_put_u32(&r->raw, kept[i].len) < 0;
	for (size_t i = 0; i < n && !bad; i++) {
		if (!bak_segment_at(segment, kept[i].off, kept[i].len, &p))
			return bak_error_set(err, BAK_CORRUPT, "bytes %u+%u are not kept",
					     kept[i].off, kept[i].len);
		bad |= bak_buf_append(&r->raw, p, kept[i].len) < 0;
	}
	return bad ? bak_error_nomem(err) : 0;
}

int bak_repack_holed(struct bak_repack *r, const struct bak_seg_copy *copy,
		     const struct bak_seg_range *kept, size_t n_kept, struct bak_error *err)
{
	struct bak_segment segment,
		holed = {.kept = (struct bak_seg_range *)(uintptr_t)kept, .n_kept = n_kept};
	if (read_copy(r, copy, &segment, err) < 0)
		return -1;
	r->sealed.len = 0;
	int rc = make_holed(r, &segment, kept, n_kept, err);
	if (rc == 0)
		rc = bak_segment_seal(r->conf.ring, &r->codec, (enum bak_seg_type)copy->type, true,
				      &copy->id, r->raw.p, r->raw.len, r->conf.level, &r->sealed,
				      &holed.header, err);
	bak_segment_release(&segment);
	return rc < 0 ? -1 : add(r, copy, r->sealed.p, r->sealed.len, &holed, err);
}
