/* A job's files, locks and waiting: see job_files.h. */
#include "tools/job_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ID_DIGITS 19
/* Older jobs' files of a store go when a new job ends. */
#define KEEP_JOBS 50
/* What no job claims goes after a day: one that just begins has files before it has a .json. */
#define LEFT_OVER_S 86400
/* A job that died without closing its files in order is noticed this late. */
#define LOOK_AGAIN_MS 1000
#define TELL_EVERY_MS 100

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void bak_job_new_id(const char *store, char out[BAK_JOB_NAME_MAX])
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	snprintf(out, BAK_JOB_NAME_MAX, "%s-%019" PRId64, store,
		 (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
}

/* --- small files, replaced as a whole --- */

static int write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int replace(int dir_fd, const char *name, const char *text, bool durable)
{
	char temp[BAK_JOB_NAME_MAX + 32];
	int fd, rc;

	snprintf(temp, sizeof temp, ".%s.new", name);
	fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	rc = write_all(fd, text, strlen(text));
	if (rc == 0 && durable)
		rc = fsync(fd);
	if (close(fd) < 0)
		rc = -1;
	if (rc == 0)
		rc = renameat(dir_fd, temp, dir_fd, name);
	if (rc == 0 && durable)
		rc = fsync(dir_fd);
	return rc;
}

/* --- the .json --- */

static json_t *time_json(int64_t utc)
{
	char text[BAK_TIME_LEN + 1];

	if (!utc)
		return json_null();
	bak_time_format(utc, text);
	return json_string(text);
}

/* Messages may quote what a server said: bytes that are no UTF-8 become '?'. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	char plain[512];
	size_t n = 0;

	if (json)
		return json;
	for (; text[n] && n < sizeof plain - 1; n++)
		plain[n] = (unsigned char)text[n] < 0x80 ? text[n] : '?';
	plain[n] = '\0';
	return json_string(plain);
}

static void write_json(struct bak_job_files *files)
{
	char name[BAK_JOB_NAME_MAX + 8];
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:i, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:i, s:b}", "id",
		files->id, "store", files->store, "state", files->state, "percent", files->percent,
		"bytes", (json_int_t)files->bytes, "rate", (json_int_t)files->rate, "target",
		text_json(files->target), "source", text_json(files->source), "error",
		text_json(files->error), "created", time_json(files->created), "finished",
		time_json(files->finished), "pid", (int)getpid(), "cancellable",
		files->cancellable);
	char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;

	snprintf(name, sizeof name, "%s.json", files->id);
	if (text)
		replace(files->dir_fd, name, text, false);
	files->told_ms = now_ms();
	free(text);
	json_decref(json);
}

void bak_job_files_state(struct bak_job_files *files, const char *state)
{
	snprintf(files->state, sizeof files->state, "%s", state);
	files->entered_ms = now_ms();
	write_json(files);
}

void bak_job_files_progress(struct bak_job_files *files, int percent, uint64_t bytes)
{
	int64_t ms = now_ms() - files->entered_ms;

	files->percent = percent;
	files->bytes = bytes;
	files->rate = (uint64_t)((double)bytes * 1000 / (double)(ms > 0 ? ms : 1));
	if (now_ms() - files->told_ms >= TELL_EVERY_MS)
		write_json(files);
}

void bak_job_files_log(struct bak_job_files *files, const char *line)
{
	char text[BAK_TIME_LEN + 1], whole[1200];
	int len;

	bak_time_format(time(NULL), text);
	len = snprintf(whole, sizeof whole, "%s %s\n", text, line);
	if (len >= (int)sizeof whole) {
		len = (int)sizeof whole - 1;
		whole[len - 1] = '\n';
	}
	if (len > 0 && files->log_fd >= 0)
		write_all(files->log_fd, whole, (size_t)len);
}

/* --- open and close --- */

static int open_in(struct bak_job_files *files, const char *stem, const char *suffix, int flags)
{
	char name[BAK_JOB_NAME_MAX + 16];

	snprintf(name, sizeof name, "%s%s", stem, suffix);
	return openat(files->dir_fd, name, flags | O_CREAT | O_CLOEXEC, 0600);
}

/* The id carries the time; a foreign one is as old as now. */
static int64_t created_of(const char *id)
{
	const char *digits = strrchr(id, '-');
	int64_t ns = digits && strlen(digits + 1) == ID_DIGITS ? strtoll(digits + 1, NULL, 10) : 0;

	return ns > 0 ? ns / 1000000000 : time(NULL);
}

static int open_files(struct bak_job_files *files, struct bak_error *err)
{
	if (mkdir(files->dir, 0700) < 0 && errno != EEXIST)
		return bak_error_sys(err, errno, "%s", files->dir);
	files->dir_fd = open(files->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (files->dir_fd < 0)
		return bak_error_sys(err, errno, "%s", files->dir);
	files->log_fd = open_in(files, files->id, ".log", O_WRONLY | O_APPEND);
	files->id_lock = open_in(files, files->id, ".lock", O_RDWR);
	files->store_lock = open_in(files, files->store, ".lock", O_RDWR);
	if (files->log_fd < 0 || files->id_lock < 0 || files->store_lock < 0)
		return bak_error_sys(err, errno, "a file in %s", files->dir);
	files->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (files->watch < 0 || inotify_add_watch(files->watch, files->dir,
						  IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE) < 0)
		return bak_error_sys(err, errno, "watching %s", files->dir);
	return 0;
}

int bak_job_files_open(struct bak_job_files *files, const char *state_dir, const char *store,
		       const char *id, struct bak_error *err)
{
	*files = (struct bak_job_files){.dir_fd = -1,
					.log_fd = -1,
					.store_lock = -1,
					.id_lock = -1,
					.watch = -1,
					.percent = -1,
					.cancellable = true,
					.created = created_of(id)};
	snprintf(files->id, sizeof files->id, "%s", id);
	snprintf(files->store, sizeof files->store, "%s", store);
	if (strchr(id, '/') || strlen(id) >= sizeof files->id)
		return bak_error_set(err, BAK_USAGE, "\"%s\" is no job's id", id);
	if (asprintf(&files->dir, "%s/jobs", state_dir) < 0) {
		files->dir = NULL;
		return bak_error_nomem(err);
	}
	if (open_files(files, err) < 0) {
		bak_job_files_close(files);
		return -1;
	}
	bak_job_files_state(files, "queued");
	return 0;
}

/* "<store>-<19 digits>.json" */
static bool is_job_of(const char *name, const char *store)
{
	size_t len = strlen(store);

	return strncmp(name, store, len) == 0 && name[len] == '-' &&
	       strspn(name + len + 1, "0123456789") == ID_DIGITS &&
	       strcmp(name + len + 1 + ID_DIGITS, ".json") == 0;
}

static void remove_job(struct bak_job_files *files, const char *json_name)
{
	static const char *const suffixes[] = {".log", ".lock", ".cancel", ".json"};
	size_t stem = strlen(json_name) - strlen(".json");
	char name[BAK_JOB_NAME_MAX + 16];

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		snprintf(name, sizeof name, "%.*s%s", (int)stem, json_name, suffixes[i]);
		unlinkat(files->dir_fd, name, 0);
	}
}

/* A file that belongs to a job without .json: it was killed before it wrote one, or while it wrote
 * one, or somebody cancelled it when it was gone. */
static bool is_left_over(struct bak_job_files *files, const char *name)
{
	const char *id = name + (*name == '.');
	size_t store_len = strlen(files->store), len = store_len + 1 + ID_DIGITS;
	char json[BAK_JOB_NAME_MAX + 16];
	struct stat st;

	if (strncmp(id, files->store, store_len) != 0 || id[store_len] != '-' ||
	    strspn(id + store_len + 1, "0123456789") != ID_DIGITS || id[len] != '.')
		return false;
	snprintf(json, sizeof json, "%.*s.json", (int)len, id);
	if (*name != '.' && faccessat(files->dir_fd, json, F_OK, 0) == 0)
		return false;
	return fstatat(files->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_mtime < time(NULL) - LEFT_OVER_S;
}

static void remove_old_jobs(struct bak_job_files *files)
{
	struct dirent **names = NULL;
	int n = scandir(files->dir, &names, NULL, alphasort), mine = 0;

	for (int i = n; i-- > 0;) {
		if (is_job_of(names[i]->d_name, files->store) && ++mine > KEEP_JOBS)
			remove_job(files, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	n = scandir(files->dir, &names, NULL, alphasort);
	for (int i = n; i-- > 0;) {
		if (is_left_over(files, names[i]->d_name))
			unlinkat(files->dir_fd, names[i]->d_name, 0);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

/* Unlocks before it closes: the closing is what a waiting job is woken by. */
void bak_job_files_close(struct bak_job_files *files)
{
	if (files->finished)
		remove_old_jobs(files);
	if (files->id_lock >= 0)
		flock(files->id_lock, LOCK_UN);
	bak_close_fd(&files->id_lock);
	if (files->store_lock >= 0)
		flock(files->store_lock, LOCK_UN);
	bak_close_fd(&files->store_lock);
	bak_close_fd(&files->log_fd);
	bak_close_fd(&files->watch);
	bak_close_fd(&files->dir_fd);
	free(files->dir);
	files->dir = NULL;
}

/* --- waiting --- */

bool bak_job_files_cancelled(struct bak_job_files *files)
{
	char name[BAK_JOB_NAME_MAX + 16];

	snprintf(name, sizeof name, "%s.cancel", files->id);
	return faccessat(files->dir_fd, name, F_OK, 0) == 0;
}

static int check_stop(struct bak_job_files *files, const struct bak_job_stop *stop,
		      struct bak_error *err)
{
	if (bak_job_files_cancelled(files) || (stop && stop->stop(stop->ctx)))
		return bak_error_set(err, BAK_CANCELLED, "cancelled");
	return 0;
}

/* Until something happens in the folder, a signal comes, or the time is over. */
static void wait_for_change(struct bak_job_files *files, int64_t timeout_ms)
{
	struct pollfd fd = {.fd = files->watch, .events = POLLIN};
	char events[4096];

	if (poll(&fd, 1, (int)timeout_ms) <= 0)
		return;
	while (read(files->watch, events, sizeof events) > 0)
		continue;
}

int bak_job_files_lock_store(struct bak_job_files *files, const struct bak_job_stop *stop,
			     struct bak_error *err)
{
	bool told = false;

	while (flock(files->store_lock, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return bak_error_sys(err, errno, "locking %s", files->store);
		if (check_stop(files, stop, err) < 0)
			return -1;
		if (!told)
			stop->waiting(stop->ctx);
		told = true;
		wait_for_change(files, LOOK_AGAIN_MS);
	}
	return check_stop(files, stop, err);
}

int bak_job_files_wait(struct bak_job_files *files, unsigned seconds,
		       const struct bak_job_stop *stop, struct bak_error *err)
{
	int64_t until = now_ms() + (int64_t)seconds * 1000, left;

	while ((left = until - now_ms()) > 0) {
		if (check_stop(files, stop, err) < 0)
			return -1;
		wait_for_change(files, left); /* a signal ends it as well */
	}
	return check_stop(files, stop, err);
}

int bak_job_files_commit(struct bak_job_files *files, struct bak_error *err)
{
	if (!files->cancellable)
		return 0;
	while (flock(files->id_lock, LOCK_EX) < 0) {
		if (errno != EINTR)
			return bak_error_sys(err, errno, "locking %s", files->id);
	}
	if (check_stop(files, NULL, err) < 0) {
		flock(files->id_lock, LOCK_UN);
		return -1;
	}
	files->cancellable = false;
	write_json(files);
	return 0;
}

/* --- what a rollback needs --- */

int bak_job_record_read(const char *state_dir, const char *store, json_t **out,
			struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	json_error_t where;

	if (asprintf(&path, "%s/jobs/%s.rollback.json", state_dir, store) < 0) {
		path = NULL;
		return bak_error_nomem(err);
	}
	if (access(path, F_OK) < 0)
		return errno == ENOENT ? 0 : bak_error_sys(err, errno, "%s", path);
	*out = json_load_file(path, 0, &where);
	return *out ? 1 : bak_error_set(err, BAK_CORRUPT, "%s: %s", path, where.text);
}

int bak_job_record_write(struct bak_job_files *files, const json_t *record, struct bak_error *err)
{
	char name[BAK_STORE_NAME_MAX + 32];
	char *text;
	int rc;

	snprintf(name, sizeof name, "%s.rollback.json", files->store);
	if (!record)
		return unlinkat(files->dir_fd, name, 0) == 0 || errno == ENOENT
			       ? 0
			       : bak_error_sys(err, errno, "%s/%s", files->dir, name);
	text = json_dumps(record, JSON_INDENT(1));
	if (!text)
		return bak_error_nomem(err);
	rc = replace(files->dir_fd, name, text, true);
	free(text);
	return rc < 0 ? bak_error_sys(err, errno, "%s/%s", files->dir, name) : 0;
}
