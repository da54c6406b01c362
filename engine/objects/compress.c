/* Probing and zstd: see compress.h. */
#include "engine/objects/compress.h"

#include "engine/objects/filter.h"

#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

/* A sample is 8 pieces of 2 KiB, spread evenly: compressing it costs a hundredth of compressing a
 * segment of 1 MiB, and one piece in eight that shrinks is enough to be seen. Shorter input is
 * compressed without asking. */
#define SAMPLE_PIECES 8
#define SAMPLE_PIECE 2048u
#define SAMPLE_LEN (SAMPLE_PIECES * SAMPLE_PIECE)
#define SAMPLE_FROM (4 * SAMPLE_LEN)

/* A body that does not shrink by 3 % is stored: reading it back costs nothing then. */
static size_t worth(size_t len)
{
	return len - len * 3 / 100;
}

void bak_seg_codec_release(struct bak_seg_codec *codec)
{
	ZSTD_freeCCtx(codec->cctx);
	ZSTD_freeDCtx(codec->dctx);
	bak_buf_release(&codec->scratch);
	bak_buf_release(&codec->packed);
	*codec = (struct bak_seg_codec){.cctx = NULL};
}

static int zstd_failed(size_t code, struct bak_error *err)
{
	if (ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation)
		return bak_error_nomem(err);
	return bak_error_set(err, BAK_BUG, "zstd: %s", ZSTD_getErrorName(code));
}

static int need_cctx(struct bak_seg_codec *codec, int level, struct bak_error *err)
{
	if (!codec->cctx)
		codec->cctx = ZSTD_createCCtx();
	if (!codec->cctx)
		return bak_error_nomem(err);
	ZSTD_CCtx_reset(codec->cctx, ZSTD_reset_session_and_parameters);
	size_t code = ZSTD_CCtx_setParameter(codec->cctx, ZSTD_c_compressionLevel, level);
	if (!ZSTD_isError(code))
		code = ZSTD_CCtx_setParameter(codec->cctx, ZSTD_c_checksumFlag, 1);
	return ZSTD_isError(code) ? zstd_failed(code, err) : 0;
}

/* Entropy coding with hardly a search for repeats: on planes of float vectors three times as fast as
 * level 3, and 2 % smaller, since no literals are torn from their neighbours. */
static int need_quick_cctx(struct bak_seg_codec *codec, struct bak_error *err)
{
	static const struct {
		ZSTD_cParameter name;
		int value;
	} quick[] = {{ZSTD_c_strategy, ZSTD_fast}, {ZSTD_c_hashLog, 6}, {ZSTD_c_minMatch, 7}};
	if (need_cctx(codec, 1, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof quick / sizeof *quick; i++) {
		size_t code = ZSTD_CCtx_setParameter(codec->cctx, quick[i].name, quick[i].value);
		if (ZSTD_isError(code))
			return zstd_failed(code, err);
	}
	return 0;
}

static void take_sample(const uint8_t *raw, size_t len, uint8_t sample[SAMPLE_LEN])
{
	for (size_t i = 0; i < SAMPLE_PIECES; i++) {
		/* A multiple of 16, so that elements keep their place in the sample. */
		size_t at = (len - SAMPLE_PIECE) / (SAMPLE_PIECES - 1) * i & ~(size_t)15;
		memcpy(sample + i * SAMPLE_PIECE, raw + at, SAMPLE_PIECE);
	}
}

/* TRANSPOSE: with repeats in its planes that are worth a search; PLANES: without. */
enum verdict { STORE, PLAIN, TRANSPOSE, PLANES };

/* What a sample takes at level 1. */
static int try_sample(struct bak_seg_codec *codec, const uint8_t sample[SAMPLE_LEN],
		      size_t *out_len, struct bak_error *err)
{
	uint8_t packed[ZSTD_COMPRESSBOUND(SAMPLE_LEN)];
	if (need_cctx(codec, 1, err) < 0)
		return -1;
	*out_len = ZSTD_compress2(codec->cctx, packed, sizeof packed, sample, SAMPLE_LEN);
	return ZSTD_isError(*out_len) ? zstd_failed(*out_len, err) : 0;
}

/* Judges by a sample. Transposing is considered only where zstd alone finds little, and a width is
 * taken when its estimate beats what was best so far by 4 %; repeats, when they beat that by 4 %
 * more. */
static int probe(struct bak_seg_codec *codec, const uint8_t *raw, size_t len,
		 enum verdict *out_verdict, unsigned *out_n, struct bak_error *err)
{
	uint8_t sample[SAMPLE_LEN], transposed[SAMPLE_LEN];
	size_t plain, repeats;
	take_sample(raw, len, sample);
	if (try_sample(codec, sample, &plain, err) < 0)
		return -1;
	size_t best = plain < SAMPLE_LEN ? plain : SAMPLE_LEN;
	*out_verdict = best <= worth(SAMPLE_LEN) ? PLAIN : STORE;
	if (plain < SAMPLE_LEN / 2)
		return 0;
	for (unsigned n = 4; n <= 8; n += 4) {
		size_t estimate = bak_filter_estimate(n, sample, SAMPLE_LEN);
		if (estimate < best - best * 4 / 100) {
			best = estimate;
			*out_verdict = PLANES;
			*out_n = n;
		}
	}
	if (*out_verdict != PLANES)
		return 0;
	bak_filter_apply(*out_n, sample, SAMPLE_LEN, transposed);
	if (try_sample(codec, transposed, &repeats, err) < 0)
		return -1;
	if (repeats < best - best * 4 / 100)
		*out_verdict = TRANSPOSE;
	return 0;
}

/* Each plane in blocks of its own: their bytes have nothing in common, and a block that straddled
 * two planes would code both badly. */
static size_t compress_planes(ZSTD_CCtx *cctx, unsigned n, const uint8_t *in, size_t len,
			      struct bak_buf *out)
{
	size_t plane = len / n;
	ZSTD_outBuffer to = {out->p, out->cap, 0};
	size_t code = ZSTD_CCtx_setPledgedSrcSize(cctx, len);
	for (unsigned i = 0; i < n && !ZSTD_isError(code); i++) {
		bool last = i + 1 == n;
		ZSTD_inBuffer from = {in + i * plane, last ? len - i * plane : plane, 0};
		do
			code = ZSTD_compressStream2(cctx, &to, &from,
						    last ? ZSTD_e_end : ZSTD_e_flush);
		while (!ZSTD_isError(code) && code != 0 && to.pos < to.size);
	}
	/* A full buffer means that it did not shrink. */
	return ZSTD_isError(code) ? code : code != 0 ? len : to.pos;
}

int bak_seg_compress(struct bak_seg_codec *codec, const uint8_t *raw, size_t len, int level,
		     uint8_t *out_filter, uint8_t *out_codec, const uint8_t **out, size_t *out_len,
		     struct bak_error *err)
{
	enum verdict verdict = level == 0 || len == 0 ? STORE : PLAIN;
	unsigned n = 0;
	*out_filter = 0;
	*out_codec = BAK_CODEC_STORED;
	*out = raw;
	*out_len = len;
	if (verdict == PLAIN && len >= SAMPLE_FROM && probe(codec, raw, len, &verdict, &n, err) < 0)
		return -1;
	if (verdict == STORE)
		return 0;

	codec->packed.len = codec->scratch.len = 0;
	if ((verdict == PLANES ? need_quick_cctx(codec, err) : need_cctx(codec, level, err)) < 0)
		return -1;
	if (bak_buf_reserve(&codec->packed, ZSTD_compressBound(len)) < 0)
		return bak_error_nomem(err);
	size_t packed;
	if (verdict != PLAIN) {
		if (bak_buf_reserve(&codec->scratch, len) < 0)
			return bak_error_nomem(err);
		bak_filter_apply(n, raw, len, codec->scratch.p);
		packed = compress_planes(codec->cctx, n, codec->scratch.p, len, &codec->packed);
	} else {
		packed = ZSTD_compress2(codec->cctx, codec->packed.p, codec->packed.cap, raw, len);
	}
	if (ZSTD_isError(packed))
		return zstd_failed(packed, err);
	if (packed > worth(len))
		return 0;
	*out_filter = verdict == PLAIN ? 0 : (uint8_t)n;
	*out_codec = BAK_CODEC_ZSTD;
	*out = codec->packed.p;
	*out_len = packed;
	return 0;
}

static int unzstd(struct bak_seg_codec *codec, const uint8_t *in, size_t len, uint8_t *out,
		  size_t raw_len, struct bak_error *err)
{
	if (!codec->dctx)
		codec->dctx = ZSTD_createDCtx();
	if (!codec->dctx)
		return bak_error_nomem(err);
	size_t n = ZSTD_decompressDCtx(codec->dctx, out, raw_len, in, len);
	if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
		return bak_error_nomem(err);
	if (ZSTD_isError(n))
		return bak_error_set(err, BAK_CORRUPT, "bad zstd frame: %s", ZSTD_getErrorName(n));
	if (n != raw_len)
		return bak_error_set(err, BAK_CORRUPT, "zstd frame of another length");
	return 0;
}

int bak_seg_decompress(struct bak_seg_codec *codec, const struct bak_seg_header *header,
		       const uint8_t *in, size_t len, uint8_t *out, struct bak_error *err)
{
	uint8_t *to = out;
	if (header->filter) {
		codec->scratch.len = 0;
		if (bak_buf_reserve(&codec->scratch, (size_t)header->raw_len + 1) < 0)
			return bak_error_nomem(err);
		to = codec->scratch.p;
	}
	if (header->codec == BAK_CODEC_ZSTD) {
		if (unzstd(codec, in, len, to, header->raw_len, err) < 0)
			return -1;
	} else {
		if (len != header->raw_len)
			return bak_error_set(err, BAK_CORRUPT, "stored body of another length");
		if (len)
			memcpy(to, in, len);
	}
	if (header->filter)
		bak_filter_undo(header->filter, to, header->raw_len, out);
	return 0;
}

int bak_zstd_pack(const void *in, size_t len, int level, struct bak_buf *out, struct bak_error *err)
{
	BAK_AUTO(bak_seg_codec_release) struct bak_seg_codec codec = {.cctx = NULL};
	if (need_cctx(&codec, level, err) < 0)
		return -1;
	if (bak_buf_reserve(out, ZSTD_compressBound(len)) < 0)
		return bak_error_nomem(err);
	size_t n = ZSTD_compress2(codec.cctx, out->p + out->len, out->cap - out->len, in, len);
	if (ZSTD_isError(n))
		return zstd_failed(n, err);
	out->len += n;
	return 0;
}

int bak_zstd_unpack(const void *in, size_t len, size_t raw_len, struct bak_buf *out,
		    struct bak_error *err)
{
	BAK_AUTO(bak_seg_codec_release) struct bak_seg_codec codec = {.cctx = NULL};
	if (bak_buf_reserve(out, raw_len + 1) < 0)
		return bak_error_nomem(err);
	if (unzstd(&codec, in, len, out->p + out->len, raw_len, err) < 0)
		return -1;
	out->len += raw_len;
	return 0;
}
