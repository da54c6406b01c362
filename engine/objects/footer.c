/* A pack's footer to bytes and back: see pack.h for the layout. */
#include "engine/objects/footer.h"

#include "engine/base/bytes.h"
#include "engine/objects/compress.h"

#include <stdlib.h>
#include <string.h>

#define FOOTER_VERSION 1
#define FOOTER_LEVEL 3
#define PAD_BELOW (16u << 20)
#define SEG_FLAG_HOLED 1

/* Least bytes that a segment, chunk or node takes in a footer: bounds counts before allocation. */
#define MIN_SEG 10
#define MIN_CHUNK 19
#define MIN_NODE 20

struct bak_seg_id bak_footer_seg_id(const uint8_t id[BAK_PACK_ID_BYTES])
{
	struct bak_seg_id seg;
	memcpy(seg.run, id, BAK_RUN_BYTES);
	seg.n = bak_load_u32(id + BAK_RUN_BYTES);
	return seg;
}

static unsigned log2_floor(uint64_t v)
{
	return 63u - (unsigned)__builtin_clzll(v);
}

uint64_t bak_padme(uint64_t len)
{
	if (len < 2)
		return len;
	unsigned e = log2_floor(len), kept = log2_floor(e ? e : 1) + 1;
	uint64_t mask = e > kept ? (1ull << (e - kept)) - 1 : 0;
	return (len + mask) & ~mask;
}

/* Segment ids of the pack in sorted order, to find their numbers. */
struct seg_number {
	struct bak_seg_id id;
	size_t number;
};

static int id_cmp(const struct bak_seg_id *a, const struct bak_seg_id *b)
{
	int c = memcmp(a->run, b->run, BAK_RUN_BYTES);
	return c ? c : a->n < b->n ? -1 : a->n > b->n;
}

static int seg_number_cmp(const void *a, const void *b)
{
	return id_cmp(&((const struct seg_number *)a)->id, &((const struct seg_number *)b)->id);
}

struct encoder {
	const struct bak_footer_in *in;
	struct bak_buf body;
	struct bak_runs runs;
	struct seg_number *numbers;
	bool bad; /* out of memory */
};

static void put(struct encoder *e, uint64_t v)
{
	e->bad |= bak_put_varint(&e->body, v) < 0;
}

/* A chunk or node, as both are listed. */
struct piece {
	size_t seg;
	uint32_t off, len;
	uint64_t span_len; /* nodes */
	struct bak_hash hash;
};

static int piece_cmp(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;
	if (x->seg != y->seg)
		return x->seg < y->seg ? -1 : 1;
	return x->off < y->off ? -1 : x->off > y->off;
}

static int find_seg(const struct encoder *e, const struct bak_seg_id *id, size_t *out)
{
	struct seg_number key = {.id = *id};
	const struct seg_number *found = bsearch(&key, e->numbers, e->in->n_segs, sizeof key,
						 seg_number_cmp);
	if (!found)
		return -1;
	*out = found->number;
	return 0;
}

static int put_pieces(struct encoder *e, struct piece *pieces, size_t n, bool nodes,
		      struct bak_error *err)
{
	size_t seg = 0;
	uint32_t end = 0;
	qsort(pieces, n, sizeof *pieces, piece_cmp);
	put(e, n);
	for (size_t i = 0; i < n; i++) {
		const struct piece *piece = &pieces[i];
		if (piece->seg != seg)
			end = 0;
		if (piece->off < end)
			return bak_error_set(err, BAK_BUG, "pieces of a pack overlap");
		put(e, piece->seg - seg);
		put(e, piece->off - end);
		put(e, piece->len);
		if (nodes)
			put(e, piece->span_len);
		e->bad |= bak_buf_append(&e->body, piece->hash.b, BAK_HASH_BYTES) < 0;
		seg = piece->seg;
		end = piece->off + piece->len;
	}
	return 0;
}

static int put_chunks(struct encoder *e, struct bak_error *err)
{
	size_t n = e->in->n_chunks;
	BAK_AUTO(bak_free_ptr) struct piece *pieces = calloc(n ? n : 1, sizeof *pieces);
	if (!pieces)
		return bak_error_nomem(err);
	for (size_t i = 0; i < n; i++) {
		const struct bak_chunk_row *row = &e->in->chunks[i];
		pieces[i] = (struct piece){.off = row->off, .len = row->len, .hash = row->hash};
		if (find_seg(e, &row->seg, &pieces[i].seg) < 0)
			return bak_error_set(err, BAK_BUG, "chunk of a segment of another pack");
	}
	return put_pieces(e, pieces, n, false, err);
}

static int put_nodes(struct encoder *e, struct bak_error *err)
{
	size_t n = e->in->n_nodes;
	BAK_AUTO(bak_free_ptr) struct piece *pieces = calloc(n ? n : 1, sizeof *pieces);
	if (!pieces)
		return bak_error_nomem(err);
	for (size_t i = 0; i < n; i++) {
		const struct bak_node_row *row = &e->in->nodes[i];
		pieces[i] = (struct piece){.off = row->ref.off,
					   .len = row->ref.len,
					   .span_len = row->span_len,
					   .hash = row->hash};
		if (find_seg(e, &row->ref.seg, &pieces[i].seg) < 0)
			return bak_error_set(err, BAK_BUG, "node of a segment of another pack");
	}
	return put_pieces(e, pieces, n, true, err);
}

/* *k: the place in in->kept, moved along. */
static void put_kept(struct encoder *e, size_t seg, size_t *k)
{
	const struct bak_footer_in *in = e->in;
	while (*k < in->n_kept && in->kept[*k].seg < seg)
		++*k;
	size_t n = *k < in->n_kept && in->kept[*k].seg == seg ? in->kept[*k].n : 0;
	uint32_t end = 0;
	put(e, n);
	for (size_t i = 0; i < n; i++) {
		const struct bak_seg_range *range = &in->ranges[in->kept[*k].first + i];
		put(e, range->off - end);
		put(e, range->len);
		end = range->off + range->len;
	}
}

static void put_segs(struct encoder *e)
{
	size_t k = 0;
	put(e, e->in->n_segs);
	for (size_t i = 0; i < e->in->n_segs; i++) {
		const struct bak_seg_copy *seg = &e->in->segs[i];
		int64_t run = bak_runs_number(&e->runs, seg->id.run);
		e->bad |= run < 0;
		put(e, run < 0 ? 0 : (uint64_t)run);
		put(e, seg->id.n);
		e->bad |= bak_put_u8(&e->body, seg->type) < 0 ||
			  bak_put_u8(&e->body, seg->holed ? SEG_FLAG_HOLED : 0) < 0 ||
			  bak_put_u32(&e->body, seg->key) < 0;
		put(e, seg->len);
		put(e, seg->raw_len);
		if (seg->holed)
			put_kept(e, i, &k);
	}
}

/* The frame's bytes: what comes before the segments is known only after them. */
static int encode_frame(struct encoder *e, struct bak_buf *out, struct bak_error *err)
{
	const struct bak_footer_in *in = e->in;
	for (size_t i = 0; i < in->n_segs; i++)
		e->numbers[i] = (struct seg_number){.id = in->segs[i].id, .number = i};
	qsort(e->numbers, in->n_segs, sizeof *e->numbers, seg_number_cmp);
	put_segs(e);
	if (put_chunks(e, err) < 0 || put_nodes(e, err) < 0)
		return -1;
	if (e->bad || bak_put_u8(out, FOOTER_VERSION) < 0 || bak_buf_append(out, in->run, 8) < 0 ||
	    bak_put_u64(out, (uint64_t)in->run_start) < 0 || bak_put_runs(out, &e->runs) < 0 ||
	    bak_buf_append(out, e->body.p, e->body.len) < 0)
		return bak_error_nomem(err);
	return 0;
}

int bak_footer_encode(const struct bak_footer_in *in, uint64_t pack_len, struct bak_buf *out,
		      struct bak_error *err)
{
	struct encoder e = {.in = in};
	BAK_AUTO(bak_buf_release) struct bak_buf raw = BAK_BUF_INIT;
	size_t start = out->len;
	e.numbers = calloc(in->n_segs ? in->n_segs : 1, sizeof *e.numbers);
	int result = e.numbers ? encode_frame(&e, &raw, err) : bak_error_nomem(err);
	if (result == 0 && (bak_put_u32(out, 0) < 0 || bak_put_u32(out, (uint32_t)raw.len) < 0))
		result = bak_error_nomem(err);
	if (result == 0)
		result = bak_zstd_pack(raw.p, raw.len, FOOTER_LEVEL, out, err);
	if (result == 0) {
		bak_store_u32(out->p + start, (uint32_t)(out->len - start - 8));
		uint64_t around = pack_len + BAK_SEG_OVERHEAD + BAK_PACK_TAIL;
		uint64_t total = around + (out->len - start);
		uint64_t padded = total < PAD_BELOW ? bak_padme(total) : total;
		if (bak_buf_resize(out, out->len + (size_t)(padded - total)) < 0)
			result = bak_error_nomem(err);
	}
	free(e.numbers);
	bak_buf_release(&e.body);
	bak_runs_release(&e.runs);
	return result;
}

static int damaged(const char *what, struct bak_error *err)
{
	return bak_error_set(err, BAK_CORRUPT, "damaged footer: %s", what);
}

/* What holed segments keep, while a footer is parsed. */
struct kept_lists {
	struct bak_kept_rows *rows;
	struct bak_seg_range *ranges;
	size_t n_rows, cap_rows, n_ranges, cap_ranges;
	bool no_memory;
};

static void get_kept(struct bak_bytes *in, size_t seg, struct kept_lists *out)
{
	uint64_t n = bak_get_varint_max(in, bak_bytes_left(in) / 2);
	uint64_t end = 0;
	if (bak_grow(&out->rows, &out->cap_rows, out->n_rows, sizeof *out->rows) < 0) {
		out->no_memory = in->bad = true;
		return;
	}
	out->rows[out->n_rows++] = (struct bak_kept_rows){seg, out->n_ranges, (size_t)n};
	for (uint64_t i = 0; i < n && !in->bad; i++) {
		uint64_t gap = bak_get_varint_max(in, BAK_SEG_LIMIT);
		uint64_t len = bak_get_varint_max(in, BAK_SEG_LIMIT);
		end += gap + len;
		if (len == 0 || (i > 0 && gap == 0) || end > BAK_SEG_LIMIT)
			in->bad = true;
		if (bak_grow(&out->ranges, &out->cap_ranges, out->n_ranges, sizeof *out->ranges) <
		    0) {
			out->no_memory = in->bad = true;
			return;
		}
		out->ranges[out->n_ranges++] = (struct bak_seg_range){.off = (uint32_t)(end - len),
								      .len = (uint32_t)len};
	}
}

static void get_seg(struct bak_bytes *in, const struct bak_runs *runs, size_t number,
		    struct kept_lists *kept, struct bak_seg_copy *out)
{
	uint64_t run = bak_get_varint(in);
	if (run >= runs->n) {
		in->bad = true;
		return;
	}
	memcpy(out->id.run, runs->runs[run], BAK_RUN_BYTES);
	out->id.n = (uint32_t)bak_get_varint_max(in, UINT32_MAX);
	out->type = bak_get_u8(in);
	uint8_t flags = bak_get_u8(in);
	out->holed = flags & SEG_FLAG_HOLED;
	out->key = bak_get_u32(in);
	out->len = (uint32_t)bak_get_varint_max(in, BAK_SEG_OVERHEAD + BAK_SEG_LIMIT);
	out->raw_len = (uint32_t)bak_get_varint_max(in, BAK_SEG_LIMIT);
	if (out->len < BAK_SEG_OVERHEAD || flags > SEG_FLAG_HOLED ||
	    (out->type != BAK_SEG_DATA && out->type != BAK_SEG_TREE))
		in->bad = true;
	if (out->holed)
		get_kept(in, number, kept);
}

/* records: bytes of all records together, as the pack's size says. */
static int get_segs(struct bak_bytes *in, const struct bak_runs *runs, uint64_t records,
		    struct bak_footer *out, struct bak_error *err)
{
	uint64_t n = bak_get_varint_max(in, bak_bytes_left(in) / MIN_SEG), off = 0;
	struct kept_lists kept = {.n_rows = 0};
	if (in->bad)
		return damaged("segments", err);
	out->segs = calloc(n ? n : 1, sizeof *out->segs);
	if (!out->segs)
		return bak_error_nomem(err);
	for (uint64_t i = 0; i < n && !in->bad; i++) {
		struct bak_seg_copy *seg = &out->segs[i];
		get_seg(in, runs, i, &kept, seg);
		memcpy(seg->pack, out->rows.pack.id, BAK_PACK_ID_BYTES);
		seg->off = off;
		off += seg->len;
	}
	out->rows.kept = out->kept = kept.rows;
	out->rows.ranges = out->ranges = kept.ranges;
	out->rows.n_kept = kept.n_rows;
	if (kept.no_memory)
		return bak_error_nomem(err);
	if (in->bad || off != records)
		return damaged("segments", err);
	out->rows.segs = out->segs;
	out->rows.n_segs = n;
	return 0;
}

/* Reads one piece behind the last one, which *piece still holds. */
static void get_piece(struct bak_bytes *in, const struct bak_footer *footer, bool nodes,
		      struct piece *piece)
{
	uint64_t step = bak_get_varint_max(in, footer->rows.n_segs);
	uint64_t end = step ? 0 : (uint64_t)piece->off + piece->len;
	uint64_t off = end + bak_get_varint_max(in, UINT32_MAX);
	uint64_t len = bak_get_varint_max(in, UINT32_MAX);
	piece->span_len = nodes ? bak_get_varint(in) : 0;
	const uint8_t *hash = bak_get_bytes(in, BAK_HASH_BYTES);
	piece->seg += step;
	if (in->bad || piece->seg >= footer->rows.n_segs || len == 0 || off + len > BAK_SEG_LIMIT ||
	    (!footer->segs[piece->seg].holed && off + len > footer->segs[piece->seg].raw_len)) {
		in->bad = true;
		return;
	}
	piece->off = (uint32_t)off;
	piece->len = (uint32_t)len;
	memcpy(piece->hash.b, hash, BAK_HASH_BYTES);
}

static int get_chunks(struct bak_bytes *in, struct bak_footer *out, struct bak_error *err)
{
	uint64_t n = bak_get_varint_max(in, bak_bytes_left(in) / MIN_CHUNK);
	struct piece piece = {.seg = 0};
	out->chunks = calloc(n ? n : 1, sizeof *out->chunks);
	if (!out->chunks)
		return bak_error_nomem(err);
	for (uint64_t i = 0; i < n && !in->bad; i++) {
		get_piece(in, out, false, &piece);
		if (!in->bad)
			out->chunks[i] = (struct bak_chunk_row){.hash = piece.hash,
								.seg = out->segs[piece.seg].id,
								.off = piece.off,
								.len = piece.len};
	}
	out->rows.chunks = out->chunks;
	out->rows.n_chunks = n;
	return in->bad ? damaged("chunks", err) : 0;
}

static int get_nodes(struct bak_bytes *in, struct bak_footer *out, struct bak_error *err)
{
	uint64_t n = bak_get_varint_max(in, bak_bytes_left(in) / MIN_NODE);
	struct piece piece = {.seg = 0};
	out->nodes = calloc(n ? n : 1, sizeof *out->nodes);
	if (!out->nodes)
		return bak_error_nomem(err);
	for (uint64_t i = 0; i < n && !in->bad; i++) {
		get_piece(in, out, true, &piece);
		if (!in->bad)
			out->nodes[i] = (struct bak_node_row){
				.hash = piece.hash,
				.ref = {out->segs[piece.seg].id, piece.off, piece.len},
				.span_len = piece.span_len};
	}
	out->rows.nodes = out->nodes;
	out->rows.n_nodes = n;
	return in->bad ? damaged("nodes", err) : 0;
}

static int decode_frame(struct bak_bytes *in, uint64_t records, struct bak_footer *out,
			struct bak_error *err)
{
	struct bak_runs runs = {.n = 0};
	if (bak_get_u8(in) != FOOTER_VERSION)
		return bak_error_set(err, BAK_UNSUPPORTED, "pack footer of a newer version");
	const uint8_t *run = bak_get_bytes(in, sizeof out->rows.pack.run);
	if (run)
		memcpy(out->rows.pack.run, run, sizeof out->rows.pack.run);
	out->run_start = (int64_t)bak_get_u64(in);
	if (bak_get_runs(in, &runs, err) < 0)
		return -1;
	int result = get_segs(in, &runs, records, out, err);
	bak_runs_release(&runs);
	if (result < 0 || get_chunks(in, out, err) < 0 || get_nodes(in, out, err) < 0)
		return -1;
	return bak_bytes_left(in) ? damaged("bytes left over", err) : 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	while (len > 0 && *p == 0)
		p++, len--;
	return len == 0;
}

int bak_footer_parse(const uint8_t id[BAK_PACK_ID_BYTES], uint64_t size, const void *body,
		     size_t len, struct bak_footer *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf raw = BAK_BUF_INIT;
	struct bak_bytes in = bak_bytes_of(body, len);
	*out = (struct bak_footer){.run_start = 0};
	memcpy(out->rows.pack.id, id, BAK_PACK_ID_BYTES);
	out->rows.pack.size = size;
	uint64_t around = (uint64_t)len + BAK_SEG_OVERHEAD + BAK_PACK_TAIL;
	uint32_t zlen = bak_get_u32(&in), raw_len = bak_get_u32(&in);
	const uint8_t *frame = bak_get_bytes(&in, zlen);
	if (in.bad || size < around || raw_len > BAK_SEG_LIMIT)
		return damaged("lengths", err);
	if (!all_zero(in.p, bak_bytes_left(&in)))
		return damaged("padding", err);
	if (bak_zstd_unpack(frame, zlen, raw_len, &raw, err) < 0)
		return bak_error_wrap(err, "damaged footer");
	in = bak_bytes_of(raw.p, raw.len);
	if (decode_frame(&in, size - around, out, err) < 0) {
		bak_footer_release(out);
		return -1;
	}
	return 0;
}

void bak_footer_release(struct bak_footer *footer)
{
	free(footer->segs);
	free(footer->kept);
	free(footer->ranges);
	free(footer->chunks);
	free(footer->nodes);
	*footer = (struct bak_footer){.run_start = 0};
}
