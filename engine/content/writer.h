/*
 * The writing side: a driver pushes one snapshot's tree, in order, and the writer turns it into
 * chunks, spans, segments, packs and tree objects.
 *
 * Order of calls: entries of a folder sorted by name (bak_name_cmp); a folder's entries between
 *   bak_writer_enter and bak_writer_leave; the root is open from the start.
 *
 *   bak_writer_root(w, inode)                        once, any time before finish
 *   bak_writer_enter(w, name, inode) ... bak_writer_leave(w)
 *   bak_writer_other(w, name, inode)                 symlinks, FIFOs, devices; empty files too
 *   1 == bak_writer_reuse(w, name, inode)            unchanged since the predecessor: done
 *   bak_writer_file(w, name, inode, hint), then bak_writer_data / bak_writer_hole ..., then
 *     bak_writer_file_end(w, final) or bak_writer_file_restart (throw away, read again) or
 *     bak_writer_file_drop (leave the file out)
 *
 * Hard links: an inode with nlink > 1 goes with its (dev, ino); the first name brings the content,
 *   for each later one bak_writer_reuse answers 1 at once.
 * Names are len-terminated C strings without '/'.
 * Threads: one thread calls; sealing runs on the writer's own workers. An error of a worker comes
 * out of a later call; after an error only bak_writer_free is allowed.
 */
#ifndef BAK_CONTENT_WRITER_H
#define BAK_CONTENT_WRITER_H

#include "engine/content/folder.h"

struct bak_writer;
struct bak_usable;
struct bak_place_set;

/* Chunk parameters, from bakfs.json: bytes. */
struct bak_chunk_conf {
	uint32_t min, avg, max;
	uint32_t span; /* target of a span */
};

struct bak_writer_progress {
	uint64_t files, bytes; /* done so far, reused ones included */
	uint64_t new_bytes;    /* raw bytes that were stored anew */
	const char *path;      /* what is being read */
};

struct bak_writer_conf {
	struct bak_backend *backend; /* borrowed, as are all */
	const struct bak_keyring *ring;
	struct bak_index *index;
	struct bak_source *source; /* for the predecessor's pages */
	struct bak_chunk_conf chunk;
	uint8_t run[8];
	int64_t run_start;
	int level;               /* zstd */
	bool no_alike, no_dedup; /* see span_writer.h */
	unsigned workers;        /* 0: as many as cores */
	size_t memory;   /* what tables and what segments under way may take, each; 0: no bound of
			  the caller's */
	unsigned parity; /* percent for each pack; 0 none */
	const struct bak_snapshot *previous; /* the predecessor, or NULL */
	const struct bak_place_set *lost;    /* segments that nothing may refer to; may be NULL */
	int64_t scan_start_s;                /* files with ctime >= this are read again next time */
	/* Told of what goes on; may be NULL. Called by the calling thread. */
	void (*progress)(void *ctx, const struct bak_writer_progress *progress);
	void *progress_ctx;
};

int bak_writer_new(const struct bak_writer_conf *conf, struct bak_writer **out_writer,
		   struct bak_error *err);
/* What it refers to outside of the predecessor; borrowed, as long as the writer lives. */
struct bak_usable *bak_writer_usable(struct bak_writer *w);
/* The predecessor, borrowed; NULL for none. For drivers that look up what they noted in it. */
const struct bak_snapshot *bak_writer_previous(const struct bak_writer *w);
void bak_writer_free(struct bak_writer *w); /* throws away what is unfinished; NULL is fine */

/* What the kernel says of an inode, for entries. inode->content, sha256, totals, dir are ignored.
 */
struct bak_source_inode {
	struct bak_inode inode;
	uint64_t dev, nlink; /* nlink of non-folders only matters when > 1 */
};

int bak_writer_root(struct bak_writer *w, const struct bak_source_inode *in, struct bak_error *err);
int bak_writer_enter(struct bak_writer *w, const char *name, const struct bak_source_inode *in,
		     struct bak_error *err);
int bak_writer_leave(struct bak_writer *w, struct bak_error *err);
int bak_writer_other(struct bak_writer *w, const char *name, const struct bak_source_inode *in,
		     struct bak_error *err);
/* 1 the entry is written, nothing more to do; 0 the file must be read; -1. Any type but folders. */
int bak_writer_reuse(struct bak_writer *w, const char *name, const struct bak_source_inode *in,
		     struct bak_error *err);

enum bak_hint {
	BAK_HINT_NONE = 0,
	BAK_HINT_RANDOM = 1, /* will be read at random: smaller segments */
};
int bak_writer_file(struct bak_writer *w, const char *name, const struct bak_source_inode *in,
		    enum bak_hint hint, struct bak_error *err);
int bak_writer_data(struct bak_writer *w, const void *p, size_t len, struct bak_error *err);
int bak_writer_hole(struct bak_writer *w, uint64_t len, struct bak_error *err);
/* final: the inode as it was after reading (its flags are kept, its size is what was written).
 * NULL: as at the beginning. */
int bak_writer_file_end(struct bak_writer *w, const struct bak_source_inode *final,
			struct bak_error *err);
int bak_writer_file_restart(struct bak_writer *w, struct bak_error *err);
int bak_writer_file_drop(struct bak_writer *w, struct bak_error *err);

/* Files whose order is not the tree's, as an archive has them: the content first, between
 * bak_writer_loose and bak_writer_loose_end (data and holes as for any file, and no other call); the
 * entry later, in its place, with the inode that came out. path: from the root, to find the
 * predecessor's by. */
int bak_writer_loose(struct bak_writer *w, const char *path, const struct bak_source_inode *in,
		     enum bak_hint hint, struct bak_error *err);
int bak_writer_loose_end(struct bak_writer *w, struct bak_inode *out, struct bak_error *err);
int bak_writer_place(struct bak_writer *w, const char *name, const struct bak_inode *inode,
		     struct bak_error *err);
/* Whether bak_writer_reuse will take the file of one name at path, so that it need not be read: 1,
 * 0, -1. */
int bak_writer_would_reuse(struct bak_writer *w, const char *path,
			   const struct bak_source_inode *in, struct bak_error *err);

struct bak_writer_result {
	struct bak_inode root; /* owned by the writer until it is freed */
	uint64_t links, link_bytes, next_link;
	struct bak_ref link_table;
	uint64_t added; /* bytes put into the repository */
	uint64_t new_bytes, reused_files, read_files;
};
/* Leaves the root, flushes everything, waits until all packs are durable and in the index. */
int bak_writer_finish(struct bak_writer *w, struct bak_writer_result *out, struct bak_error *err);

/* For tests and the matcher: a file made of given extents (checked for sense, not for existence).
 */
int bak_writer_extents(struct bak_writer *w, const struct bak_extent *extents, size_t n,
		       const uint8_t sha256[32], struct bak_error *err);
/* For tests: puts raw bytes into a data segment of their own and says where they lie. */
int bak_writer_raw_segment(struct bak_writer *w, const void *p, size_t len,
			   struct bak_seg_id *out_id, struct bak_error *err);

#endif
