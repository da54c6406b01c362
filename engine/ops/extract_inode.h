/*
 * What extract.c does to single inodes: a file's bytes to a descriptor, and what the kernel lets us
 * set of owners, modes, times and extended attributes. Knows nothing of trees and names.
 */
#ifndef BAK_OPS_EXTRACT_INODE_H
#define BAK_OPS_EXTRACT_INODE_H

#include "engine/base/hash.h"
#include "engine/ops/ahead.h"
#include "engine/ops/repo.h"

/* Where bytes go. sha: updated with every byte, NULL for none. */
struct bak_pour {
	struct bak_source *source;
	int fd;
	bool sparse;   /* fd is a regular file, empty from base on: holes are stepped over */
	uint64_t base; /* sparse: where in fd the file begins */
	struct bak_sha256 *sha;
	int (*tick)(void *ctx, uint64_t bytes); /* as in struct bak_extract_conf */
	void *tick_ctx;
	uint64_t total;          /* bytes of all files so far, for tick */
	struct bak_ahead *ahead; /* told of what was taken; may be NULL */
};
/* A file's bytes to pour->fd; holes are zeros unless pour->sparse. */
int bak_pour_file(struct bak_pour *pour, const struct bak_inode *inode, struct bak_error *err);

/* Which attributes to set, and how many could not be. */
struct bak_attributes {
	bool owners;
	uint64_t lost;
};
/* Owner, extended attributes, mode, times, in this order: chown clears setuid, capabilities and
 * ACLs come before the mode that they would change, writing changes times. */
int bak_attributes_set_fd(struct bak_attributes *attributes, int fd, const struct bak_inode *inode,
			  struct bak_error *err);
/* The same for what cannot be opened: symlinks, devices, FIFOs. */
int bak_attributes_set_at(struct bak_attributes *attributes, int dir_fd, const char *name,
			  const struct bak_inode *inode, struct bak_error *err);

#endif
