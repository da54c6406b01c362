/* Where it is decided what is new: see span_writer.h. */
#include "engine/content/span_writer.h"

#include "engine/content/matcher.h"
#include "engine/content/parts.h"

#include <stdlib.h>

/* New bytes of a span that also has older ones: up to this they count as an edit. */
#define EDIT_MAX (16u << 10)

struct bak_span_writer {
	struct bak_span_writer_conf conf;
	struct bak_hmac hmac, span_hmac; /* of chunks, and of spans: each a thread's */
	struct bak_matcher *matcher;
	struct bak_content previous;
	uint64_t previous_size; /* 0: none */
	enum bak_seg_class class;

	/* The span that is being placed. */
	const uint8_t *buf;
	struct bak_parts parts;
	struct bak_extent *extents;
	size_t n_extents, cap_extents;
	uint32_t *chunk_lens;
	size_t n_chunks, cap_chunks;
	bool scattered; /* something of it lies in older segments */
};

int bak_span_writer_new(const struct bak_span_writer_conf *conf, struct bak_span_writer **out_sw,
			struct bak_error *err)
{
	struct bak_span_writer *sw = calloc(1, sizeof *sw);
	if (!sw)
		return bak_error_nomem(err);
	sw->conf = *conf;
	if (bak_hmac_init(&sw->hmac, conf->ring->id_key, err) < 0 ||
	    bak_hmac_init(&sw->span_hmac, conf->ring->id_key, err) < 0 ||
	    bak_matcher_new(conf->source, conf->chunker, &sw->matcher, err) < 0) {
		bak_span_writer_free(sw);
		return -1;
	}
	bak_matcher_limit(sw->matcher, conf->table_bytes);
	*out_sw = sw;
	return 0;
}

void bak_span_writer_free(struct bak_span_writer *sw)
{
	if (!sw)
		return;
	bak_hmac_release(&sw->hmac);
	bak_hmac_release(&sw->span_hmac);
	bak_matcher_free(sw->matcher);
	bak_parts_release(&sw->parts);
	free(sw->extents);
	free(sw->chunk_lens);
	free(sw);
}

void bak_span_writer_begin(struct bak_span_writer *sw, enum bak_seg_class class,
			   const struct bak_content *previous, uint64_t previous_size)
{
	sw->class = class;
	sw->previous_size = previous ? previous_size : 0;
	if (previous)
		sw->previous = *previous;
	bak_matcher_begin(sw->matcher, sw->conf.no_alike ? NULL : previous, previous_size);
}

void bak_span_writer_hash(struct bak_span_writer *sw, const void *p, size_t len,
			  struct bak_sha256 *sum, struct bak_hash *out)
{
	uint8_t mac[BAK_SHA256_LEN];
	bak_hmac_begin(&sw->hmac);
	bak_hmac_update_both(&sw->hmac, sum, p, len);
	bak_hmac_final(&sw->hmac, mac);
	memcpy(out->b, mac, BAK_HASH_BYTES);
}

/* --- what is known already --- */

/* 1 and the extent, 0 unknown, -1. */
static int find_chunk(struct bak_span_writer *sw, const struct bak_item *item,
		      struct bak_extent *out, struct bak_error *err)
{
	struct bak_segmenter *s = sw->conf.segmenter;
	uint32_t seg, off, len;
	if (sw->conf.no_dedup)
		return 0;
	if (bak_pending_find(&s->chunks, &item->hash, &seg, &off, &len) && len == item->len) {
		*out = (struct bak_extent){BAK_EXTENT_BYTES, {.n = seg}, off, len};
		memcpy(out->seg.run, s->run, BAK_RUN_BYTES);
		return 1;
	}
	struct bak_chunk_row row;
	int rc = bak_index_find_chunk(sw->conf.index, &item->hash, &row, err);
	if (rc <= 0 || row.len != item->len)
		return rc < 0 ? -1 : 0;
	*out = (struct bak_extent){BAK_EXTENT_BYTES, row.seg, row.off, row.len};
	return bak_usable_range(sw->conf.usable, &row.seg, row.off, row.len, err);
}

static int find_node(struct bak_span_writer *sw, const struct bak_hash *hash, uint64_t len,
		     struct bak_ref *out, struct bak_error *err)
{
	struct bak_segmenter *s = sw->conf.segmenter;
	uint32_t seg;
	if (sw->conf.no_dedup)
		return 0;
	if (bak_pending_find(&s->nodes, hash, &seg, &out->off, &out->len)) {
		memcpy(out->seg.run, s->run, BAK_RUN_BYTES);
		out->seg.n = seg;
		return 1;
	}
	struct bak_node_row row;
	int rc = bak_index_find_node(sw->conf.index, hash, &row, err);
	if (rc <= 0)
		return rc;
	*out = row.ref;
	return bak_usable_node(sw->conf.usable, &row, len, err);
}

static void hash_span(struct bak_span_writer *sw, const struct bak_item *items, size_t n,
		      struct bak_hash *out)
{
	uint8_t mac[BAK_SHA256_LEN];
	bak_hmac_begin(&sw->span_hmac);
	for (size_t i = 0; i < n; i++) {
		uint8_t line[1 + BAK_HASH_BYTES] = {(uint8_t)items[i].kind};
		if (items[i].kind == BAK_ITEM_CHUNK) {
			memcpy(line + 1, items[i].hash.b, BAK_HASH_BYTES);
			bak_hmac_update(&sw->span_hmac, line, sizeof line);
		} else {
			bak_store_u64(line + 1, items[i].len);
			bak_hmac_update(&sw->span_hmac, line, 9);
		}
	}
	bak_hmac_final(&sw->span_hmac, mac);
	memcpy(out->b, mac, BAK_HASH_BYTES);
}

/* --- extents of the span --- */

/* Adds an extent, joined to the last one where they touch. */
static int add_extent(struct bak_span_writer *sw, const struct bak_extent *extent)
{
	struct bak_extent *last = sw->n_extents ? &sw->extents[sw->n_extents - 1] : NULL;
	if (last && extent->kind == BAK_EXTENT_BYTES && last->kind == BAK_EXTENT_BYTES &&
	    bak_seg_id_equal(&last->seg, &extent->seg) && last->off + last->len == extent->off) {
		last->len += extent->len;
		return 0;
	}
	if (bak_grow(&sw->extents, &sw->cap_extents, sw->n_extents, sizeof *sw->extents) < 0)
		return -1;
	sw->extents[sw->n_extents++] = *extent;
	return 0;
}

static int add_chunk_len(struct bak_span_writer *sw, uint64_t len)
{
	if (bak_grow(&sw->chunk_lens, &sw->cap_chunks, sw->n_chunks, sizeof *sw->chunk_lens) < 0)
		return -1;
	sw->chunk_lens[sw->n_chunks++] = (uint32_t)len;
	return 0;
}

/* New bytes, whole into one segment. hash: of the chunk that they are, NULL for less than one. */
static int add_new(struct bak_span_writer *sw, uint32_t off, uint32_t len,
		   const struct bak_hash *hash, struct bak_error *err)
{
	struct bak_extent extent;
	enum bak_seg_class class = sw->scattered && len < EDIT_MAX ? BAK_CLASS_EDITS : sw->class;
	if (bak_segmenter_bytes(sw->conf.segmenter, class, sw->buf + off, len, hash, &extent, err) <
	    0)
		return -1;
	return add_extent(sw, &extent) < 0 ? bak_error_nomem(err) : 0;
}

/* --- what the span is made of --- */

/* Chunks that no hash found, one behind another: n of them, the first at file_off. */
struct run {
	const struct bak_item *items;
	size_t n;
	uint64_t file_off;
};

/* A matched piece being taken over. */
struct taking {
	struct bak_parts *parts;
	uint64_t old_off; /* of the piece, in the old version */
	uint32_t off;     /* in the buffer */
};

static int take_extent(void *ctx, uint64_t at, const struct bak_extent *extent,
		       struct bak_error *err)
{
	struct taking *t = ctx;
	uint32_t off = t->off + (uint32_t)(at - t->old_off);
	int rc = extent->kind == BAK_EXTENT_BYTES ? bak_parts_known(t->parts, off, extent)
						  : bak_parts_fresh(t->parts, off, extent->len);
	return rc < 0 ? bak_error_nomem(err) : 0;
}

/* The run against the predecessor. */
static int match_run(struct bak_span_writer *sw, struct run *run, struct bak_error *err)
{
	const struct bak_piece *pieces;
	size_t n_pieces;
	if (run->n == 0)
		return 0;
	const struct bak_item *last = &run->items[run->n - 1];
	uint32_t off = run->items[0].off;
	size_t len = last->off + last->len - off;
	run->n = 0;
	if (bak_matcher_run(sw->matcher, run->file_off, sw->buf + off, len, &pieces, &n_pieces,
			    err) < 0)
		return -1;
	for (size_t i = 0; i < n_pieces; i++) {
		uint32_t at = off + (uint32_t)pieces[i].off;
		struct taking taking = {&sw->parts, pieces[i].old_off, at};
		if (pieces[i].old_off == BAK_PIECE_NEW) {
			if (bak_parts_fresh(&sw->parts, at, pieces[i].len) < 0)
				return bak_error_nomem(err);
		} else if (bak_matcher_extents(sw->matcher, pieces[i].old_off, pieces[i].len,
					       take_extent, &taking, err) < 0) {
			return -1;
		}
	}
	return 0;
}

/* What is known of an item: 1 and its extent (holes and zeros always), 0 an unknown chunk, -1. */
static int look_up(struct bak_span_writer *sw, const struct bak_item *item, struct bak_extent *out,
		   struct bak_error *err)
{
	*out = (struct bak_extent){.kind = item->kind == BAK_ITEM_HOLE ? BAK_EXTENT_HOLE
								       : BAK_EXTENT_ZEROS,
				   .len = item->len};
	if (item->kind != BAK_ITEM_CHUNK)
		return 1;
	if (add_chunk_len(sw, item->len) < 0)
		return bak_error_nomem(err);
	return find_chunk(sw, item, out, err);
}

static int gather_parts(struct bak_span_writer *sw, uint64_t file_off, const struct bak_item *items,
			size_t n, struct bak_error *err)
{
	struct run run = {.n = 0};
	for (size_t i = 0; i < n; file_off += items[i++].len) {
		struct bak_extent extent;
		int rc = look_up(sw, &items[i], &extent, err);
		if (rc < 0 || (rc == 1 && match_run(sw, &run, err) < 0))
			return -1;
		if (rc == 1 && bak_parts_known(&sw->parts, items[i].off, &extent) < 0)
			return bak_error_nomem(err);
		if (rc == 1)
			continue;
		if (run.n == 0)
			run = (struct run){.items = &items[i], .file_off = file_off};
		run.n++;
	}
	if (match_run(sw, &run, err) < 0)
		return -1;
	int rc = bak_parts_settle(&sw->parts);
	if (rc < 0)
		return bak_error_nomem(err);
	if (rc == 1 || bak_parts_any_known(&sw->parts))
		bak_matcher_judge(sw->matcher, rc == 0, items[n - 1].off + items[n - 1].len);
	return 0;
}

/* Nothing is looked up, all bytes are stored anew. */
static int gather_whole(struct bak_span_writer *sw, const struct bak_item *items, size_t n,
			struct bak_error *err)
{
	for (size_t i = 0; i < n; i++) {
		struct bak_extent extent = {
			.kind = items[i].kind == BAK_ITEM_HOLE ? BAK_EXTENT_HOLE : BAK_EXTENT_ZEROS,
			.len = items[i].len};
		bool chunk = items[i].kind == BAK_ITEM_CHUNK;
		if ((chunk ? bak_parts_fresh(&sw->parts, items[i].off, items[i].len)
			   : bak_parts_known(&sw->parts, 0, &extent)) < 0 ||
		    (chunk && add_chunk_len(sw, items[i].len) < 0))
			return bak_error_nomem(err);
	}
	return 0;
}

/* --- storing it --- */

/* A chunk that is wholly fresh; the same may have come a little earlier in this span. */
static int add_chunk(struct bak_span_writer *sw, const struct bak_item *item, struct bak_error *err)
{
	struct bak_segmenter *s = sw->conf.segmenter;
	uint32_t seg, off, len;
	if (sw->conf.no_dedup)
		return add_new(sw, item->off, (uint32_t)item->len, NULL, err);
	if (!bak_pending_find(&s->chunks, &item->hash, &seg, &off, &len) || len != item->len)
		return add_new(sw, item->off, (uint32_t)item->len, &item->hash, err);
	struct bak_extent extent = {BAK_EXTENT_BYTES, {.n = seg}, off, len};
	memcpy(extent.seg.run, s->run, BAK_RUN_BYTES);
	return add_extent(sw, &extent) < 0 ? bak_error_nomem(err) : 0;
}

/* Fresh bytes [off, off + len) of the buffer; those chunks that lie in it whole are listed. *item
 * is the first that may lie there, moved on. */
static int place_fresh(struct bak_span_writer *sw, const struct bak_item *items, size_t n,
		       size_t *item, uint32_t off, uint32_t len, struct bak_error *err)
{
	uint32_t end = off + len;
	for (; off < end && *item < n; ++*item) {
		const struct bak_item *it = &items[*item];
		if (it->kind != BAK_ITEM_CHUNK || it->off + it->len <= off)
			continue;
		uint32_t to = it->off + (uint32_t)it->len, stop = to < end ? to : end;
		int rc = it->off == off && to == stop ? add_chunk(sw, it, err)
						      : add_new(sw, off, stop - off, NULL, err);
		if (rc < 0)
			return -1;
		off = stop;
		if (to > end)
			break;
	}
	return 0;
}

static int place_parts(struct bak_span_writer *sw, const struct bak_item *items, size_t n,
		       struct bak_error *err)
{
	const struct bak_parts *parts = &sw->parts;
	size_t item = 0;
	for (size_t i = 0; i < parts->n; i++) {
		const struct bak_part *part = &parts->v[i];
		uint32_t off = part->off, len = (uint32_t)part->extent.len;
		if (!part->fresh) {
			if (add_extent(sw, &part->extent) < 0)
				return bak_error_nomem(err);
			continue;
		}
		for (; i + 1 < parts->n && part[1].fresh; i++, part++)
			len += (uint32_t)part[1].extent.len;
		if (place_fresh(sw, items, n, &item, off, len, err) < 0)
			return -1;
	}
	return 0;
}

/* --- the span --- */

/* Lists of extents grow from one version of a span to the next. When they have come to about what
 * the span itself takes, stored, it is written whole; its hash spreads that over the versions. */
static bool too_scattered(struct bak_span_writer *sw, uint64_t file_off, uint64_t len,
			  const struct bak_hash *hash, uint64_t *out_scatter)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	*out_scatter = 0;
	if (file_off >= sw->previous_size ||
	    bak_scatter_at(sw->conf.source, &sw->previous, sw->previous_size, file_off, out_scatter,
			   &scratch) < 0)
		return false;
	/* Lists cost least in all when together they have come to what the span takes, stored. But
	 * twice as much is only a twentieth worse, and most files do not live for so long. */
	return *out_scatter * 100 > len * (70 + hash->b[2] * 60u / 255);
}

static int write_node(struct bak_span_writer *sw, struct bak_span *span, uint64_t old_scatter,
		      struct bak_ref *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	span->n_chunks = sw->n_chunks;
	span->chunk_lens = sw->chunk_lens;
	span->n_extents = sw->n_extents;
	span->extents = sw->extents;
	if (bak_span_encode(span, &payload, err) < 0)
		return -1;
	if (sw->scattered) {
		/* Its own list counts too; the length hardly changes by that. */
		span->scatter = old_scatter + payload.len;
		payload.len = 0;
		if (bak_span_encode(span, &payload, err) < 0)
			return -1;
	}
	/* Lists that grow from snapshot to snapshot are much of what these take: stored once. */
	return bak_segmenter_object(sw->conf.segmenter,
				    sw->scattered ? BAK_CLASS_LISTS : BAK_CLASS_TREE,
				    BAK_OBJECT_SPAN, &payload,
				    sw->conf.no_dedup ? NULL : &span->hash, span->len, out, err);
}

static void start_span(struct bak_span_writer *sw, const uint8_t *buf, uint64_t len,
		       struct bak_span_place *out)
{
	sw->buf = buf;
	sw->n_extents = sw->n_chunks = 0;
	bak_parts_clear(&sw->parts);
	sw->scattered = false;
	*out = (struct bak_span_place){.line = {.kind = BAK_LINE_SPAN, .len = len}};
}

int bak_span_writer_store(struct bak_span_writer *sw, uint64_t file_off,
			  const struct bak_item *items, size_t n, const uint8_t *buf, uint64_t len,
			  bool without_node, struct bak_span_place *out, struct bak_error *err)
{
	struct bak_span span = {.len = len};
	uint64_t scatter;
	start_span(sw, buf, len, out);
	hash_span(sw, items, n, &span.hash);
	out->hash = span.hash;
	int rc = n > 1 ? find_node(sw, &span.hash, len, &out->line.ref, err) : 0;
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	rc = too_scattered(sw, file_off, len, &span.hash, &scatter)
		     ? gather_whole(sw, items, n, err)
		     : gather_parts(sw, file_off, items, n, err);
	sw->scattered = bak_parts_any_known(&sw->parts);
	if (rc < 0 || place_parts(sw, items, n, err) < 0)
		return -1;
	out->single = sw->n_extents == 1;
	out->only = sw->extents[0];
	if (out->single && without_node)
		return 0;
	return write_node(sw, &span, scatter, &out->line.ref, err);
}

int bak_span_writer_given(struct bak_span_writer *sw, const struct bak_extent *extents, size_t n,
			  uint64_t len, struct bak_span_place *out, struct bak_error *err)
{
	struct bak_span span = {.len = len};
	uint64_t chunk = 0;
	start_span(sw, NULL, len, out);
	for (size_t i = 0; i < n; i++) {
		bool bytes = extents[i].kind == BAK_EXTENT_BYTES;
		chunk += bytes ? extents[i].len : 0;
		if (chunk > 0 && (!bytes || i + 1 == n)) {
			if (add_chunk_len(sw, chunk) < 0)
				return bak_error_nomem(err);
			chunk = 0;
		}
		if (add_extent(sw, &extents[i]) < 0)
			return bak_error_nomem(err);
	}
	if (bak_random(span.hash.b, sizeof span.hash.b, err) < 0)
		return -1;
	out->hash = span.hash;
	return write_node(sw, &span, 0, &out->line.ref, err);
}
