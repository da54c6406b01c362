/*
 * Out of a snapshot into a directory of the file system: content, holes, owners, modes, times,
 * xattrs, ACLs, hard links, devices. The one way in which files leave a repository but for the
 * mount and `cat`.
 *
 * Order: all content first, owner before mode (chown clears setuid), folders' times last. Names go
 * through openat with O_NOFOLLOW below the destination, so nothing in a snapshot leads outside.
 */
#ifndef BAK_OPS_EXTRACT_H
#define BAK_OPS_EXTRACT_H

#include "engine/ops/repo.h"

struct bak_extract_conf {
	const char *const *only; /* paths in the snapshot (files or folders), NULL: all */
	size_t n_only;
	bool overwrite; /* replace files that are there; else BAK_EXISTS */
	bool owners;    /* chown: needs root; failures are counted, not fatal, for others */
	bool sync;      /* fsync files and folders */
	bool verify;    /* compare each file's SHA-256 while writing */
	/* Told of each finished file and of what was skipped or damaged; may be NULL. why NULL:
	 * fine. */
	void (*progress)(void *ctx, const char *path, uint64_t bytes, const char *why);
	/* Told the bytes written so far, now and then; non-zero: stop with BAK_CANCELLED. May be
	 * NULL. */
	int (*tick)(void *ctx, uint64_t bytes);
	void *progress_ctx; /* of both */
};
struct bak_extract_result {
	uint64_t files, bytes, damaged; /* damaged: files left out because they cannot be read */
	uint64_t attributes_lost;       /* owners, xattrs, devices that could not be set */
};
/* dir_fd: an open folder. The snapshot's root inode is applied to it too (mode, times, owner). */
int bak_extract(struct bak_repo *repo, const struct bak_snapshot *snapshot, int dir_fd,
		const struct bak_extract_conf *conf, struct bak_extract_result *out,
		struct bak_error *err);
/* One file's bytes to a descriptor, holes skipped by lseek when fd is a regular file. */
int bak_extract_file(struct bak_repo *repo, const struct bak_inode *inode, int fd,
		     struct bak_error *err);

#endif
