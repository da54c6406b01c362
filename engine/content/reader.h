/*
 * Bytes of a file: from its content to slices of decoded segments, in O(log n) of its extents.
 *
 * Threads: safe; each call stands alone.
 * Errors: BAK_CORRUPT names pack and offset; nothing of a failed range is handed out.
 */
#ifndef BAK_CONTENT_READER_H
#define BAK_CONTENT_READER_H

#include "engine/content/source.h"

/* Pieces of memory that together are the range asked for. Zero runs point to a shared page of zeros
 * and may be cut into several pieces. */
struct bak_slices {
	bool in_order; /* told by who reads: segments read to their end need not stay decoded */
	size_t n, cap;
	struct bak_slice {
		const uint8_t *p;
		size_t len;
	} * v;
	struct bak_pin **pins; /* what keeps them there */
	size_t n_pins, cap_pins;
};
#define BAK_SLICES_INIT \
	{               \
		.n = 0  \
	}
void bak_slices_release(struct bak_slices *slices);

/* [off, off + len) of a file of size bytes, cut at its end. Appends to out; on failure out is as it
 * was. */
int bak_read_slices(struct bak_source *source, const struct bak_content *content, uint64_t size,
		    uint64_t off, size_t len, struct bak_slices *out, struct bak_error *err);
/* The same, copied. *out_n is less than len only at the end of the file. */
int bak_read(struct bak_source *source, const struct bak_content *content, uint64_t size,
	     uint64_t off, void *buf, size_t len, size_t *out_n, struct bak_error *err);

/* As lseek's SEEK_DATA and SEEK_HOLE (off < size): *out is the answer; for data 0 "none behind
 * off", else 1. Holes only: zeros are data. */
int bak_seek_data(struct bak_source *source, const struct bak_content *content, uint64_t size,
		  uint64_t off, uint64_t *out, struct bak_error *err);
int bak_seek_hole(struct bak_source *source, const struct bak_content *content, uint64_t size,
		  uint64_t off, uint64_t *out, struct bak_error *err);
/* Bytes that are not holes: for st_blocks. */
int bak_allocated(struct bak_source *source, const struct bak_content *content, uint64_t size,
		  uint64_t *out, struct bak_error *err);

/* Every extent of a file in order; for check, diff and the matcher. off: in the file. */
typedef int bak_extent_fn(void *ctx, uint64_t off, const struct bak_extent *extent,
			  struct bak_error *err);
int bak_each_extent(struct bak_source *source, const struct bak_content *content, uint64_t size,
		    bak_extent_fn *fn, void *ctx, struct bak_error *err);
/* Those of [off, off + len), the first and last one cut to it. */
int bak_each_extent_in(struct bak_source *source, const struct bak_content *content, uint64_t size,
		       uint64_t off, uint64_t len, bak_extent_fn *fn, void *ctx,
		       struct bak_error *err);
/* The scatter (span.h) of the span that holds byte off; 0 where there is no span. */
int bak_scatter_at(struct bak_source *source, const struct bak_content *content, uint64_t size,
		   uint64_t off, uint64_t *out, struct bak_error *err);

#endif
