/*
 * One file's bytes to content: see file_writer.h.
 *
 * The buffer holds the bytes of the span that is being gathered, [0, used), and behind them what is
 * not yet cut, [used, len). Items are the span's chunks, holes and zeros in order. A hole or zeros
 * item stays open (it may still grow) until something else follows.
 *
 * A span behind which more follows is stored by a thread of its own while the next one is gathered:
 * `handed`. Until it has been waited for (settle), the span writer, the segmenter and the lines are
 * that thread's; only summing and hashing go on here.
 */
#include "engine/content/file_writer.h"

#include "engine/base/hash.h"
#include "engine/base/helper.h"
#include "engine/content/lines.h"
#include "engine/content/span_writer.h"

#include <stdlib.h>

/* A span as it is handed over: what is stored, from where. */
struct handed {
	uint64_t file_off, len;
	uint8_t *buf;
	struct bak_item *items;
	size_t n_items, cap_items;
};

struct bak_file_writer {
	struct bak_file_writer_conf conf;
	struct bak_chunker chunker;
	struct bak_span_writer *spans;
	struct bak_sha256 sha;
	uint8_t *buf;
	size_t cap, len, used;
	struct bak_item *items;
	size_t n_items, cap_items;
	struct bak_helper *helper; /* NULL until the first span is handed over */
	struct handed handed;
	uint64_t spans_len; /* of all spans and lines before the open one */
	uint64_t span_len, size, hole_bytes;
	bool summed;
	bool given_sum;
	uint8_t sum[32];
	struct bak_lines lines;
	struct bak_extent only; /* the first span, if it was a single extent: kind, place, length */
	bool has_only;
};

/* Room for the longest span, the longest chunk behind it with the look-ahead for zeros, and input.
 */
#define INPUT_ROOM (256u << 10)

static size_t span_max(const struct bak_file_writer *fw)
{
	return 2 * (size_t)fw->conf.span;
}

int bak_file_writer_new(const struct bak_file_writer_conf *conf, struct bak_file_writer **out_fw,
			struct bak_error *err)
{
	struct bak_file_writer *fw = calloc(1, sizeof *fw);
	if (!fw)
		return bak_error_nomem(err);
	fw->conf = *conf;
	fw->cap = span_max(fw) + 2 * (size_t)conf->chunk_max + BAK_ZEROS_MIN + INPUT_ROOM;
	fw->buf = malloc(fw->cap);
	if (!fw->buf) {
		free(fw);
		return bak_error_nomem(err);
	}
	struct bak_span_writer_conf spans = {.segmenter = conf->segmenter,
					     .index = conf->index,
					     .source = conf->source,
					     .usable = conf->usable,
					     .ring = conf->ring,
					     .no_alike = conf->no_alike,
					     .no_dedup = conf->no_dedup,
					     .chunker = &fw->chunker,
					     .table_bytes = conf->table_bytes};
	if (bak_chunker_init(&fw->chunker, conf->ring->gear_key, conf->chunk_min, conf->chunk_avg,
			     conf->chunk_max, err) < 0 ||
	    bak_span_writer_new(&spans, &fw->spans, err) < 0 ||
	    bak_sha256_init(&fw->sha, err) < 0) {
		bak_file_writer_free(fw);
		return -1;
	}
	bak_lines_init(&fw->lines, conf->segmenter);
	*out_fw = fw;
	return 0;
}

void bak_file_writer_free(struct bak_file_writer *fw)
{
	if (!fw)
		return;
	bak_helper_free(fw->helper);
	bak_lines_release(&fw->lines);
	bak_span_writer_free(fw->spans);
	bak_sha256_release(&fw->sha);
	free(fw->buf);
	free(fw->items);
	free(fw->handed.buf);
	free(fw->handed.items);
	free(fw);
}

int bak_file_writer_settle(struct bak_file_writer *fw, struct bak_error *err)
{
	return bak_helper_wait(fw->helper, err);
}

void bak_file_writer_begin(struct bak_file_writer *fw, enum bak_seg_class class,
			   const struct bak_content *previous, uint64_t previous_size)
{
	struct bak_error dropped = BAK_ERROR_INIT;
	bak_file_writer_settle(fw, &dropped);
	bak_span_writer_begin(fw->spans, class, previous, previous_size);
	fw->spans_len = 0;
	fw->len = fw->used = 0;
	fw->n_items = 0;
	fw->span_len = fw->size = fw->hole_bytes = 0;
	fw->summed = true;
	fw->given_sum = false;
	fw->has_only = false;
	bak_lines_clear(&fw->lines);
	bak_sha256_begin(&fw->sha);
}

/* --- a span's end --- */

/* Stores a span and makes it a line. last: the file ends here, so a lone extent needs no node. */
static int store_span(struct bak_file_writer *fw, const struct handed *span, bool last,
		      struct bak_error *err)
{
	struct bak_span_place place;
	bool first = fw->lines.n == 0;
	if (bak_span_writer_store(fw->spans, span->file_off, span->items, span->n_items, span->buf,
				  span->len, first && last, &place, err) < 0)
		return -1;
	fw->has_only = first && place.single;
	fw->only = place.only;
	if (fw->has_only && last)
		return 0;
	return bak_lines_add(&fw->lines, &place.line, place.hash.b[1], err);
}

static int store_handed(void *ctx, struct bak_error *err)
{
	struct bak_file_writer *fw = ctx;
	return store_span(fw, &fw->handed, false, err);
}

/* The helper and the second buffer, once there is a file of more than one span. */
static int need_helper(struct bak_file_writer *fw, struct bak_error *err)
{
	if (fw->helper)
		return 0;
	fw->handed.buf = malloc(fw->cap);
	if (!fw->handed.buf)
		return bak_error_nomem(err);
	if (bak_helper_new(&fw->helper, err) < 0) {
		free(fw->handed.buf);
		fw->handed.buf = NULL;
		return -1;
	}
	return 0;
}

/* Hands the gathered span over; the bytes that are not yet cut move to the other buffer. */
static int hand_over(struct bak_file_writer *fw, struct bak_error *err)
{
	if (need_helper(fw, err) < 0 || bak_file_writer_settle(fw, err) < 0)
		return -1;
	struct handed now = {.file_off = fw->spans_len,
			     .len = fw->span_len,
			     .buf = fw->buf,
			     .items = fw->items,
			     .n_items = fw->n_items,
			     .cap_items = fw->cap_items};
	fw->buf = fw->handed.buf;
	fw->items = fw->handed.items;
	fw->cap_items = fw->handed.cap_items;
	fw->handed = now;
	memcpy(fw->buf, now.buf + fw->used, fw->len - fw->used);
	bak_helper_start(fw->helper, store_handed, fw);
	return 0;
}

/* Stores the last span here: nothing is left to do meanwhile. */
static int store_last(struct bak_file_writer *fw, struct bak_error *err)
{
	struct handed now = {.file_off = fw->spans_len,
			     .len = fw->span_len,
			     .buf = fw->buf,
			     .items = fw->items,
			     .n_items = fw->n_items};
	if (bak_file_writer_settle(fw, err) < 0)
		return -1;
	return fw->n_items > 0 ? store_span(fw, &now, true, err) : 0;
}

/* Ends the span; keeps the bytes that are not yet cut: none when it is the last. */
static int end_span(struct bak_file_writer *fw, bool last, struct bak_error *err)
{
	if (last ? store_last(fw, err) < 0 : fw->n_items > 0 && hand_over(fw, err) < 0)
		return -1;
	fw->spans_len += fw->span_len;
	fw->len -= fw->used;
	fw->used = 0;
	fw->n_items = 0;
	fw->span_len = 0;
	return 0;
}

/* --- items --- */

static struct bak_item *new_item(struct bak_file_writer *fw, enum bak_item_kind kind, uint64_t len)
{
	if (bak_grow(&fw->items, &fw->cap_items, fw->n_items, sizeof *fw->items) < 0)
		return NULL;
	struct bak_item *item = &fw->items[fw->n_items++];
	*item = (struct bak_item){.kind = kind, .len = len, .off = (uint32_t)fw->used};
	fw->span_len += len;
	return item;
}

static struct bak_item *open_run(struct bak_file_writer *fw)
{
	struct bak_item *item = fw->n_items ? &fw->items[fw->n_items - 1] : NULL;
	return item && item->kind != BAK_ITEM_CHUNK ? item : NULL;
}

/* Something else follows an open hole or zeros item: a long one becomes a line of its own. */
static int close_run(struct bak_file_writer *fw, bool last, struct bak_error *err)
{
	struct bak_item *run = open_run(fw);
	if (!run || run->len < fw->conf.span)
		return 0;
	struct bak_item whole = *run;
	fw->n_items--;
	fw->span_len -= whole.len;
	if (end_span(fw, false, err) < 0 || bak_file_writer_settle(fw, err) < 0)
		return -1;
	bool alone = fw->lines.n == 0;
	fw->spans_len += whole.len;
	struct bak_line line = {.kind = whole.kind == BAK_ITEM_HOLE ? BAK_LINE_HOLE
								    : BAK_LINE_ZEROS,
				.len = whole.len};
	if (alone && last) {
		fw->only = (struct bak_extent){
			.kind = whole.kind == BAK_ITEM_HOLE ? BAK_EXTENT_HOLE : BAK_EXTENT_ZEROS,
			.len = whole.len};
		fw->has_only = true;
		return 0;
	}
	return bak_lines_add(&fw->lines, &line, (uint8_t)(whole.len >> 20), err);
}

/* Makes an open run of kind longer by len, or begins one. */
static int grow_run(struct bak_file_writer *fw, enum bak_item_kind kind, uint64_t len,
		    struct bak_error *err)
{
	struct bak_item *run = open_run(fw);
	if (run && run->kind == kind) {
		run->len += len;
		fw->span_len += len;
		return 0;
	}
	if (close_run(fw, false, err) < 0 ||
	    (fw->span_len >= span_max(fw) && end_span(fw, false, err) < 0))
		return -1;
	return new_item(fw, kind, len) ? 0 : bak_error_nomem(err);
}

static int add_chunk(struct bak_file_writer *fw, size_t len, struct bak_error *err)
{
	if (close_run(fw, false, err) < 0)
		return -1;
	struct bak_item *item = new_item(fw, BAK_ITEM_CHUNK, len);
	if (!item)
		return bak_error_nomem(err);
	bak_span_writer_hash(fw->spans, fw->buf + fw->used, len, fw->summed ? &fw->sha : NULL,
			     &item->hash);
	fw->used += len;
	/* About one chunk in 16 ends a span that is long enough. */
	if (fw->span_len >= span_max(fw) ||
	    (fw->span_len >= fw->conf.span / 2 && (item->hash.b[0] & 15) == 0))
		return end_span(fw, false, err);
	return 0;
}

/* --- cutting --- */

static size_t leading_zeros(const uint8_t *p, size_t len)
{
	size_t i = 0;
	uint64_t word;
	for (; i + 8 <= len; i += 8) {
		memcpy(&word, p + i, 8);
		if (word)
			break;
	}
	while (i < len && p[i] == 0)
		i++;
	return i;
}

/* Where the first run of BAK_ZEROS_MIN zeros begins in p, if before limit; else limit. A run covers
 * one of the probed places with half its length behind it. */
static size_t find_zeros(const uint8_t *p, size_t len, size_t limit)
{
	const size_t step = BAK_ZEROS_MIN / 2;
	for (size_t at = 0; at < limit + step && at < len; at += step) {
		if (p[at])
			continue;
		size_t from = at;
		while (from > 0 && p[from - 1] == 0 && at - from < step)
			from--;
		size_t n = at - from + leading_zeros(p + at, len - at);
		if (n >= BAK_ZEROS_MIN && from < limit)
			return from;
	}
	return limit;
}

static void sum_zeros(struct bak_file_writer *fw, uint64_t len)
{
	static const uint8_t zeros[64 << 10];
	while (len > 0) {
		size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;
		bak_sha256_update(&fw->sha, zeros, n);
		len -= n;
	}
}

/* Drops n zeros at the cutting place: they are no bytes to be stored. */
static void skip_bytes(struct bak_file_writer *fw, size_t n)
{
	memmove(fw->buf + fw->used, fw->buf + fw->used + n, fw->len - fw->used - n);
	fw->len -= n;
	if (fw->summed)
		sum_zeros(fw, n);
}

/* Cuts one item off what is not yet cut. 1 cut, 0 more bytes are needed, -1. */
static int cut_one(struct bak_file_writer *fw, bool final, struct bak_error *err)
{
	const uint8_t *p = fw->buf + fw->used;
	size_t left = fw->len - fw->used;
	struct bak_item *run = open_run(fw);
	if (left == 0)
		return 0;
	if (p[0] == 0) {
		size_t zeros = leading_zeros(p, left);
		bool grows = run && run->kind == BAK_ITEM_ZEROS;
		if (zeros >= BAK_ZEROS_MIN || grows) {
			skip_bytes(fw, zeros);
			return grow_run(fw, BAK_ITEM_ZEROS, zeros, err) < 0 ? -1 : 1;
		}
	}
	size_t want = (size_t)fw->conf.chunk_max + BAK_ZEROS_MIN;
	if (left < want && !final)
		return 0;
	size_t limit = left < fw->conf.chunk_max ? left : fw->conf.chunk_max;
	limit = find_zeros(p, left, limit);
	return add_chunk(fw, bak_chunker_cut(&fw->chunker, p, limit), err) < 0 ? -1 : 1;
}

static int cut_all(struct bak_file_writer *fw, bool final, struct bak_error *err)
{
	int rc;
	do {
		rc = cut_one(fw, final, err);
	} while (rc == 1);
	return rc;
}

int bak_file_writer_data(struct bak_file_writer *fw, const void *data, size_t len,
			 struct bak_error *err)
{
	const uint8_t *p = data;
	fw->size += len;
	while (len > 0) {
		size_t n = fw->cap - fw->len < len ? fw->cap - fw->len : len;
		memcpy(fw->buf + fw->len, p, n);
		fw->len += n;
		p += n;
		len -= n;
		if (cut_all(fw, false, err) < 0)
			return -1;
	}
	return 0;
}

int bak_file_writer_hole(struct bak_file_writer *fw, uint64_t len, struct bak_error *err)
{
	if (len == 0)
		return 0;
	if (len > (uint64_t)INT64_MAX - fw->size)
		return bak_error_set(err, BAK_BUG, "a file longer than files can be");
	fw->size += len;
	fw->hole_bytes += len;
	if (fw->hole_bytes > BAK_HOLE_SUM_MAX)
		fw->summed = false;
	if (cut_all(fw, true, err) < 0)
		return -1;
	if (fw->summed)
		sum_zeros(fw, len);
	return grow_run(fw, BAK_ITEM_HOLE, len, err);
}

/* --- made of given extents --- */

static int store_given(struct bak_file_writer *fw, const struct bak_extent *extents, size_t n,
		       uint64_t len, struct bak_error *err)
{
	struct bak_span_place place;
	if (bak_span_writer_given(fw->spans, extents, n, len, &place, err) < 0)
		return -1;
	return bak_lines_add(&fw->lines, &place.line, place.hash.b[1], err);
}

int bak_file_writer_extents(struct bak_file_writer *fw, const struct bak_extent *extents, size_t n,
			    const uint8_t sha256[32], struct bak_error *err)
{
	size_t first = 0;
	uint64_t len = 0;
	if (bak_file_writer_settle(fw, err) < 0)
		return -1;
	fw->given_sum = true;
	memcpy(fw->sum, sha256, sizeof fw->sum);
	for (size_t i = 0; i < n; i++) {
		if (extents[i].len == 0 || extents[i].len > UINT32_MAX)
			return bak_error_set(err, BAK_BUG, "extent of impossible length");
		if (extents[i].kind == BAK_EXTENT_HOLE)
			fw->hole_bytes += extents[i].len;
		len += extents[i].len;
		if (len >= fw->conf.span || i + 1 == n) {
			if (store_given(fw, extents + first, i + 1 - first, len, err) < 0)
				return -1;
			fw->size += len;
			first = i + 1;
			len = 0;
		}
	}
	return 0;
}

/* --- the end --- */

int bak_file_writer_finish(struct bak_file_writer *fw, struct bak_content *out_content,
			   uint64_t *out_size, uint8_t out_sha256[32], bool *out_summed,
			   struct bak_error *err)
{
	if (cut_all(fw, true, err) < 0 || close_run(fw, true, err) < 0 ||
	    end_span(fw, true, err) < 0)
		return -1;
	*out_size = fw->size;
	*out_summed = fw->summed;
	memset(out_sha256, 0, 32);
	if (fw->given_sum)
		memcpy(out_sha256, fw->sum, 32);
	else if (fw->summed)
		bak_sha256_final(&fw->sha, out_sha256);
	*out_content = (struct bak_content){.kind = BAK_CONTENT_NONE};
	if (fw->size == 0)
		return 0;
	if (fw->has_only && fw->only.len == fw->size) {
		*out_content = (struct bak_content){.kind = BAK_CONTENT_EXTENT, .extent = fw->only};
		return 0;
	}
	return bak_lines_finish(&fw->lines, out_content, err);
}

bool bak_file_writer_solid(const struct bak_file_writer *fw)
{
	return fw->hole_bytes == 0;
}
