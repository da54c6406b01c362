/* Restoring into a live store, made safe: see job.h. */
#include "tools/job.h"

#include "tools/job_files.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct run {
	const struct bak_job *job;
	const struct bak_job_request *request;
	struct bak_job_result *out;
	const struct bak_store_driver *driver;
	struct bak_job_files files;
	struct bak_store_env env;
	struct bak_job_stop stop;
	void *store;
	bool nothing_there; /* the live store has no data yet */
	bool rolling_back;  /* by the driver, or to a pre-restore snapshot */
	bool keeps_old;     /* the driver keeps what is there, so that it can put it back itself */
	uint64_t moved, moved_rate; /* by the restore itself: bytes, and a second */
	uint64_t number;  /* the snapshot to restore; 0: the driver puts back what it kept */
	json_t *record;   /* of the last restore, NULL for none */
	json_t *warnings; /* of the snapshot that is being made */
};

/* --- callbacks for the driver --- */

static void on_log(void *ctx, const char *line)
{
	struct run *r = ctx;

	bak_job_files_log(&r->files, line);
	if (r->job->log)
		r->job->log(r->job->ctx, line);
}

__attribute__((format(printf, 2, 3))) static void say(struct run *r, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	on_log(r, line);
}

static void on_warn(void *ctx, const char *line)
{
	struct run *r = ctx;
	char whole[1100];

	r->out->warnings++;
	json_array_append_new(r->warnings, json_string(line));
	snprintf(whole, sizeof whole, "warning: %s", line);
	bak_job_files_log(&r->files, whole);
	if (r->job->warn)
		r->job->warn(r->job->ctx, line);
}

static void on_progress(void *ctx, int percent, uint64_t bytes)
{
	struct run *r = ctx;

	bak_job_files_progress(&r->files, percent, bytes);
	if (r->job->progress)
		r->job->progress(r->job->ctx, r->files.state, percent, bytes);
}

static bool is_late(const struct run *r)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return r->request->deadline_s && now.tv_sec >= r->request->deadline_s;
}

/* Past the point of no return nothing stops a job: also what it puts back must be put back whole.
 */
static int is_cancelled(void *ctx)
{
	struct run *r = ctx;

	if (!r->files.cancellable)
		return 0;
	return is_late(r) || bak_job_files_cancelled(&r->files) ||
	       (r->job->cancelled && r->job->cancelled(r->job->ctx));
}

static int no_return(void *ctx, struct bak_error *err)
{
	struct run *r = ctx;

	if (r->files.cancellable && is_late(r))
		return bak_error_set(err, BAK_CANCELLED, "too late");
	return bak_job_files_commit(&r->files, err);
}

static void on_waiting(void *ctx)
{
	say(ctx, "waiting for another job of this store");
}

static void enter(struct run *r, const char *state)
{
	r->files.percent = -1;
	r->files.bytes = r->files.rate = 0;
	bak_job_files_state(&r->files, state);
	if (r->job->progress)
		r->job->progress(r->job->ctx, state, -1, 0);
}

/* --- what is to be done --- */

static int load_snapshot(struct run *r, uint64_t number, struct bak_snapshot *out,
			 struct bak_error *err)
{
	int rc = bak_repo_snapshot(r->job->repo, number, out, err);

	if (rc < 0)
		return bak_error_wrap(err, "snapshot %" PRIu64, number);
	if (rc == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "there is no snapshot %" PRIu64, number);
	if (strcmp(out->driver, r->driver->name) == 0)
		return 0;
	bak_error_set(err, BAK_REFUSED,
		      "snapshot %" PRIu64 " is of a store of type %s, and %s is of type %s", number,
		      out->driver, r->request->store, r->driver->name);
	bak_snapshot_release(out);
	return -1;
}

static int check_policy(struct run *r, struct bak_error *err)
{
	const char *policy = bak_store_get(r->job->store, "restore");

	if (strcmp(policy, "no") == 0)
		return bak_error_set(err, BAK_REFUSED, "store %s has restore = no",
				     r->request->store);
	if (r->request->n_only && !(r->driver->features & BAK_STORE_PARTIAL))
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "a store of type %s is restored as a whole", r->driver->name);
	r->env.force = r->job->force || strcmp(policy, "force") == 0;
	return 0;
}

/* Decides what a rollback is: the driver's own, or a restore of the pre-restore snapshot. */
static int plan_rollback(struct run *r, struct bak_error *err)
{
	json_int_t safety = json_integer_value(json_object_get(r->record, "safety"));

	if (!r->record)
		return bak_error_set(err, BAK_NOT_FOUND,
				     "store %s was not restored, so there is nothing to roll back",
				     r->request->store);
	r->rolling_back = true;
	if (json_is_object(json_object_get(r->record, "state")) && r->driver->rollback)
		return 0;
	if (safety <= 0)
		return bak_error_set(err, BAK_NOT_FOUND,
				     "the last restore of %s made no safety copy, so there is "
				     "nothing to roll back to",
				     r->request->store);
	r->number = (uint64_t)safety;
	return 0;
}

/* With snapshots missing nobody can tell whether the latest there is is the latest there was. */
static int check_latest(struct run *r, struct bak_error *err)
{
	char *missing;

	if (!r->request->latest)
		return 0;
	if (bak_repo_omissions(r->job->repo, &missing, err) < 0)
		return -1;
	if (!missing)
		return 0;
	bak_error_set(
		err, BAK_REFUSED,
		"%.300s, so the latest may be older than it should: name the snapshot's stamp",
		missing);
	free(missing);
	return -1;
}

static int plan(struct run *r, struct bak_error *err)
{
	if (bak_job_record_read(bak_repo_state_dir(r->job->repo), r->request->store, &r->record,
				err) < 0)
		return -1;
	switch (r->request->from) {
	case BAK_JOB_FROM_SNAPSHOT:
		r->number = r->request->snapshot;
		return check_latest(r, err);
	case BAK_JOB_FROM_UPLOAD:
		return 0;
	case BAK_JOB_FROM_ROLLBACK:
		return plan_rollback(r, err);
	}
	return bak_error_set(err, BAK_BUG, "an unknown kind of job");
}

/* The target in words, and whether there is anything yet. */
static int probe(struct run *r, struct bak_error *err)
{
	struct bak_store_probe found = {.bytes = 0};
	struct bak_error scratch = BAK_ERROR_INIT;

	if (r->driver->probe(r->store, &found, &scratch) < 0) {
		if (scratch.code == BAK_NOT_FOUND)
			r->nothing_there = true;
		else if (scratch.code == BAK_USAGE)
			return bak_error_set(err, scratch.code, "%s", scratch.msg);
	}
	snprintf(r->files.target, sizeof r->files.target, "%s",
		 found.target[0] ? found.target : r->request->store);
	return 0;
}

static void age_text(int64_t seconds, char *out, size_t len)
{
	if (seconds < 120)
		snprintf(out, len, "%" PRId64 " s", seconds < 0 ? 0 : seconds);
	else if (seconds < 7200)
		snprintf(out, len, "%" PRId64 " minutes", seconds / 60);
	else if (seconds < 2 * 86400)
		snprintf(out, len, "%" PRId64 " hours", seconds / 3600);
	else
		snprintf(out, len, "%" PRId64 " days", seconds / 86400);
}

static int describe_snapshot(struct run *r, struct bak_error *err)
{
	struct bak_snapshot snapshot = {.number = 0};
	char stamp[BAK_STAMP_LEN + 1], age[32];

	if (load_snapshot(r, r->number, &snapshot, err) < 0)
		return -1;
	bak_stamp_format(snapshot.stamp, stamp);
	age_text(time(NULL) - snapshot.stamp, age, sizeof age);
	snprintf(r->files.source, sizeof r->files.source,
		 "%s@%s (snapshot %" PRIu64 ", %s old, %" PRIu64 " file%s, %" PRIu64 " bytes)%s",
		 snapshot.store, stamp, r->number, age, snapshot.root.totals.files,
		 snapshot.root.totals.files == 1 ? "" : "s",
		 snapshot.root.totals.bytes + snapshot.link_bytes,
		 r->request->n_only ? ", a part of it" : "");
	bak_snapshot_release(&snapshot);
	return 0;
}

static int describe(struct run *r, struct bak_error *err)
{
	if (r->number) {
		if (describe_snapshot(r, err) < 0)
			return -1;
	} else if (r->request->from == BAK_JOB_FROM_UPLOAD) {
		snprintf(r->files.source, sizeof r->files.source, "%s", r->request->upload);
	} else {
		snprintf(r->files.source, sizeof r->files.source,
			 "what was there before the restore of %s",
			 json_string_value(json_object_get(r->record, "time"))
				 ? json_string_value(json_object_get(r->record, "time"))
				 : "some time");
	}
	if (r->request->description)
		say(r, "asked for by: %s", r->request->description);
	say(r, "target: %s", r->files.target);
	say(r, "source: %s", r->files.source);
	return 0;
}

/* --- snapshots on the way --- */

/* A snapshot of the live store, or of what lies at path as if it were that. */
static int fill_snapshot(struct run *r, struct bak_run *run, const char *path, uint64_t *out_number,
			 struct bak_error *err)
{
	struct bak_backup_conf conf = {.store = r->request->store,
				       .driver = r->driver->name,
				       .take_over = r->job->take_over,
				       .level = (int)bak_store_get_number(r->job->store, "level"),
				       .no_alike = !bak_store_get_bool(r->job->store, "alike"),
				       .no_dedup = !bak_store_get_bool(r->job->store, "dedup"),
				       .workers = r->job->workers};
	struct bak_backup *backup = NULL;
	json_t *facts = json_object();
	int rc = facts ? bak_backup_begin(run, &conf, &backup, err) : bak_error_nomem(err);

	r->warnings = json_array();
	if (rc == 0 && path)
		rc = r->driver->import(r->store, path, bak_backup_writer(backup), facts, err);
	else if (rc == 0)
		rc = r->driver->backup(r->store, bak_backup_writer(backup), facts, err);
	if (rc == 0)
		rc = bak_backup_commit(backup, facts, r->warnings, out_number, err);
	bak_backup_free(backup);
	json_decref(facts);
	json_decref(r->warnings);
	r->warnings = NULL;
	return rc;
}

static int make_snapshot(struct run *r, const char *type, const char *path, uint64_t *out_number,
			 struct bak_error *err)
{
	const char *names[] = {r->request->store};
	struct bak_run *run;
	char text[600], quoted[500];

	/* The source's name, without what stands in brackets behind it. */
	if (path)
		snprintf(text, sizeof text, "from %s",
			 bak_error_quote(path, quoted, sizeof quoted));
	else
		snprintf(text, sizeof text, "before restoring %.*s",
			 (int)strcspn(r->files.source, " "), r->files.source);
	if (bak_run_begin(r->job->repo, type, text, names, 1, &run, err) < 0)
		return -1;
	int rc = fill_snapshot(r, run, path, out_number, err);
	bak_run_end(run);
	return rc;
}

static int import_upload(struct run *r, struct bak_error *err)
{
	if (r->request->from != BAK_JOB_FROM_UPLOAD)
		return 0;
	enter(r, "importing");
	if (!r->driver->import)
		return bak_error_set(err, BAK_UNSUPPORTED, "a store of type %s takes no uploads",
				     r->driver->name);
	if (make_snapshot(r, "import", r->request->upload, &r->number, err) < 0)
		return bak_error_wrap(err, "upload");
	r->out->imported = r->number;
	say(r, "the upload is snapshot %" PRIu64, r->number);
	return 0;
}

/* What the driver restores from. number: the request's snapshot, or a whole other one. */
static struct bak_restore_from restore_source(const struct run *r, uint64_t number,
					      const struct bak_snapshot *snapshot)
{
	bool whole = number != r->number;

	return (struct bak_restore_from){
		.repo = r->job->repo,
		.snapshot = snapshot,
		.only = whole ? NULL : (const char *const *)r->request->only,
		.n_only = whole ? 0 : r->request->n_only,
		.wishes = r->request->wishes,
		.n_wishes = whole ? 0 : r->request->n_wishes,
	};
}

/* Whether the old data will stay, in which case it is the safety copy. */
static int ask_keeps_old(struct run *r, struct bak_error *err)
{
	struct bak_snapshot snapshot = {.number = 0};
	struct bak_restore_from from;
	int rc;

	r->keeps_old = r->driver->features & BAK_STORE_KEEPS_OLD;
	if (!r->keeps_old || !r->driver->keeps_old)
		return 0;
	if (load_snapshot(r, r->number, &snapshot, err) < 0)
		return -1;
	from = restore_source(r, r->number, &snapshot);
	rc = r->driver->keeps_old(r->store, &from, err);
	r->keeps_old = rc > 0;
	bak_snapshot_release(&snapshot);
	return rc < 0 ? -1 : 0;
}

static int make_safe(struct run *r, struct bak_error *err)
{
	int rc;

	if (ask_keeps_old(r, err) < 0)
		return -1;
	if (r->keeps_old)
		return 0;
	if (r->nothing_there) {
		say(r, "nothing is there yet, so no safety copy is made");
		return 0;
	}
	if (r->job->no_safety) {
		say(r, "no safety copy is made, as asked for");
		return 0;
	}
	enter(r, "safety");
	r->env.raw_ok = true;
	rc = make_snapshot(r, "pre-restore", NULL, &r->out->safety, err);
	r->env.raw_ok = false;
	if (rc == 0)
		say(r, "safety copy: snapshot %" PRIu64, r->out->safety);
	else if (err->code != BAK_CANCELLED)
		bak_error_wrap(err, "no safety copy could be made, so nothing was changed (bakfs "
				    "restore ... --no-safety goes on without)");
	return rc;
}

/* --- restoring --- */

static int restore_from(struct run *r, uint64_t number, json_t *state, struct bak_error *err)
{
	struct bak_snapshot snapshot = {.number = 0};
	struct bak_restore_from from;
	int rc;

	if (load_snapshot(r, number, &snapshot, err) < 0)
		return -1;
	from = restore_source(r, number, &snapshot);
	rc = r->driver->restore(r->store, &from, state, err);
	bak_snapshot_release(&snapshot);
	return rc;
}

static int note_record(struct run *r, json_t *state, struct bak_error *err)
{
	char text[BAK_TIME_LEN + 1];

	bak_time_format(time(NULL), text);
	json_t *record = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:O?}", "store",
				   r->request->store, "driver", r->driver->name, "job", r->files.id,
				   "time", text, "restored", (json_int_t)r->number, "safety",
				   (json_int_t)r->out->safety, "state",
				   r->keeps_old ? state : NULL);
	int rc = record ? bak_job_record_write(&r->files, record, err) : bak_error_nomem(err);

	json_decref(record);
	return rc;
}

/* The first count that differs, in words; NULL when all are equal. */
static const char *difference(const json_t *want, json_t *have, char *out, size_t len)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)want, name, value)
	{
		json_t *now = json_object_get(have, name);

		if (json_equal(value, now))
			continue;
		if (now)
			snprintf(out, len,
				 "%.100s: %" JSON_INTEGER_FORMAT
				 ", and the snapshot has %" JSON_INTEGER_FORMAT,
				 name, json_integer_value(now), json_integer_value(value));
		else
			snprintf(out, len, "%.100s is missing", name);
		return out;
	}
	json_object_foreach(have, name, value)
	{
		if (json_object_get(want, name))
			continue;
		snprintf(out, len, "%.100s is not in the snapshot", name);
		return out;
	}
	return NULL;
}

static int compare_counts(struct run *r, const json_t *want, struct bak_error *err)
{
	json_t *have = json_object();
	char text[256];
	const char *why;
	int rc;

	rc = have ? r->driver->counts(r->store, have, err) : bak_error_nomem(err);
	if (rc < 0)
		bak_error_wrap(err, "validation");
	else if ((why = difference(want, have, text, sizeof text)) != NULL)
		rc = bak_error_set(err, BAK_CORRUPT, "validation: %s", why);
	else
		say(r, "validated: %zu counts as in the snapshot", json_object_size(want));
	json_decref(have);
	return rc;
}

static int validate(struct run *r, struct bak_error *err)
{
	struct bak_snapshot snapshot = {.number = 0};
	json_t *facts, *want;
	int rc = 0;

	if (r->request->n_only || r->request->n_wishes || !r->driver->counts)
		return 0;
	if (load_snapshot(r, r->number, &snapshot, err) < 0)
		return -1;
	facts = bak_snapshot_facts(&snapshot);
	want = json_object_get(facts, "counts");
	if (!facts)
		rc = bak_error_nomem(err);
	else if (json_object_size(want)) {
		enter(r, "validating");
		rc = compare_counts(r, want, err);
	}
	json_decref(facts);
	bak_snapshot_release(&snapshot);
	return rc;
}

/* After a restore that did not come out right. err has the reason and keeps it. */
static int put_back(struct run *r, const json_t *state, struct bak_error *err)
{
	struct bak_error second = BAK_ERROR_INIT;
	json_t *scratch = json_object();
	int rc;

	enter(r, "rolling-back");
	say(r, "%s; putting back what was there", err->msg);
	if (r->keeps_old)
		rc = r->driver->rollback(r->store, state, &second);
	else if (r->out->safety)
		rc = restore_from(r, r->out->safety, scratch, &second);
	else
		rc = bak_error_set(&second, BAK_NOT_FOUND, "there is no safety copy");
	json_decref(scratch);
	if (rc < 0)
		return bak_error_wrap(err, "what was there could not be put back (%s)", second.msg);
	r->out->rolled_back = true;
	if (bak_job_record_write(&r->files, r->record, &second) < 0)
		say(r, "%s", second.msg);
	return bak_error_wrap(err, "failed, and what was there is back");
}

static int restore(struct run *r, struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	json_t *state = json_object();
	int rc;

	if (!state)
		return bak_error_nomem(err);
	enter(r, "restoring");
	rc = restore_from(r, r->number, state, err);
	r->moved = r->files.bytes;
	r->moved_rate = r->files.rate;
	if (rc == 0) {
		r->out->restored = r->number;
		r->out->beside = json_is_true(json_object_get(state, "beside"));
		if (!r->out->beside && note_record(r, state, &scratch) < 0)
			on_warn(r, scratch.msg);
		rc = validate(r, err);
		if (rc < 0)
			put_back(r, state, err);
	} else if (!r->files.cancellable && !(r->driver->features & BAK_STORE_ATOMIC) &&
		   !json_is_true(json_object_get(state, "unchanged")) && r->out->safety) {
		/* It may have come half-way. */
		put_back(r, state, err);
	}
	json_decref(state);
	return rc;
}

/* The driver exchanges again what it exchanged; so the same record undoes the undoing. */
static int roll_back(struct run *r, struct bak_error *err)
{
	enter(r, "rolling-back");
	if (bak_store_no_return(&r->env, err) < 0)
		return -1;
	return r->driver->rollback(r->store, json_object_get(r->record, "state"), err);
}

/* --- the whole --- */

static int work(struct run *r, struct bak_error *err)
{
	if (check_policy(r, err) < 0 || bak_job_files_lock_store(&r->files, &r->stop, err) < 0 ||
	    plan(r, err) < 0 || r->driver->open(r->job->store, &r->env, &r->store, err) < 0 ||
	    probe(r, err) < 0 || describe(r, err) < 0)
		return -1;
	enter(r, "waiting");
	if (bak_job_files_wait(&r->files, r->request->delay_s, &r->stop, err) < 0 ||
	    import_upload(r, err) < 0)
		return -1;
	if (r->rolling_back && !r->number)
		return roll_back(r, err);
	return make_safe(r, err) < 0 ? -1 : restore(r, err);
}

/* Cancelled by nobody: its deadline came before it changed anything. */
static void say_late(struct run *r, struct bak_error *err)
{
	if (err->code == BAK_CANCELLED && is_late(r) && !bak_job_files_cancelled(&r->files))
		bak_error_set(err, BAK_UNAVAILABLE,
			      "its deadline came before it began, so nothing was changed");
}

static void finish(struct run *r, int rc, const struct bak_error *err)
{
	const char *state = rc == 0 ? "done" : err->code == BAK_CANCELLED ? "cancelled" : "failed";

	if (rc < 0) {
		snprintf(r->files.error, sizeof r->files.error, "%s", err->msg);
	} else {
		r->files.percent = 100;
		r->files.bytes = r->moved;
		r->files.rate = r->moved_rate;
	}
	say(r, "%s%s%s", state, rc < 0 ? ": " : "", rc < 0 ? err->msg : "");
	r->files.finished = time(NULL);
	r->files.cancellable = false;
	bak_job_files_state(&r->files, state);
	if (r->driver)
		r->driver->close(r->store);
	json_decref(r->record);
	bak_job_files_close(&r->files);
}

int bak_job_run(const struct bak_job *job, struct bak_job_result *out, struct bak_error *err)
{
	struct run r = {.job = job,
			.request = job->request,
			.out = out,
			.driver = bak_store_driver_find(job->store->driver),
			.stop = {.stop = is_cancelled, .waiting = on_waiting, .ctx = &r}};

	assert(r.driver);
	*out = (struct bak_job_result){.restored = 0};
	if (job->request->id)
		snprintf(out->id, sizeof out->id, "%s", job->request->id);
	else
		bak_job_new_id(job->request->store, out->id);
	r.env = (struct bak_store_env){.ctx = &r,
				       .log = on_log,
				       .warn = on_warn,
				       .progress = on_progress,
				       .cancelled = is_cancelled,
				       .point_of_no_return = no_return,
				       .repo_path = bak_repo_path(job->repo)};
	if (bak_job_files_open(&r.files, bak_repo_state_dir(job->repo), job->request->store,
			       out->id, err) < 0)
		return -1;
	int rc = work(&r, err);
	if (rc < 0)
		say_late(&r, err);
	finish(&r, rc, err);
	return rc;
}

int bak_job_rollback_text(struct bak_repo *repo, const char *store, char *out, size_t out_len,
			  struct bak_error *err)
{
	json_t *record = NULL;
	int rc = bak_job_record_read(bak_repo_state_dir(repo), store, &record, err);

	if (rc <= 0)
		return rc;
	const json_t *state = json_object_get(record, "state");
	const char *time_text = json_string_value(json_object_get(record, "time"));
	const char *kept = json_string_value(json_object_get(state, "kept"));
	const char *parent = json_string_value(json_object_get(state, "parent"));
	const char *what = json_string_value(json_object_get(state, "text"));
	json_int_t safety = json_integer_value(json_object_get(record, "safety"));

	time_text = time_text ? time_text : "some time";
	if (what)
		snprintf(out, out_len, "puts back %s, exchanged %s", what, time_text);
	else if (kept && parent)
		snprintf(out, out_len, "puts back %s/%s, exchanged %s", parent, kept, time_text);
	else if (safety > 0)
		snprintf(out, out_len,
			 "puts back snapshot %" JSON_INTEGER_FORMAT
			 ", made before the restore of %s",
			 safety, time_text);
	else
		rc = 0;
	json_decref(record);
	return rc;
}
