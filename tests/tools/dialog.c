/*
 * Runs a command on a terminal of its own and types when it is asked:
 *
 *   dialog [WAIT SEND]... -- COMMAND [ARGUMENT...]
 *
 * Waits until the terminal has shown WAIT, types SEND, then the next pair. Everything shown goes to
 * standard output. Exit status: the command's; 125 if it ended before all was typed.
 */
#include <errno.h>
#include <pty.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char shown[1 << 20];
static size_t shown_len;

/* One more piece of what the terminal shows; false at its end. */
static bool read_more(int terminal)
{
	ssize_t n;

	if (shown_len == sizeof(shown))
		return false;
	do
		n = read(terminal, shown + shown_len, sizeof(shown) - shown_len);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	fwrite(shown + shown_len, 1, (size_t)n, stdout);
	shown_len += (size_t)n;
	return true;
}

/* Waits for text behind *seen and moves it there. */
static bool wait_for(int terminal, const char *text, size_t *seen)
{
	for (;;) {
		char *at = memmem(shown + *seen, shown_len - *seen, text, strlen(text));

		if (at) {
			*seen = (size_t)(at - shown) + strlen(text);
			return true;
		}
		if (!read_more(terminal))
			return false;
	}
}

int main(int argc, char **argv)
{
	bool complete = true;
	int at = 1, terminal, status;
	size_t seen = 0;
	pid_t child;

	while (at < argc && strcmp(argv[at], "--"))
		at += 2;
	if (at + 1 >= argc)
		return 125;
	child = forkpty(&terminal, NULL, NULL, NULL);
	if (child == 0) {
		execvp(argv[at + 1], argv + at + 1);
		_exit(127);
	}
	for (at = 1; child > 0 && complete && strcmp(argv[at], "--"); at += 2)
		complete = wait_for(terminal, argv[at], &seen) &&
			   write(terminal, argv[at + 1], strlen(argv[at + 1])) >= 0;
	while (read_more(terminal))
		;
	if (child < 0 || waitpid(child, &status, 0) < 0 || !complete)
		return 125;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 124;
}
