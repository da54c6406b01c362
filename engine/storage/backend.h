/*
 * Where objects live: named, immutable blobs. A directory (backend_dir.c), memory (backend_mem.c,
 * the reference and the double in tests), or a wrapper: one that fails its n-th call (backend_fault.c),
 * one that does not wait for ever (backend_patient.c).
 *
 * Names: relative, '/' between parts, no part empty or with a dot in front: "packs/3f/3f2a...".
 * Life of an object: put_begin, put_write..., put_commit (durable from then on; fails if the name
 *   exists) or put_abort. Never changed, only removed.
 * Threads: all calls may come from several threads at once; one bak_put belongs to one thread at a
 *   time.
 * Errors: absence is an answer (0), not an error. BAK_UNAVAILABLE: try again later.
 */
#ifndef BAK_STORAGE_BACKEND_H
#define BAK_STORAGE_BACKEND_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct bak_backend;

/* A put under way. Each backend embeds it in its own struct. */
struct bak_put {
	struct bak_backend *backend;
};

/* One listed object. name is the full name; borrowed for the call. Non-zero ends the listing, and
 * is what list returns. */
typedef int bak_list_fn(void *ctx, const char *name, uint64_t size);

struct bak_backend_ops {
	/* Appends up to len bytes from off to out; less at the end of the object. len may be
	 * SIZE_MAX for "the rest". 1 found, 0 no such object, -1 error. */
	int (*get)(struct bak_backend *be, const char *name, uint64_t off, size_t len,
		   struct bak_buf *out, struct bak_error *err);
	/* 1 found, 0 no such object, -1 error. */
	int (*size)(struct bak_backend *be, const char *name, uint64_t *out_size,
		    struct bak_error *err);
	/* tmp is the unfinished object's name below tmp/, unused so far. */
	int (*put_begin)(struct bak_backend *be, const char *tmp, struct bak_put **out_put,
			 struct bak_error *err);
	int (*put_write)(struct bak_put *put, const void *p, size_t len, struct bak_error *err);
	/* Makes the object durable under name. 1 done; 0 the name was taken, nothing changed;
	 * -1 error. Frees put in each case. */
	int (*put_commit)(struct bak_put *put, const char *name, struct bak_error *err);
	/* Drops the unfinished object and frees put; NULL is fine. */
	void (*put_abort)(struct bak_put *put);
	/* Calls fn for each object below the folder prefix (no trailing '/'; "" is the root), in
	 * no order. 0 all listed, fn's non-zero answer, or -1 error. A missing folder lists
	 * nothing. */
	int (*list)(struct bak_backend *be, const char *prefix, bak_list_fn *fn, void *ctx,
		    struct bak_error *err);
	/* 1 removed, 0 was not there, -1 error. Durable on return. */
	int (*remove)(struct bak_backend *be, const char *name, struct bak_error *err);
	/* Makes the (empty) folder. 0, also when it is there. Backends without folders do nothing.
	 * Durable only after a sync of the folder that it is in. */
	int (*make_folder)(struct bak_backend *be, const char *name, struct bak_error *err);
	/* Makes the entries of a folder durable ("" is the root); put_commit and remove do it
	 * themselves. */
	int (*sync)(struct bak_backend *be, const char *folder, struct bak_error *err);
	/* Bytes free for new objects; UINT64_MAX when unknown. */
	int (*space)(struct bak_backend *be, uint64_t *out_free, uint64_t *out_total,
		     struct bak_error *err);
	void (*close)(struct bak_backend *be);
};

struct bak_backend {
	const struct bak_backend_ops *ops;
};

/* A local directory. create: the folder may be missing (made, 0700) or empty. Network file systems
 * without renameat2(RENAME_NOREPLACE) get link + unlink. */
int bak_backend_dir_open(const char *path, bool create, struct bak_backend **out_backend,
			 struct bak_error *err);
/* Whether a folder lies on a disk of the network, or behind FUSE: what may stop to answer. */
bool bak_backend_dir_is_remote(const char *path);
/* Takes inner over. What reads fails with BAK_UNAVAILABLE when it takes longer than patience_ms; what
 * writes waits. Closed while somebody does not answer, it leaves inner to that one. */
int bak_backend_patient_new(struct bak_backend *inner, unsigned patience_ms,
			    struct bak_backend **out_backend, struct bak_error *err);
int bak_backend_mem_new(struct bak_backend **out_backend, struct bak_error *err);
/* Borrows inner. Calls are counted over all operations (put_write and put_commit included); the
 * fail_at-th (1 is the first, 0 none) and, with sticky, all after it fail with BAK_IO and the text
 * "injected failure". Arming counts from zero again. */
int bak_backend_fault_new(struct bak_backend *inner, struct bak_backend **out_backend,
			  struct bak_error *err);
void bak_backend_fault_arm(struct bak_backend *fault, uint64_t fail_at, bool sticky);
uint64_t bak_backend_fault_calls(const struct bak_backend *fault);

void bak_backend_close(struct bak_backend *be); /* NULL is fine */

/* Thin wrappers over the table, and two conveniences. */
int bak_backend_get(struct bak_backend *be, const char *name, uint64_t off, size_t len,
		    struct bak_buf *out, struct bak_error *err);
int bak_backend_size(struct bak_backend *be, const char *name, uint64_t *out_size,
		     struct bak_error *err);
int bak_backend_list(struct bak_backend *be, const char *prefix, bak_list_fn *fn, void *ctx,
		     struct bak_error *err);
int bak_backend_remove(struct bak_backend *be, const char *name, struct bak_error *err);
/* A whole small object at once, through tmp/<tmp_prefix>-<seconds since 1970>-<random>: who finds it
 * later can tell that nobody writes it any more. 1 put, 0 name taken, -1. */
int bak_backend_put(struct bak_backend *be, const char *tmp_prefix, const char *name, const void *p,
		    size_t len, struct bak_error *err);

#endif
