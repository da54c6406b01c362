/*
 * bakfs mount: in the foreground, or as a daemon.
 *
 * A daemon forks before the repository's threads start. The child keeps its standard error until
 * the mount answers, so what goes wrong is printed where the user looks; then it writes one byte
 * into a pipe, on which the parent waits, and logs to syslog or a file.
 */
#include "tools/commands.h"

const struct bak_option bak_options_mount[] = {
	{'o', "options", "OPT,...", "as with mount(8), see below", false},
	{'f', "foreground", NULL, "stay, and log to standard error", false},
	{0, "log", "FILE", "log there, instead of syslog", false},
	{0, NULL, NULL, NULL, false},
};

#ifdef BAKFS_WITH_FUSE

#include "fs/mount.h"
#include "tools/destination.h"
#include "tools/mount_options.h"
#include "tools/snapshots.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define TOLD 1024u

/* What is decoded ahead of a reader, of a cache that is large enough. */
#define PREFETCH ((size_t)8 << 20)

struct mounting {
	struct bak_tool *tool;
	struct bak_mount_options options;
	bool foreground, ready;
	int ready_fd; /* the parent waits on the other end; -1 in the foreground */
	FILE *log;    /* of -o log=, may be NULL */
	char *dir;    /* absolute */
	char *job_argv[7];
	char *program;
	struct bak_mount_store *stores;
	size_t cache_bytes;
	atomic_uint_fast64_t told[TOLD]; /* damaged copies that were logged */
};

/* ---- the log ---- */

static void log_to_file(FILE *log, const char *line)
{
	struct timespec now;
	char stamp[BAK_TIME_LEN + 1];

	clock_gettime(CLOCK_REALTIME, &now);
	bak_time_format(now.tv_sec, stamp);
	fprintf(log, "%s %s\n", stamp, line);
	fflush(log);
}

static void on_log(void *ctx, int priority, const char *line)
{
	struct mounting *m = ctx;

	if (m->log)
		log_to_file(m->log, line);
	else if (!m->foreground)
		syslog(priority, "%s", line);
	if (m->foreground || !m->ready)
		bak_tool_note(m->tool, "%s", line);
}

/* True the first time that kind is told of a place; the kernel asks again for each page of what it
 * could not read. */
static bool first_time(struct mounting *m, const struct bak_seg_copy *copy, unsigned kind)
{
	uint64_t place;

	memcpy(&place, copy->pack, sizeof(place)); /* random, as pack ids are */
	place ^= (copy->off * 2 + kind) * UINT64_C(0x9e3779b97f4a7c15);
	return atomic_exchange(&m->told[place % TOLD], place) != place;
}

/* A copy of a segment did not open; whether a second one served is said by who read it. */
static void on_damaged(void *ctx, const struct bak_seg_copy *copy, const char *why)
{
	char pack[2 * BAK_PACK_ID_BYTES + 1], line[256];

	if (!first_time(ctx, copy, 0))
		return;
	bak_hex(pack, copy->pack, BAK_PACK_ID_BYTES);
	snprintf(line, sizeof(line), "damaged: pack %s at %" PRIu64 ": %s", pack, copy->off, why);
	on_log(ctx, LOG_WARNING, line);
}

static void on_repaired(void *ctx, const struct bak_seg_copy *copy)
{
	char pack[2 * BAK_PACK_ID_BYTES + 1], line[256];

	if (!first_time(ctx, copy, 1))
		return;
	bak_hex(pack, copy->pack, BAK_PACK_ID_BYTES);
	snprintf(line, sizeof(line), "made anew from parity: pack %s at %" PRIu64, pack, copy->off);
	on_log(ctx, LOG_WARNING, line);
}

/* The file that was named; for a daemon else syslog, and where there is none, as in many
 * containers, a file in the state folder. Until then all goes to standard error. */
static int open_log(struct mounting *m, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *own = NULL;
	const char *path = m->options.log;

	if (!path && m->foreground)
		return 0;
	if (!path && access("/dev/log", W_OK) == 0) {
		openlog("bakfs", LOG_PID, LOG_DAEMON);
		return 0;
	}
	if (!path && asprintf(&own, "%s/mount.log", bak_repo_state_dir(m->tool->repo)) < 0)
		return bak_error_nomem(err);
	path = path ? path : own;
	m->log = fopen(path, "ae");
	if (!m->log)
		return bak_error_sys(err, errno, "log %s", path);
	if (own)
		bak_tool_detail(m->tool, "no syslog here: logging to %s", own);
	return 0;
}

/* ---- what the filesystem is told ---- */

static int choose_program(struct mounting *m, struct bak_error *err)
{
	const struct bak_config *config = &m->tool->config;
	size_t n = 0;

	m->program = realpath("/proc/self/exe", NULL);
	if (!m->program)
		m->program = strdup("/usr/bin/bakfs"); /* replaced while it runs */
	if (!m->program)
		return bak_error_nomem(err);
	m->job_argv[n++] = m->program;
	if (config->file) {
		m->job_argv[n++] = (char *)"--config";
		m->job_argv[n++] = config->file;
	}
	if (!config->file || bak_args_count(&m->tool->args, "repo")) {
		m->job_argv[n++] = (char *)"--repo";
		m->job_argv[n++] = config->path;
	}
	m->job_argv[n++] = (char *)"job";
	m->job_argv[n] = NULL;
	return 0;
}

static int list_stores(struct mounting *m, struct bak_error *err)
{
	const struct bak_config *config = &m->tool->config;
	size_t i;

	m->stores = calloc(config->n_stores + 1, sizeof(*m->stores));
	if (!m->stores)
		return bak_error_nomem(err);
	for (i = 0; i < config->n_stores; i++) {
		const struct bak_store_conf *conf = &config->stores[i].conf;
		const char *restore = bak_store_get(conf, "restore");

		m->stores[i] = (struct bak_mount_store){
			.name = conf->name,
			.proof = bak_store_driver_find(conf->driver)->proof,
			.restore = !restore || strcmp(restore, "no"),
		};
	}
	return 0;
}

static void on_ready(void *ctx)
{
	struct mounting *m = ctx;
	int null;

	m->ready = true;
	if (m->foreground) {
		bak_tool_say(m->tool, "mounted on %s", m->dir);
		fflush(stdout);
		return;
	}
	setsid();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	m->tool->progress.on = false;
	if (write(m->ready_fd, "", 1) != 1)
		on_log(m, LOG_WARNING, "nobody waited for the mount");
	close(m->ready_fd);
	m->ready_fd = -1;
}

static int serve(struct mounting *m, struct bak_error *err)
{
	struct bak_tool *tool = m->tool;
	BAK_AUTO(bak_selection_release) struct bak_selection only = BAK_SELECTION_INIT;
	struct bak_mount_conf conf = {
		.repo = tool->repo,
		.secret = &tool->secret,
		.mount_point = m->dir,
		.stores = m->stores,
		.n_stores = tool->config.n_stores,
		.job_argv = m->job_argv,
		.restore_delay_s = tool->config.restore_delay_s,
		.restore_deadline_s = tool->config.restore_deadline_s,
		.restore_queue = tool->config.restore_queue,
		.spool_dir = tool->config.spool,
		.prefetch = m->cache_bytes / 8 < PREFETCH ? m->cache_bytes / 8 : PREFETCH,
		.decode_whole = m->cache_bytes - m->cache_bytes / 4,
		.read_only = m->options.read_only,
		.foreground = m->foreground,
		.allow_other = m->options.allow_other,
		.verify_full = m->options.verify_full,
		.owner = m->options.owner,
		.uid = m->options.uid,
		.gid = m->options.gid,
		.umask = m->options.umask,
		.restore_gid = m->options.restore_gid,
		.only_store = m->options.store,
		.extra_fuse_options = m->options.passed,
		.log = on_log,
		.log_ctx = m,
		.ready = on_ready,
		.ready_ctx = m,
	};

	if (m->options.snapshot) {
		if (bak_select_one(tool, m->options.snapshot, &only, err) < 0)
			return -1;
		conf.only_snapshot = only.snapshots[0].number;
	}
	if (bak_mount_check(&conf, err) < 0)
		return -1;
	return bak_mount_run(&conf, err);
}

static int log_omissions(struct mounting *m, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;

	if (bak_repo_omissions(m->tool->repo, &text, err) < 0)
		return -1;
	if (text)
		on_log(m, LOG_WARNING, text);
	return 0;
}

/* In the process that will serve: everything that may start threads. */
static int open_and_serve(struct mounting *m)
{
	struct bak_tool *tool = m->tool;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo_conf conf;
	int rc;

	bak_tool_repo_conf(tool, &conf);
	conf.damaged = on_damaged;
	conf.repaired = on_repaired;
	conf.damaged_ctx = m;
	conf.patience_ms = (unsigned)m->options.timeout_s * 1000;
	if (m->options.cache_bytes)
		conf.cache_bytes = m->options.cache_bytes;
	else if (!conf.cache_bytes)
		conf.cache_bytes = (size_t)256 << 20;
	m->cache_bytes = conf.cache_bytes;
	rc = bak_repo_open(&conf, &tool->secret, &tool->repo, &err);
	bak_progress_clear(&tool->progress);
	if (rc == 0)
		rc = open_log(m, &err);
	if (rc == 0)
		rc = log_omissions(m, &err);
	if (rc == 0)
		rc = serve(m, &err);
	if (rc < 0 && m->ready)
		on_log(m, LOG_ERR, err.msg);
	bak_repo_close(tool->repo); /* while the log is there */
	tool->repo = NULL;
	if (m->log)
		fclose(m->log);
	if (rc < 0 && !m->ready)
		return bak_tool_fail(tool, &err);
	return rc < 0 ? BAK_EXIT_FAILED : BAK_EXIT_DONE;
}

/* The parent's part: 0 once the mount answers, else the child's exit status. */
static int wait_for(pid_t child, int fd)
{
	char byte;
	ssize_t n;
	int status;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return BAK_EXIT_DONE;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : BAK_EXIT_FAILED;
}

static int run_as_daemon(struct mounting *m)
{
	struct bak_error err = BAK_ERROR_INIT;
	int fds[2], status;
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		bak_error_sys(&err, errno, "pipe");
		return bak_tool_fail(m->tool, &err);
	}
	fflush(stdout);
	fflush(stderr);
	child = fork();
	if (child < 0) {
		bak_error_sys(&err, errno, "fork");
		return bak_tool_fail(m->tool, &err);
	}
	if (child == 0) {
		close(fds[0]);
		m->ready_fd = fds[1];
		if (chdir("/") < 0)
			return BAK_EXIT_FAILED;
		return open_and_serve(m);
	}
	close(fds[1]);
	status = wait_for(child, fds[0]);
	close(fds[0]);
	return status;
}

/* ---- arguments ---- */

/* The real path; of what is broken (a dead mount cannot be looked at) the path as given. */
static char *mount_point(const char *dir)
{
	struct bak_error err = BAK_ERROR_INIT;
	char *real = bak_destination_real(dir, &err), *cwd, *out;

	if (real || dir[0] == '/')
		return real ? real : strdup(dir);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&out, "%s/%s", cwd, dir) < 0)
		out = NULL;
	free(cwd);
	return out;
}

static int absolute_log(struct mounting *m, struct bak_error *err)
{
	const char *log = bak_args_value(&m->tool->args, "log");
	char *real;

	log = log ? log : m->options.log;
	if (!log)
		return 0;
	real = bak_destination_real(log, err);
	free(m->options.log);
	m->options.log = real;
	return real ? 0 : -1;
}

/* -o key_file= and password_file= say in fstab what --key-file says elsewhere. */
static int find_secret(struct mounting *m, struct bak_error *err)
{
	struct bak_config *config = &m->tool->config;
	char **from = m->options.key_file ? &m->options.key_file : &m->options.password_file;

	if (*from) {
		free(config->key_file);
		free(config->password_file);
		free(config->password_command);
		config->password_command = config->key_file = config->password_file = NULL;
		*(m->options.key_file ? &config->key_file : &config->password_file) = *from;
		*from = NULL;
	}
	return bak_tool_find_secret(m->tool, err);
}

static int prepare(struct mounting *m, struct bak_error *err)
{
	struct bak_tool *tool = m->tool;
	size_t i;
	int rc;

	for (i = 0; i < bak_args_count(&tool->args, "options"); i++) {
		if (bak_mount_options_parse(&m->options, bak_args_nth(&tool->args, "options", i),
					    err) < 0)
			return -1;
	}
	if (absolute_log(m, err) < 0 || bak_tool_need_path(tool, err) < 0)
		return -1;
	rc = bak_repo_probe(tool->config.path, err);
	if (rc == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "%s: not a repository", tool->config.path);
	if (rc < 0 || find_secret(m, err) < 0)
		return -1;
	m->dir = mount_point(tool->args.words[0]);
	if (!m->dir)
		return bak_error_nomem(err);
	if (choose_program(m, err) < 0)
		return -1;
	return list_stores(m, err);
}

int bak_command_mount(struct bak_tool *tool)
{
	struct mounting m = {
		.tool = tool,
		.foreground = bak_args_count(&tool->args, "foreground") > 0,
		.ready_fd = -1,
	};
	struct bak_error err = BAK_ERROR_INIT;
	int status;

	if (tool->args.n_words != 1)
		return bak_tool_usage(tool, "mount needs one folder");
	bak_mount_options_init(&m.options);
	if (prepare(&m, &err) < 0)
		status = bak_tool_fail(tool, &err);
	else
		status = m.foreground ? open_and_serve(&m) : run_as_daemon(&m);
	bak_mount_options_release(&m.options);
	free(m.dir);
	free(m.program);
	free(m.stores);
	return status;
}

#else /* BAKFS_WITH_FUSE */

int bak_command_mount(struct bak_tool *tool)
{
	struct bak_error err = BAK_ERROR_INIT;

	if (tool->args.n_words != 1)
		return bak_tool_usage(tool, "mount needs one folder");
	bak_error_set(&err, BAK_UNSUPPORTED,
		      "this bakfs was built without FUSE: it cannot mount, "
		      "but cat and restore get everything out");
	return bak_tool_fail(tool, &err);
}

#endif
