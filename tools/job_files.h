/*
 * A job's files below <state dir>/jobs/, its locks, and waiting for other jobs or for the user to
 * change his mind. fs/mount.h says what each file holds.
 *
 * Threads: one job is one thread's.
 */
#ifndef BAK_TOOLS_JOB_FILES_H
#define BAK_TOOLS_JOB_FILES_H

#include "engine/ops/repo.h"

#include <jansson.h>

#define BAK_JOB_NAME_MAX (BAK_STORE_NAME_MAX + 21)

struct bak_job_files {
	char *dir;
	char id[BAK_JOB_NAME_MAX], store[BAK_STORE_NAME_MAX + 1];
	int dir_fd, log_fd, store_lock, id_lock, watch;
	/* What the .json says. */
	char state[24], target[512], source[512], error[512];
	int percent;
	uint64_t bytes, rate; /* of this state so far; a second */
	int64_t created, finished;
	bool cancellable;
	int64_t told_ms;    /* when it was written last */
	int64_t entered_ms; /* when it came to this state */
};

/* A new id: "<store>-<UTC nanoseconds>". */
void bak_job_new_id(const char *store, char out[BAK_JOB_NAME_MAX]);

/* Makes folder, log and .json ("queued"). Holds no lock yet. */
int bak_job_files_open(struct bak_job_files *files, const char *state_dir, const char *store,
		       const char *id, struct bak_error *err);
void bak_job_files_close(struct bak_job_files *files);

void bak_job_files_log(struct bak_job_files *files, const char *line);
/* Writes the .json. A failure is nobody's: the job goes on. */
void bak_job_files_state(struct bak_job_files *files, const char *state);
/* The same for percent and bytes, at most ten times a second. */
void bak_job_files_progress(struct bak_job_files *files, int percent, uint64_t bytes);

/* Told to stop: <id>.cancel is there. */
bool bak_job_files_cancelled(struct bak_job_files *files);
/* Asked as well whether to stop; and told when there is another job to wait for. */
struct bak_job_stop {
	int (*stop)(void *ctx);
	void (*waiting)(void *ctx);
	void *ctx;
};
/* Until no other job of the store runs. BAK_CANCELLED. */
int bak_job_files_lock_store(struct bak_job_files *files, const struct bak_job_stop *stop,
			     struct bak_error *err);
/* Waits that long. BAK_CANCELLED. */
int bak_job_files_wait(struct bak_job_files *files, unsigned seconds,
		       const struct bak_job_stop *stop, struct bak_error *err);
/* The point of no return: BAK_CANCELLED, or nobody can cancel any more. */
int bak_job_files_commit(struct bak_job_files *files, struct bak_error *err);

/* <store>.rollback.json: 1 and a new reference, 0 none, -1. */
int bak_job_record_read(const char *state_dir, const char *store, json_t **out,
			struct bak_error *err);
/* Replaces it, durably; NULL removes it. */
int bak_job_record_write(struct bak_job_files *files, const json_t *record, struct bak_error *err);

#endif
