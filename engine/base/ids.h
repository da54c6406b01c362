/*
 * The names that the format uses for places: segment ids, extents, references to tree objects.
 */
#ifndef BAK_BASE_IDS_H
#define BAK_BASE_IDS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BAK_RUN_BYTES 12    /* random bits that a run gives to its segments */
#define BAK_SEG_ID_BYTES 16 /* on disk: the run's 12 bytes, then the counter, little endian */
#define BAK_HASH_BYTES 16   /* of chunks and spans: the first half of an HMAC-SHA256 */
#define BAK_PACK_ID_BYTES 16
#define BAK_REPO_ID_BYTES 16

struct bak_seg_id {
	uint8_t run[BAK_RUN_BYTES];
	uint32_t n;
};

struct bak_hash {
	uint8_t b[BAK_HASH_BYTES];
};

/* A range of a segment that a holed copy of it keeps. */
struct bak_seg_range {
	uint32_t off, len;
	uint32_t at; /* in a decoded copy: where it starts in its raw bytes; else unused */
};

/* Where a tree object lies: [off, off + len) of a tree segment, its prefix included. len 0: none.
 */
struct bak_ref {
	struct bak_seg_id seg;
	uint32_t off, len;
};

enum bak_extent_kind {
	BAK_EXTENT_HOLE = 0,  /* not allocated in the source */
	BAK_EXTENT_ZEROS = 1, /* allocated, all zero */
	BAK_EXTENT_BYTES = 2, /* [off, off + len) of a segment */
};

struct bak_extent {
	enum bak_extent_kind kind;
	struct bak_seg_id seg; /* BYTES only */
	uint32_t off;          /* BYTES only */
	uint64_t len;
};

static inline bool bak_seg_id_equal(const struct bak_seg_id *a, const struct bak_seg_id *b)
{
	return a->n == b->n && memcmp(a->run, b->run, BAK_RUN_BYTES) == 0;
}

static inline bool bak_ref_equal(const struct bak_ref *a, const struct bak_ref *b)
{
	return a->off == b->off && a->len == b->len && bak_seg_id_equal(&a->seg, &b->seg);
}

#endif
