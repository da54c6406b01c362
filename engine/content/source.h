/*
 * The reading side of a repository: decoded segments and parsed tree objects by their place, each
 * decoded once (single-flight) and kept in a cache with a memory bound. No lock is held while
 * something is read or decoded.
 *
 * A segment is looked up in the index; of its copies one that keeps all the bytes asked for is
 * taken, uncondemned first; on a missing pack, a bad tag or a hole the next; when none serves, they
 * are tried again through their packs' parity (heal.h); then the catalogue is refreshed (the callback
 * given to bak_source_new) and all is tried once more.
 *
 * Ownership: what a get hands out stays valid until its pin is given back; pins are cheap.
 * Threads: safe from any number of threads.
 * Errors: BAK_CORRUPT with "pack <id> at <offset>: <why>" when no copy serves.
 */
#ifndef BAK_CONTENT_SOURCE_H
#define BAK_CONTENT_SOURCE_H

#include "engine/objects/pack.h"
#include "engine/objects/snapshot.h"
#include "engine/objects/tree.h"

struct bak_source;
struct bak_pin; /* a reference to something in the cache */

/* Called without locks, perhaps from several threads, when a segment was not found: lists packs and
 * reads new footers. */
typedef int bak_refresh_fn(void *ctx, struct bak_error *err);

struct bak_source_conf {
	struct bak_backend *backend; /* borrowed, as are all */
	const struct bak_keyring *ring;
	struct bak_index *index;
	size_t cache_bytes;      /* bound of decoded bytes kept; at least 8 MiB is used */
	bak_refresh_fn *refresh; /* may be NULL */
	void *refresh_ctx;
	/* Told of each copy of a segment that did not open: for logs and state. May be NULL. */
	void (*damaged)(void *ctx, const struct bak_seg_copy *copy, const char *why);
	/* Told of a copy that opened after all, made anew from its pack's parity. May be NULL. */
	void (*repaired)(void *ctx, const struct bak_seg_copy *copy);
	void *damaged_ctx; /* of both */
};
int bak_source_new(const struct bak_source_conf *conf, struct bak_source **out_source,
		   struct bak_error *err);
void bak_source_free(struct bak_source *source);

/* Bytes [off, off + len) of a data segment. */
int bak_source_bytes(struct bak_source *source, const struct bak_seg_id *id, uint32_t off,
		     uint32_t len, const uint8_t **out, struct bak_pin **out_pin,
		     struct bak_error *err);
/* Of a segment that bak_source_bytes pinned: 1 and the bytes if it keeps them, 0. */
int bak_source_within(const struct bak_pin *pin, uint32_t off, uint32_t len, const uint8_t **out);
/* Decodes a data segment that keeps the range ahead of who will ask for it; does not wait for another
 * thread that is about it. */
int bak_source_warm(struct bak_source *source, const struct bak_seg_id *id, uint32_t off,
		    uint32_t len, struct bak_error *err);
/* The same of any whole data segment, if there is one of that id: 1, 0, -1. */
int bak_source_warm_any(struct bak_source *source, const struct bak_seg_id *id,
			struct bak_error *err);
/* Whether a range of that segment goes to its end: who reads in order is done with it. */
bool bak_source_ends(const struct bak_pin *pin, uint32_t off, uint32_t len);
/* Parsed tree objects. */
int bak_source_page(struct bak_source *source, const struct bak_ref *ref,
		    const struct bak_page **out, struct bak_pin **out_pin, struct bak_error *err);
int bak_source_names(struct bak_source *source, const struct bak_ref *ref,
		     const struct bak_names **out, struct bak_pin **out_pin, struct bak_error *err);
/* A folder's top object, whichever it is: one of the two is NULL. */
int bak_source_folder(struct bak_source *source, const struct bak_ref *ref,
		      const struct bak_page **out_page, const struct bak_names **out_names,
		      struct bak_pin **out_pin, struct bak_error *err);
int bak_source_links(struct bak_source *source, const struct bak_ref *ref,
		     const struct bak_links **out, struct bak_pin **out_pin, struct bak_error *err);
int bak_source_link_names(struct bak_source *source, const struct bak_ref *ref,
			  const struct bak_link_names **out, struct bak_pin **out_pin,
			  struct bak_error *err);
int bak_source_span(struct bak_source *source, const struct bak_ref *ref,
		    const struct bak_span **out, struct bak_pin **out_pin, struct bak_error *err);
int bak_source_inner(struct bak_source *source, const struct bak_ref *ref,
		     const struct bak_inner **out, struct bak_pin **out_pin, struct bak_error *err);
/* The kind of object at ref (its prefix). */
int bak_source_kind(struct bak_source *source, const struct bak_ref *ref,
		    enum bak_object_kind *out_kind, struct bak_error *err);
/* The bytes of the object at ref (without its prefix), unparsed: for comparing. */
int bak_source_object(struct bak_source *source, const struct bak_ref *ref,
		      enum bak_object_kind *out_kind, const uint8_t **out_payload,
		      uint32_t *out_len, struct bak_pin **out_pin, struct bak_error *err);
/* One more reference to the same thing. */
struct bak_pin *bak_pin_dup(struct bak_pin *pin);
void bak_pin_put(struct bak_pin *pin); /* NULL is fine */
void bak_pin_put_ptr(struct bak_pin **pin);

struct bak_source_stats {
	uint64_t hits, misses, bytes; /* bytes: decoded bytes in the cache now */
	uint64_t healed;              /* reads that a second copy served after a first failed */
	uint64_t repaired;            /* reads that parity served after all copies failed */
};
/* The backend with its packs read through their parity: for reading (heal.h). */
struct bak_backend *bak_source_mended(struct bak_source *source);
void bak_source_stats(struct bak_source *source, struct bak_source_stats *out);

#endif
