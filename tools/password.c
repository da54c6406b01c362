/*
 * Passwords from files, commands, the environment and the terminal.
 */
#include "tools/password.h"

#include "engine/base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* Longer than any password, shorter than a file given by mistake. */
#define PASSWORD_MAX 4096

/* On the stack, filled here only, and wiped by release. */
struct typed {
	char p[PASSWORD_MAX];
	size_t len;
};

static void typed_release(struct typed *typed)
{
	bak_wipe(typed, sizeof(*typed));
}

/* The first line, without its end, becomes the secret. */
static int take_line(struct bak_secret *out, const char *p, size_t len, const char *from,
		     struct bak_error *err)
{
	const char *end = memchr(p, '\n', len);

	len = end ? (size_t)(end - p) : len;
	if (end && len && p[len - 1] == '\r')
		len--;
	if (!len)
		return bak_error_set(err, BAK_USAGE, "%s: the password is empty", from);
	return bak_secret_password(out, p, len, err);
}

/* Everything there is; longer than PASSWORD_MAX is refused. */
static int read_typed(int fd, struct typed *typed, const char *from, struct bak_error *err)
{
	for (;;) {
		ssize_t n = read(fd, typed->p + typed->len, sizeof(typed->p) - typed->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "%s", from);
		if (n == 0)
			return 0;
		typed->len += (size_t)n;
		if (memchr(typed->p, '\n', typed->len))
			return 0;
		if (typed->len == sizeof(typed->p))
			return bak_error_set(err, BAK_USAGE, "%s: longer than a password", from);
	}
}

int bak_password_from_file(struct bak_secret *out, const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	BAK_AUTO(typed_release) struct typed typed = {.len = 0};

	if (fd < 0)
		return bak_error_sys(err, errno, "password file %s", path);
	if (read_typed(fd, &typed, path, err) < 0)
		return -1;
	return take_line(out, typed.p, typed.len, path, err);
}

int bak_password_from_command(struct bak_secret *out, const char *command, struct bak_error *err)
{
	BAK_AUTO(typed_release) struct typed typed = {.len = 0};
	struct bak_error read_err = BAK_ERROR_INIT;
	FILE *pipe = popen(command, "re");
	int rc, status;

	if (!pipe)
		return bak_error_sys(err, errno, "password_command");
	rc = read_typed(fileno(pipe), &typed, "password_command", &read_err);
	status = pclose(pipe);
	if (rc < 0) {
		*err = read_err;
		return -1;
	}
	if (status < 0)
		return bak_error_sys(err, errno, "password_command");
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGPIPE)
		return bak_error_set(err, BAK_USAGE, "password_command was killed by signal %d",
				     WTERMSIG(status));
	if (WIFEXITED(status) && WEXITSTATUS(status))
		return bak_error_set(err, BAK_USAGE, "password_command ended with status %d",
				     WEXITSTATUS(status));
	return take_line(out, typed.p, typed.len, "password_command", err);
}

int bak_password_from_env(struct bak_secret *out, const char *variable, struct bak_error *err)
{
	char *value = getenv(variable);
	int rc;

	if (!value)
		return 0;
	rc = *value ? bak_secret_password(out, value, strlen(value), err)
		    : bak_error_set(err, BAK_USAGE, "%s: the password is empty", variable);
	bak_wipe(value, strlen(value));
	unsetenv(variable);
	return rc < 0 ? -1 : 1;
}

/* ---- the terminal ---- */

enum key { KEY_TEXT, KEY_END, KEY_CANCEL };

/* We read key by key with signals off, so that ^C cannot leave a terminal without echo. */
static enum key take_key(struct typed *typed, char key)
{
	switch (key) {
	case '\r':
	case '\n':
	case 4: /* ^D */
		return KEY_END;
	case 3: /* ^C */
		return KEY_CANCEL;
	case 8:
	case 127:
		typed->len -= typed->len > 0;
		return KEY_TEXT;
	case 21: /* ^U */
		typed->len = 0;
		return KEY_TEXT;
	default:
		if (typed->len < sizeof(typed->p))
			typed->p[typed->len++] = key;
		return KEY_TEXT;
	}
}

static int type_in(int tty, const char *prompt, struct typed *typed, struct bak_error *err)
{
	struct termios old, quiet;
	enum key key = KEY_TEXT;

	if (tcgetattr(tty, &old) < 0)
		return bak_error_sys(err, errno, "terminal");
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG);
	quiet.c_cc[VMIN] = 1;
	quiet.c_cc[VTIME] = 0;
	if (tcsetattr(tty, TCSAFLUSH, &quiet) < 0)
		return bak_error_sys(err, errno, "terminal");
	typed->len = 0;
	dprintf(tty, "%s: ", prompt);
	while (key == KEY_TEXT) {
		char c;
		ssize_t n = read(tty, &c, 1);

		if (n < 0 && errno == EINTR)
			continue;
		key = n <= 0 ? KEY_CANCEL : take_key(typed, c);
		bak_wipe(&c, 1);
	}
	tcsetattr(tty, TCSAFLUSH, &old);
	dprintf(tty, "\n");
	return key == KEY_END ? 0 : bak_error_set(err, BAK_CANCELLED, "cancelled");
}

int bak_password_ask(struct bak_secret *out, const char *prompt, bool twice, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	BAK_AUTO(typed_release) struct typed first = {.len = 0};
	BAK_AUTO(typed_release) struct typed second = {.len = 0};

	if (tty < 0)
		return bak_error_set(err, BAK_UNAVAILABLE, "no terminal to ask for a password");
	for (;;) {
		if (type_in(tty, prompt, &first, err) < 0)
			return -1;
		if (!first.len)
			return bak_error_set(err, BAK_USAGE, "the password is empty");
		if (!twice)
			break;
		if (type_in(tty, "again", &second, err) < 0)
			return -1;
		if (first.len == second.len && !memcmp(first.p, second.p, first.len))
			break;
		dprintf(tty, "these differ; try again\n");
	}
	return bak_secret_password(out, first.p, first.len, err);
}
