/* Restore jobs as files and processes: see jobs.h. */
#include "fs/jobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ID_DIGITS 19
/* A job's process is started when the job is made; one that began later than this many seconds
 * after it only has the same process id. */
#define START_SLACK_S 30

bool bak_job_final(const char *state)
{
	return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
	       strcmp(state, "cancelled") == 0;
}

size_t bak_job_store_len(const char *id)
{
	size_t len = strlen(id);
	if (len < ID_DIGITS + 2 || len > BAK_JOB_ID_MAX || id[len - ID_DIGITS - 1] != '-')
		return 0;
	if (strspn(id + len - ID_DIGITS, "0123456789") != ID_DIGITS)
		return 0;
	return len - ID_DIGITS - 1;
}

int bak_jobs_dir(const char *state_dir, char **out_dir, struct bak_error *err)
{
	if (asprintf(out_dir, "%s/jobs", state_dir) < 0) {
		*out_dir = NULL;
		return bak_error_nomem(err);
	}
	if (mkdir(*out_dir, 0700) < 0 && errno != EEXIST) {
		bak_error_sys(err, errno, "make %s", *out_dir);
		free(*out_dir);
		*out_dir = NULL;
		return -1;
	}
	return 0;
}

void bak_job_log_path(const char *dir, const char *id, char *out, size_t out_len)
{
	snprintf(out, out_len, "%s/%s.log", dir, id);
}

/* --- reading --- */

/* One line of text, whatever the job wrote. */
static void take_text(const json_t *json, const char *key, char *out, size_t out_len)
{
	const char *text = json_string_value(json_object_get(json, key));
	snprintf(out, out_len, "%s", text ? text : "");
	for (char *p = out; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
}

static int64_t take_time(const json_t *json, const char *key)
{
	int64_t utc = 0;
	const char *text = json_string_value(json_object_get(json, key));
	return text && bak_time_parse(text, &utc) ? utc : 0;
}

static void take_job(const json_t *json, struct bak_job_info *out)
{
	take_text(json, "state", out->state, sizeof out->state);
	take_text(json, "target", out->target, sizeof out->target);
	take_text(json, "source", out->source, sizeof out->source);
	take_text(json, "error", out->error, sizeof out->error);
	const json_t *percent = json_object_get(json, "percent");
	double n = json_is_number(percent) ? json_number_value(percent) : -1;
	out->percent = n >= 0 && n <= 100 ? (int)n : -1;
	json_int_t bytes = json_integer_value(json_object_get(json, "bytes"));
	out->bytes = bytes > 0 ? (uint64_t)bytes : 0;
	json_int_t rate = json_integer_value(json_object_get(json, "rate"));
	out->rate = rate > 0 ? (uint64_t)rate : 0;
	out->created = take_time(json, "created");
	out->finished = take_time(json, "finished");
	json_int_t pid = json_integer_value(json_object_get(json, "pid"));
	out->pid = pid > 0 && pid < INT32_MAX ? (pid_t)pid : 0;
}

/* When a process began, UTC seconds; 0 when there is none, or only its remains. */
static int64_t process_start(pid_t pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* The name in parentheses may hold anything; the fields stand behind the last one. */
	char *p = strrchr(text, ')');
	if (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X')
		return 0;
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return 0;
	struct timespec now, up;
	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	return now.tv_sec - up.tv_sec +
	       (int64_t)(strtoull(p, NULL, 10) / (unsigned long long)sysconf(_SC_CLK_TCK));
}

static bool job_alive(const struct bak_job_info *job)
{
	int64_t start = job->pid ? process_start(job->pid) : 0;
	return start && (!job->created || start <= job->created + START_SLACK_S);
}

/* What its last state says about the store: nothing changes while a job can be cancelled. */
static void died(struct bak_job_info *job, bool cancellable)
{
	static const char *const harmless[] = {"queued", "waiting", "safety", "importing"};
	bool changed = !cancellable;
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
		changed &= strcmp(job->state, harmless[i]) != 0;
	snprintf(job->error, sizeof job->error,
		 changed ? "the job's process ended while it was %s: look at the store, then "
			   "touch rollback or restore again"
			 : "the job's process ended while it was %s: nothing was changed",
		 job->state);
	snprintf(job->state, sizeof job->state, "failed");
	job->died = true;
}

int bak_job_load(const char *dir, const char *id, struct bak_job_info *out, struct bak_error *err)
{
	*out = (struct bak_job_info){.percent = -1};
	size_t store_len = bak_job_store_len(id);
	if (!store_len)
		return 0;
	snprintf(out->id, sizeof out->id, "%s", id);
	snprintf(out->store, sizeof out->store, "%.*s", (int)store_len, id);
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	if (asprintf(&path, "%s/%s.json", dir, id) < 0) {
		path = NULL;
		return bak_error_nomem(err);
	}
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : bak_error_sys(err, errno, "open %s", path);
	json_error_t why;
	json_t *json = json_loadfd(fd, 0, &why);
	if (!json)
		return bak_error_set(err, BAK_CORRUPT, "%s: %s", path, why.text);
	take_job(json, out);
	bool cancellable = json_is_true(json_object_get(json, "cancellable"));
	json_decref(json);
	if (!bak_job_final(out->state) && !job_alive(out))
		died(out, cancellable);
	return 1;
}

static int id_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Takes the names that end in .json and are ids; names holds them one after another. */
static int collect_ids(DIR *folder, const char *store, struct bak_buf *names, size_t *n)
{
	struct dirent *entry;
	*n = 0;
	while ((entry = readdir(folder))) {
		size_t len = strlen(entry->d_name);
		if (len < 6 || strcmp(entry->d_name + len - 5, ".json") != 0)
			continue;
		entry->d_name[len - 5] = '\0';
		size_t store_len = bak_job_store_len(entry->d_name);
		if (!store_len || (store && (strlen(store) != store_len ||
					     memcmp(store, entry->d_name, store_len) != 0)))
			continue;
		if (bak_buf_append(names, entry->d_name, len - 4) < 0)
			return -1;
		++*n;
	}
	return 0;
}

int bak_jobs_list(const char *dir, const char *store, char ***out, size_t *out_n,
		  struct bak_error *err)
{
	DIR *folder = opendir(dir);
	if (!folder)
		return bak_error_sys(err, errno, "open %s", dir);
	BAK_AUTO(bak_buf_release) struct bak_buf names = BAK_BUF_INIT;
	size_t n;
	int rc = collect_ids(folder, store, &names, &n);
	closedir(folder);
	char **ids = rc < 0 ? NULL : malloc(n * sizeof *ids + names.len + 1);
	if (!ids)
		return bak_error_nomem(err);
	char *text = (char *)(ids + n);
	if (names.len)
		memcpy(text, names.p, names.len);
	for (size_t i = 0; i < n; i++, text += strlen(text) + 1)
		ids[i] = text;
	if (n)
		qsort(ids, n, sizeof *ids, id_cmp);
	*out = ids;
	*out_n = n;
	return 0;
}

int bak_jobs_last(const char *dir, const char *store, struct bak_job_info *out,
		  struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char **ids = NULL;
	size_t n;
	if (bak_jobs_list(dir, store, &ids, &n, err) < 0)
		return -1;
	return n ? bak_job_load(dir, ids[n - 1], out, err) : 0;
}

/* --- cancelling --- */

int bak_job_cancel(const char *dir, const char *id, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *lock = NULL;
	BAK_AUTO(bak_free_ptr) char *cancel = NULL;
	if (asprintf(&lock, "%s/%s.lock", dir, id) < 0 ||
	    asprintf(&cancel, "%s/%s.cancel", dir, id) < 0)
		return bak_error_nomem(err);
	BAK_AUTO(bak_close_fd) int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return bak_error_sys(err, errno, "open %s", lock);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : bak_error_sys(err, errno, "lock %s", lock);
	BAK_AUTO(bak_close_fd) int made = open(cancel, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (made < 0)
		return bak_error_sys(err, errno, "make %s", cancel);
	return 1; /* closing lets go of the lock */
}

/* --- writing for a job that cannot --- */

static json_t *time_or_null(int64_t utc)
{
	char text[BAK_TIME_LEN + 1];
	if (!utc)
		return json_null();
	bak_time_format(utc, text);
	return json_string(text);
}

/* What the job wrote stays, but for what we know better. */
static json_t *job_json(const char *path, const struct bak_job_info *job)
{
	json_t *json = json_load_file(path, 0, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		json = json_pack("{s:s, s:s, s:i, s:I, s:s, s:s, s:o}", "id", job->id, "store",
				 job->store, "percent", job->percent < 0 ? 0 : job->percent,
				 "bytes", (json_int_t)job->bytes, "target", job->target, "source",
				 job->source, "created", time_or_null(job->created));
	}
	int64_t finished = job->finished ? job->finished : (int64_t)time(NULL);
	if (json && (json_object_set_new(json, "state", json_string(job->state)) < 0 ||
		     json_object_set_new(json, "error", json_string(job->error)) < 0 ||
		     json_object_set_new(json, "finished", time_or_null(finished)) < 0 ||
		     json_object_set_new(json, "pid", json_integer(job->pid)) < 0 ||
		     json_object_set_new(json, "cancellable", json_false()) < 0)) {
		json_decref(json);
		return NULL;
	}
	return json;
}

int bak_job_write_failed(const char *dir, const struct bak_job_info *job, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	BAK_AUTO(bak_free_ptr) char *tmp = NULL;
	if (asprintf(&path, "%s/%s.json", dir, job->id) < 0 ||
	    asprintf(&tmp, "%s/%s.tmp", dir, job->id) < 0)
		return bak_error_nomem(err);
	json_t *json = job_json(path, job);
	if (!json)
		return bak_error_nomem(err);
	int rc = json_dump_file(json, tmp, JSON_COMPACT);
	json_decref(json);
	if (rc < 0 || rename(tmp, path) < 0)
		return bak_error_sys(err, errno, "write %s", path);
	return 0;
}

/* --- starting --- */

/* A file in memory with text in it, at its beginning. */
static int text_fd(const char *text, size_t len)
{
	int fd = memfd_create("job", MFD_CLOEXEC);
	while (fd >= 0 && len) {
		ssize_t n = write(fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			close(fd);
			return -1;
		}
		text += n;
		len -= (size_t)n;
	}
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	return fd;
}

static int spawn_with(char *const *argv, const char *log_path, int in, pid_t *out_pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	int no = posix_spawn_file_actions_adddup2(&files, in, 0);
	if (!no)
		no = posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
	if (!no)
		no = posix_spawn_file_actions_addopen(&files, 2, log_path,
						      O_WRONLY | O_CREAT | O_APPEND, 0600);
	/* The connection to the kernel must not outlive the mount in a job's hands. */
	if (!no)
		no = posix_spawn_file_actions_addclosefrom_np(&files, 3);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	if (!no)
		no = posix_spawnp(out_pid, argv[0], &files, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return no;
}

int bak_job_spawn(char *const *argv, const char *log_path, const char *text, size_t text_len,
		  pid_t *out_pid, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int in = text_fd(text, text_len);
	if (in < 0)
		return bak_error_sys(err, errno, "hand over a job");
	int no = spawn_with(argv, log_path, in, out_pid);
	return no ? bak_error_sys(err, no, "start %s", argv[0]) : 0;
}
