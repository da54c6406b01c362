/*
 * Proofs: `verify` reads what users would read and compares sums; `check` looks at every stored
 * byte and at whether everything that is referred to is there.
 */
#ifndef BAK_OPS_VERIFY_H
#define BAK_OPS_VERIFY_H

#include "engine/ops/repo.h"

/* One finding: where may be NULL. what: "damaged file", "damaged pack", "missing segment", ... */
typedef void bak_finding_fn(void *ctx, const char *what, const char *where, const char *why);

/* What of a snapshot cannot be read; borrowed for the call. */
struct bak_lost {
	uint64_t snapshot;
	const char *store; /* NULL: the snapshot itself does not open */
	const char *path;  /* NULL likewise; "" is the root */
	/* Of a folder: entries from first on (NULL: from the beginning), up to before end (NULL: to
	 * the last), with all that is below them. */
	bool folder;
	const char *first, *end;
	/* Of a file: in order; none when its inode is lost. */
	const struct bak_lost_range *ranges;
	size_t n_ranges;
	uint64_t size;
};
struct bak_lost_range;

struct bak_verify_conf {
	bool quick;  /* verify: structure only, no file contents */
	bool repair; /* check: saves what can be saved */
	bak_finding_fn *finding;
	/* check: each thing lost, told beside its finding; may be NULL. */
	void (*lost)(void *ctx, const struct bak_lost *lost);
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
	uint64_t healed; /* damaged segments for which another copy, or parity, stands in */
	uint64_t mended; /* those for which parity does */
	uint64_t parity; /* parity objects */
	uint64_t lost;   /* pieces of snapshots that nothing gives back, and objects */
	/* repair: */
	uint64_t packs_replaced, segments_saved, segments_lost, parity_written, objects_removed;
};
/* The whole repository: every pack byte by byte, footers against segments, parity, every snapshot's
 * tree and extents; each file that a damage reaches is named with its snapshots, and which bytes.
 *
 * What it finds to be lost is kept in the state folder for the next backup, which stores it again
 * where the source still has it (bak_repo_lost).
 *
 * With repair it holds a lease as a prune does (BAK_BUSY beside one): damaged packs are copied, as
 * far as their segments open, or parity or other copies give them, into new ones and condemned;
 * parity is written where it is missing or damaged; small records that do not open are removed, or
 * written again where the index knows them. */
int bak_check(struct bak_repo *repo, const struct bak_verify_conf *conf,
	      struct bak_check_result *out, struct bak_error *err);

#endif
