/*
 * Errors as values: a function that can fail returns -1 and fills the struct bak_error it was
 * handed. Nothing in engine/ or stores/ prints; tools/ prints errors and fs/ logs them.
 *
 * Ownership: the struct lives on the caller's stack; a callee never gets NULL.
 * Errors: the first one wins. A failing clean-up goes to a scratch struct of its own.
 * Text: lower case, no full stop, read from the outside in: "restore app@latest: pack 3f2a: ...".
 * Never a secret.
 */
#ifndef BAK_BASE_ERROR_H
#define BAK_BASE_ERROR_H

#include <stdarg.h>

/* Chosen by what a caller can do about it. fs/ maps them to errno, tools/ to exit statuses. */
enum bak_errc {
	BAK_OK = 0,
	BAK_NOT_FOUND, /* the thing asked for is not there */
	BAK_EXISTS,    /* it is there already */
	BAK_CORRUPT,   /* bytes that cannot be what was written */
	BAK_WRONG_KEY, /* no password or key file opens this */
	BAK_IO,        /* the system said no; sys tells which errno */
	BAK_NO_SPACE,  /* disk or quota full */
	BAK_NO_MEMORY,
	BAK_UNAVAILABLE, /* try again later: a server down, a network away */
	BAK_REFUSED,     /* we will not do that, and the text says why */
	BAK_UNSUPPORTED, /* newer format, missing feature */
	BAK_USAGE,       /* bad arguments or configuration */
	BAK_BUSY,        /* locked by somebody else */
	BAK_CANCELLED,   /* the user stopped it */
	BAK_BUG,         /* our own mistake, caught */
};

struct bak_error {
	enum bak_errc code;
	int sys; /* the errno behind it, or 0 */
	char msg[512];
};

#define BAK_ERROR_INIT         \
	{                      \
		.code = BAK_OK \
	}

/* Each returns -1, so that `return bak_error_set(...)` reads well. */
int bak_error_set(struct bak_error *err, enum bak_errc code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Appends ": <strerror>" and picks the code from errno_value (ENOSPC, EDQUOT: BAK_NO_SPACE; ENOENT:
 * BAK_NOT_FOUND; EEXIST: BAK_EXISTS; ENOMEM: BAK_NO_MEMORY; else BAK_IO). */
int bak_error_sys(struct bak_error *err, int errno_value, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int bak_error_nomem(struct bak_error *err);
/* Puts "<text>: " in front of the message that is there; keeps code and sys. */
int bak_error_wrap(struct bak_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Writes name into out as it may stand in a one-line message: quoted and escaped when it holds
 * anything but plain printable characters. Returns out. */
const char *bak_error_quote(const char *name, char *out, unsigned long out_len);

#endif
