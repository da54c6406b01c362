/*
 * Making a snapshot: run, lease, predecessor, writer, commit.
 *
 * A run is what one `bakfs backup` makes together: begin it once, then one bak_backup per store,
 * one after another. Nothing of a backup is visible before bak_backup_commit, nothing of it is half
 * visible after a failure; finished packs of a failed one are found again by the next.
 */
#ifndef BAK_OPS_BACKUP_H
#define BAK_OPS_BACKUP_H

#include "engine/ops/repo.h"

#include <jansson.h>

struct bak_run;
struct bak_backup;

/* type: manual, daily, weekly, monthly, pre-restore, import. stores: names it sets out to do.
 * Writes the lease (BAK_BUSY when a live lease names one of the stores), removes leftovers in tmp/
 * of runs without a live lease, brings the catalogue up to date. */
int bak_run_begin(struct bak_repo *repo, const char *type, const char *description,
		  const char *const *stores, size_t n_stores, struct bak_run **out_run,
		  struct bak_error *err);
/* Ends the lease; NULL is fine. */
void bak_run_end(struct bak_run *run);
/* The run's stamp; fixed by its first commit, 0 before. */
int64_t bak_run_stamp(const struct bak_run *run);
const char *bak_run_id(const struct bak_run *run); /* 16 hex digits */

struct bak_backup_conf {
	const char *store, *driver;
	bool take_over;          /* the store may belong to another host so far */
	int level;               /* zstd; 0: 3 */
	bool no_alike, no_dedup; /* see span_writer.h */
	unsigned workers;
	void (*progress)(void *ctx, const struct bak_writer_progress *progress);
	void *progress_ctx;
};
/* BAK_REFUSED when the store's newest snapshot is another host's and not take_over. */
int bak_backup_begin(struct bak_run *run, const struct bak_backup_conf *conf,
		     struct bak_backup **out_backup, struct bak_error *err);
struct bak_writer *bak_backup_writer(struct bak_backup *backup);
/* facts: the driver's own, a JSON object (borrowed): goes into the manifest as "data". warnings: a
 * JSON array of strings or NULL. Finishes the writer and commits. */
int bak_backup_commit(struct bak_backup *backup, json_t *facts, json_t *warnings,
		      uint64_t *out_number, struct bak_error *err);
/* What it did; valid after commit. */
const struct bak_writer_result *bak_backup_result(const struct bak_backup *backup);
void bak_backup_free(
	struct bak_backup *backup); /* throws away what is not committed; NULL is fine */

/* "20261121T140212Z" of a committed backup's snapshot. */
int64_t bak_backup_stamp(const struct bak_backup *backup);

#endif
