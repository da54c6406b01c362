/*
 * Checksum files (sha256sum's format, GNU escaping) and the JSON of manifests and runs, as the
 * mount and the command line show them. Sizes are known without making the text.
 */
#ifndef BAK_OPS_SUMS_H
#define BAK_OPS_SUMS_H

#include "engine/ops/repo.h"

/* Length of the sums of a snapshot whose lines have prefix (say "20261121T140212Z/") before each
 * path; prefix is a name that needs no escaping. From the row's or root's totals. */
uint64_t bak_sums_len(const struct bak_totals *totals, size_t prefix_len);
/* The text: appended to out. */
int bak_sums_text(const struct bak_tree *tree, const char *prefix, struct bak_buf *out,
		  struct bak_error *err);
/* Bytes [off, off + len) of it, cut at its end, without making what comes before: the totals of
 * folders and pages tell how long their lines are. */
int bak_sums_range(const struct bak_tree *tree, const char *prefix, uint64_t off, size_t len,
		   struct bak_buf *out, struct bak_error *err);

/* manifest.json of a run, put together from those of its snapshots that there are: appended to out.
 * Names the stores that it set out to do and that are missing, and tells between which moments the
 * snapshots are: "instants": that of a snapshot is what its driver says, else its stamp. */
int bak_run_manifest(struct bak_repo *repo, const char *run, const uint64_t *numbers, size_t n,
		     struct bak_buf *out, struct bak_error *err);

#endif
