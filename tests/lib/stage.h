/*
 * A repository in memory on which actors work, each with a handle of its own, as other processes or
 * hosts do, under a clock that stands still until it is set. Every snapshot says by the names of its
 * files what is in them, so all can be verified whoever made them.
 */
#ifndef BAK_TESTS_STAGE_H
#define BAK_TESTS_STAGE_H

#include "tests/lib/fixture.h"

#include "engine/ops/backup.h"
#include "engine/ops/prune.h"

#define BAK_STAGE_FILE 120000u /* bytes of a file */

struct bak_stage {
	struct bak_backend *mem;
	struct bak_secret secret;
	int64_t clock;
	char dir[40]; /* where handles have an index together; empty: each its own, in memory */
	uint64_t must[64]; /* snapshots that have to be there */
	size_t n_must;
};

/* All of these fail the test when something is wrong. Not for other threads. */
void bak_stage_setup(struct bak_stage *stage);
void bak_stage_teardown(struct bak_stage *stage);
/* A copy of the storage and of what is known of it. shared: with one index for all handles. */
void bak_stage_copy(const struct bak_stage *from, bool shared, struct bak_stage *to);
/* A new handle; backend NULL: straight to the storage. */
struct bak_repo *bak_stage_open(struct bak_stage *stage, struct bak_backend *backend);
void bak_stage_forget(struct bak_stage *stage, uint64_t number);
/* A whole backup, or prune, by a handle of its own. */
uint64_t bak_stage_backup(struct bak_stage *stage, const char *store, const char *files);
struct bak_prune_result bak_stage_prune(struct bak_stage *stage, bool alone);
/* Check is clean, every snapshot has the bytes that its names say, none that must be there lacks. */
void bak_stage_verify(struct bak_stage *stage);
/* Bytes of all packs. */
uint64_t bak_stage_bytes(struct bak_stage *stage);
unsigned bak_stage_count(struct bak_stage *stage, const char *folder);
/* Ends all leases: as if their processes were found dead. */
void bak_stage_end_leases(struct bak_stage *stage);

/* For actors: returns 0, -1. files: a letter a file; those that the predecessor has are not read
 * again. A capital letter's file is always read: it is found by hash, if it is known. */
int bak_stage_do_backup(struct bak_stage *stage, struct bak_repo *repo, const char *store,
			const char *files, struct bak_run **out_run, uint64_t *out_number,
			struct bak_error *err);

#endif
