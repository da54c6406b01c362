/*
 * /restore: the way back. Serves its nodes and, by what restore.h decides, takes uploads in, starts
 * jobs, and cancels them.
 *
 * Threads: all functions from any thread; a thread of its own watches jobs, answers those who wait
 *   for one, and forgets what is over.
 * Errors: 0 or an errno; functions that end in _reply answer the request themselves.
 */
#ifndef BAK_FS_CONTROL_H
#define BAK_FS_CONTROL_H

#include "fs/fs.h"

int bak_control_start(struct bak_fs *fs, struct bak_control **out, struct bak_error *err);
/* Answers everybody who waits with EINTR, and from then on nobody waits. */
void bak_control_answer_all(struct bak_control *control);
void bak_control_stop(struct bak_control *control); /* NULL is fine */

uint64_t bak_control_root(const struct bak_control *control);
unsigned bak_control_n_folders(const struct bak_control *control);

int bak_control_lookup(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       struct fuse_entry_param *out);
int bak_control_getattr(struct bak_control *c, uint64_t ino, struct stat *out);
int bak_control_setattr(struct bak_control *c, fuse_req_t req, uint64_t ino, const struct stat *st,
			int to_set, struct fuse_file_info *fi, struct stat *out);
int bak_control_create(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       mode_t mode, struct fuse_file_info *fi, struct fuse_entry_param *out);
/* Files, FIFOs and devices without an open file. */
int bak_control_mknod(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		      mode_t mode, dev_t rdev, struct fuse_entry_param *out);
int bak_control_mkdir(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		      mode_t mode, struct fuse_entry_param *out);
int bak_control_symlink(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
			const char *target, struct fuse_entry_param *out);
int bak_control_link(struct bak_control *c, fuse_req_t req, uint64_t ino, uint64_t parent,
		     const char *name, struct fuse_entry_param *out);
int bak_control_unlink(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       bool folder);
int bak_control_rename(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       uint64_t new_parent, const char *new_name, unsigned flags);
int bak_control_open(struct bak_control *c, fuse_req_t req, uint64_t ino,
		     struct fuse_file_info *fi);
void bak_control_read_reply(struct bak_control *c, fuse_req_t req, uint64_t ino, size_t size,
			    off_t off, struct fuse_file_info *fi);
int bak_control_write(struct bak_control *c, fuse_req_t req, uint64_t ino, const void *p,
		      size_t size, off_t off, struct fuse_file_info *fi);
/* Bytes of a snapshot's file, from its byte `from` on, become those of an upload from off on.
 * *out_n may be less than len. */
int bak_control_copy(struct bak_control *c, uint64_t from_ino, uint64_t from, uint64_t off,
		     size_t len, struct fuse_file_info *fi, size_t *out_n);
int bak_control_flush(struct bak_control *c, fuse_req_t req, uint64_t ino,
		      struct fuse_file_info *fi);
void bak_control_release(struct bak_control *c, uint64_t ino, struct fuse_file_info *fi);
int bak_control_readdir(struct bak_control *c, fuse_req_t req, uint64_t ino, off_t off,
			struct bak_dirbuf *buf);
void bak_control_readlink_reply(struct bak_control *c, fuse_req_t req, uint64_t ino);
int bak_control_lseek(struct bak_control *c, uint64_t ino, off_t off, int whence, off_t *out);
int bak_control_setxattr(struct bak_control *c, fuse_req_t req, uint64_t ino, const char *name,
			 const void *value, size_t size, int flags);
int bak_control_removexattr(struct bak_control *c, fuse_req_t req, uint64_t ino, const char *name);
void bak_control_getxattr_reply(struct bak_control *c, fuse_req_t req, uint64_t ino,
				const char *name, size_t size);
void bak_control_listxattr_reply(struct bak_control *c, fuse_req_t req, uint64_t ino, size_t size);
/* Takes ph over when it is not NULL. */
int bak_control_poll(struct bak_control *c, uint64_t ino, struct fuse_pollhandle *ph,
		     struct fuse_file_info *fi, unsigned *out_revents);

#endif
