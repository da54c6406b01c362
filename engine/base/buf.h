/*
 * A growable byte buffer, and release by scope.
 *
 * Ownership: the struct owns p; bak_buf_release frees it and accepts the initial value.
 * Errors: growing fails only for lack of memory: -1, the buffer as it was.
 */
#ifndef BAK_BASE_BUF_H
#define BAK_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct bak_buf {
	uint8_t *p;
	size_t len; /* bytes in use */
	size_t cap;
};

#define BAK_BUF_INIT      \
	{                 \
		.p = NULL \
	}

/* Runs fn(&variable) when the variable goes out of scope. */
#define BAK_AUTO(fn) __attribute__((cleanup(fn)))

/* Room for extra more bytes behind len. */
int bak_buf_reserve(struct bak_buf *buf, size_t extra);
int bak_buf_append(struct bak_buf *buf, const void *p, size_t len);
/* Sets the length, growing as needed; new bytes are zero. */
int bak_buf_resize(struct bak_buf *buf, size_t len);
int bak_buf_printf(struct bak_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void bak_buf_release(struct bak_buf *buf);

/* Room for one more item in an array that doubles: array points to the pointer, n items of item_len
 * bytes are in use, *cap fit. -1 for lack of memory, all as it was. */
int bak_grow(void *array, size_t *cap, size_t n, size_t item_len);

/* For BAK_AUTO on plain pointers from malloc. */
void bak_free_ptr(void *pointer_to_pointer);
/* For BAK_AUTO on file descriptors; -1 is "none". */
void bak_close_fd(int *fd);

#endif
