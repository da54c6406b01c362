/*
 * Restoring into a live store, made safe: what `bakfs restore` without --to, `bakfs rollback` and
 * the mount's `bakfs job` have in common.
 *
 * In order: wait for the store's earlier jobs; wait the delay; turn an upload into a snapshot of
 *   type import; make it safe (a pre-restore snapshot, unless the driver keeps the old data
 *   itself); restore; take the counts again and compare them with the manifest's; if they differ,
 *   put back what was there. Until the driver's point of no return a job can be cancelled.
 * State: <state dir>/jobs/ holds <id>.json, .log and .lock as fs/mount.h describes, also for jobs
 *   from the command line; and <store>.rollback.json, what the last restore of each store needs to
 *   be undone. A rollback leaves one too, so that it can itself be undone.
 * Errors: the text of the first failure, what was done about it behind it. Before the point of no
 *   return the store is as it was, and the text says nothing else.
 * Threads: one call is one thread's; jobs of one store exclude each other over all processes.
 */
#ifndef BAK_TOOLS_JOB_H
#define BAK_TOOLS_JOB_H

#include "stores/stores.h"

enum bak_job_from {
	BAK_JOB_FROM_SNAPSHOT,
	BAK_JOB_FROM_UPLOAD,
	BAK_JOB_FROM_ROLLBACK, /* what stood there before the store's last restore */
};

/* What is asked for. Owned strings; release wipes the secret. */
struct bak_job_request {
	char *id;          /* NULL: bak_job_run makes one */
	char *store;       /* its name */
	char *description; /* how it came to be, as "touch latest"; may be NULL */
	unsigned delay_s;
	int64_t deadline_s; /* of the monotonic clock: from then on it must not begin; 0: never */
	struct bak_secret secret; /* of the repository, in what a mount sends */
	enum bak_job_from from;
	uint64_t snapshot; /* SNAPSHOT */
	bool latest;       /* SNAPSHOT: it was asked for as the latest */
	char **only;       /* SNAPSHOT: only these paths of it; n_only 0: everything */
	size_t n_only;
	const struct bak_store_pair
		*wishes; /* SNAPSHOT: of the driver's restore_options; borrowed */
	size_t n_wishes;
	char *upload; /* UPLOAD: path of a file or folder */
};
/* Reads the JSON object of fs/mount.h from fd until its end. Wipes the text. */
int bak_job_request_read(int fd, struct bak_job_request *out, struct bak_error *err);
void bak_job_request_release(struct bak_job_request *request);

struct bak_job {
	const struct bak_job_request *request; /* borrowed, as all is */
	struct bak_repo *repo;
	const struct bak_store_conf *store; /* the configured store of that name */
	bool no_safety;                     /* go on without a safety copy */
	bool force;     /* others' connections may be ended, also if the store does not say so */
	bool take_over; /* the store's snapshots may be another host's so far */
	unsigned workers;
	/* May be NULL. Lines also go to the job's log; states and percent (-1: unknown) to its
	 * .json. */
	void *ctx;
	void (*log)(void *ctx, const char *line);
	void (*warn)(void *ctx, const char *line);
	void (*progress)(void *ctx, const char *state, int percent, uint64_t bytes);
	int (*cancelled)(void *ctx);
};

struct bak_job_result {
	char id[BAK_STORE_NAME_MAX + 21];
	uint64_t restored; /* snapshot that the store now has; 0: a rollback to what was kept */
	uint64_t imported; /* the same, if it came from an upload, else 0 */
	uint64_t safety;   /* pre-restore snapshot, 0 none */
	size_t warnings;
	bool rolled_back; /* it failed, and what was there before is back */
	bool beside;      /* it went beside the live data: a rollback still undoes the one before */
};
/* 0 done. out is filled as far as it came also on failure. */
int bak_job_run(const struct bak_job *job, struct bak_job_result *out, struct bak_error *err);

/* What `rollback` of a store would bring back: 1 and one line in out, 0 nothing to roll back, -1.
 */
int bak_job_rollback_text(struct bak_repo *repo, const char *store, char *out, size_t out_len,
			  struct bak_error *err);

#endif
