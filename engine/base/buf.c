/* A growable byte buffer: see buf.h. */
#include "engine/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int bak_buf_reserve(struct bak_buf *buf, size_t extra)
{
	if (extra <= buf->cap - buf->len)
		return 0;
	if (extra > SIZE_MAX / 2 - buf->len)
		return -1;
	size_t cap = buf->cap ? buf->cap : 256;
	while (cap < buf->len + extra)
		cap *= 2;
	uint8_t *p = realloc(buf->p, cap);
	if (!p)
		return -1;
	buf->p = p;
	buf->cap = cap;
	return 0;
}

int bak_buf_append(struct bak_buf *buf, const void *p, size_t len)
{
	if (bak_buf_reserve(buf, len) < 0)
		return -1;
	if (len)
		memcpy(buf->p + buf->len, p, len);
	buf->len += len;
	return 0;
}

int bak_buf_resize(struct bak_buf *buf, size_t len)
{
	if (len > buf->len) {
		if (bak_buf_reserve(buf, len - buf->len) < 0)
			return -1;
		memset(buf->p + buf->len, 0, len - buf->len);
	}
	buf->len = len;
	return 0;
}

int bak_buf_printf(struct bak_buf *buf, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int need = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (need < 0 || bak_buf_reserve(buf, (size_t)need + 1) < 0)
		return -1;
	va_start(ap, fmt);
	vsnprintf((char *)buf->p + buf->len, (size_t)need + 1, fmt, ap);
	va_end(ap);
	buf->len += (size_t)need;
	return 0;
}

void bak_buf_release(struct bak_buf *buf)
{
	free(buf->p);
	*buf = (struct bak_buf)BAK_BUF_INIT;
}

int bak_grow(void *array, size_t *cap, size_t n, size_t item_len)
{
	void **at = array;
	if (n < *cap)
		return 0;
	size_t bigger = *cap ? 2 * *cap : 16;
	void *p = reallocarray(*at, bigger, item_len);
	if (!p)
		return -1;
	*at = p;
	*cap = bigger;
	return 0;
}

void bak_free_ptr(void *pointer_to_pointer)
{
	void **p = pointer_to_pointer;
	free(*p);
	*p = NULL;
}

void bak_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
