/* Bytes of snapshots' files: from the decoded cache to the kernel by iovec, without a copy. */
#include "fs/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* More pieces than this are copied together: writev takes 1024 at most, and a piece costs more
 * than copying a few hundred bytes. */
#define PIECES_MAX 256

static void reply_gathered(fuse_req_t req, const struct bak_slices *slices, size_t total)
{
	uint8_t *p = malloc(total ? total : 1);
	if (!p) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	size_t at = 0;
	for (size_t i = 0; i < slices->n; i++) {
		memcpy(p + at, slices->v[i].p, slices->v[i].len);
		at += slices->v[i].len;
	}
	fuse_reply_buf(req, (const char *)p, total);
	free(p);
}

static void reply_slices(fuse_req_t req, const struct bak_slices *slices)
{
	if (slices->n <= PIECES_MAX) {
		struct iovec iov[PIECES_MAX];
		for (size_t i = 0; i < slices->n; i++)
			iov[i] = (struct iovec){(void *)(uintptr_t)slices->v[i].p,
						slices->v[i].len};
		fuse_reply_iov(req, iov, (int)slices->n);
		return;
	}
	size_t total = 0;
	for (size_t i = 0; i < slices->n; i++)
		total += slices->v[i].len;
	reply_gathered(req, slices, total);
}

static int get_slices(struct bak_fs *fs, uint64_t ino, const struct bak_inode *inode, uint64_t off,
		      size_t len, struct bak_slices *out, struct bak_error *err)
{
	if (off >= inode->size)
		return 0;
	if (fs->conf->verify_full &&
	    bak_recheck_range(&fs->recheck, fs->source, bak_repo_ring(fs->repo), inode, off, len,
			      err) < 0)
		return -1;
	bool whole = off == 0 && len >= inode->size;
	out->in_order = bak_prefetch_read(fs->prefetch, ino, &inode->content, inode->size, off,
					  len) ||
			whole;
	return bak_read_slices(fs->source, &inode->content, inode->size, off, len, out, err);
}

void bak_read_reply(struct bak_fs *fs, fuse_req_t req, uint64_t ino, size_t size, off_t off)
{
	struct bak_place place;
	int no = bak_place_open(fs, ino, &place);
	if (no) {
		fuse_reply_err(req, no);
		return;
	}
	const struct bak_inode *inode = &place.found.entry.inode;
	struct bak_slices slices = BAK_SLICES_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	if (inode->type != BAK_TYPE_FILE)
		no = inode->type == BAK_TYPE_DIR ? EISDIR : EINVAL;
	else if (get_slices(fs, ino, inode, (uint64_t)off, size, &slices, &err) < 0)
		no = bak_damage(fs, &place.snap->tree, place.at, &err);
	if (no)
		fuse_reply_err(req, no);
	else
		reply_slices(req, &slices);
	if (!no && off == 0)
		bak_push_read(fs->push, ino, inode->size);
	bak_slices_release(&slices);
	bak_place_close(&place);
}

int bak_read_lseek(struct bak_fs *fs, uint64_t ino, off_t off, int whence, off_t *out)
{
	struct bak_place place;
	int no = bak_place_open(fs, ino, &place);
	if (no)
		return no;
	const struct bak_inode *inode = &place.found.entry.inode;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t found = 0;
	int rc = 0;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		no = EINVAL;
	else if (off < 0 || (uint64_t)off >= inode->size)
		no = ENXIO;
	else if (whence == SEEK_DATA)
		rc = bak_seek_data(fs->source, &inode->content, inode->size, (uint64_t)off, &found,
				   &err);
	else
		rc = bak_seek_hole(fs->source, &inode->content, inode->size, (uint64_t)off, &found,
				   &err);
	if (rc < 0)
		no = bak_damage(fs, &place.snap->tree, place.at, &err);
	else if (!no && rc == 0)
		no = ENXIO;
	*out = (off_t)found;
	bak_place_close(&place);
	return no;
}

void bak_readlink_reply(struct bak_fs *fs, fuse_req_t req, uint64_t ino)
{
	struct bak_place place;
	int no = bak_place_open(fs, ino, &place);
	if (no) {
		fuse_reply_err(req, no);
		return;
	}
	const struct bak_inode *inode = &place.found.entry.inode;
	char *target = NULL;
	if (inode->type != BAK_TYPE_SYMLINK)
		no = EINVAL;
	else if (!(target = strndup(inode->target, inode->target_len)))
		no = ENOMEM;
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_readlink(req, target);
	free(target);
	bak_place_close(&place);
}
