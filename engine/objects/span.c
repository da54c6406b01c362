/* Span nodes, inner nodes, run tables, objects in tree segments: see span.h. */
#include "engine/objects/span.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define NODE_VERSION 1
#define COLUMN_STORED 0
#define COLUMN_ZSTD 1
/* Below this zstd's frame costs more than it saves. */
#define COLUMN_ZSTD_FROM 96
/* Measured on lists of 16 generations: level 3 in one block 452 KB, in four 438, level 9 426, 19
 * 423. Of one generation, where a list is short: in four blocks 3 % more. */
#define COLUMN_LEVEL 9
#define COLUMN_BLOCKS_FROM 4096
#define COLUMNS 4
/* What a reader allocates for at most: far beyond any writer, far below harm. */
#define COLUMNS_LIMIT (64u << 20)

/* --- run tables and references --- */

void bak_runs_release(struct bak_runs *runs)
{
	free(runs->runs);
	*runs = (struct bak_runs){0};
}

int64_t bak_runs_number(struct bak_runs *runs, const uint8_t run[BAK_RUN_BYTES])
{
	for (size_t i = runs->n; i-- > 0;)
		if (memcmp(runs->runs[i], run, BAK_RUN_BYTES) == 0)
			return (int64_t)i;
	if (bak_grow(&runs->runs, &runs->cap, runs->n, sizeof *runs->runs) < 0)
		return -1;
	memcpy(runs->runs[runs->n], run, BAK_RUN_BYTES);
	return (int64_t)runs->n++;
}

int bak_put_runs(struct bak_buf *out, const struct bak_runs *runs)
{
	if (bak_put_varint(out, runs->n) < 0)
		return -1;
	return bak_buf_append(out, runs->runs, runs->n * BAK_RUN_BYTES);
}

int bak_get_runs(struct bak_bytes *in, struct bak_runs *out, struct bak_error *err)
{
	*out = (struct bak_runs){0};
	size_t n = bak_get_varint_max(in, bak_bytes_left(in) / BAK_RUN_BYTES);
	const uint8_t *p = bak_get_bytes(in, n * BAK_RUN_BYTES);
	if (!p)
		return bak_error_set(err, BAK_CORRUPT, "run table cut short");
	if (n == 0)
		return 0;
	out->runs = malloc(n * BAK_RUN_BYTES);
	if (!out->runs)
		return bak_error_nomem(err);
	memcpy(out->runs, p, n * BAK_RUN_BYTES);
	out->n = out->cap = n;
	return 0;
}

static int put_seg(struct bak_buf *out, struct bak_runs *runs, const struct bak_seg_id *seg)
{
	int64_t run = bak_runs_number(runs, seg->run);
	if (run < 0 || bak_put_varint(out, (uint64_t)run) < 0)
		return -1;
	return bak_put_varint(out, seg->n);
}

static void get_seg(struct bak_bytes *in, const struct bak_runs *runs, struct bak_seg_id *out)
{
	*out = (struct bak_seg_id){0};
	uint64_t run = bak_get_varint(in);
	uint64_t n = bak_get_varint_max(in, UINT32_MAX);
	if (in->bad || run >= runs->n) {
		in->bad = true;
		return;
	}
	memcpy(out->run, runs->runs[run], BAK_RUN_BYTES);
	out->n = (uint32_t)n;
}

int bak_put_ref(struct bak_buf *out, struct bak_runs *runs, const struct bak_ref *ref)
{
	if (put_seg(out, runs, &ref->seg) < 0 || bak_put_varint(out, ref->off) < 0)
		return -1;
	return bak_put_varint(out, ref->len);
}

void bak_get_ref(struct bak_bytes *in, const struct bak_runs *runs, struct bak_ref *out)
{
	get_seg(in, runs, &out->seg);
	out->off = (uint32_t)bak_get_varint_max(in, UINT32_MAX);
	out->len = (uint32_t)bak_get_varint_max(in, UINT32_MAX - out->off);
	if (out->len < BAK_OBJECT_PREFIX)
		in->bad = true;
}

int bak_object_next(const void *raw, size_t len, uint32_t *at, enum bak_object_kind *out_kind,
		    const uint8_t **out_payload, uint32_t *out_len)
{
	if (*at == len)
		return 0;
	if (*at > len || len - *at < BAK_OBJECT_PREFIX)
		return -1;
	const uint8_t *p = (const uint8_t *)raw + *at;
	uint32_t n = bak_load_u32(p + 1);
	if (p[0] < BAK_OBJECT_SPAN || p[0] > BAK_OBJECT_LINK_NAMES ||
	    n > len - *at - BAK_OBJECT_PREFIX)
		return -1;
	*out_kind = p[0];
	*out_payload = p + BAK_OBJECT_PREFIX;
	*out_len = n;
	*at += BAK_OBJECT_PREFIX + n;
	return 1;
}

/* --- span nodes: writing --- */

struct piece {
	struct bak_seg_id seg;
	size_t extent; /* the order in which segments were met decides their numbers */
	uint64_t off, len;
};

static int piece_cmp(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;
	int d = memcmp(x->seg.run, y->seg.run, BAK_RUN_BYTES);
	if (d)
		return d;
	if (x->seg.n != y->seg.n)
		return x->seg.n < y->seg.n ? -1 : 1;
	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	return x->extent < y->extent ? -1 : x->extent > y->extent;
}

/* The segments that a span uses: first extent that met it, bytes used once each. */
struct use {
	struct bak_seg_id seg;
	size_t first_extent;
	uint64_t used, next_off;
};

static int use_cmp(const void *a, const void *b)
{
	const struct use *x = a, *y = b;
	return x->first_extent < y->first_extent ? -1 : x->first_extent > y->first_extent;
}

/* Groups pieces sorted by segment and offset into uses; overlapping bytes count once. */
static size_t count_uses(const struct piece *pieces, size_t n, struct use *uses)
{
	size_t n_uses = 0;
	uint64_t end = 0;
	for (size_t i = 0; i < n; i++) {
		const struct piece *p = &pieces[i];
		if (i == 0 || !bak_seg_id_equal(&p->seg, &pieces[i - 1].seg)) {
			uses[n_uses++] = (struct use){.seg = p->seg, .first_extent = p->extent};
			end = 0;
		}
		struct use *u = &uses[n_uses - 1];
		if (p->extent < u->first_extent)
			u->first_extent = p->extent;
		uint64_t from = p->off > end ? p->off : end;
		if (p->off + p->len > from) {
			u->used += p->off + p->len - from;
			end = p->off + p->len;
		}
	}
	return n_uses;
}

/* Numbers of the segments: *out_numbers[i] is extent i's, *out_uses the table in that order. */
static int number_segments(const struct bak_span *span, struct use **out_uses, size_t *out_n,
			   uint32_t **out_numbers)
{
	size_t n = 0;
	struct piece *pieces = calloc(span->n_extents + 1, sizeof *pieces);
	struct use *uses = calloc(span->n_extents + 1, sizeof *uses);
	uint32_t *numbers = calloc(span->n_extents + 1, sizeof *numbers);
	if (!pieces || !uses || !numbers) {
		free(pieces);
		free(uses);
		free(numbers);
		return -1;
	}
	for (size_t i = 0; i < span->n_extents; i++) {
		const struct bak_extent *e = &span->extents[i];
		if (e->kind == BAK_EXTENT_BYTES)
			pieces[n++] = (struct piece){e->seg, i, e->off, e->len};
	}
	qsort(pieces, n, sizeof *pieces, piece_cmp);
	size_t n_uses = count_uses(pieces, n, uses);
	qsort(uses, n_uses, sizeof *uses, use_cmp);
	/* Both lists are small or sorted; a segment's pieces are neighbours. */
	for (size_t i = 0; i < n;) {
		uint32_t number = 0;
		while (!bak_seg_id_equal(&uses[number].seg, &pieces[i].seg))
			number++;
		struct bak_seg_id seg = pieces[i].seg;
		for (; i < n && bak_seg_id_equal(&pieces[i].seg, &seg); i++)
			numbers[pieces[i].extent] = number;
	}
	free(pieces);
	*out_uses = uses;
	*out_n = n_uses;
	*out_numbers = numbers;
	return 0;
}

static int put_columns(const struct bak_span *span, struct use *uses, const uint32_t *numbers,
		       struct bak_buf *out, size_t ends[COLUMNS])
{
	for (size_t i = 0; i < span->n_chunks; i++)
		if (bak_put_varint(out, span->chunk_lens[i]) < 0)
			return -1;
	ends[0] = out->len;
	for (size_t i = 0; i < span->n_extents; i++) {
		const struct bak_extent *e = &span->extents[i];
		uint64_t v = e->kind == BAK_EXTENT_BYTES ? 2 + (uint64_t)numbers[i] : e->kind;
		if (bak_put_varint(out, v) < 0)
			return -1;
	}
	ends[1] = out->len;
	for (size_t i = 0; i < span->n_extents; i++) {
		const struct bak_extent *e = &span->extents[i];
		if (e->kind != BAK_EXTENT_BYTES)
			continue;
		struct use *u = &uses[numbers[i]];
		if (bak_put_zigzag(out, (int64_t)e->off - (int64_t)u->next_off) < 0)
			return -1;
		u->next_off = e->off + e->len;
	}
	ends[2] = out->len;
	for (size_t i = 0; i < span->n_extents; i++)
		if (bak_put_varint(out, span->extents[i].len) < 0)
			return -1;
	ends[3] = out->len;
	return 0;
}

/* Compresses the columns [ends[i - 1], ends[i]) of raw one behind another. Long ones get a block
 * each, so that each has its own statistics. */
static size_t compress_columns(const struct bak_buf *raw, const size_t ends[COLUMNS],
			       struct bak_buf *out)
{
	ZSTD_CCtx *cctx = ZSTD_createCCtx();
	if (!cctx)
		return 0;
	ZSTD_outBuffer to = {out->p, out->len, 0};
	size_t at = 0, code = ZSTD_CCtx_setParameter(cctx, ZSTD_c_compressionLevel, COLUMN_LEVEL);
	if (!ZSTD_isError(code))
		code = ZSTD_CCtx_setPledgedSrcSize(cctx, raw->len);
	for (int i = 0; i < COLUMNS && !ZSTD_isError(code); i++) {
		ZSTD_inBuffer from = {raw->p + at, ends[i] - at, 0};
		ZSTD_EndDirective flush = raw->len < COLUMN_BLOCKS_FROM ? ZSTD_e_continue
									: ZSTD_e_flush;
		code = ZSTD_compressStream2(cctx, &to, &from,
					    i + 1 == COLUMNS ? ZSTD_e_end : flush);
		at = ends[i];
	}
	ZSTD_freeCCtx(cctx);
	return code == 0 ? to.pos : 0;
}

static int put_packed(struct bak_buf *out, const struct bak_buf *raw, const size_t ends[COLUMNS])
{
	BAK_AUTO(bak_buf_release) struct bak_buf z = BAK_BUF_INIT;
	size_t n = raw->len;
	uint8_t codec = COLUMN_STORED;
	const uint8_t *p = raw->p;
	if (raw->len >= COLUMN_ZSTD_FROM) {
		if (bak_buf_resize(&z, ZSTD_compressBound(raw->len) + COLUMNS * 64) < 0)
			return -1;
		size_t zn = compress_columns(raw, ends, &z);
		if (zn > 0 && zn < raw->len) {
			codec = COLUMN_ZSTD;
			n = zn;
			p = z.p;
		}
	}
	if (bak_put_u8(out, codec) < 0 || bak_put_varint(out, raw->len) < 0 ||
	    bak_put_varint(out, n) < 0)
		return -1;
	return bak_buf_append(out, p, n);
}

static int put_span(const struct bak_span *span, struct use *uses, size_t n_uses,
		    const uint32_t *numbers, struct bak_buf *out)
{
	struct bak_runs runs = {0};
	size_t ends[COLUMNS];
	BAK_AUTO(bak_buf_release) struct bak_buf table = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf columns = BAK_BUF_INIT;
	int bad = bak_put_varint(&table, n_uses) < 0;
	for (size_t i = 0; i < n_uses && !bad; i++)
		bad = put_seg(&table, &runs, &uses[i].seg) < 0 ||
		      bak_put_varint(&table, uses[i].used) < 0;
	bad = bad || put_columns(span, uses, numbers, &columns, ends) < 0 ||
	      bak_put_u8(out, NODE_VERSION) < 0 || bak_put_varint(out, span->len) < 0 ||
	      bak_buf_append(out, span->hash.b, sizeof span->hash.b) < 0 ||
	      bak_put_varint(out, span->scatter) < 0 || bak_put_runs(out, &runs) < 0 ||
	      bak_buf_append(out, table.p, table.len) < 0 ||
	      bak_put_varint(out, span->n_chunks) < 0 || bak_put_varint(out, span->n_extents) < 0 ||
	      put_packed(out, &columns, ends) < 0;
	bak_runs_release(&runs);
	return bad ? -1 : 0;
}

int bak_span_encode(const struct bak_span *span, struct bak_buf *out, struct bak_error *err)
{
	struct use *uses;
	uint32_t *numbers;
	size_t n_uses;
	if (number_segments(span, &uses, &n_uses, &numbers) < 0)
		return bak_error_nomem(err);
	int rc = put_span(span, uses, n_uses, numbers, out);
	free(uses);
	free(numbers);
	return rc < 0 ? bak_error_nomem(err) : 0;
}

/* --- span nodes: reading --- */

void bak_span_release(struct bak_span *span)
{
	free(span->chunk_lens);
	free(span->extents);
	free(span->at);
	free(span->segments);
	*span = (struct bak_span){0};
}

static int get_segments(struct bak_bytes *in, const struct bak_runs *runs, struct bak_span *out,
			struct bak_error *err)
{
	/* A line of the table takes at least three bytes. */
	size_t n = bak_get_varint_max(in, bak_bytes_left(in) / 3);
	out->segments = calloc(n + 1, sizeof *out->segments);
	if (!out->segments)
		return bak_error_nomem(err);
	out->n_segments = n;
	for (size_t i = 0; i < n; i++) {
		get_seg(in, runs, &out->segments[i].seg);
		out->segments[i].used = bak_get_varint(in);
	}
	return 0;
}

/* The columns, unpacked if need be: *out borrows from in or from scratch. */
static int get_packed(struct bak_bytes *in, struct bak_buf *scratch, struct bak_bytes *out,
		      struct bak_error *err)
{
	uint8_t codec = bak_get_u8(in);
	size_t raw_len = bak_get_varint_max(in, COLUMNS_LIMIT);
	size_t n = bak_get_varint_max(in, bak_bytes_left(in));
	const uint8_t *p = bak_get_bytes(in, n);
	if (!p || codec > COLUMN_ZSTD || (codec == COLUMN_STORED && n != raw_len))
		return bak_error_set(err, BAK_CORRUPT, "span node: bad columns");
	if (codec == COLUMN_STORED) {
		*out = bak_bytes_of(p, n);
		return 0;
	}
	if (bak_buf_resize(scratch, raw_len) < 0)
		return bak_error_nomem(err);
	size_t got = ZSTD_decompress(scratch->p, raw_len, p, n);
	if (ZSTD_isError(got) || got != raw_len)
		return bak_error_set(err, BAK_CORRUPT, "span node: bad columns");
	*out = bak_bytes_of(scratch->p, raw_len);
	return 0;
}

static int get_extents(struct bak_bytes *cols, struct bak_span *out)
{
	for (size_t i = 0; i < out->n_chunks; i++)
		out->chunk_lens[i] = (uint32_t)bak_get_varint_max(cols, UINT32_MAX);
	for (size_t i = 0; i < out->n_extents; i++) {
		uint64_t v = bak_get_varint_max(cols, 1 + (uint64_t)out->n_segments);
		out->extents[i].kind = v < 2 ? (enum bak_extent_kind)v : BAK_EXTENT_BYTES;
		/* Until the second pass, off holds the segment's number. */
		out->extents[i].off = v < 2 ? 0 : (uint32_t)(v - 2);
	}
	return cols->bad ? -1 : 0;
}

/* Second and third column; next[] is where each segment's last extent ended. */
static int get_places(struct bak_bytes *cols, struct bak_span *out, int64_t *next)
{
	struct bak_bytes lens = *cols;
	for (size_t i = 0; i < out->n_extents; i++)
		if (out->extents[i].kind == BAK_EXTENT_BYTES)
			bak_get_varint(&lens);
	uint64_t at = 0;
	for (size_t i = 0; i < out->n_extents; i++) {
		struct bak_extent *e = &out->extents[i];
		e->len = bak_get_varint_max(&lens, out->len - at);
		out->at[i] = at;
		at += e->len;
		if (lens.bad || e->len == 0)
			return -1;
		if (e->kind != BAK_EXTENT_BYTES)
			continue;
		uint32_t number = e->off;
		int64_t delta = bak_get_zigzag(cols);
		if (delta > (int64_t)UINT32_MAX || delta < -(int64_t)UINT32_MAX)
			return -1;
		int64_t off = next[number] + delta;
		if (off < 0 || (uint64_t)off + e->len > UINT32_MAX)
			return -1;
		e->seg = out->segments[number].seg;
		e->off = (uint32_t)off;
		next[number] = off + (int64_t)e->len;
	}
	out->at[out->n_extents] = at;
	return at == out->len && !cols->bad && bak_bytes_left(&lens) == 0 ? 0 : -1;
}

static int get_columns(struct bak_bytes *in, struct bak_span *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf scratch = BAK_BUF_INIT;
	uint64_t n_chunks = bak_get_varint_max(in, COLUMNS_LIMIT);
	uint64_t n_extents = bak_get_varint_max(in, COLUMNS_LIMIT);
	struct bak_bytes cols;
	if (in->bad)
		return bak_error_set(err, BAK_CORRUPT, "span node cut short");
	if (get_packed(in, &scratch, &cols, err) < 0)
		return -1;
	/* Each chunk takes at least one byte of the columns, each extent two. */
	if (n_chunks > bak_bytes_left(&cols) || 2 * n_extents > bak_bytes_left(&cols))
		return bak_error_set(err, BAK_CORRUPT, "span node: bad counts");
	out->n_chunks = n_chunks;
	out->n_extents = n_extents;
	out->chunk_lens = calloc(n_chunks + 1, sizeof *out->chunk_lens);
	out->extents = calloc(n_extents + 1, sizeof *out->extents);
	out->at = calloc(n_extents + 1, sizeof *out->at);
	BAK_AUTO(bak_free_ptr) int64_t *next = calloc(out->n_segments + 1, sizeof *next);
	if (!out->chunk_lens || !out->extents || !out->at || !next)
		return bak_error_nomem(err);
	if (get_extents(&cols, out) < 0 || get_places(&cols, out, next) < 0)
		return bak_error_set(err, BAK_CORRUPT, "span node: bad extents");
	return 0;
}

int bak_span_decode(const void *payload, size_t len, struct bak_span *out, struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(payload, len);
	struct bak_runs runs = {0};
	*out = (struct bak_span){0};
	if (bak_get_u8(&in) != NODE_VERSION)
		return bak_error_set(err, BAK_CORRUPT, "span node: unknown version");
	out->len = bak_get_varint_max(&in, INT64_MAX);
	const uint8_t *hash = bak_get_bytes(&in, BAK_HASH_BYTES);
	out->scatter = bak_get_varint(&in);
	if (!hash)
		return bak_error_set(err, BAK_CORRUPT, "span node cut short");
	memcpy(out->hash.b, hash, BAK_HASH_BYTES);
	int rc = bak_get_runs(&in, &runs, err);
	if (rc == 0)
		rc = get_segments(&in, &runs, out, err);
	if (rc == 0)
		rc = get_columns(&in, out, err);
	if (rc == 0 && (in.bad || bak_bytes_left(&in) > 0))
		rc = bak_error_set(err, BAK_CORRUPT, "span node: bytes left over");
	bak_runs_release(&runs);
	if (rc < 0)
		bak_span_release(out);
	return rc;
}

/* The last i with at[i] <= off. */
static size_t find_at(const uint64_t *at, size_t n, uint64_t off)
{
	size_t lo = 0, hi = n;
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;
		if (at[mid] <= off)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

size_t bak_span_find(const struct bak_span *span, uint64_t off)
{
	return find_at(span->at, span->n_extents, off);
}

/* --- inner nodes --- */

int bak_inner_encode(const struct bak_line *lines, size_t n, struct bak_buf *out,
		     struct bak_error *err)
{
	struct bak_runs runs = {0};
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	int bad = bak_put_varint(&body, n) < 0;
	for (size_t i = 0; i < n && !bad; i++) {
		bad = bak_put_u8(&body, (uint8_t)lines[i].kind) < 0 ||
		      bak_put_varint(&body, lines[i].len) < 0;
		if (!bad && lines[i].kind >= BAK_LINE_SPAN)
			bad = bak_put_ref(&body, &runs, &lines[i].ref) < 0;
	}
	bad = bad || bak_put_u8(out, NODE_VERSION) < 0 || bak_put_runs(out, &runs) < 0 ||
	      bak_buf_append(out, body.p, body.len) < 0;
	bak_runs_release(&runs);
	return bad ? bak_error_nomem(err) : 0;
}

void bak_inner_release(struct bak_inner *inner)
{
	free(inner->lines);
	free(inner->at);
	*inner = (struct bak_inner){0};
}

static int get_lines(struct bak_bytes *in, const struct bak_runs *runs, struct bak_inner *out,
		     struct bak_error *err)
{
	size_t n = bak_get_varint_max(in, bak_bytes_left(in) / 2);
	out->lines = calloc(n + 1, sizeof *out->lines);
	out->at = calloc(n + 1, sizeof *out->at);
	if (!out->lines || !out->at)
		return bak_error_nomem(err);
	out->n = n;
	uint64_t at = 0;
	for (size_t i = 0; i < n && !in->bad; i++) {
		struct bak_line *line = &out->lines[i];
		uint8_t kind = bak_get_u8(in);
		line->kind = kind;
		line->len = bak_get_varint_max(in, (uint64_t)INT64_MAX - at);
		if (kind > BAK_LINE_INNER || line->len == 0)
			in->bad = true;
		if (kind >= BAK_LINE_SPAN)
			bak_get_ref(in, runs, &line->ref);
		out->at[i] = at;
		at += line->len;
	}
	out->at[n] = at;
	if (in->bad || n == 0 || bak_bytes_left(in) > 0)
		return bak_error_set(err, BAK_CORRUPT, "inner node: bad lines");
	return 0;
}

int bak_inner_decode(const void *payload, size_t len, struct bak_inner *out, struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(payload, len);
	struct bak_runs runs = {0};
	*out = (struct bak_inner){0};
	if (bak_get_u8(&in) != NODE_VERSION)
		return bak_error_set(err, BAK_CORRUPT, "inner node: unknown version");
	int rc = bak_get_runs(&in, &runs, err);
	if (rc == 0)
		rc = get_lines(&in, &runs, out, err);
	bak_runs_release(&runs);
	if (rc < 0)
		bak_inner_release(out);
	return rc;
}
