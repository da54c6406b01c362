/* Errors as values: see error.h. */
#include "engine/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 4, 0))) static int
error_fill(struct bak_error *err, enum bak_errc code, int sys, const char *fmt, va_list ap)
{
	err->code = code;
	err->sys = sys;
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	return -1;
}

int bak_error_set(struct bak_error *err, enum bak_errc code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	error_fill(err, code, 0, fmt, ap);
	va_end(ap);
	return -1;
}

static enum bak_errc code_of_errno(int e)
{
	switch (e) {
	case ENOSPC:
	case EDQUOT:
		return BAK_NO_SPACE;
	case ENOENT:
		return BAK_NOT_FOUND;
	case EEXIST:
		return BAK_EXISTS;
	case ENOMEM:
		return BAK_NO_MEMORY;
	default:
		return BAK_IO;
	}
}

int bak_error_sys(struct bak_error *err, int errno_value, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	error_fill(err, code_of_errno(errno_value), errno_value, fmt, ap);
	va_end(ap);

	char text[128];
	size_t len = strlen(err->msg);
	snprintf(err->msg + len, sizeof err->msg - len, ": %s",
		 strerror_r(errno_value, text, sizeof text));
	return -1;
}

int bak_error_nomem(struct bak_error *err)
{
	return bak_error_set(err, BAK_NO_MEMORY, "out of memory");
}

int bak_error_wrap(struct bak_error *err, const char *fmt, ...)
{
	char inner[sizeof err->msg];
	memcpy(inner, err->msg, sizeof inner);

	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);

	size_t len = strlen(err->msg);
	snprintf(err->msg + len, sizeof err->msg - len, ": %s", inner);
	return -1;
}

const char *bak_error_quote(const char *name, char *out, unsigned long out_len)
{
	int plain = name[0] != '\0';
	for (const unsigned char *p = (const unsigned char *)name; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '"' || *p == '\\' || *p == '\'')
			plain = 0;
	if (plain) {
		snprintf(out, out_len, "%s", name);
		return out;
	}
	unsigned long at = 0;
	if (out_len < 8) {
		if (out_len)
			out[0] = '\0';
		return out;
	}
	out[at++] = '"';
	for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
		if (at + 8 > out_len)
			break;
		if (*p == '"' || *p == '\\') {
			out[at++] = '\\';
			out[at++] = (char)*p;
		} else if (*p < ' ' || *p >= 0x7f) {
			at += (unsigned long)snprintf(out + at, out_len - at, "\\x%02x", *p);
		} else {
			out[at++] = (char)*p;
		}
	}
	out[at++] = '"';
	out[at] = '\0';
	return out;
}
