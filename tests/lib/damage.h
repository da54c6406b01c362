/*
 * Bit rot for tests: objects of a backend with other bytes than were put.
 */
#ifndef BAK_TESTS_DAMAGE_H
#define BAK_TESTS_DAMAGE_H

#include "engine/storage/backend.h"

/* A small generator, the same everywhere: xorshift64*. state is not 0. */
uint64_t bak_test_random(uint64_t *state);

/* The whole object; fails the test when it is not there. */
void bak_test_get(struct bak_backend *be, const char *name, struct bak_buf *out);
/* Puts bytes under a name, also one that is taken. */
void bak_test_replace(struct bak_backend *be, const char *name, const void *p, size_t len);

/* Changes one bit of byte `at`. */
void bak_test_flip(struct bak_backend *be, const char *name, uint64_t at, unsigned bit);
/* Random bytes, each another than it was, over [off, off + len), cut at the end. */
void bak_test_scramble(struct bak_backend *be, const char *name, uint64_t off, uint64_t len,
		       uint64_t *state);

#endif
