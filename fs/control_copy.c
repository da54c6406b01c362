/*
 * COPY_FILE_RANGE from a snapshot's file to an upload: the upload borrows the bytes, none are
 * copied. What the store's format wants to see of them is decoded for it.
 */
#include "fs/control_private.h"
#include "fs/errno.h"

#include <errno.h>
#include <stdlib.h>

/* What is decoded for a proof in one request: more would keep who wants to interrupt it waiting. */
#define FEED_MAX (4u << 20)
/* As much as the kernel ever asks for at once. */
#define COPY_MAX (1u << 30)

/* A file of a snapshot, which stays readable also when it is forgotten meanwhile. */
struct snapshot_file {
	struct bak_origin origin;
	struct bak_fs *fs;
	struct bak_place place;
};

static int place_read(struct bak_fs *fs, const struct bak_place *place, uint64_t off, void *p,
		      size_t len, struct bak_error *err)
{
	const struct bak_inode *inode = &place->found.entry.inode;
	size_t n;
	bak_prefetch_read(fs->prefetch, place->ino, &inode->content, inode->size, off, len);
	if (bak_read(fs->source, &inode->content, inode->size, off, p, len, &n, err) < 0) {
		bak_damage(fs, &place->snap->tree, place->at, err);
		return -1;
	}
	return n == len ? 0 : bak_error_set(err, BAK_CORRUPT, "a snapshot's file became shorter");
}

static int file_read(struct bak_origin *origin, uint64_t off, void *p, size_t len,
		     struct bak_error *err)
{
	const struct snapshot_file *file = (const struct snapshot_file *)origin;
	return place_read(file->fs, &file->place, off, p, len, err);
}

static void file_release(struct bak_origin *origin)
{
	struct snapshot_file *file = (struct snapshot_file *)origin;
	bak_place_close(&file->place);
	free(file);
}

/* 0 and one reference; else an errno. */
static int file_open(struct bak_fs *fs, uint64_t ino, struct snapshot_file **out)
{
	struct snapshot_file *file = calloc(1, sizeof *file);
	if (!file)
		return ENOMEM;
	int no = bak_place_open(fs, ino, &file->place);
	if (!no && file->place.found.entry.inode.type != BAK_TYPE_FILE) {
		bak_place_close(&file->place);
		no = EINVAL;
	}
	if (no) {
		free(file);
		return no;
	}
	file->fs = fs;
	file->origin = (struct bak_origin){
		.id = ino, .refs = 1, .read = file_read, .release = file_release};
	*out = file;
	return 0;
}

/* How many of the upload's bytes from off on its format wants to see; no more than *len then. */
static size_t wanted(struct bak_control *c, struct bak_unode *node, uint64_t off, size_t *len)
{
	pthread_mutex_lock(&c->lock);
	uint64_t n = bak_proof_wants(&node->proof, off);
	pthread_mutex_unlock(&c->lock);
	if (n > *len)
		n = *len;
	if (n > FEED_MAX)
		*len = n = FEED_MAX;
	return (size_t)n;
}

int bak_control_copy(struct bak_control *c, uint64_t from_ino, uint64_t from, uint64_t off,
		     size_t len, struct fuse_file_info *fi, size_t *out_n)
{
	struct bak_open *open = fi ? (struct bak_open *)(uintptr_t)fi->fh : NULL;
	struct snapshot_file *file;
	struct bak_error err = BAK_ERROR_INIT;
	*out_n = 0;
	if (!open || !open->spot.node)
		return EBADF;
	int no = file_open(c->fs, from_ino, &file);
	if (no)
		return no;
	uint64_t size = file->place.found.entry.inode.size;
	if (len > COPY_MAX)
		len = COPY_MAX;
	if (len > (from < size ? size - from : 0))
		len = (size_t)(from < size ? size - from : 0);
	if (off > BAK_SPOOL_SIZE_MAX || len > BAK_SPOOL_SIZE_MAX - off)
		no = EFBIG;
	size_t n_seen = no ? 0 : wanted(c, open->spot.node, off, &len);
	BAK_AUTO(bak_free_ptr) uint8_t *seen = malloc(n_seen ? n_seen : 1);
	if (!seen)
		no = ENOMEM;
	if (!no && n_seen && place_read(c->fs, &file->place, from, seen, n_seen, &err) < 0)
		no = bak_errno_of(&err);
	if (no || !len) {
		file_release(&file->origin);
		return no;
	}
	no = bak_control_will_write(c, open, off, seen, n_seen);
	if (no) {
		file_release(&file->origin);
		return no;
	}
	if (bak_blob_borrow(open->spot.node->blob, off, len, &file->origin, from, &err) < 0)
		return bak_errno_of(&err);
	*out_n = len;
	return 0;
}
