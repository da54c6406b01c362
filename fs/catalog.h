/*
 * The catalogue: which snapshots, runs and stores the mount shows, as one immutable list. A request
 * takes the current one and works on it to its end, so a listing and the `latest` beside it are
 * always of one moment; what other processes add makes a new catalogue, and the difference between
 * the two is what the kernel must be told to forget.
 *
 * Folders above the snapshots and computed files have inode numbers that are hashes; the catalogue
 * knows which number is what. A computed file whose text can change (a run's manifest and sums,
 * what stands beside a store in /latest) has a number for each text, so no page of it that the
 * kernel keeps can be stale.
 *
 * Ownership: counted references; rows belong to the catalogue.
 * Threads: a catalogue never changes once built.
 */
#ifndef BAK_FS_CATALOG_H
#define BAK_FS_CATALOG_H

#include "engine/ops/repo.h"

enum bak_vkind {
	BAK_V_ROOT,
	BAK_V_BY_DATE,
	BAK_V_BY_STORE,
	BAK_V_LATEST,
	BAK_V_DAY,             /* index in days */
	BAK_V_RUN,             /* index in runs */
	BAK_V_RUN_MANIFEST,    /* runs */
	BAK_V_RUN_SUMS,        /* runs */
	BAK_V_STORE,           /* stores */
	BAK_V_STORE_LATEST,    /* stores: the link */
	BAK_V_SNAP_MANIFEST,   /* snaps: <stamp>.json */
	BAK_V_SNAP_SUMS,       /* snaps */
	BAK_V_LATEST_MANIFEST, /* stores: /latest/<store>.json */
	BAK_V_LATEST_SUMS,     /* stores */
};

struct bak_vnode {
	enum bak_vkind kind;
	uint32_t index;
};

struct bak_cat_snap {
	uint64_t number;
	int64_t stamp;
	uint32_t store, run;
	uint64_t manifest_len, added;
	struct bak_totals totals;
	bool counts; /* its type may be latest */
	char name[BAK_STAMP_LEN + 1];
};

struct bak_cat_store {
	const char *name;
	uint64_t order;    /* hash of the name: place in listings, never moves */
	uint64_t ino;      /* /by-store/<name> */
	uint64_t link_ino; /* of its `latest` */
	uint32_t *snaps;   /* by stamp */
	uint32_t n_snaps;
	uint32_t latest; /* BAK_CAT_NONE when there is none */
};

struct bak_cat_run {
	const char *id, *type;
	int64_t stamp;
	uint32_t day;
	uint64_t ino, manifest_ino, sums_ino;
	uint32_t *snaps; /* by number */
	uint32_t n_snaps;
	uint64_t files;
	char name[64]; /* "140212Z-daily" */
};

struct bak_cat_day {
	int64_t day; /* since 1970-01-01 */
	uint64_t ino;
	uint32_t first_run, n_runs; /* runs are sorted by stamp */
	char name[16];              /* "2026-11-21" */
};

#define BAK_CAT_NONE UINT32_MAX

struct bak_catalog {
	struct bak_cat_snap *snaps;   /* by number */
	struct bak_cat_store *stores; /* by order */
	struct bak_cat_run *runs;
	struct bak_cat_day *days;
	uint32_t n_snaps, n_stores, n_runs, n_days;
	int64_t newest;   /* newest stamp, 0 without snapshots */
	uint64_t version; /* of the index when it was built */
	uint64_t by_date_ino, by_store_ino, latest_ino;
	struct bak_catalog_private *p;
};

/* From the index as it stands. store NULL and number 0: everything. One reference. */
int bak_catalog_build(struct bak_repo *repo, const char *only_store, uint64_t only_snapshot,
		      struct bak_catalog **out, struct bak_error *err);
void bak_catalog_ref(struct bak_catalog *cat);
void bak_catalog_unref(struct bak_catalog *cat); /* NULL is fine */

/* What an inode number of the virtual range means: false when nothing (any more). */
bool bak_catalog_node(const struct bak_catalog *cat, uint64_t ino, struct bak_vnode *out);
uint64_t bak_catalog_ino(const struct bak_catalog *cat, struct bak_vnode node);
/* The number that stands for a snapshot, or NULL. */
const struct bak_cat_snap *bak_catalog_snap(const struct bak_catalog *cat, uint64_t number);
/* By name; NULL when there is none. Names need not be terminated. */
const struct bak_cat_store *bak_catalog_store(const struct bak_catalog *cat, const char *name,
					      size_t len);
const struct bak_cat_snap *bak_catalog_stamp(const struct bak_catalog *cat,
					     const struct bak_cat_store *store, const char *stamp,
					     size_t len);
const struct bak_cat_day *bak_catalog_day(const struct bak_catalog *cat, const char *name);
const struct bak_cat_run *bak_catalog_run(const struct bak_catalog *cat,
					  const struct bak_cat_day *day, const char *name);
static inline bool bak_catalog_same(const struct bak_cat_snap *a, const struct bak_cat_snap *b)
{
	return a->number == b->number;
}

/* Tells what differs: parent is a folder's inode number, name what changed in it. A folder that
 * only some names of changed is told name by name. */
typedef void bak_catalog_diff_fn(void *ctx, uint64_t parent, const char *name);
void bak_catalog_diff(const struct bak_catalog *was, const struct bak_catalog *is,
		      bak_catalog_diff_fn *fn, void *ctx);

/* The current catalogue of a mount. */
struct bak_catalog_box;
struct bak_catalog_box *bak_catalog_box_new(struct bak_catalog *first); /* takes the reference */
void bak_catalog_box_free(struct bak_catalog_box *box);
struct bak_catalog *bak_catalog_box_get(struct bak_catalog_box *box); /* a reference */
/* Puts in the next one, taking its reference; the old one's goes to the caller. */
struct bak_catalog *bak_catalog_box_swap(struct bak_catalog_box *box, struct bak_catalog *next);

#endif
