/*
 * How a segment's raw bytes become smaller: filter and codec chosen by small samples, zstd with its
 * content checksum. Used by segment.c alone; pack.c's footers use bak_zstd_* too.
 */
#ifndef BAK_OBJECTS_COMPRESS_H
#define BAK_OBJECTS_COMPRESS_H

#include "engine/objects/segment.h"

enum bak_seg_codec_kind { BAK_CODEC_STORED = 0, BAK_CODEC_ZSTD = 1 };

/* Chooses, compresses: *out borrows from raw (stored) or from the codec. */
int bak_seg_compress(struct bak_seg_codec *codec, const uint8_t *raw, size_t len, int level,
		     uint8_t *out_filter, uint8_t *out_codec, const uint8_t **out, size_t *out_len,
		     struct bak_error *err);
/* The way back: exactly raw_len bytes into out, from what header says. BAK_CORRUPT. */
int bak_seg_decompress(struct bak_seg_codec *codec, const struct bak_seg_header *header,
		       const uint8_t *in, size_t len, uint8_t *out, struct bak_error *err);

/* One frame, appended to out; and back: exactly raw_len bytes appended. */
int bak_zstd_pack(const void *in, size_t len, int level, struct bak_buf *out,
		  struct bak_error *err);
int bak_zstd_unpack(const void *in, size_t len, size_t raw_len, struct bak_buf *out,
		    struct bak_error *err);

#endif
