/*
 * Open files of /restore: what is written to uploads, when they are closed, and their attributes.
 */
#include "fs/control_private.h"
#include "fs/errno.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* --- attributes --- */

static void set_times(struct bak_unode *node, const struct stat *st, int to_set)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (to_set & FUSE_SET_ATTR_ATIME)
		node->atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? now : st->st_atim;
	if (to_set & FUSE_SET_ATTR_MTIME)
		node->mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? now : st->st_mtim;
	node->ctime = now;
}

static int set_size(struct bak_unode *node, struct bak_open *open, uint64_t size)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_decision d = bak_item_truncate(&node->item->rules, open ? &open->rules : NULL,
						  size);
	if (d.no)
		return d.no;
	if (!node->blob)
		return EINVAL;
	bak_proof_truncate(&node->proof, size);
	if (bak_blob_truncate(node->blob, size, &err) < 0)
		return bak_errno_of(&err);
	bak_unode_touched(node, true);
	return 0;
}

/* Times: "now" is a touch, which may start a job; others are only remembered. */
static int touch_or_date(struct bak_control *c, struct bak_unode *node, int to_set)
{
	struct bak_item *item = node->item;
	struct bak_content_facts facts = {.verdict = BAK_VERDICT_UNPROVABLE};
	bool top = item->top == node;
	if (!(to_set & FUSE_SET_ATTR_MTIME_NOW))
		return bak_control_do(c, item, bak_item_date(&item->rules));
	int no = top ? bak_control_facts(node, &facts) : 0;
	if (no)
		return no;
	return bak_control_do(c, item,
			      bak_item_touch(&item->rules, top, node->entries.live, &facts));
}

static int setattr_node(struct bak_control *c, struct bak_unode *node, const struct stat *st,
			int to_set, struct bak_open *open)
{
	int no = 0;
	if (to_set & FUSE_SET_ATTR_SIZE)
		no = set_size(node, open, (uint64_t)st->st_size);
	if (no)
		return no;
	if (to_set & FUSE_SET_ATTR_MODE)
		bak_unode_chmod(node, st->st_mode);
	if (to_set & FUSE_SET_ATTR_UID)
		node->uid = st->st_uid;
	if (to_set & FUSE_SET_ATTR_GID)
		node->gid = st->st_gid;
	/* A truncation brings its times with it: that is no touch. */
	if (!(to_set & FUSE_SET_ATTR_SIZE) && (to_set & FUSE_SET_ATTR_MTIME))
		no = touch_or_date(c, node, to_set);
	/* The touch that starts a job leaves an upload as it was copied in. */
	bool starts = node->item->top == node && node->item->rules.state == BAK_ITEM_ACTIVE &&
		      (to_set & FUSE_SET_ATTR_MTIME_NOW);
	if (!no && !starts)
		set_times(node, st, to_set);
	return no;
}

static struct bak_open *open_of(const struct fuse_file_info *fi)
{
	return fi ? (struct bak_open *)(uintptr_t)fi->fh : NULL;
}

int bak_control_setattr(struct bak_control *c, fuse_req_t req, uint64_t ino, const struct stat *st,
			int to_set, struct fuse_file_info *fi, struct stat *out)
{
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	int no = 0;
	if (!bak_control_allowed(c, req))
		no = EACCES;
	else if (spot.kind == BAK_SPOT_NONE)
		no = ESTALE;
	else if (spot.kind != BAK_SPOT_NODE)
		no = EPERM;
	if (!no) {
		bak_unode_ref(spot.node); /* a decision may take its name away */
		if ((to_set & FUSE_SET_ATTR_MTIME_NOW) && spot.node->item->top == spot.node)
			no = bak_control_catch_up(c, spot.node);
		if (!no)
			no = setattr_node(c, spot.node, st, to_set, open_of(fi));
		bak_unode_stat(spot.node, out);
		bak_unode_unref(&c->nodes, spot.node);
	}
	pthread_mutex_unlock(&c->lock);
	return no;
}

/* --- open files --- */

static int open_new(struct bak_control *c, struct bak_spot spot, struct fuse_file_info *fi,
		    bool creator)
{
	struct bak_open *open = calloc(1, sizeof *open);
	if (!open)
		return ENOMEM;
	open->spot = spot;
	open->rules.writer = (fi->flags & O_ACCMODE) != O_RDONLY;
	open->rules.creator = creator;
	if (spot.node) {
		bak_unode_ref(spot.node);
		spot.node->item->n_open++;
	}
	open->next = c->opens;
	if (open->next)
		open->next->previous = open;
	c->opens = open;
	fi->fh = (uint64_t)(uintptr_t)open;
	fi->direct_io = 1;
	return 0;
}

void bak_control_open_free(struct bak_control *c, struct bak_open *open)
{
	if (open->next)
		open->next->previous = open->previous;
	if (open->previous)
		open->previous->next = open->next;
	else
		c->opens = open->next;
	if (open->spot.node)
		bak_unode_unref(&c->nodes, open->spot.node);
	bak_buf_release(&open->text);
	free(open);
}

int bak_control_open(struct bak_control *c, fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	bool writer = (fi->flags & O_ACCMODE) != O_RDONLY;
	int no = 0;
	if (!bak_control_allowed(c, req) || (writer && spot.kind != BAK_SPOT_NODE))
		no = EACCES;
	else if (spot.kind == BAK_SPOT_NONE)
		no = ESTALE;
	if (!no && spot.node && (fi->flags & O_TRUNC)) {
		no = bak_item_open(&spot.node->item->rules, fi->flags).no;
		if (!no)
			no = set_size(spot.node, NULL, 0);
	}
	if (!no)
		no = open_new(c, spot, fi, false);
	pthread_mutex_unlock(&c->lock);
	return no;
}

int bak_control_create(struct bak_control *c, fuse_req_t req, uint64_t parent, const char *name,
		       mode_t mode, struct fuse_file_info *fi, struct fuse_entry_param *out)
{
	struct bak_unode *node;
	pthread_mutex_lock(&c->lock);
	int no = bak_control_make_file(c, req, parent, name, mode, fi->flags, &node);
	if (!no) {
		struct bak_spot spot = {BAK_SPOT_NODE, node->item->room, node};
		no = open_new(c, spot, fi, true);
		bak_control_entry(node, out);
	}
	pthread_mutex_unlock(&c->lock);
	return no;
}

void bak_control_release(struct bak_control *c, uint64_t ino, struct fuse_file_info *fi)
{
	struct bak_open *open = open_of(fi);
	(void)ino;
	if (!open)
		return;
	pthread_mutex_lock(&c->lock);
	struct bak_unode *node = open->spot.node;
	if (node) {
		struct bak_item *item = node->item;
		struct bak_error ignored = BAK_ERROR_INIT;
		if (node->blob && open->rules.wrote)
			bak_blob_settle(node->blob, &ignored); /* FLUSH told of a failure */
		item->n_open--;
		bak_control_do(c, item, bak_item_release(&item->rules, &open->rules));
	}
	bak_control_open_free(c, open);
	bak_control_wake(c); /* what is over may be forgotten now */
	pthread_mutex_unlock(&c->lock);
}

int bak_control_flush(struct bak_control *c, fuse_req_t req, uint64_t ino,
		      struct fuse_file_info *fi)
{
	struct bak_open *open = open_of(fi);
	(void)ino;
	if (!open || !open->spot.node)
		return 0;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_content_facts facts = {.killed = bak_control_killed(fuse_req_ctx(req)->pid)};
	struct bak_unode *node = open->spot.node;
	pthread_mutex_lock(&c->lock);
	int no = 0;
	if (node->blob && open->rules.wrote && bak_blob_settle(node->blob, &err) < 0)
		no = bak_errno_of(&err);
	bool asked = open->rules.wrote && node->item->top == node;
	if (!no && asked)
		no = bak_control_catch_up(c, node); /* the description holds it */
	if (!no && asked)
		no = bak_control_facts(node, &facts);
	if (!no)
		no = bak_control_do(c, node->item,
				    bak_item_flush(&node->item->rules, &open->rules, &facts));
	/* RELEASE tells nobody that the queue is full. */
	if (!no && node->item->rules.accepted && (no = bak_control_room_for_one(c, node->item)))
		bak_item_not_fired(&node->item->rules);
	pthread_mutex_unlock(&c->lock);
	return no;
}

/* --- bytes --- */

/* The spool is full: nobody could use half an upload, and its room is needed. */
static void drop_upload(struct bak_control *c, struct bak_unode *node, const char *why)
{
	struct bak_item *item = node->item;
	pthread_mutex_lock(&c->lock);
	bak_control_refused(item, why);
	bak_fs_log(c->fs, LOG_ERR, "upload to %s: %s", item->room->store->name, why);
	struct bak_error ignored = BAK_ERROR_INIT;
	bak_blob_truncate(node->blob, 0, &ignored);
	bak_proof_truncate(&node->proof, 0);
	item->rules.accepted = item->rules.written = false;
	bak_control_forget(c, item);
	bak_control_say_changed(c, item->room);
	pthread_mutex_unlock(&c->lock);
}

int bak_control_will_write(struct bak_control *c, struct bak_open *open, uint64_t off,
			   const void *p, size_t len)
{
	struct bak_unode *node = open->spot.node;
	pthread_mutex_lock(&c->lock);
	int no = bak_item_write(&node->item->rules, &open->rules).no;
	if (!no && !node->blob)
		no = EINVAL;
	if (!no) {
		bak_proof_write(&node->proof, off, p, len);
		node->mode &= ~(mode_t)(S_ISUID | (node->mode & S_IXGRP ? S_ISGID : 0));
		bak_unode_touched(node, true);
	}
	pthread_mutex_unlock(&c->lock);
	return no;
}

int bak_control_write(struct bak_control *c, fuse_req_t req, uint64_t ino, const void *p,
		      size_t size, off_t off, struct fuse_file_info *fi)
{
	struct bak_open *open = open_of(fi);
	(void)ino;
	(void)req;
	if (!open || !open->spot.node)
		return EBADF;
	struct bak_unode *node = open->spot.node;
	struct bak_error err = BAK_ERROR_INIT;
	int no = bak_control_will_write(c, open, (uint64_t)off, p, size);
	if (no)
		return no;
	/* The open description keeps the node; the blob has a lock of its own. */
	if (bak_blob_write(node->blob, (uint64_t)off, p, size, &err) < 0) {
		no = bak_errno_of(&err);
		drop_upload(c, node, err.msg);
	}
	return no;
}

static void node_read_reply(fuse_req_t req, struct bak_unode *node, size_t size, off_t off)
{
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf buf = BAK_BUF_INIT;
	size_t n = 0;
	if (!node->blob)
		fuse_reply_buf(req, NULL, 0);
	else if (bak_buf_reserve(&buf, size) < 0)
		fuse_reply_err(req, ENOMEM);
	else if (bak_blob_read(node->blob, (uint64_t)off, buf.p, size, &n, &err) < 0)
		fuse_reply_err(req, bak_errno_of(&err));
	else
		fuse_reply_buf(req, (const char *)buf.p, n);
}

/* As a whole when read from its beginning, then the rest of the same text. */
static void status_reply(struct bak_control *c, fuse_req_t req, struct bak_open *open, size_t size,
			 off_t off)
{
	int no = 0;
	if (off == 0) {
		open->text.len = 0;
		open->changes = open->spot.room->changes;
		no = bak_control_status_text(c, open->spot.room, &open->text);
	}
	size_t len = open->text.len;
	if (no)
		fuse_reply_err(req, no);
	else if ((uint64_t)off >= len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, (const char *)open->text.p + off,
			       size < len - (size_t)off ? size : len - (size_t)off);
}

static void log_reply(struct bak_control *c, fuse_req_t req, const struct bak_open *open,
		      size_t size, off_t off)
{
	BAK_AUTO(bak_buf_release) struct bak_buf buf = BAK_BUF_INIT;
	int no = bak_control_log_read(c, open->spot.room, (uint64_t)off, size, &buf);
	if (no)
		fuse_reply_err(req, no);
	else
		fuse_reply_buf(req, (const char *)buf.p, buf.len);
}

void bak_control_read_reply(struct bak_control *c, fuse_req_t req, uint64_t ino, size_t size,
			    off_t off, struct fuse_file_info *fi)
{
	struct bak_open *open = open_of(fi);
	(void)ino;
	if (!open) {
		fuse_reply_err(req, EBADF);
		return;
	}
	if (open->spot.kind == BAK_SPOT_NODE) {
		node_read_reply(req, open->spot.node, size, off);
		return;
	}
	pthread_mutex_lock(&c->lock);
	switch (open->spot.kind) {
	case BAK_SPOT_STATUS:
		status_reply(c, req, open, size, off);
		break;
	case BAK_SPOT_WAIT:
		bak_control_wait_reply(c, req, open, size, off);
		break;
	case BAK_SPOT_LOG:
		log_reply(c, req, open, size, off);
		break;
	default:
		fuse_reply_err(req, EISDIR);
		break;
	}
	pthread_mutex_unlock(&c->lock);
}

int bak_control_lseek(struct bak_control *c, uint64_t ino, off_t off, int whence, off_t *out)
{
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	struct bak_unode *node = spot.node;
	uint64_t found;
	int no = 0;
	if (!node || !node->blob || (whence != SEEK_DATA && whence != SEEK_HOLE))
		no = EINVAL;
	else if (off < 0 || !bak_blob_seek(node->blob, (uint64_t)off, whence == SEEK_HOLE, &found))
		no = ENXIO;
	else
		*out = (off_t)found;
	pthread_mutex_unlock(&c->lock);
	return no;
}

void bak_control_readlink_reply(struct bak_control *c, fuse_req_t req, uint64_t ino)
{
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	if (spot.node && spot.node->target)
		fuse_reply_readlink(req, spot.node->target);
	else
		fuse_reply_err(req, EINVAL);
	pthread_mutex_unlock(&c->lock);
}

int bak_control_poll(struct bak_control *c, uint64_t ino, struct fuse_pollhandle *ph,
		     struct fuse_file_info *fi, unsigned *out_revents)
{
	const struct bak_open *open = open_of(fi);
	pthread_mutex_lock(&c->lock);
	struct bak_spot spot = bak_control_spot(c, ino);
	if (spot.kind == BAK_SPOT_STATUS) {
		/* Readable when it says something that this reader has not seen. */
		bool seen = open && open->text.len && open->changes == spot.room->changes;
		*out_revents = seen ? 0 : POLLIN | POLLRDNORM | POLLPRI;
		if (ph && spot.room->poll)
			fuse_pollhandle_destroy(spot.room->poll);
		if (ph)
			spot.room->poll = ph;
		ph = NULL;
	}
	pthread_mutex_unlock(&c->lock);
	if (ph)
		fuse_pollhandle_destroy(ph);
	return 0;
}
