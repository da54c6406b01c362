/*
 * The notifier: one thread that finds out what other processes changed in the repository, puts the
 * new catalogue in, and tells the kernel what to forget. Nobody else calls fuse_lowlevel_notify_*:
 * the kernel takes locks for it that a request under way may hold.
 *
 * A changed name: the folder's cached listing goes, then the name, then the listing again. The
 * name's invalidation waits for readers who are in the folder, so what such a reader cached of the
 * old listing in between is gone after the second time. What the kernel does not know (ENOENT) is
 * as good as forgotten.
 */
#include "fs/fs.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <syslog.h>
#include <unistd.h>

/* Network file systems send no events for what others do: looked at that often all the same; and
 * that often where there is nothing to watch. */
#define POLL_WATCHED_MS 15000
#define POLL_BLIND_MS 500

struct bak_notify {
	struct bak_fs *fs;
	pthread_t thread;
	bool running;
	int wake;    /* eventfd */
	int inotify; /* -1 when there is nothing to watch */
	bool watched;
	pthread_mutex_t lock; /* guards stop and polls */
	bool stop;
	struct fuse_pollhandle **polls;
	size_t n_polls, cap_polls;
	char last_error[512]; /* the thread's own: each failure is logged once */
};

/* --- what the kernel is to forget --- */

struct change {
	uint64_t parent;
	char *name;
};

struct changes {
	struct change *v;
	size_t n, cap;
	bool lost; /* no memory for all of them */
};

static void change_add(void *ctx, uint64_t parent, const char *name)
{
	struct changes *changes = ctx;
	if (changes->n == changes->cap) {
		size_t cap = changes->cap ? changes->cap * 2 : 64;
		struct change *v = realloc(changes->v, cap * sizeof *v);
		if (!v) {
			changes->lost = true;
			return;
		}
		changes->v = v;
		changes->cap = cap;
	}
	char *copy = strdup(name);
	if (!copy)
		changes->lost = true;
	else
		changes->v[changes->n++] = (struct change){parent, copy};
}

static int parent_cmp(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	return x->parent < y->parent ? -1 : x->parent > y->parent;
}

/* What is latest must not lag behind the lists, so it goes first. */
static void tell_latest(struct bak_fs *fs, const struct changes *changes, uint64_t latest_ino)
{
	for (size_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->v[i];
		if (c->parent == latest_ino || strcmp(c->name, "latest") == 0)
			fuse_lowlevel_notify_inval_entry(fs->session, c->parent, c->name,
							 strlen(c->name));
	}
}

static void changes_tell(struct bak_fs *fs, struct changes *changes, uint64_t latest_ino)
{
	struct fuse_session *se = fs->session;
	tell_latest(fs, changes, latest_ino);
	if (changes->n)
		qsort(changes->v, changes->n, sizeof *changes->v, parent_cmp);
	for (size_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->v[i];
		if (i == 0 || changes->v[i - 1].parent != c->parent)
			fuse_lowlevel_notify_inval_inode(se, c->parent, 0, 0);
		fuse_lowlevel_notify_inval_entry(se, c->parent, c->name, strlen(c->name));
		if (i + 1 == changes->n || changes->v[i + 1].parent != c->parent)
			fuse_lowlevel_notify_inval_inode(se, c->parent, 0, 0);
	}
}

static void changes_release(struct changes *changes)
{
	for (size_t i = 0; i < changes->n; i++)
		free(changes->v[i].name);
	free(changes->v);
}

/* Times and link counts of the folders above. */
static void tell_tops(struct bak_fs *fs, const struct bak_catalog *cat)
{
	const uint64_t tops[] = {BAK_INO_ROOT, cat->by_date_ino, cat->by_store_ino,
				 cat->latest_ino};
	for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
		fuse_lowlevel_notify_inval_inode(fs->session, tops[i], -1, 0);
}

/* --- what changed --- */

static void log_once(struct bak_notify *notify, const struct bak_error *err)
{
	if (strcmp(notify->last_error, err->msg) == 0)
		return;
	snprintf(notify->last_error, sizeof notify->last_error, "%s", err->msg);
	bak_fs_log(notify->fs, LOG_WARNING, "looking for new snapshots: %s", err->msg);
}

static void put_in(struct bak_notify *notify, struct bak_catalog *next)
{
	struct bak_fs *fs = notify->fs;
	struct changes changes = {.v = NULL};
	struct bak_catalog *was = bak_catalog_box_swap(fs->catalog, next);
	/* next belongs to the box, and only this thread takes it out. */
	bak_catalog_diff(was, next, change_add, &changes);
	changes_tell(fs, &changes, next->latest_ino);
	if (changes.n)
		tell_tops(fs, next);
	if (changes.lost)
		bak_fs_log(fs, LOG_ERR, "out of memory: some listings may be old until remounted");
	changes_release(&changes);
	bak_catalog_unref(was);
}

static void look(struct bak_notify *notify)
{
	struct bak_fs *fs = notify->fs;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_catalog *cat = bak_catalog_box_get(fs->catalog), *next = NULL;
	uint64_t before = cat->version, version = before;
	bak_catalog_unref(cat);
	bool changed;
	int rc = bak_repo_refresh_snapshots(fs->repo, &changed, &err);
	if (rc >= 0)
		rc = bak_index_version(bak_repo_index(fs->repo), &version, &err);
	/* Whoever brought the index up to date, we or another process: its version tells. */
	if (rc >= 0 && version != before)
		rc = bak_catalog_build(fs->repo, fs->conf->only_store, fs->conf->only_snapshot,
				       &next, &err);
	if (rc < 0) {
		log_once(notify, &err);
		return;
	}
	notify->last_error[0] = '\0';
	if (next)
		put_in(notify, next);
}

/* --- the thread --- */

static void watch(struct bak_notify *notify)
{
	const uint32_t events = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR;
	const char *const folders[] = {"snapshots", "forgotten"};
	const char *repo = bak_repo_path(notify->fs->repo);
	notify->watched = notify->inotify >= 0;
	for (size_t i = 0; i < 2 && notify->inotify >= 0; i++) {
		BAK_AUTO(bak_free_ptr) char *path = NULL;
		if (asprintf(&path, "%s/%s", repo, folders[i]) < 0 ||
		    inotify_add_watch(notify->inotify, path, events) < 0)
			notify->watched = false;
	}
}

static void drain(int fd)
{
	char events[4096] __attribute__((aligned(8)));
	while (read(fd, events, sizeof events) > 0)
		;
}

/* Takes the queued poll handles. False: time to stop. */
static bool take_polls(struct bak_notify *notify)
{
	pthread_mutex_lock(&notify->lock);
	struct fuse_pollhandle **polls = notify->polls;
	size_t n = notify->n_polls;
	bool stop = notify->stop;
	notify->polls = NULL;
	notify->n_polls = notify->cap_polls = 0;
	pthread_mutex_unlock(&notify->lock);
	for (size_t i = 0; i < n; i++) {
		if (!stop)
			fuse_lowlevel_notify_poll(polls[i]);
		fuse_pollhandle_destroy(polls[i]);
	}
	free(polls);
	return !stop;
}

static void *notify_main(void *arg)
{
	struct bak_notify *notify = arg;
	struct pollfd fds[2] = {{.fd = notify->wake, .events = POLLIN},
				{.fd = notify->inotify, .events = POLLIN}};
	watch(notify);
	look(notify); /* what came between the first catalogue and the watch */
	while (take_polls(notify)) {
		int n = poll(fds, 2, notify->watched ? POLL_WATCHED_MS : POLL_BLIND_MS);
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0 && fds[0].revents)
			drain(notify->wake);
		if (n > 0 && fds[1].revents)
			drain(notify->inotify);
		if (n == 0 || (n > 0 && fds[1].revents)) {
			watch(notify); /* folders that were away may be back */
			look(notify);
		}
	}
	return NULL;
}

int bak_notify_new(struct bak_fs *fs, struct bak_notify **out, struct bak_error *err)
{
	struct bak_notify *notify = calloc(1, sizeof *notify);
	if (!notify)
		return bak_error_nomem(err);
	notify->fs = fs;
	pthread_mutex_init(&notify->lock, NULL);
	notify->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	notify->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (notify->wake < 0) {
		int no = errno;
		bak_notify_free(notify);
		return bak_error_sys(err, no, "make a notifier");
	}
	*out = notify;
	return 0;
}

int bak_notify_start(struct bak_notify *notify, struct bak_error *err)
{
	int no = pthread_create(&notify->thread, NULL, notify_main, notify);
	notify->running = no == 0;
	return no ? bak_error_sys(err, no, "start the notifier") : 0;
}

static void wake(struct bak_notify *notify)
{
	uint64_t one = 1;
	/* A full counter wakes just as well. */
	if (write(notify->wake, &one, sizeof one) < 0)
		return;
}

void bak_notify_poll(struct bak_notify *notify, struct fuse_pollhandle *ph)
{
	pthread_mutex_lock(&notify->lock);
	if (notify->n_polls == notify->cap_polls) {
		size_t cap = notify->cap_polls ? notify->cap_polls * 2 : 8;
		struct fuse_pollhandle **polls = realloc(notify->polls, cap * sizeof *polls);
		if (polls) {
			notify->polls = polls;
			notify->cap_polls = cap;
		}
	}
	bool queued = notify->n_polls < notify->cap_polls;
	if (queued)
		notify->polls[notify->n_polls++] = ph;
	pthread_mutex_unlock(&notify->lock);
	if (queued)
		wake(notify);
	else
		fuse_pollhandle_destroy(ph);
}

void bak_notify_stop(struct bak_notify *notify)
{
	if (!notify->running)
		return;
	pthread_mutex_lock(&notify->lock);
	notify->stop = true;
	pthread_mutex_unlock(&notify->lock);
	wake(notify);
	pthread_join(notify->thread, NULL);
	notify->running = false;
}

void bak_notify_free(struct bak_notify *notify)
{
	if (!notify)
		return;
	notify->stop = true;
	take_polls(notify); /* those that came after its end */
	if (notify->inotify >= 0)
		close(notify->inotify);
	if (notify->wake >= 0)
		close(notify->wake);
	pthread_mutex_destroy(&notify->lock);
	free(notify);
}
