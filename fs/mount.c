/*
 * A mount's life: session, threads, the way down.
 *
 * Down, in this order: everybody who waits for a job is answered (an open reader would keep the
 * mount busy), what talks to the kernel unasked ends (it may wait for a
 * request to be answered), the request threads end, the mount goes. What of that does not come to an
 * end is left behind: ending.h.
 */
#include "fs/control.h"
#include "fs/ending.h"
#include "fs/fs.h"
#include "fs/loop.h"
#include "fs/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* Snapshots kept open when nobody uses them. */
#define SNAPS_KEPT 64
/* The kernel's largest request: what it may read ahead, when we may say so. */
#define READ_AHEAD_KB "1024"

void bak_fs_log(struct bak_fs *fs, int priority, const char *fmt, ...)
{
	char line[2304];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (fs->conf->log)
		fs->conf->log(fs->conf->log_ctx, priority, line);
}

/* --- options --- */

static int add_option(char **opts, const char *text)
{
	return fuse_opt_add_opt(opts, text);
}

/* The repository's path is the mount's source: what `df` and `findmnt` show. */
static int add_source(char **opts, const char *path)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	if (asprintf(&text, "fsname=%s", path) < 0)
		return -1;
	return fuse_opt_add_opt_escaped(opts, text);
}

static int make_args(const struct bak_mount_conf *conf, struct fuse_args *args)
{
	char *opts = NULL;
	int bad = add_option(&opts, "subtype=bakfs,nodev,nosuid") < 0 ||
		  add_source(&opts, bak_repo_path(conf->repo)) < 0 ||
		  (conf->read_only && add_option(&opts, "ro") < 0) ||
		  (conf->allow_other && add_option(&opts, "allow_other") < 0) ||
		  (conf->owner && add_option(&opts, "default_permissions") < 0) ||
		  (conf->extra_fuse_options && *conf->extra_fuse_options &&
		   add_option(&opts, conf->extra_fuse_options) < 0) ||
		  fuse_opt_add_arg(args, "bakfs") < 0 || fuse_opt_add_arg(args, "-o") < 0 ||
		  fuse_opt_add_arg(args, opts) < 0;
	free(opts);
	return bad ? -1 : 0;
}

static int session_new(struct bak_fs *fs, struct bak_error *err)
{
	struct fuse_lowlevel_ops ops = bak_fs_ops;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	if (!fs->control) {
		/* Without them the kernel does not ask; with an empty one it would each time. */
		ops.flush = NULL;
		ops.poll = NULL;
	}
	if (make_args(fs->conf, &args) < 0)
		bak_error_nomem(err);
	else if (!(fs->session = fuse_session_new(&args, &ops, sizeof ops, fs)))
		bak_error_set(err, BAK_USAGE, "FUSE does not know a mount option: %s",
			      fs->conf->extra_fuse_options ? fs->conf->extra_fuse_options : "");
	fuse_opt_free_args(&args);
	return fs->session ? 0 : -1;
}

/* --- read-ahead --- */

/* Only the superuser may, and only once the connection stands: INIT can lower the window but not
 * raise it. Without it reading is slower, nothing else. */
static void raise_read_ahead(const struct bak_fs *fs)
{
	struct bak_error ignored = BAK_ERROR_INIT;
	BAK_AUTO(bak_mount_info_release) struct bak_mount_info mount = {.point = NULL};
	if (geteuid() != 0 || bak_mounts_at(fs->mount_point, &mount, &ignored) <= 0)
		return;
	char path[128];
	snprintf(path, sizeof path, "/sys/class/bdi/%s/read_ahead_kb", mount.device);
	BAK_AUTO(bak_close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, READ_AHEAD_KB, strlen(READ_AHEAD_KB)) < 0)
		return;
}

/* --- state --- */

int bak_fs_init(struct bak_fs *fs, struct bak_error *err)
{
	const struct bak_mount_conf *conf = fs->conf;
	struct bak_catalog *cat;
	fs->repo = conf->repo;
	fs->source = bak_repo_source(conf->repo);
	fs->uid = getuid();
	fs->gid = getgid();
	fs->mounted = time(NULL);
	if (bak_prefetch_new(fs->source, 0, conf->prefetch, conf->decode_whole, &fs->prefetch,
			     err) < 0 ||
	    bak_snaps_new(conf->repo, SNAPS_KEPT, &fs->snaps, err) < 0 ||
	    bak_attr_cache_new(&fs->attrs, err) < 0 || bak_texts_new(&fs->texts, err) < 0 ||
	    bak_catalog_build(conf->repo, conf->only_store, conf->only_snapshot, &cat, err) < 0)
		return -1;
	fs->catalog = bak_catalog_box_new(cat);
	if (!fs->catalog) {
		bak_catalog_unref(cat);
		return bak_error_nomem(err);
	}
	if (bak_push_new(fs, &fs->push, err) < 0)
		return -1;
	if (bak_notify_new(fs, &fs->notify, err) < 0)
		return -1;
	return conf->read_only || !conf->job_argv ? 0 : bak_control_start(fs, &fs->control, err);
}

void bak_fs_release(struct bak_fs *fs)
{
	bak_control_stop(fs->control);
	bak_notify_free(fs->notify);
	bak_push_free(fs->push);
	bak_catalog_box_free(fs->catalog);
	bak_texts_free(fs->texts);
	bak_attr_cache_free(fs->attrs);
	bak_snaps_free(fs->snaps);
	bak_prefetch_free(fs->prefetch);
}

/* --- serving --- */

static void wait_for(int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	while (poll(&readable, 1, -1) < 0 && errno == EINTR)
		;
}

static int serve(struct bak_fs *fs, int ended, struct bak_error *err)
{
	struct bak_loop *loop = NULL;
	int rc = bak_loop_first(fs->session, err);
	if (rc == 0) {
		raise_read_ahead(fs);
		rc = bak_push_start(fs->push, err);
	}
	if (rc == 0)
		rc = bak_loop_start(fs->session, 0, ended, &loop, err);
	if (rc == 0)
		rc = bak_notify_start(fs->notify, err);
	if (rc == 0) {
		if (fs->conf->ready)
			fs->conf->ready(fs->conf->ready_ctx);
		wait_for(ended);
	}
	if (fs->control)
		bak_control_answer_all(fs->control);
	bak_push_stop(fs->push);
	bak_notify_stop(fs->notify);
	bak_loop_stop(loop);
	return rc;
}

static int mount_and_serve(struct bak_fs *fs, struct bak_ending *ending, struct bak_error *err)
{
	if (session_new(fs, err) < 0)
		return -1;
	int rc = -1;
	if (fuse_session_mount(fs->session, fs->mount_point) != 0) {
		bak_error_set(err, BAK_IO, "cannot mount at %s (is /dev/fuse there, and yours?)",
			      fs->mount_point);
	} else {
		bak_ending_mounted(ending);
		rc = serve(fs, bak_ending_fd(ending), err);
		bak_ending_unmount(ending);
	}
	fuse_session_destroy(fs->session);
	return rc;
}

int bak_mount_run(const struct bak_mount_conf *conf, struct bak_error *err)
{
	if (bak_mount_check(conf, err) < 0)
		return -1;
	BAK_AUTO(bak_free_ptr) char *point = realpath(conf->mount_point, NULL);
	BAK_AUTO(bak_free_ptr) struct bak_fs *fs = calloc(1, sizeof *fs);
	if (!point || !fs)
		return bak_error_nomem(err);
	fs->conf = conf;
	fs->mount_point = point;
	struct bak_ending *ending;
	if (bak_ending_new(fs, &ending, err) < 0)
		return -1;
	int rc = bak_fs_init(fs, err);
	if (rc == 0)
		rc = mount_and_serve(fs, ending, err);
	bak_fs_release(fs);
	bak_ending_free(ending);
	return rc;
}
