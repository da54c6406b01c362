/*
 * Open segments of a run: takes bytes and tree objects, says at once where they lie, hands full
 * segments to the sealer. Knows of each chunk and node what the footer has to list.
 *
 * Threads: one at a time. Errors: the sealer's.
 */
#ifndef BAK_CONTENT_SEGMENTER_H
#define BAK_CONTENT_SEGMENTER_H

#include "engine/content/pending.h"
#include "engine/content/sealer.h"
#include "engine/objects/span.h"

enum bak_seg_class {
	BAK_CLASS_BULK = 0,
	BAK_CLASS_RANDOM = 1, /* will be read at random: smaller segments */
	BAK_CLASS_TREE = 2,
	BAK_CLASS_LISTS = 3, /* nodes of scattered spans */
	BAK_CLASS_EDITS =
		4, /* new bytes here and there in older ones: who reads needs many of them */
	BAK_CLASSES = 5,
};

struct bak_segmenter {
	struct bak_sealer *sealer; /* borrowed */
	uint8_t run[BAK_RUN_BYTES];
	uint32_t next; /* counter of the next segment */
	struct bak_job open[BAK_CLASSES];
	struct bak_pending chunks, nodes;
	_Atomic uint64_t new_bytes; /* raw data bytes taken so far; anybody may look */
};

void bak_segmenter_init(struct bak_segmenter *s, struct bak_sealer *sealer,
			const uint8_t run[BAK_RUN_BYTES]);
void bak_segmenter_release(struct bak_segmenter *s);

/* Bytes, whole into one segment (len at most BAK_SEG_RAW_SMALL). hash: list them as a chunk; NULL:
 * do not. */
int bak_segmenter_bytes(struct bak_segmenter *s, enum bak_seg_class class, const void *p,
			uint32_t len, const struct bak_hash *hash, struct bak_extent *out,
			struct bak_error *err);
/* A tree object, into a segment of class TREE or LISTS. hash, span_len: list it as a span node; NULL: do not. */
int bak_segmenter_object(struct bak_segmenter *s, enum bak_seg_class class,
			 enum bak_object_kind kind, const struct bak_buf *payload,
			 const struct bak_hash *hash, uint64_t span_len, struct bak_ref *out,
			 struct bak_error *err);
/* Hands the open segment of a class to the sealer, if there is anything in it. */
int bak_segmenter_flush(struct bak_segmenter *s, enum bak_seg_class class, struct bak_error *err);
/* Forgets pending rows that the index knows by now. */
void bak_segmenter_settle(struct bak_segmenter *s);

#endif
