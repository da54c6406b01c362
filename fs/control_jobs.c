/*
 * Starting restore jobs, watching them, and telling whoever waits.
 *
 * A job is known by its process (a pidfd tells when it is gone) and by its file (which says what it
 * does). Its last word is a final state in the file; a process that ends without one has died, and
 * the file then says so.
 */
#include "engine/base/bytes.h"
#include "engine/base/hash.h"
#include "fs/control_private.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* --- what is to be restored --- */

/* From an item to what a job does, in words and in numbers. */
struct order {
	bool rollback, upload, latest;
	uint64_t number;
	const char *only; /* borrowed from the item's path; NULL: all */
	char source[512];
	char description[512];
};

static int order_snapshot(struct bak_control *c, const struct bak_room *room, const char *stamp,
			  size_t len, struct order *out)
{
	struct bak_catalog *cat = bak_catalog_box_get(c->fs->catalog);
	const char *name = room->store->name;
	const struct bak_cat_store *store = bak_catalog_store(cat, name, strlen(name));
	const struct bak_cat_snap *snap = NULL;
	bool latest = len == 6 && memcmp(stamp, "latest", 6) == 0;
	out->latest = latest;
	if (store && latest && store->latest != BAK_CAT_NONE)
		snap = &cat->snaps[store->latest];
	else if (store && !latest)
		snap = bak_catalog_stamp(cat, store, stamp, len);
	if (snap) {
		char quoted[400] = "";
		if (out->only)
			bak_error_quote(out->only, quoted, sizeof quoted);
		out->number = snap->number;
		snprintf(out->source, sizeof out->source, "%s%s%s", snap->name,
			 out->only ? "/" : "", quoted);
	}
	bak_catalog_unref(cat);
	return snap ? 0 : ENOENT;
}

static int order_of(struct bak_control *c, const struct bak_item *item, struct order *out)
{
	*out = (struct order){.rollback = false};
	const char *path = item->path;
	char quoted[400];
	bak_error_quote(path, quoted, sizeof quoted);
	if (item->rules.kind == BAK_ITEM_FILE || item->rules.kind == BAK_ITEM_TREE) {
		out->upload = true;
		snprintf(out->source, sizeof out->source, "upload %s", quoted);
		snprintf(out->description, sizeof out->description, "upload of %s", quoted);
		return 0;
	}
	snprintf(out->description, sizeof out->description, "touch %s", quoted);
	if (strcmp(path, "rollback") == 0) {
		out->rollback = true;
		snprintf(out->source, sizeof out->source, "rollback");
		return 0;
	}
	const char *slash = strchr(path, '/');
	out->only = slash ? slash + 1 : NULL;
	return order_snapshot(c, item->room, path, slash ? (size_t)(slash - path) : strlen(path),
			      out);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The same thing is on its way already. */
static bool ordered_already(const struct bak_control *c, const struct bak_item *item,
			    const struct order *order)
{
	for (const struct bak_job *job = c->jobs; job; job = job->next)
		if (job->room == item->room && !job->ended && !order->upload &&
		    job->rollback == order->rollback && job->number == order->number &&
		    (job->number || job->rollback) && same_text(job->only, order->only))
			return true;
	return false;
}

/* --- handing it over --- */

static json_t *secret_json(const struct bak_secret *secret)
{
	BAK_AUTO(bak_buf_release) struct bak_buf hex = BAK_BUF_INIT;
	if (!secret || secret->kind == BAK_SECRET_NONE)
		return json_null();
	if (bak_buf_resize(&hex, secret->len * 2 + 1) < 0)
		return NULL;
	bak_hex((char *)hex.p, secret->p, secret->len);
	json_t *json = json_pack("{s:s, s:s}", "kind",
				 secret->kind == BAK_SECRET_PASSWORD ? "password" : "keyfile",
				 "hex", (const char *)hex.p);
	bak_wipe(hex.p, hex.len);
	return json;
}

static json_t *from_json(struct bak_control *c, const struct bak_item *item,
			 const struct order *order)
{
	if (order->rollback)
		return json_pack("{s:b}", "rollback", 1);
	if (!order->upload)
		return order->only ? json_pack("{s:I, s:b, s:[s]}", "snapshot",
					       (json_int_t)order->number, "latest", order->latest,
					       "only", order->only)
				   : json_pack("{s:I, s:b}", "snapshot", (json_int_t)order->number,
					       "latest", order->latest);
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	if (asprintf(&path, "%s/restore/%s/%s", c->fs->mount_point, item->room->store->name,
		     item->path) < 0)
		return NULL;
	return json_pack("{s:s}", "upload", path);
}

/* NULL when a name in it is no UTF-8, or without memory. */
static char *order_text(struct bak_control *c, const struct bak_item *item,
			const struct order *order, const char *id)
{
	const struct bak_mount_conf *conf = c->fs->conf;
	json_t *from = from_json(c, item, order);
	json_t *secret = secret_json(conf->secret);
	if (!from || !secret) {
		json_decref(from);
		json_decref(secret);
		return NULL;
	}
	json_t *json = json_pack("{s:s, s:s, s:i, s:i, s:o, s:s, s:o}", "id", id, "store",
				 item->room->store->name, "delay", (int)conf->restore_delay_s,
				 "deadline", (int)conf->restore_deadline_s, "secret", secret,
				 "description", order->description, "from", from);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

static void make_id(struct bak_room *room, char out[BAK_JOB_ID_MAX + 1])
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	if (ns <= room->last_id)
		ns = room->last_id + 1;
	room->last_id = ns;
	snprintf(out, BAK_JOB_ID_MAX + 1, "%s-%019lld", room->store->name, (long long)ns);
}

static void job_free(struct bak_job *job)
{
	if (job->pidfd >= 0)
		close(job->pidfd);
	free(job->only);
	free(job);
}

static struct bak_job *job_new(struct bak_room *room, const char *only)
{
	struct bak_job *job = calloc(1, sizeof *job);
	if (!job)
		return NULL;
	job->room = room;
	job->pidfd = -1;
	job->info = (struct bak_job_info){.percent = -1};
	job->only = only ? strdup(only) : NULL;
	if (only && !job->only) {
		free(job);
		return NULL;
	}
	return job;
}

static void job_add(struct bak_control *c, struct bak_job *job)
{
	struct bak_job **at = &c->jobs;
	while (*at)
		at = &(*at)->next;
	*at = job;
}

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int start(struct bak_control *c, struct bak_item *item, const struct order *order,
		 struct bak_job *job, struct bak_error *err)
{
	make_id(item->room, job->info.id);
	char *text = order_text(c, item, order, job->info.id);
	if (!text)
		return bak_error_set(err, BAK_USAGE, "its name is no UTF-8");
	char log[4096];
	bak_job_log_path(c->jobs_dir, job->info.id, log, sizeof log);
	int rc = bak_job_spawn(c->fs->conf->job_argv, log, text, strlen(text), &job->info.pid, err);
	bak_wipe(text, strlen(text));
	free(text);
	if (rc < 0)
		return -1;
	job->pidfd = pidfd_of(job->info.pid);
	job->number = order->number;
	job->rollback = order->rollback;
	job->item = item;
	job->info.created = time(NULL);
	snprintf(job->info.store, sizeof job->info.store, "%s", item->room->store->name);
	snprintf(job->info.state, sizeof job->info.state, "queued");
	snprintf(job->info.source, sizeof job->info.source, "%s", order->source);
	snprintf(job->info.target, sizeof job->info.target, "%s", item->room->store->name);
	return 0;
}

int bak_control_room_for_one(struct bak_control *c, struct bak_item *item)
{
	unsigned n = 0, most = c->fs->conf->restore_queue;
	for (const struct bak_job *job = c->jobs; job; job = job->next)
		n += job->room == item->room && !job->ended;
	if (!most || n < most)
		return 0;
	char why[128];
	snprintf(why, sizeof why,
		 "%u jobs of this store are on their way, and more may not be (restore_queue)", n);
	bak_control_refused(item, why);
	return EAGAIN;
}

int bak_control_fire(struct bak_control *c, struct bak_item *item)
{
	struct order order;
	struct bak_error err = BAK_ERROR_INIT;
	int no = order_of(c, item, &order);
	if (no)
		return no;
	if (ordered_already(c, item, &order))
		return 0;
	no = bak_control_room_for_one(c, item);
	if (no)
		return no;
	struct bak_job *job = job_new(item->room, order.only);
	if (!job)
		return ENOMEM;
	if (start(c, item, &order, job, &err) < 0) {
		bak_control_refused(item, err.msg);
		bak_fs_log(c->fs, LOG_ERR, "restore of %s: %s", item->room->store->name, err.msg);
		job_free(job);
		return err.code == BAK_USAGE ? EILSEQ : EIO;
	}
	job_add(c, job);
	item->job = job;
	item->room->refused[0] = '\0';
	bak_item_fired(&item->rules);
	bak_fs_log(c->fs, LOG_NOTICE, "restore of %s begins: %s (job %s)", item->room->store->name,
		   order.source, job->info.id);
	bak_control_say_changed(c, item->room);
	bak_control_wake(c);
	return 0;
}

int bak_control_cancel(struct bak_control *c, struct bak_item *item)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (!item->job)
		return 0;
	int rc = bak_job_cancel(c->jobs_dir, item->job->info.id, &err);
	if (rc < 0)
		bak_fs_log(c->fs, LOG_ERR, "cancel %s: %s", item->job->info.id, err.msg);
	if (rc > 0)
		bak_fs_log(c->fs, LOG_NOTICE, "job %s is cancelled", item->job->info.id);
	return rc > 0 ? 0 : EBUSY;
}

/* --- watching --- */

void bak_control_wake(struct bak_control *c)
{
	uint64_t one = 1;
	if (write(c->wake, &one, sizeof one) < 0)
		return; /* it is awake */
}

void bak_control_say_changed(struct bak_control *c, struct bak_room *room)
{
	room->changes++;
	if (room->poll)
		bak_notify_poll(c->fs->notify, room->poll);
	room->poll = NULL;
}

struct bak_job *bak_control_newest(struct bak_control *c, const struct bak_room *room)
{
	struct bak_job *newest = NULL;
	for (struct bak_job *job = c->jobs; job; job = job->next)
		if (job->room == room && !job->ended)
			newest = job;
	return newest;
}

static void job_ended(struct bak_control *c, struct bak_job *job)
{
	job->ended = true;
	bak_fs_log(c->fs, strcmp(job->info.state, "failed") == 0 ? LOG_ERR : LOG_NOTICE,
		   "restore of %s: %s%s%s (job %s)", job->room->store->name, job->info.state,
		   *job->info.error ? ": " : "", job->info.error, job->info.id);
	if (job->item) {
		job->item->job = NULL;
		bak_item_job_ended(&job->item->rules, time(NULL));
		job->item = NULL;
	}
}

/* It ended without a last word: the file says it in its place. */
static void job_died(struct bak_control *c, struct bak_job *job, const char *how)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_job_info info;
	if (bak_job_load(c->jobs_dir, job->info.id, &info, &err) > 0) {
		job->info = info;
	} else {
		snprintf(job->info.state, sizeof job->info.state, "failed");
		snprintf(job->info.error, sizeof job->info.error,
			 "the job's process ended before it began (%s): nothing was "
			 "changed, log may say why",
			 how);
	}
	job->info.finished = time(NULL);
	if (bak_job_write_failed(c->jobs_dir, &job->info, &err) < 0)
		bak_fs_log(c->fs, LOG_ERR, "%s", err.msg);
}

static bool process_gone(struct bak_job *job, char *how, size_t how_len)
{
	struct pollfd p = {.fd = job->pidfd, .events = POLLIN};
	siginfo_t info = {.si_pid = 0};
	snprintf(how, how_len, "its end was not seen");
	if (job->pidfd < 0)
		return kill(job->info.pid, 0) < 0 && errno == ESRCH;
	if (poll(&p, 1, 0) <= 0)
		return false;
	/* Ours leaves its remains until somebody looks; an earlier mount's is not our child. */
	if (waitid(P_PIDFD, (id_t)job->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid)
		snprintf(how, how_len, info.si_code == CLD_EXITED ? "exit status %d" : "signal %d",
			 info.si_status);
	return true;
}

static bool info_differs(const struct bak_job_info *a, const struct bak_job_info *b)
{
	return strcmp(a->state, b->state) != 0 || a->percent != b->percent ||
	       a->bytes != b->bytes || strcmp(a->error, b->error) != 0;
}

/* True when the job and its process are over. */
static bool job_look(struct bak_control *c, struct bak_job *job)
{
	char how[64];
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_job_info info;
	bool gone = process_gone(job, how, sizeof how);
	bool known = bak_job_load(c->jobs_dir, job->info.id, &info, &err) > 0;
	/* It may have died between the two looks: what the second one saw is what counts. */
	if (!job->ended && (known ? info.died : gone)) {
		job_died(c, job, how);
		known = bak_job_load(c->jobs_dir, job->info.id, &info, &err) > 0;
	}
	if (known && info_differs(&info, &job->info)) {
		pid_t pid = job->info.pid;
		job->info = info;
		job->info.pid = info.pid ? info.pid : pid;
		bak_control_say_changed(c, job->room);
	}
	if (!job->ended && bak_job_final(job->info.state)) {
		job_ended(c, job);
		bak_control_say_changed(c, job->room);
	}
	return gone && job->ended;
}

static void look_at_jobs(struct bak_control *c)
{
	for (struct bak_job **at = &c->jobs; *at;) {
		struct bak_job *job = *at;
		if (!job_look(c, job)) {
			at = &job->next;
			continue;
		}
		*at = job->next;
		job_free(job);
	}
}

/* Forgets what is over. Returns when to look again, -1 for never. */
static int64_t forget_expired(struct bak_control *c, int64_t now)
{
	int64_t wake = -1;
	struct bak_item *next;
	for (struct bak_item *item = c->nodes.items; item; item = next) {
		next = item->next;
		if (bak_item_expired(&item->rules, now, item->n_open)) {
			bak_control_forget(c, item);
			next = c->nodes.items; /* others may have gone with it */
		} else if (item->rules.state == BAK_ITEM_OVER && item->rules.until > now &&
			   (wake < 0 || item->rules.until < wake)) {
			wake = item->rules.until;
		}
	}
	return wake;
}

struct watched {
	struct pollfd *fds;
	size_t n;
};

/* The wake-up, the folder, and the jobs' processes. */
static bool collect(struct bak_control *c, struct watched *w)
{
	size_t n = 2;
	for (struct bak_job *job = c->jobs; job; job = job->next)
		n++;
	struct pollfd *fds = realloc(w->fds, n * sizeof *fds);
	if (!fds)
		return false;
	w->fds = fds;
	w->fds[0] = (struct pollfd){.fd = c->wake, .events = POLLIN};
	w->fds[1] = (struct pollfd){.fd = c->inotify, .events = POLLIN};
	w->n = 2;
	for (struct bak_job *job = c->jobs; job; job = job->next)
		w->fds[w->n++] = (struct pollfd){.fd = job->pidfd, .events = POLLIN};
	return true;
}

static void drain(int fd)
{
	char bytes[4096] __attribute__((aligned(8)));
	while (fd >= 0 && read(fd, bytes, sizeof bytes) > 0)
		;
}

/* How long to sleep: until something is to be forgotten; with jobs that cannot be watched, a
 * little. */
static int patience_ms(const struct bak_control *c, int64_t next, int64_t now)
{
	int ms = -1;
	if (next >= 0)
		ms = next <= now ? 0 : (int)((next - now) * 1000);
	for (const struct bak_job *job = c->jobs; job; job = job->next)
		if ((job->pidfd < 0 || c->inotify < 0) && (ms < 0 || ms > 500))
			ms = 500;
	return ms;
}

void *bak_control_main(void *arg)
{
	struct bak_control *c = arg;
	struct watched w = {.fds = NULL};
	pthread_mutex_lock(&c->lock);
	while (!c->stop) {
		int64_t now = time(NULL);
		look_at_jobs(c);
		bak_control_answer(c, c->closing);
		int ms = patience_ms(c, forget_expired(c, now), now);
		if (!collect(c, &w)) {
			w.n = 0; /* no memory: look again soon */
			ms = 500;
		}
		pthread_mutex_unlock(&c->lock);
		poll(w.fds, w.n, ms);
		drain(c->wake);
		drain(c->inotify);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	free(w.fds);
	return NULL;
}

/* --- what an earlier mount left --- */

static int adopt_one(struct bak_control *c, struct bak_room *room, const char *id,
		     struct bak_error *err)
{
	struct bak_job_info info;
	int rc = bak_job_load(c->jobs_dir, id, &info, err);
	room->last_id = strtoll(id + bak_job_store_len(id) + 1, NULL, 10);
	if (rc <= 0 || bak_job_final(info.state))
		return 0; /* also a damaged file: `status` passes it over */
	struct bak_job *job = job_new(room, NULL);
	if (!job)
		return bak_error_nomem(err);
	job->info = info;
	job->pidfd = pidfd_of(info.pid);
	job_add(c, job);
	return 0;
}

int bak_control_adopt(struct bak_control *c, struct bak_error *err)
{
	for (size_t i = 0; i < c->n_rooms; i++) {
		BAK_AUTO(bak_free_ptr) char **ids = NULL;
		size_t n;
		if (bak_jobs_list(c->jobs_dir, c->rooms[i].store->name, &ids, &n, err) < 0)
			return -1;
		for (size_t k = 0; k < n; k++)
			if (adopt_one(c, &c->rooms[i], ids[k], err) < 0)
				return -1;
	}
	return 0;
}

void bak_control_jobs_free(struct bak_control *c)
{
	while (c->jobs) {
		struct bak_job *next = c->jobs->next;
		job_free(c->jobs);
		c->jobs = next;
	}
}
