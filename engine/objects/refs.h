/*
 * What a tree object refers to: objects below it, and bytes of data segments. For counting what is
 * live without reading the trees again: the short form is kept in the index under the object's
 * place (it never changes).
 *
 * Kept form: u8 1 exact, 0 not; run table; varint n, n references; varint n, n times varint run
 * number, varint counter, exact: varint offset; varint bytes. A cache, so a bad one is read anew.
 */
#ifndef BAK_OBJECTS_REFS_H
#define BAK_OBJECTS_REFS_H

#include "engine/objects/span.h"

/* Owned by the struct; reused from one object to the next. */
struct bak_refs {
	size_t n_trees, cap_trees, n_uses, cap_uses;
	struct bak_ref *trees;
	struct bak_use {
		struct bak_seg_id seg;
		uint32_t off, len; /* not exact: off is 0, len how many bytes of it are used */
	} * uses;
	bool exact;
};
void bak_refs_release(struct bak_refs *refs);

/* From an object's payload. */
int bak_refs_of(enum bak_object_kind kind, const void *payload, size_t len, struct bak_refs *out,
		struct bak_error *err);
int bak_refs_encode(const struct bak_refs *refs, struct bak_buf *out);
/* 1, 0 not what encode makes, -1 no memory. */
int bak_refs_decode(const void *p, size_t len, struct bak_refs *out);

#endif
