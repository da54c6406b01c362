/*
 * Where an old version has which bytes: a table from the hash of the 64 bytes before a place to the
 * place, for those places whose hash ends in some zeros (anchors). A file up to 128 MiB has one in
 * 64 bytes, a longer one fewer, so that the table stays within its bound.
 *
 * What is found is a guess: the caller compares. Of equal hashes the last place added is kept.
 * Threads: one.
 */
#ifndef BAK_CONTENT_ANCHORS_H
#define BAK_CONTENT_ANCHORS_H

#include "engine/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct bak_anchors {
	const uint64_t *gear; /* borrowed */
	size_t most;          /* bytes that the table may take; 0: 32 MiB */
	uint64_t mask;        /* of the hash: an anchor where none of these is set */
	uint64_t *slots;      /* 24 bits of hash, 40 bits of place; 0: free */
	size_t cap;
	unsigned bits;    /* 1 << bits slots are in use */
	unsigned spacing; /* an anchor in so many bytes */
};
/* Bytes that decide a hash. */
#define BAK_ANCHOR_REACH 64

/* Empty, for an old version of size bytes. -1 for lack of memory. */
int bak_anchors_begin(struct bak_anchors *a, uint64_t size, struct bak_error *err);
void bak_anchors_release(struct bak_anchors *a);
/* Adds those of p[skip, len), where p stands at off of the old version. */
void bak_anchors_add(struct bak_anchors *a, uint64_t off, const uint8_t *p, size_t skip,
		     size_t len);
/* 1 and the place behind the bytes with that hash, or 0. */
int bak_anchors_find(const struct bak_anchors *a, uint64_t hash, uint64_t *out_at);

#endif
