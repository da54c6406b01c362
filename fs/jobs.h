/*
 * Restore jobs as files below <state dir>/jobs/ (mount.h says which), read and cancelled; and
 * started, as processes of their own. The same files are all that a later mount, or another
 * program, knows of a job.
 *
 * Threads: no state; safe.
 */
#ifndef BAK_FS_JOBS_H
#define BAK_FS_JOBS_H

#include "engine/ops/repo.h"

#include <sys/types.h>

#define BAK_JOB_ID_MAX (BAK_STORE_NAME_MAX + 1 + 19)

struct bak_job_info {
	char id[BAK_JOB_ID_MAX + 1];
	char store[BAK_STORE_NAME_MAX + 1];
	char state[24];
	int percent;          /* -1 unknown */
	uint64_t bytes, rate; /* of the step it is at, or of the restore that is over; a second */
	char target[512], source[512], error[512]; /* one line each, "" for none */
	int64_t created, finished;                 /* UTC, 0 for not known */
	pid_t pid;
	bool died; /* its process ended without a last word: state and error are our conclusion */
};

/* done, failed or cancelled. */
bool bak_job_final(const char *state);
/* "<store>-<19 digits>": its store's length, or 0 when it is no job's id. */
size_t bak_job_store_len(const char *id);

/* <state dir>/jobs, made when it is not there; the caller's to free. */
int bak_jobs_dir(const char *state_dir, char **out_dir, struct bak_error *err);
/* 1; 0 when there is no such job; -1. A job whose process ended without a word is "failed". */
int bak_job_load(const char *dir, const char *id, struct bak_job_info *out, struct bak_error *err);
/* Ids of one store's jobs (NULL: of all), oldest first; *out and its strings are one allocation,
 * the caller's to free. */
int bak_jobs_list(const char *dir, const char *store, char ***out, size_t *out_n,
		  struct bak_error *err);
/* The newest of a store: 1, 0 none, -1. */
int bak_jobs_last(const char *dir, const char *store, struct bak_job_info *out,
		  struct bak_error *err);
/* Asks a job to stop: 1 it will, or is over; 0 it is too late. */
int bak_job_cancel(const char *dir, const char *id, struct bak_error *err);
/* Where a job's log is. */
void bak_job_log_path(const char *dir, const char *id, char *out, size_t out_len);
/* For a job that never came to write its file, or died: says so in its place. */
int bak_job_write_failed(const char *dir, const struct bak_job_info *job, struct bak_error *err);

/* Starts argv with text on its standard input, in a session of its own, with nothing open but its
 * log. */
int bak_job_spawn(char *const *argv, const char *log_path, const char *text, size_t text_len,
		  pid_t *out_pid, struct bak_error *err);

#endif
