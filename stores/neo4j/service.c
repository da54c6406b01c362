/*
 * Whether a Neo4j server has its data open, stopping it and starting it again with the commands that
 * are configured.
 */
#include "stores/neo4j/neo4j.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* How long a command may take, and then the server until it has let go or answers. */
#define WAIT_MS 300000
/* How often it is looked. */
#define LOOK_MS 100

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* --- who has it open --- */

static void name_holder(pid_t pid, char *out, size_t len)
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	file = pid > 0 ? fopen(path, "re") : NULL;
	if (file && fgets(name, sizeof name, file))
		name[strcspn(name, "\n")] = '\0';
	if (file)
		fclose(file);
	if (pid > 0)
		snprintf(out, len, "process %d%s%s%s", pid, *name ? " (" : "", name,
			 *name ? ")" : "");
	else
		snprintf(out, len, "a process out of our sight");
}

/* A server holds a lock on one file as long as it runs, on another for each open database. */
int bak_neo4j_running(const struct bak_neo4j_places *places, char *out, size_t len,
		      struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (asprintf(&path, "%s/store_lock", places->databases) < 0) {
		path = NULL;
		return bak_error_nomem(err);
	}
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0 || fcntl(fd, F_GETLK, &lock) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (lock.l_type == F_UNLCK)
		return 0;
	name_holder(lock.l_pid, out, len);
	return 1;
}

int bak_neo4j_may_stop(const struct bak_neo4j_service *service, struct bak_error *err)
{
	const struct bak_store_conf *conf = service->neo4j->conf;
	char holder[128];
	int rc = bak_neo4j_running(service->places, holder, sizeof holder, err);

	if (rc <= 0)
		return rc;
	if (!bak_store_get_bool(conf, "restart"))
		return bak_error_set(err, BAK_BUSY,
				     "the server is running, %s: stop it, or let bakfs do that "
				     "with stop_command, start_command and restart = yes",
				     holder);
	if (!bak_store_get(conf, "stop_command") || !bak_store_get(conf, "start_command"))
		return bak_error_set(err, BAK_USAGE,
				     "the server is running, %s, and restart = yes needs "
				     "stop_command and start_command",
				     holder);
	return 0;
}

/* --- the file that says so --- */

static int open_data(const struct bak_neo4j_service *service, struct bak_error *err)
{
	int fd = open(service->places->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? bak_error_sys(err, errno, "%s", service->places->data) : fd;
}

/* Opens it, by flags, and holds it. 1, 0 it is not there, -1. */
static int hold_mark(struct bak_neo4j_service *service, int flags, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int data_fd = open_data(service, err);
	BAK_AUTO(bak_close_fd) int fd = -1;

	if (data_fd < 0)
		return -1;
	fd = openat(data_fd, BAK_NEO4J_MARK, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return bak_error_set(err, BAK_BUSY,
				     "another bakfs has stopped the server, and is at work");
	if (fd < 0 || fsync(data_fd) < 0)
		return bak_error_sys(err, errno, "%s/" BAK_NEO4J_MARK, service->places->data);
	service->mark_fd = fd;
	fd = -1;
	return 1;
}

int bak_neo4j_mark(struct bak_neo4j_service *service, const char *kept, struct bak_error *err)
{
	size_t len = strlen(kept);

	if (service->mark_fd < 0 && hold_mark(service, O_CREAT, err) < 0)
		return -1;
	if (ftruncate(service->mark_fd, 0) < 0 ||
	    pwrite(service->mark_fd, kept, len, 0) != (ssize_t)len || fsync(service->mark_fd) < 0)
		return bak_error_sys(err, errno, "%s/" BAK_NEO4J_MARK, service->places->data);
	return 0;
}

static void unmark(struct bak_neo4j_service *service)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	if (service->mark_fd < 0)
		return;
	BAK_AUTO(bak_close_fd) int data_fd = open_data(service, &scratch);
	if (data_fd >= 0)
		unlinkat(data_fd, BAK_NEO4J_MARK, 0);
	bak_close_fd(&service->mark_fd);
}

void bak_neo4j_service_release(struct bak_neo4j_service *service)
{
	bak_close_fd(&service->mark_fd);
}

int bak_neo4j_take_over(struct bak_neo4j_service *service, struct bak_error *err)
{
	char kept[NAME_MAX + 1] = "", holder[128];
	int rc = hold_mark(service, 0, err);

	if (rc <= 0)
		return rc;
	if (pread(service->mark_fd, kept, sizeof kept - 1, 0) < 0)
		return bak_error_sys(err, errno, "%s/" BAK_NEO4J_MARK, service->places->data);
	if (*kept) {
		bak_close_fd(&service->mark_fd); /* and it stays */
		return bak_error_set(
			err, BAK_REFUSED,
			"a restore was killed while databases and transactions changed "
			"places with those in %s/%s: see to it that both are the old or "
			"both the new ones, then delete %s/" BAK_NEO4J_MARK,
			service->places->data, kept, service->places->data);
	}
	rc = bak_neo4j_running(service->places, holder, sizeof holder, err);
	if (rc != 0) {
		unmark(service);
		return rc < 0 ? -1 : 0;
	}
	service->stopped = bak_store_get_bool(service->neo4j->conf, "restart") &&
			   bak_store_get(service->neo4j->conf, "start_command");
	return 1;
}

/* --- stop and start --- */

static int give_nothing(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err)
{
	(void)ctx;
	(void)out_p;
	(void)out_len;
	(void)err;
	return 0;
}

/* always: also in a job that is cancelled. What the command leaves behind may keep its output open:
 * its own end counts. */
static int run_command(const struct bak_neo4j_service *service, const char *option, bool always,
		       struct bak_error *err)
{
	const struct bak_store_env *env = service->neo4j->env;
	const struct bak_store_env deaf = {.ctx = env->ctx, .log = env->log};
	const struct bak_process_conf conf = {
		.env = always ? &deaf : env,
		.command = bak_store_get(service->neo4j->conf, option),
		.timeout_ms = WAIT_MS};

	bak_store_log(env, "%s", option);
	if (bak_process_write(&conf, give_nothing, NULL, err) < 0)
		return bak_error_wrap(err, "%s", option);
	return 0;
}

/* Until the server has let go, or has taken hold. */
static int wait_for(const struct bak_neo4j_service *service, bool running, struct bak_error *err)
{
	int64_t until = now_ms() + WAIT_MS;
	char holder[128] = "";
	int rc;

	while ((rc = bak_neo4j_running(service->places, holder, sizeof holder, err)) == !running) {
		if (now_ms() >= until)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     running ? "the server has not started%s"
						     : "the server is still running%s%s",
					     running ? "" : ", ", holder);
		poll(NULL, 0, LOOK_MS);
	}
	return rc < 0 ? -1 : 0;
}

int bak_neo4j_stop(struct bak_neo4j_service *service, struct bak_error *err)
{
	char holder[128];
	int rc = bak_neo4j_running(service->places, holder, sizeof holder, err);

	if (rc <= 0)
		return rc;
	if (bak_neo4j_may_stop(service, err) < 0)
		return -1;
	/* A backup does not fail because there is no room to write this down. */
	if (bak_neo4j_mark(service, "", err) < 0) {
		if (err->code == BAK_BUSY)
			return -1;
		bak_store_log(service->neo4j->env, "%s", err->msg);
	}
	/* Even a command that fails may have stopped it. */
	service->stopped = true;
	if (run_command(service, "stop_command", false, err) < 0)
		return -1;
	return wait_for(service, false, err);
}

/* --- is the database online? --- */

struct status {
	char name[16], message[200];
};

static int take_status(void *ctx, const json_t *row, struct bak_error *err)
{
	struct status *status = ctx;
	const char *name = bak_neo4j_text(json_array_get(row, 0));
	const char *message = bak_neo4j_text(json_array_get(row, 1));

	(void)err;
	snprintf(status->name, sizeof status->name, "%s", name ? name : "");
	snprintf(status->message, sizeof status->message, "%s", message ? message : "");
	return 0;
}

/* 1 it is, 0 it will be, -1 it will not. */
static int ask_status(struct bak_neo4j *neo4j, struct bak_error *err)
{
	struct bak_neo4j_statement statement = {
		.database = "system",
		.text = "SHOW DATABASE $name YIELD currentStatus, statusMessage",
		.parameters = json_pack("{s:o?}", "name", bak_neo4j_typed_text(neo4j->database)),
		.read = true};
	struct status status = {.name = ""};

	if (bak_neo4j_ask(neo4j, &statement, take_status, &status, err) < 0)
		return -1;
	if (strcmp(status.name, "online") == 0)
		return 1;
	if (!*status.name || strcmp(status.name, "starting") == 0 ||
	    strcmp(status.name, "initial") == 0)
		return 0;
	return bak_error_set(err, BAK_CORRUPT, "database %s is %s: %s", neo4j->database,
			     status.name, status.message);
}

/* Where it cannot be asked, because nothing listens there or it does not admit us, all that is
 * known is that the server runs. */
static int wait_online(const struct bak_neo4j_service *service, struct bak_error *err)
{
	struct bak_neo4j *neo4j = (struct bak_neo4j *)(uintptr_t)service->neo4j;
	int64_t until = now_ms() + (int64_t)neo4j->timeout_ms;
	char holder[128];
	int rc;

	for (;;) {
		*err = (struct bak_error)BAK_ERROR_INIT;
		rc = ask_status(neo4j, err);
		if (rc > 0)
			return 0;
		if (rc < 0 && err->code != BAK_UNAVAILABLE)
			break;
		if (now_ms() >= until ||
		    bak_neo4j_running(service->places, holder, sizeof holder, err) <= 0)
			break;
		poll(NULL, 0, LOOK_MS);
	}
	if (rc < 0 && err->code == BAK_CORRUPT)
		return -1;
	if (bak_neo4j_running(service->places, holder, sizeof holder, err) <= 0)
		return bak_error_set(err, BAK_UNAVAILABLE,
				     "the server has ended again: see its log");
	bak_store_log(neo4j->env,
		      "the server runs; whether the database is online was not told%s%s",
		      *err->msg ? ": " : "", err->msg);
	return 0;
}

int bak_neo4j_start(struct bak_neo4j_service *service, struct bak_error *err)
{
	char holder[128];
	int rc = 0;

	/* The command that should have stopped it may have failed. */
	if (service->stopped)
		rc = bak_neo4j_running(service->places, holder, sizeof holder, err);
	if (rc == 0 && service->stopped) {
		service->stopped = false;
		if (run_command(service, "start_command", true, err) < 0 ||
		    wait_for(service, true, err) < 0)
			return -1;
		rc = wait_online(service, err);
	}
	service->stopped = false;
	if (rc < 0)
		return -1;
	unmark(service);
	return 0;
}
