/*
 * What the files of fs/ share: the mount's state, and the pieces of which ops.c puts answers to the
 * kernel together.
 *
 * One reply on every path: everything here returns 0 or an errno, and the operation in ops.c (or
 * a function whose name ends in _reply) answers exactly once.
 * Nothing that serves a request calls fuse_lowlevel_notify_*: that is the notifier's thread alone.
 */
#ifndef BAK_FS_FS_H
#define BAK_FS_FS_H

#include "engine/content/prefetch.h"
#include "engine/content/recheck.h"
#include "fs/catalog.h"
#include "fs/ino.h"
#include "fs/mount.h"
#include "fs/snap.h"

#include <stdatomic.h>

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif
#include <fuse_lowlevel.h>

/* How long the kernel may keep what cannot change: for ever, in seconds. */
#define BAK_FOREVER 1e9

struct bak_attr_cache;
struct bak_texts;
struct bak_control;
struct bak_notify;
struct bak_push;

struct bak_fs {
	const struct bak_mount_conf *conf;
	struct bak_repo *repo;
	struct bak_source *source;
	struct bak_prefetch *prefetch;
	struct fuse_session *session;
	struct bak_catalog_box *catalog;
	struct bak_snaps *snaps;
	struct bak_attr_cache *attrs;
	struct bak_texts *texts;
	struct bak_control *control; /* NULL without /restore */
	struct bak_notify *notify;
	struct bak_push *push;
	const char *mount_point; /* real path */
	uid_t uid;               /* who mounted: owner of all that is ours */
	gid_t gid;
	int64_t mounted;            /* UTC */
	bool no_open;               /* the kernel need not ask before it reads */
	struct bak_recheck recheck; /* with verify=full */
	atomic_uint_fast64_t damaged_reads;
	atomic_uint_fast64_t damage_seen[8192]; /* hashes of lines that were logged */
};

/* mount.c: all that answers requests, without a connection to the kernel. fs is zero but for conf and
 * mount_point; also to be released when it fails. */
int bak_fs_init(struct bak_fs *fs, struct bak_error *err);
void bak_fs_release(struct bak_fs *fs);
/* One line for the log. */
void bak_fs_log(struct bak_fs *fs, int priority, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* attr.c */

/* An inode of a snapshot, opened by its number. */
struct bak_place {
	uint64_t ino;
	struct bak_ino at;
	struct bak_snap *snap;
	struct bak_found found;
	uint64_t parent; /* preorder number, folders only */
};
/* 0; ESTALE when there is no such thing (any more); EIO and the like, logged. */
int bak_place_open(struct bak_fs *fs, uint64_t ino, struct bak_place *out);
void bak_place_close(struct bak_place *place);

int bak_attr_cache_new(struct bak_attr_cache **out, struct bak_error *err);
void bak_attr_cache_free(struct bak_attr_cache *cache);
/* The stat of an entry of a snapshot. What needs a look into damaged objects (a folder's link
 * count, a sparse file's blocks) is then 1, and the file's size: the damage shows where the bytes
 * are read. */
void bak_attr_found(struct bak_fs *fs, const struct bak_tree *tree, uint64_t ino,
		    const struct bak_found *found, struct stat *out);
/* Of something of our own making. */
void bak_attr_own(struct bak_fs *fs, uint64_t ino, mode_t mode, nlink_t nlink, uint64_t size,
		  int64_t mtime, struct stat *out);

/* damage.c: logs once what could not be read, and returns the errno for it; of a snapshot that was
 * forgotten ESTALE, without a word. */
int bak_damage(struct bak_fs *fs, const struct bak_tree *tree, struct bak_ino at,
	       const struct bak_error *err);

/* dir.c */

/* A reply to READDIR or READDIRPLUS being put together. */
struct bak_dirbuf {
	fuse_req_t req;
	char *p;
	size_t len, cap;
	bool plus;
	double timeout;
};
int bak_dirbuf_init(struct bak_dirbuf *buf, fuse_req_t req, size_t size, bool plus, double timeout);
void bak_dirbuf_release(struct bak_dirbuf *buf);
/* off: where to go on behind this entry. false: no room. */
bool bak_dirbuf_add(struct bak_dirbuf *buf, const char *name, const struct stat *st, off_t off);
/* A name without attributes: the kernel asks for them when somebody wants them. */
bool bak_dirbuf_add_name(struct bak_dirbuf *buf, const char *name, uint64_t ino, mode_t type,
			 off_t off);
/* "." and "..": offsets 1 and 2, all others start at 3. off: what was asked for. */
bool bak_dirbuf_dots(struct bak_dirbuf *buf, off_t off, uint64_t self, uint64_t parent);
#define BAK_DIR_FIRST 2 /* entry i (from 1) of a listing has offset i + 2 */

int bak_dir_lookup(struct bak_fs *fs, uint64_t parent, const char *name,
		   struct fuse_entry_param *out);
int bak_dir_read(struct bak_fs *fs, uint64_t ino, off_t off, struct bak_dirbuf *buf);

/* read.c */
void bak_read_reply(struct bak_fs *fs, fuse_req_t req, uint64_t ino, size_t size, off_t off);
int bak_read_lseek(struct bak_fs *fs, uint64_t ino, off_t off, int whence, off_t *out);
void bak_readlink_reply(struct bak_fs *fs, fuse_req_t req, uint64_t ino);

/* xattr.c */
void bak_getxattr_reply(struct bak_fs *fs, fuse_req_t req, uint64_t ino, const char *name,
			size_t size);
void bak_listxattr_reply(struct bak_fs *fs, fuse_req_t req, uint64_t ino, size_t size);

/* views.c: folders above the snapshots. ENOENT is an answer like others. */
int bak_view_lookup(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode dir,
		    const char *name, struct fuse_entry_param *out);
int bak_view_read(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode dir, off_t off,
		  struct bak_dirbuf *buf);
int bak_view_attr(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode node,
		  struct stat *out);
/* The folder that holds a snapshot's root, or one of the folders here. */
uint64_t bak_view_parent(const struct bak_catalog *cat, struct bak_vnode node);
uint64_t bak_view_parent_of_root(const struct bak_catalog *cat, enum bak_view view,
				 uint64_t number);
/* Length of what a link or a computed file holds; their text. */
int bak_view_size(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode node,
		  uint64_t *out);
int bak_view_text(struct bak_fs *fs, const struct bak_catalog *cat, struct bak_vnode node,
		  uint64_t off, size_t len, struct bak_buf *out);

/* text.c: /status and /metrics. Each text has an inode number of its own, so that what a reader
 * has open, and what the kernel keeps of it, never changes under it. */
enum bak_text_kind { BAK_TEXT_STATUS, BAK_TEXT_METRICS };
int bak_texts_new(struct bak_texts **out, struct bak_error *err);
void bak_texts_free(struct bak_texts *texts);
/* The text as it is now. */
int bak_text_current(struct bak_fs *fs, enum bak_text_kind kind, uint64_t *out_ino,
		     uint64_t *out_size, int64_t *out_made);
/* One of the texts kept: ESTALE when it is none (any more). Part of it is appended to out; out and
 * out_made may be NULL. */
int bak_text_get(struct bak_fs *fs, uint64_t ino, uint64_t off, size_t len, struct bak_buf *out,
		 uint64_t *out_size, int64_t *out_made);

/* Keeps a text under a number; takes what buf holds. ENOMEM or 0. */
int bak_text_keep(struct bak_fs *fs, uint64_t ino, struct bak_buf *buf);

/* report.c: what those texts say. */
int bak_report_status(struct bak_fs *fs, struct bak_buf *out, struct bak_error *err);
int bak_report_metrics(struct bak_fs *fs, struct bak_buf *out, struct bak_error *err);

/* notify.c: the one thread that tells the kernel what to forget, and finds out by watching the
 * repository. */
int bak_notify_new(struct bak_fs *fs, struct bak_notify **out, struct bak_error *err);
int bak_notify_start(struct bak_notify *notify, struct bak_error *err); /* once it is mounted */
void bak_notify_stop(struct bak_notify *notify);
void bak_notify_free(struct bak_notify *notify); /* NULL is fine */
/* Wakes a poll: takes ph over. From any thread. */
void bak_notify_poll(struct bak_notify *notify, struct fuse_pollhandle *ph);

/* push.c: a thread that gives small files to the kernel before it asks. */
int bak_push_new(struct bak_fs *fs, struct bak_push **out, struct bak_error *err);
int bak_push_start(struct bak_push *push, struct bak_error *err); /* before the request threads */
void bak_push_stop(struct bak_push *push);                        /* before they end */
void bak_push_free(struct bak_push *push);                        /* NULL is fine */
/* A listing with attributes was answered: from the folder's beginning, or more of it. */
void bak_push_listed(struct bak_push *push, uint64_t ino, bool first);
/* A file of so many bytes is being read from its beginning. */
void bak_push_read(struct bak_push *push, uint64_t ino, uint64_t size);
uint64_t bak_push_files(struct bak_push *push); /* how many were given so far */

/* ops.c */
extern const struct fuse_lowlevel_ops bak_fs_ops;

#endif
