/*
 * Snapshot files of Qdrant, walked while they arrive: whether one is whole, and of what kind. They
 * are tar archives (ustar and GNU, with sparse entries), in which collection snapshots have
 * config.json and a folder for each shard, with an archive for each segment in it.
 *
 * Not a reader of tar: content is skipped but for what take wants. For hostile input. No memory but
 * the struct's own.
 */
#ifndef BAK_STORES_QDRANT_TAR_H
#define BAK_STORES_QDRANT_TAR_H

#include "engine/base/error.h"
#include "engine/base/proof.h"

#define BAK_TAR_NAME_MAX 100 /* longer ones are cut: none of those that matter is */

struct bak_qdrant_tar {
	uint64_t fed;
	uint64_t left;    /* of the entry's data, with what fills its last block */
	uint64_t data;    /* of the entry's data */
	uint64_t size;    /* being read */
	uint32_t sum;     /* of the header's bytes */
	uint32_t said;    /* what it says itself */
	uint32_t entries; /* so far */
	uint16_t at;      /* in the block, 0 .. 511 */
	uint8_t state, type, number_end;
	bool nonzero, extended, bad;
	uint8_t zero_blocks;
	/* What was there. */
	bool config, shard, segments, snapshots;
	char name[BAK_TAR_NAME_MAX + 1];
};

/* Data of an entry; may be NULL. */
typedef int bak_qdrant_tar_take(void *ctx, const char *name, const void *p, size_t len,
				struct bak_error *err);
/* tar is zero before the first piece. -1 only when take says so; damage is the verdict's. */
int bak_qdrant_tar_feed(struct bak_qdrant_tar *tar, const uint8_t *p, size_t len,
			bak_qdrant_tar_take *take, void *ctx, struct bak_error *err);
enum bak_verdict bak_qdrant_tar_verdict(const struct bak_qdrant_tar *tar,
					char why[BAK_PROOF_WHY_LEN]);

extern const struct bak_proof_format bak_qdrant_proof;

#endif
