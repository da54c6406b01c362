/*
 * Child processes with a pipe: a shell command or a program whose output is read, or that reads its input from
 * us, with its last lines on standard error kept for the error text.
 *
 * The child gets a process group of its own, /dev/null where we give it no pipe, no other descriptor
 * of ours, the default signals, and our environment with what is added. Nobody else sees what it is
 * given: secrets belong into the environment, never into the command.
 * Errors: non-zero exit, death by a signal, time over: "<last words of stderr> (exit status 3)".
 *   BAK_CANCELLED, when the caller wants to stop: the group is ended.
 * Threads: one call is one thread's. Signals of ours are left alone; writing raises no SIGPIPE.
 */
#ifndef BAK_STORES_PROCESS_H
#define BAK_STORES_PROCESS_H

#include "stores/stores.h"

/* Takes what the command writes, piece by piece. -1 ends the command. */
typedef int bak_process_take(void *ctx, const void *p, size_t len, struct bak_error *err);

struct bak_process_conf {
	const struct bak_store_env *env;
	const char *command;     /* for /bin/sh -c, or NULL and */
	const char *const *argv; /* a program by its path and its arguments, NULL-terminated */
	const char *const
		*vars;       /* "NAME=value", NULL-terminated, added to our environment; or NULL */
	uint64_t timeout_ms; /* for the whole run; 0: none */
	int file;            /* it has this as descriptor 3; 0: none */
	/* write: what it writes goes there instead of the log; may be NULL */
	bak_process_take *take;
	void *take_ctx;
	bool may_stop; /* write: it need not read all of its input */
};

/* Runs the command and hands its standard output to take. */
int bak_process_read(const struct bak_process_conf *conf, bak_process_take *take, void *ctx,
		     struct bak_error *err);

/* Gives the next bytes for the command: 1 and a piece, borrowed until the next call; 0 at the end;
 * -1. */
typedef int bak_process_give(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err);
/* Runs the command with input from give. Its standard output goes to the log, line by line. Not
 * having read all of it is a failure, whatever its exit status. */
int bak_process_write(const struct bak_process_conf *conf, bak_process_give *give, void *ctx,
		      struct bak_error *err);

#endif
