/*
 * One walk over a snapshot's files for proofs: every regular file once (a hard-linked one under its
 * first name), with its path; what cannot be read is told and passed over.
 */
#ifndef BAK_OPS_WALK_H
#define BAK_OPS_WALK_H

#include "engine/base/place_set.h"
#include "engine/ops/repo.h"

struct bak_walk {
	struct bak_tree tree;
	/* Each regular file; -1 ends the walk. path: terminated, relative. */
	int (*file)(void *ctx, const char *path, const struct bak_inode *inode,
		    struct bak_error *err);
	/* Entries that cannot be read: told, then passed over. gap->one: path is the entry, of which
	 * the inode is lost; else path is the folder, and the gap says which entries. -1 ends the
	 * walk. */
	int (*damaged)(void *ctx, const char *path, const struct bak_gap *gap,
		       struct bak_error *err);
	/* A folder's tree below ref: non-zero says it is known already. May be NULL. */
	int (*skip)(void *ctx, const struct bak_ref *dir);
	/* Behind a folder that was walked. May be NULL. */
	void (*leave)(void *ctx, const struct bak_ref *dir);
	void *ctx;
	struct bak_buf path;
	uint8_t *links_seen; /* a bit a link number */
};

/* Walks all of it. Releases what it made in the struct. */
int bak_walk(struct bak_walk *walk, struct bak_error *err);

/* Damage of stored bytes, or a newer bakfs's, as against trouble that ends the job (no memory,
 * cancelled). */
bool bak_is_damage(const struct bak_error *err);

#endif
