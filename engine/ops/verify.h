/*
 * Proofs: `verify` reads what users would read and compares sums; `check` looks at every stored
 * byte and at whether everything that is referred to is there.
 */
#ifndef BAK_OPS_VERIFY_H
#define BAK_OPS_VERIFY_H

#include "engine/ops/repo.h"

/* One finding: where may be NULL. what: "damaged file", "damaged pack", "missing segment", ... */
typedef void bak_finding_fn(void *ctx, const char *what, const char *where, const char *why);

struct bak_verify_conf {
	bool quick; /* structure only, no file contents */
	bak_finding_fn *finding;
	void (*progress)(void *ctx, uint64_t done, uint64_t total, const char *path);
	void *ctx;
};
struct bak_verify_result {
	uint64_t snapshots, files, bytes, damaged_files;
};
/* One snapshot. Damage is counted and told, not an error. */
int bak_verify(struct bak_repo *repo, uint64_t number, const struct bak_verify_conf *conf,
	       struct bak_verify_result *out, struct bak_error *err);

struct bak_check_result {
	uint64_t packs, segments, bytes, snapshots;
	uint64_t damaged_packs, damaged_segments, damaged_objects, damaged_files, missing;
	uint64_t healed; /* damaged copies of which a good second copy was found */
};
/* The whole repository: every pack byte by byte, footers against segments, every snapshot's tree
 * and extents; each file that a damage reaches is named with its snapshots. */
int bak_check(struct bak_repo *repo, const struct bak_verify_conf *conf,
	      struct bak_check_result *out, struct bak_error *err);

#endif
