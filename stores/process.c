/* Child processes with a pipe: see process.h. */
#include "stores/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READ_LEN (256u << 10)
/* A dump comes with fewer switches between the program and us; less, where no more is allowed. */
#define PIPE_LEN (1 << 20)
/* What of stderr is kept for the error. */
#define TAIL_LEN 400
/* From SIGTERM to SIGKILL. */
#define GRACE_MS 5000
/* How often the caller is asked whether to stop while nothing happens. */
#define LOOK_MS 200

extern char **environ;

/* Lines of text, cut out of a stream for the log. */
struct lines {
	char text[512];
	size_t len;
};

struct process {
	const struct bak_process_conf *conf;
	pid_t pid;
	int pidfd;
	bool ended;          /* but not waited for yet, so that its number stays its own */
	siginfo_t info;      /* how it ended */
	int in, out, errors; /* our ends; -1 closed or none */
	uint8_t *buffer;
	struct lines out_lines, err_lines;
	char tail[TAIL_LEN + 1]; /* the end of stderr */
	size_t tail_len;
	int64_t deadline; /* monotonic ms; 0: none */
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* --- starting --- */

/* Our environment and what is added, the added first: getenv finds the first. */
static char **join_vars(const char *const *vars)
{
	size_t n = 0, m = 0;
	char **all;

	while (environ[n])
		n++;
	while (vars && vars[m])
		m++;
	all = calloc(n + m + 1, sizeof *all);
	for (size_t i = 0; all && i < m; i++)
		all[i] = (char *)(uintptr_t)vars[i];
	if (all)
		memcpy(all + m, environ, n * sizeof *all);
	return all;
}

/* ends: what becomes 0, 1, 2 of the child; -1: /dev/null. */
static int spawn(struct process *p, const int ends[3])
{
	char *shell[] = {(char *)(uintptr_t) "/bin/sh", (char *)(uintptr_t) "-c",
			 (char *)(uintptr_t)p->conf->command, NULL};
	char *const *argv = p->conf->argv ? (char *const *)(uintptr_t)p->conf->argv : shell;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	char **vars = join_vars(p->conf->vars);
	int rc;

	if (!vars)
		return ENOMEM;
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	for (int fd = 0; fd < 3; fd++) {
		if (ends[fd] >= 0)
			posix_spawn_file_actions_adddup2(&actions, ends[fd], fd);
		else
			posix_spawn_file_actions_addopen(&actions, fd, "/dev/null",
							 fd ? O_WRONLY : O_RDONLY, 0);
	}
	if (p->conf->file > 0)
		posix_spawn_file_actions_adddup2(&actions, p->conf->file, 3);
	posix_spawn_file_actions_addclosefrom_np(&actions, p->conf->file > 0 ? 4 : 3);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	rc = posix_spawn(&p->pid, argv[0], &actions, &attr, argv, vars);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	free(vars);
	return rc;
}

/* A pair whose descriptors are none of 0 to 2, which the child's would overwrite. */
static int make_pair(int type, int out[2])
{
	int fds[2], rc = type ? socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds)
			      : pipe2(fds, O_CLOEXEC);

	if (rc < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		out[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		close(fds[i]);
	}
	return out[0] < 0 || out[1] < 0 ? -1 : 0;
}

static void set_nonblocking(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* Its input is a socket: sending to one that is closed can be told not to raise SIGPIPE. */
static int start(struct process *p, bool with_input, struct bak_error *err)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, errors[2] = {-1, -1};
	int rc = 0;

	if ((with_input && make_pair(SOCK_STREAM, in) < 0) || make_pair(0, out) < 0 ||
	    make_pair(0, errors) < 0)
		rc = errno;
	p->buffer = malloc(READ_LEN);
	if (!p->buffer)
		rc = ENOMEM;
	if (rc == 0) {
		const int ends[3] = {in[0], out[1], errors[1]};
		rc = spawn(p, ends);
	}
	bak_close_fd(&in[0]);
	bak_close_fd(&out[1]);
	bak_close_fd(&errors[1]);
	p->in = in[1];
	p->out = out[0];
	p->errors = errors[0];
	if (rc)
		return bak_error_sys(err, rc, "starting %s",
				     p->conf->argv ? p->conf->argv[0] : "/bin/sh");
	if (with_input)
		shutdown(p->in, SHUT_RD);
	(void)fcntl(p->out, F_SETPIPE_SZ, PIPE_LEN);
	set_nonblocking(p->in);
	set_nonblocking(p->out);
	set_nonblocking(p->errors);
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	return p->pidfd < 0 ? bak_error_sys(err, errno, "pidfd_open") : 0;
}

/* --- what it says --- */

static void log_lines(struct process *p, struct lines *lines, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] != '\n' && lines->len < sizeof lines->text - 1) {
			lines->text[lines->len++] = text[i];
			continue;
		}
		lines->text[lines->len] = '\0';
		bak_store_log(p->conf->env, "%s", lines->text);
		lines->len = 0;
		if (text[i] != '\n')
			lines->text[lines->len++] = text[i];
	}
}

static void log_rest(struct process *p, struct lines *lines)
{
	if (lines->len)
		log_lines(p, lines, "\n", 1);
}

static void keep_tail(struct process *p, const char *text, size_t len)
{
	if (len > TAIL_LEN) {
		text += len - TAIL_LEN;
		len = TAIL_LEN;
	}
	if (p->tail_len + len > TAIL_LEN) {
		size_t drop = p->tail_len + len - TAIL_LEN;

		memmove(p->tail, p->tail + drop, p->tail_len - drop);
		p->tail_len -= drop;
	}
	memcpy(p->tail + p->tail_len, text, len);
	p->tail_len += len;
	p->tail[p->tail_len] = '\0';
}

/* The last lines, joined by "; ", without control characters. */
static const char *last_words(struct process *p)
{
	char *text = p->tail;
	size_t n = 0;

	while (p->tail_len && strchr("\n\r\t ", p->tail[p->tail_len - 1]))
		p->tail[--p->tail_len] = '\0';
	/* cut in front: begin at a line */
	if (p->tail_len > TAIL_LEN - 10 && strchr(text, '\n'))
		text = strchr(text, '\n') + 1;
	for (char *q = text; *q; q++) {
		if (*q == '\n')
			*q = ';';
		else if ((unsigned char)*q < ' ' || *q == 0x7f)
			*q = ' ';
		n++;
	}
	return n ? text : NULL;
}

/* Reads what is there. 1 something or nothing now, 0 at the end. */
static int drain(struct process *p, int *fd, void (*use)(struct process *, const char *, size_t))
{
	for (;;) {
		ssize_t n = read(*fd, p->buffer, READ_LEN);

		if (n > 0)
			use(p, (const char *)p->buffer, (size_t)n);
		else if (n < 0 && errno == EINTR)
			continue;
		else if (n < 0 && errno == EAGAIN)
			return 1;
		else
			break;
	}
	bak_close_fd(fd);
	return 0;
}

static void use_errors(struct process *p, const char *text, size_t len)
{
	keep_tail(p, text, len);
	log_lines(p, &p->err_lines, text, len);
}

static void use_output(struct process *p, const char *text, size_t len)
{
	log_lines(p, &p->out_lines, text, len);
}

/* --- its end --- */

static void note_end(struct process *p)
{
	while (waitid(P_PID, (id_t)p->pid, &p->info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		continue;
	p->ended = true;
}

static bool succeeded(const struct process *p)
{
	return p->info.si_code == CLD_EXITED && p->info.si_status == 0;
}

static void wait_for_end(struct process *p, int64_t until)
{
	int64_t left;

	while (!p->ended && (left = until - now_ms()) > 0) {
		struct pollfd fd = {.fd = p->pidfd, .events = POLLIN};

		if (poll(&fd, 1, (int)left) > 0)
			note_end(p);
	}
}

/* Politely, then not: the command, and all that it started and left behind. */
static void kill_group(struct process *p)
{
	if (!p->ended) {
		kill(-p->pid, SIGTERM);
		wait_for_end(p, now_ms() + GRACE_MS);
	}
	kill(-p->pid, SIGKILL);
}

static int explain(struct process *p, struct bak_error *err)
{
	const char *words = last_words(p);
	const char *between = words ? " (" : "", *behind = words ? ")" : "";

	words = words ? words : "";
	if (p->info.si_code == CLD_EXITED)
		return bak_error_set(err, BAK_IO, "%s%sexit status %d%s", words, between,
				     p->info.si_status, behind);
	return bak_error_set(err, BAK_IO, "%s%sended by signal %d, %s%s", words, between,
			     p->info.si_status, sigdescr_np(p->info.si_status), behind);
}

static void release(struct process *p)
{
	bak_close_fd(&p->in);
	bak_close_fd(&p->out);
	bak_close_fd(&p->errors);
	bak_close_fd(&p->pidfd);
	free(p->buffer);
}

/* --- the loop --- */

/* Waits for any of its ends; -1 when it is time to stop. */
static int wait_for_some(struct process *p, struct bak_error *err)
{
	struct pollfd fds[4] = {
		{.fd = p->in, .events = POLLOUT},
		{.fd = p->out, .events = POLLIN},
		{.fd = p->errors, .events = POLLIN},
		{.fd = p->ended ? -1 : p->pidfd, .events = POLLIN},
	};

	if (bak_store_check_cancelled(p->conf->env, err) < 0)
		return -1;
	if (p->deadline && now_ms() >= p->deadline)
		return bak_error_set(err, BAK_IO, "not done within %llu seconds",
				     (unsigned long long)(p->conf->timeout_ms / 1000));
	if (poll(fds, 4, LOOK_MS) < 0 && errno != EINTR)
		return bak_error_sys(err, errno, "poll");
	if (p->errors >= 0 && fds[2].revents)
		drain(p, &p->errors, use_errors);
	if (!p->ended && fds[3].revents)
		note_end(p);
	return 0;
}

/* Waits for the command's own end. stderr may be held open by what it left behind: only what is
 * there is read. */
static int end(struct process *p, int rc, struct bak_error *err)
{
	if (p->pid <= 0)
		return -1;
	while (rc == 0 && !p->ended)
		rc = wait_for_some(p, err);
	if (rc < 0 || !succeeded(p))
		kill_group(p);
	if (p->errors >= 0)
		drain(p, &p->errors, use_errors);
	log_rest(p, &p->err_lines);
	log_rest(p, &p->out_lines);
	while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (rc == 0 && !succeeded(p))
		rc = explain(p, err);
	return rc;
}

static void begin(struct process *p, const struct bak_process_conf *conf)
{
	*p = (struct process){.conf = conf,
			      .pidfd = -1,
			      .in = -1,
			      .out = -1,
			      .errors = -1,
			      .deadline = conf->timeout_ms ? now_ms() + (int64_t)conf->timeout_ms
							   : 0};
}

/* 1 more may come, 0 at the end, -1. */
static int take_some(struct process *p, bak_process_take *take, void *ctx, struct bak_error *err)
{
	ssize_t n = read(p->out, p->buffer, READ_LEN);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n < 0)
		return bak_error_sys(err, errno, "reading its output");
	if (n == 0) {
		bak_close_fd(&p->out);
		return 0;
	}
	return take(ctx, p->buffer, (size_t)n, err) < 0 ? -1 : 1;
}

int bak_process_read(const struct bak_process_conf *conf, bak_process_take *take, void *ctx,
		     struct bak_error *err)
{
	struct process p;
	int rc;

	begin(&p, conf);
	rc = start(&p, false, err);
	while (rc == 0 && p.out >= 0) {
		rc = wait_for_some(&p, err);
		/* A command that failed is over, whoever still holds its output open. */
		if (p.ended && !succeeded(&p))
			break;
		if (rc == 0 && take_some(&p, take, ctx, err) < 0)
			rc = -1;
	}
	rc = end(&p, rc, err);
	release(&p);
	return rc;
}

/* The piece that is being sent. */
struct piece {
	const uint8_t *p;
	size_t left;
	bool at_end; /* give has no more */
};

/* Sends as much as goes. 1 go on, 0 all sent or nobody reads, -1. */
static int give_some(struct process *p, struct piece *piece, bak_process_give *give, void *ctx,
		     struct bak_error *err)
{
	for (;;) {
		const void *next;
		ssize_t n;
		int rc;

		if (piece->left == 0) {
			rc = give(ctx, &next, &piece->left, err);
			piece->p = next;
			piece->at_end = rc == 0;
			if (rc <= 0)
				return rc;
		}
		n = send(p->in, piece->p, piece->left, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return 1;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return 0;
		if (n < 0 && errno != EINTR)
			return bak_error_sys(err, errno, "writing its input");
		if (n > 0) {
			piece->p += n;
			piece->left -= (size_t)n;
		}
	}
}

int bak_process_write(const struct bak_process_conf *conf, bak_process_give *give, void *ctx,
		      struct bak_error *err)
{
	struct piece piece = {.left = 0};
	struct process p;
	int rc;

	begin(&p, conf);
	rc = start(&p, true, err);
	while (rc == 0 && (p.in >= 0 || !p.ended || (conf->take && p.out >= 0))) {
		rc = wait_for_some(&p, err);
		if (rc == 0 && p.out >= 0 && conf->take)
			rc = take_some(&p, conf->take, conf->take_ctx, err) < 0 ? -1 : 0;
		else if (rc == 0 && p.out >= 0)
			drain(&p, &p.out, use_output);
		if (rc < 0 || p.in < 0)
			continue;
		int more = p.ended ? 0 : give_some(&p, &piece, give, ctx, err);
		rc = more < 0 ? -1 : 0;
		if (more == 0)
			bak_close_fd(&p.in);
	}
	rc = end(&p, rc, err);
	release(&p);
	if (rc == 0 && !piece.at_end && !conf->may_stop)
		return bak_error_set(err, BAK_IO,
				     "it ended well but did not read all of its input");
	return rc;
}
