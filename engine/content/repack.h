/*
 * Copies of segments under their ids into new packs of a run: as they are, or with holes. So nothing
 * that refers to them changes. Used by prune, by the commit of a backup, by `check --repair`.
 *
 * No pack gets two copies of one segment: what has to be there twice goes into two packs, and the
 * same copy given twice is stored twice. The footers list the chunks and nodes that lie wholly, and
 * kept, in what was copied. Each record is opened before it is copied: damage does not spread.
 *
 * Threads: one. Errors: after one that is not said to be harmless only free is allowed.
 */
#ifndef BAK_CONTENT_REPACK_H
#define BAK_CONTENT_REPACK_H

#include "engine/objects/pack.h"

struct bak_repack;

struct bak_repack_conf {
	struct bak_backend *backend; /* borrowed, as are all */
	const struct bak_keyring *ring;
	struct bak_index *index;
	uint8_t run[8];
	int64_t run_start;
	int level;       /* zstd, of holed segments; 0: 3 */
	unsigned parity; /* percent for each pack; 0 none */
	/* The backend with its packs read through their parity: for what does not open as it lies.
	 * May be NULL. */
	struct bak_backend *mended;
};

int bak_repack_new(const struct bak_repack_conf *conf, struct bak_repack **out_repack,
		   struct bak_error *err);
/* Copies the record as it lies there. BAK_CORRUPT when it is gone or does not open: harmless,
 * nothing was copied. Copies of one pack one after another are cheapest. */
int bak_repack_whole(struct bak_repack *repack, const struct bak_seg_copy *copy,
		     struct bak_error *err);
/* Stores it again with the ranges alone: sorted, not empty, not touching. BAK_CORRUPT, harmless,
 * also when the copy does not keep one of them. */
int bak_repack_holed(struct bak_repack *repack, const struct bak_seg_copy *copy,
		     const struct bak_seg_range *kept, size_t n_kept, struct bak_error *err);
/* The record of a copy that the caller has read, or mended, himself. */
int bak_repack_record(struct bak_repack *repack, const struct bak_seg_copy *copy,
		      const void *record, size_t len, struct bak_error *err);
/* Makes all of it durable and gives it to the index. *out_added: bytes of the packs. */
int bak_repack_finish(struct bak_repack *repack, uint64_t *out_added, struct bak_error *err);
void bak_repack_free(struct bak_repack *repack); /* throws away what is unfinished; NULL is fine */

#endif
