/* The control files of a store: status, wait, log. */
#include "fs/control_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Jobs that `status` lists. */
#define JOBS_SHOWN 20

/* --- status --- */

static struct bak_job *running(struct bak_control *c, const struct bak_room *room)
{
	for (struct bak_job *job = c->jobs; job; job = job->next)
		if (job->room == room && !job->ended)
			return job;
	return NULL;
}

/* The file as it is now, or what is known of a job that has not come to write it. */
static bool job_info(struct bak_control *c, const char *id, struct bak_job_info *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_job_load(c->jobs_dir, id, out, &err) > 0)
		return true;
	for (const struct bak_job *job = c->jobs; job; job = job->next)
		if (strcmp(job->info.id, id) == 0) {
			*out = job->info;
			return true;
		}
	return false;
}

static int job_line(const struct bak_job_info *job, struct bak_buf *out)
{
	char percent[16] = "-";
	if (job->percent >= 0)
		snprintf(percent, sizeof percent, "%d%%", job->percent);
	return bak_buf_printf(out, "job: %s %s %s %llu bytes, %llu bytes/s, %s -> %s%s%s\n",
			      job->id, job->state, percent, (unsigned long long)job->bytes,
			      (unsigned long long)job->rate, *job->source ? job->source : "?",
			      *job->target ? job->target : "?", *job->error ? ": " : "",
			      job->error);
}

static int now_lines(struct bak_control *c, const struct bak_room *room,
		     const struct bak_job_info *last, struct bak_buf *out)
{
	struct bak_job *job = running(c, room);
	struct bak_job_info now;
	if (!job || !job_info(c, job->info.id, &now)) {
		const char *why = *room->refused         ? room->refused
				  : last && *last->error ? last->error
							 : "none";
		return bak_buf_printf(
			out, "state: idle\npercent: -\nbytes: 0\nrate: 0\nerror: %s\n", why);
	}
	char percent[16] = "-";
	if (now.percent >= 0)
		snprintf(percent, sizeof percent, "%d", now.percent);
	return bak_buf_printf(out, "state: %s\npercent: %s\nbytes: %llu\nrate: %llu\nerror: %s\n",
			      now.state, percent, (unsigned long long)now.bytes,
			      (unsigned long long)now.rate,
			      *now.error       ? now.error
			      : *room->refused ? room->refused
					       : "none");
}

/* Ids of the room's jobs: those with a file, and those that have none yet. */
static int list_ids(struct bak_control *c, const struct bak_room *room, char ***out, size_t *out_n)
{
	struct bak_error err = BAK_ERROR_INIT;
	return bak_jobs_list(c->jobs_dir, room->store->name, out, out_n, &err) < 0 ? EIO : 0;
}

static bool has_id(char **ids, size_t n, const char *id)
{
	for (size_t i = n; i-- > 0;)
		if (strcmp(ids[i], id) == 0)
			return true;
	return false;
}

int bak_control_status_text(struct bak_control *c, const struct bak_room *room, struct bak_buf *out)
{
	BAK_AUTO(bak_free_ptr) char **ids = NULL;
	size_t n;
	struct bak_job_info info;
	int no = list_ids(c, room, &ids, &n);
	if (no)
		return no;
	bool last = n && job_info(c, ids[n - 1], &info);
	if (now_lines(c, room, last ? &info : NULL, out) < 0)
		return ENOMEM;
	for (size_t i = n > JOBS_SHOWN ? n - JOBS_SHOWN : 0; i < n; i++)
		if (job_info(c, ids[i], &info) && job_line(&info, out) < 0)
			return ENOMEM;
	for (const struct bak_job *job = c->jobs; job; job = job->next)
		if (job->room == room && !has_id(ids, n, job->info.id) &&
		    job_line(&job->info, out) < 0)
			return ENOMEM;
	return 0;
}

/* --- wait --- */

static int result_of(const struct bak_job_info *job, struct bak_buf *out)
{
	return bak_buf_printf(out, "%s: %s -> %s%s%s\n", job->state,
			      *job->source ? job->source : "?", *job->target ? job->target : "?",
			      *job->error ? ": " : "", job->error) < 0
		       ? ENOMEM
		       : 0;
}

int bak_control_result_text(struct bak_control *c, const struct bak_room *room, struct bak_buf *out)
{
	BAK_AUTO(bak_free_ptr) char **ids = NULL;
	size_t n;
	struct bak_job_info info;
	int no = list_ids(c, room, &ids, &n);
	if (no)
		return no;
	if (!n || !job_info(c, ids[n - 1], &info))
		return bak_buf_printf(out, "none: nothing was restored yet\n") < 0 ? ENOMEM : 0;
	return result_of(&info, out);
}

static void text_reply(fuse_req_t req, const struct bak_buf *text, size_t size, off_t off)
{
	if ((uint64_t)off >= text->len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, (const char *)text->p + off,
			       size < text->len - (size_t)off ? size : text->len - (size_t)off);
}

/* Comes on a request thread while libfuse holds locks of the request: only notes it down. */
static void interrupted(fuse_req_t req, void *data)
{
	struct bak_fs *fs = fuse_req_userdata(req);
	struct bak_control *c = fs->control;
	uint64_t id = (uint64_t)(uintptr_t)data;
	pthread_mutex_lock(&c->lock);
	for (struct bak_waiter *w = c->waiters; w; w = w->next)
		if (w->id == id)
			w->interrupted = true;
	bak_control_wake(c);
	pthread_mutex_unlock(&c->lock);
}

/* Keeps the request. The lock is held. */
static int keep(struct bak_control *c, fuse_req_t req, struct bak_open *open, size_t size,
		const struct bak_job *job)
{
	struct bak_waiter *w = calloc(1, sizeof *w);
	if (!w)
		return ENOMEM;
	*w = (struct bak_waiter){.id = ++c->last_waiter,
				 .req = req,
				 .size = size,
				 .open = open,
				 .room = open->spot.room};
	snprintf(w->job, sizeof w->job, "%s", job->info.id);
	uint64_t id = w->id;
	/* Not known to the thread yet, so the request is ours alone. Without the lock: libfuse
	 * calls back at once when the interrupt has come before. */
	pthread_mutex_unlock(&c->lock);
	fuse_req_interrupt_func(req, interrupted, (void *)(uintptr_t)id);
	pthread_mutex_lock(&c->lock);
	w->interrupted = fuse_req_interrupted(req);
	w->next = c->waiters;
	c->waiters = w;
	bak_control_wake(c); /* the job may have ended meanwhile */
	return 0;
}

void bak_control_wait_reply(struct bak_control *c, fuse_req_t req, struct bak_open *open,
			    size_t size, off_t off)
{
	int no = 0;
	const struct bak_job *job = bak_control_newest(c, open->spot.room);
	if (off == 0 && job) {
		no = c->closing ? EINTR : keep(c, req, open, size, job);
		if (no)
			fuse_reply_err(req, no);
		return;
	}
	if (off == 0) {
		open->text.len = 0;
		no = bak_control_result_text(c, open->spot.room, &open->text);
	}
	if (no)
		fuse_reply_err(req, no);
	else
		text_reply(req, &open->text, size, off);
}

static bool still_runs(const struct bak_control *c, const char *id)
{
	for (const struct bak_job *job = c->jobs; job; job = job->next)
		if (strcmp(job->info.id, id) == 0)
			return !job->ended;
	return false;
}

static void answer_one(struct bak_control *c, struct bak_waiter *w, bool all)
{
	struct bak_job_info info;
	int no = w->interrupted || (all && still_runs(c, w->job)) ? EINTR : 0;
	w->open->text.len = 0;
	if (!no)
		no = job_info(c, w->job, &info) ? result_of(&info, &w->open->text) : EIO;
	if (no)
		fuse_reply_err(w->req, no);
	else
		text_reply(w->req, &w->open->text, w->size, 0);
}

void bak_control_answer(struct bak_control *c, bool all)
{
	for (struct bak_waiter **at = &c->waiters; *at;) {
		struct bak_waiter *w = *at;
		if (!all && !w->interrupted && still_runs(c, w->job)) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		answer_one(c, w, all);
		free(w);
	}
}

/* --- log --- */

/*
 * All jobs' logs, one behind another, as far as they can grow no more but at their end: behind the
 * first job that is not over, nothing is shown yet.
 */
struct log_walk {
	uint64_t off;   /* to be passed over */
	size_t len;     /* wanted */
	uint64_t total; /* seen */
	struct bak_buf *out;
};

static int log_piece(const char *path, struct log_walk *w)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return 0; /* a job that wrote none */
	uint64_t size = (uint64_t)st.st_size;
	w->total += size;
	if (w->off >= size) {
		w->off -= size;
		return 0;
	}
	size_t n = size - w->off < w->len ? (size_t)(size - w->off) : w->len;
	size_t before = w->out ? w->out->len : 0;
	if (n && w->out) {
		if (bak_buf_resize(w->out, before + n) < 0)
			return ENOMEM;
		ssize_t got = pread(fd, w->out->p + before, n, (off_t)w->off);
		w->out->len = before + (got > 0 ? (size_t)got : 0);
		w->len -= got > 0 ? (size_t)got : 0;
	}
	w->off = 0;
	return 0;
}

static int log_walk(struct bak_control *c, const struct bak_room *room, struct log_walk *w)
{
	BAK_AUTO(bak_free_ptr) char **ids = NULL;
	size_t n;
	int no = list_ids(c, room, &ids, &n);
	for (size_t i = 0; i < n && !no; i++) {
		struct bak_job_info info;
		BAK_AUTO(bak_free_ptr) char *path = NULL;
		if (asprintf(&path, "%s/%s.log", c->jobs_dir, ids[i]) < 0)
			return ENOMEM;
		no = log_piece(path, w);
		if (!job_info(c, ids[i], &info) || !bak_job_final(info.state))
			break;
	}
	return no;
}

uint64_t bak_control_log_size(struct bak_control *c, const struct bak_room *room)
{
	struct log_walk w = {.off = UINT64_MAX};
	return log_walk(c, room, &w) ? 0 : w.total;
}

int bak_control_log_read(struct bak_control *c, const struct bak_room *room, uint64_t off,
			 size_t len, struct bak_buf *out)
{
	struct log_walk w = {.off = off, .len = len, .out = out};
	return log_walk(c, room, &w);
}
