/*
 * Opened snapshots: loaded once, shared by all requests, the least used ones let go.
 *
 * Ownership: a get is given back by put. A snapshot that was opened stays readable while somebody
 *   has it, also when it is forgotten meanwhile.
 * Threads: safe; a snapshot that is being loaded is waited for, no lock is held meanwhile.
 */
#ifndef BAK_FS_SNAP_H
#define BAK_FS_SNAP_H

#include "engine/ops/repo.h"

struct bak_snaps;

struct bak_snap {
	struct bak_snapshot snapshot;
	struct bak_tree tree;
};

/* keep: how many unused ones stay open. */
int bak_snaps_new(struct bak_repo *repo, unsigned keep, struct bak_snaps **out,
		  struct bak_error *err);
void bak_snaps_free(struct bak_snaps *snaps); /* all given back by then; NULL is fine */

/* 1 and the snapshot, 0 no such number (or forgotten), -1. */
int bak_snap_get(struct bak_snaps *snaps, uint64_t number, struct bak_snap **out,
		 struct bak_error *err);
void bak_snap_put(struct bak_snap *snap); /* NULL is fine */

#endif
