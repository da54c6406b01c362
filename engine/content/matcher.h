/*
 * New bytes matched against the predecessor's: where a changed file still says the same as the
 * version before it, byte for byte, though no chunk is the same.
 *
 * The old version is read in step with the new one, in a window around the place where the last
 * match lay, and only when something is to be matched. All that was read is remembered by anchors
 * (anchors.h), so that what moved to a later place is found too. New bytes are first compared where
 * the last match would go on; then their anchors are looked up; what lies between two matches is
 * searched once more, finely (gap.h).
 *
 * Where much is found nowhere, the old version is sampled: a few MiB of it, here and there, go to
 * the table of anchors. Does what follows meet enough of them, the whole of it is read (parts that
 * changed places, rows in another order); else, after 4 MiB without a match, only one MiB in 16 is
 * tried.
 *
 * Ownership: pieces belong to the matcher until the next call. Threads: one.
 * Errors: an old version that cannot be read is simply not matched against; only memory runs out.
 */
#ifndef BAK_CONTENT_MATCHER_H
#define BAK_CONTENT_MATCHER_H

#include "engine/content/chunker.h"
#include "engine/content/reader.h"

struct bak_matcher;

/* A piece of the new bytes: [off, off + len); old_off: where the old version has them, or
 * UINT64_MAX for bytes that it has not. */
struct bak_piece {
	size_t off, len;
	uint64_t old_off;
};
#define BAK_PIECE_NEW UINT64_MAX

/* Borrows both. */
int bak_matcher_new(struct bak_source *source, const struct bak_chunker *chunker,
		    struct bak_matcher **out_matcher, struct bak_error *err);
void bak_matcher_free(struct bak_matcher *m); /* NULL is fine */
/* The table of anchors takes at most so many bytes; 0: 64 MiB. */
void bak_matcher_limit(struct bak_matcher *m, size_t table_bytes);

/* A file begins; content NULL: there is no old version. content is copied. */
void bak_matcher_begin(struct bak_matcher *m, const struct bak_content *content, uint64_t size);
/* p[0, len) stands at file_off of the new version. Pieces cover it in order. */
int bak_matcher_run(struct bak_matcher *m, uint64_t file_off, const uint8_t *p, size_t len,
		    const struct bak_piece **out_pieces, size_t *out_n, struct bak_error *err);
/* What the caller made of the last runs: they were of use, or len bytes were searched in vain. */
void bak_matcher_judge(struct bak_matcher *m, bool of_use, uint64_t len);
/* The old version's extents of [off, off + len), in order. */
int bak_matcher_extents(struct bak_matcher *m, uint64_t off, uint64_t len, bak_extent_fn *fn,
			void *ctx, struct bak_error *err);

#endif
