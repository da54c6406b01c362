/* The writing side, a driver's view of it: see writer.h. */
#include "engine/content/writer.h"

#include "engine/base/hash.h"
#include "engine/content/file_writer.h"
#include "engine/content/folder_writer.h"
#include "engine/content/kin.h"
#include "engine/content/link_writer.h"
#include "engine/content/sealer.h"

#include <stdlib.h>

/* Progress is told after each file, and within one after this many bytes. */
#define PROGRESS_STEP (4u << 20)

/* An open folder. */
struct frame {
	struct frame *parent;
	char *name;
	struct bak_inode inode;
	struct bak_buf xattrs;
	struct bak_folder_writer fw;
	struct bak_cursor *previous;     /* over the same folder in the predecessor; NULL: none */
	const struct bak_found *waiting; /* the cursor's entry that comes next */
	struct bak_kin passed, next;     /* the last file that the cursor left behind; waiting */
	size_t path_len;                 /* of the path with this folder's name */
};

struct bak_writer {
	struct bak_writer_conf conf;
	struct bak_tree previous; /* snapshot NULL: none */
	struct bak_sealer *sealer;
	struct bak_segmenter segmenter;
	struct bak_usable *usable;
	struct bak_file_writer *file;
	struct bak_link_writer links;
	struct frame *top;
	struct bak_buf path;
	struct bak_writer_progress progress;
	uint64_t told;
	/* The open file. */
	bool in_file;
	char *name;
	struct bak_source_inode inode;
	struct bak_buf inode_xattrs;
	enum bak_seg_class class;
	uint64_t file_bytes;
	/* The result's root, after finish. */
	struct bak_inode root;
	struct bak_buf root_xattrs;
	uint64_t reused, read;
};

static struct bak_tree *previous_of(struct bak_writer *w)
{
	return w->previous.snapshot ? &w->previous : NULL;
}

static void frame_free(struct frame *frame)
{
	if (!frame)
		return;
	bak_cursor_close(frame->previous);
	bak_kin_release(&frame->passed);
	bak_kin_release(&frame->next);
	bak_folder_writer_release(&frame->fw);
	bak_buf_release(&frame->xattrs);
	free(frame->name);
	free(frame);
}

void bak_writer_free(struct bak_writer *w)
{
	if (!w)
		return;
	while (w->top) {
		struct frame *frame = w->top;
		w->top = frame->parent;
		frame_free(frame);
	}
	bak_file_writer_free(w->file);
	bak_usable_free(w->usable);
	bak_link_writer_release(&w->links);
	bak_sealer_free(w->sealer);
	bak_segmenter_release(&w->segmenter);
	bak_buf_release(&w->path);
	bak_buf_release(&w->inode_xattrs);
	bak_buf_release(&w->root_xattrs);
	free(w->name);
	free(w);
}

/* --- folders --- */

/* Copies an inode whose xattrs are then owned by buf. Content is of no interest here. */
static int copy_inode(const struct bak_inode *in, struct bak_buf *buf, struct bak_inode *out,
		      struct bak_error *err)
{
	buf->len = 0;
	if (bak_buf_append(buf, in->xattrs, in->xattrs_len) < 0)
		return bak_error_nomem(err);
	*out = *in;
	out->xattrs = buf->p;
	return 0;
}

/* Opens a cursor over the predecessor's folder; without one the frame simply has no predecessor. */
static int open_previous(struct bak_writer *w, struct frame *frame, const struct bak_ref *dir,
			 struct bak_error *err)
{
	if (!previous_of(w) || dir->len == 0)
		return 0;
	return bak_cursor_open(&w->previous, dir, 1, &frame->previous, err);
}

static int push_frame(struct bak_writer *w, const char *name, const struct bak_inode *inode,
		      const struct bak_ref *previous_dir, struct bak_error *err)
{
	struct frame *frame = calloc(1, sizeof *frame);
	if (!frame)
		return bak_error_nomem(err);
	bak_folder_writer_init(&frame->fw, &w->segmenter, previous_of(w), previous_dir);
	frame->name = strdup(name);
	if (!frame->name || bak_buf_append(&w->path, name, strlen(name)) < 0 ||
	    (name[0] && bak_buf_append(&w->path, "/", 1) < 0)) {
		frame_free(frame);
		return bak_error_nomem(err);
	}
	if (copy_inode(inode, &frame->xattrs, &frame->inode, err) < 0 ||
	    open_previous(w, frame, previous_dir, err) < 0) {
		frame_free(frame);
		return -1;
	}
	frame->path_len = w->path.len;
	frame->parent = w->top;
	w->top = frame;
	return 0;
}

/* The predecessor's entry of that name in the open folder: 1, 0 none, -1. Names come sorted, so one
 * pass over the predecessor serves them all. A predecessor that cannot be read counts as none. */
static const struct bak_found *find_previous(struct bak_writer *w, const char *name)
{
	struct frame *frame = w->top;
	size_t len = strlen(name);
	struct bak_error scratch = BAK_ERROR_INIT;
	while (frame->previous) {
		if (!frame->waiting &&
		    bak_cursor_next(frame->previous, &frame->waiting, &scratch) != 1) {
			bak_cursor_close(frame->previous);
			frame->previous = NULL;
			frame->waiting = NULL;
			return NULL;
		}
		const struct bak_entry *e = &frame->waiting->entry;
		int d = bak_name_cmp(e->name, e->name_len, name, len);
		if (d == 0)
			return frame->waiting;
		if (d > 0)
			return NULL;
		bak_kin_remember(&frame->passed, e);
		frame->waiting = NULL;
	}
	return NULL;
}

/* Of the predecessor's files beside the open one, one that it may have come from; NULL: none. */
static const struct bak_kin *find_kin(struct bak_writer *w)
{
	struct frame *frame = w->top;
	uint64_t ino = w->inode.inode.ino;
	frame->next.name.len = 0;
	if (frame->waiting)
		bak_kin_remember(&frame->next, &frame->waiting->entry);
	if (bak_kin_fits(&frame->passed, w->name, ino))
		return &frame->passed;
	return bak_kin_fits(&frame->next, w->name, ino) ? &frame->next : NULL;
}

int bak_writer_new(const struct bak_writer_conf *conf, struct bak_writer **out_writer,
		   struct bak_error *err)
{
	struct bak_writer *w = calloc(1, sizeof *w);
	if (!w)
		return bak_error_nomem(err);
	w->conf = *conf;
	w->previous = (struct bak_tree){conf->source, conf->previous};
	struct bak_sealer_conf sealer = {.backend = conf->backend,
					 .ring = conf->ring,
					 .index = conf->index,
					 .run_start = conf->run_start,
					 .level = conf->level,
					 .workers = conf->workers,
					 .memory = conf->memory,
					 .parity = conf->parity};
	memcpy(sealer.run, conf->run, sizeof sealer.run);
	uint8_t run[BAK_RUN_BYTES];
	struct bak_ref none = {.len = 0};
	struct bak_inode root = {.type = BAK_TYPE_DIR, .mode = 0700};
	if (bak_random(run, sizeof run, err) < 0 ||
	    bak_usable_new(conf->index, conf->source, &w->usable, err) < 0 ||
	    bak_sealer_new(&sealer, &w->sealer, err) < 0)
		goto fail;
	bak_usable_avoid(w->usable, conf->lost);
	bak_segmenter_init(&w->segmenter, w->sealer, run);
	bak_link_writer_init(&w->links, conf->previous ? conf->previous->next_link : 1);
	struct bak_file_writer_conf file = {.segmenter = &w->segmenter,
					    .index = conf->index,
					    .source = conf->source,
					    .usable = w->usable,
					    .ring = conf->ring,
					    .no_alike = conf->no_alike,
					    .no_dedup = conf->no_dedup,
					    .chunk_min = conf->chunk.min,
					    .chunk_avg = conf->chunk.avg,
					    .chunk_max = conf->chunk.max,
					    .span = conf->chunk.span,
					    .table_bytes = conf->memory};
	if (bak_file_writer_new(&file, &w->file, err) < 0 ||
	    push_frame(w, "", &root, conf->previous ? &conf->previous->root.dir : &none, err) < 0)
		goto fail;
	*out_writer = w;
	return 0;
fail:
	bak_writer_free(w);
	return -1;
}

struct bak_usable *bak_writer_usable(struct bak_writer *w)
{
	return w->usable;
}

const struct bak_snapshot *bak_writer_previous(const struct bak_writer *w)
{
	return w->conf.previous;
}

int bak_writer_root(struct bak_writer *w, const struct bak_source_inode *in, struct bak_error *err)
{
	struct frame *root = w->top;
	while (root->parent)
		root = root->parent;
	if (copy_inode(&in->inode, &root->xattrs, &root->inode, err) < 0)
		return -1;
	root->inode.type = BAK_TYPE_DIR;
	return 0;
}

int bak_writer_enter(struct bak_writer *w, const char *name, const struct bak_source_inode *in,
		     struct bak_error *err)
{
	struct bak_ref dir = {.len = 0};
	const struct bak_found *old = find_previous(w, name);
	if (old && old->entry.inode.type == BAK_TYPE_DIR)
		dir = old->entry.inode.dir;
	return push_frame(w, name, &in->inode, &dir, err);
}

int bak_writer_leave(struct bak_writer *w, struct bak_error *err)
{
	struct frame *frame = w->top;
	if (!frame->parent)
		return bak_error_set(err, BAK_BUG, "the root was left too early");
	if (bak_folder_writer_finish(&frame->fw, &frame->inode, err) < 0)
		return -1;
	struct bak_entry entry = {
		.name = frame->name, .name_len = strlen(frame->name), .inode = frame->inode};
	w->top = frame->parent;
	w->path.len = w->top->path_len;
	int rc = bak_folder_writer_add(&w->top->fw, &entry, err);
	frame_free(frame);
	return rc;
}

/* --- entries --- */

static void tell(struct bak_writer *w, const char *name)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	(void)scratch;
	w->told = w->progress.bytes + w->file_bytes;
	if (!w->conf.progress)
		return;
	size_t len = w->path.len;
	if (bak_buf_append(&w->path, name, strlen(name) + 1) < 0)
		return;
	struct bak_writer_progress p = w->progress;
	p.bytes += w->file_bytes;
	p.new_bytes = w->segmenter.new_bytes;
	p.path = (const char *)w->path.p;
	w->conf.progress(w->conf.progress_ctx, &p);
	w->path.len = len;
}

static int add_entry(struct bak_writer *w, const char *name, const struct bak_inode *inode,
		     const struct bak_link_slot *slot, struct bak_error *err)
{
	struct bak_entry entry = {.name = name, .name_len = strlen(name), .inode = *inode};
	if (slot) {
		entry.linked = true;
		entry.link = slot->link.number;
		entry.inode = slot->link.inode;
	}
	if (bak_folder_writer_add(&w->top->fw, &entry, err) < 0)
		return -1;
	if (entry.inode.type == BAK_TYPE_FILE) {
		w->progress.files++;
		w->progress.bytes += entry.inode.size;
		tell(w, name);
	}
	return 0;
}

/* An entry of which all is known; one with several names goes through the link table. want: its
 * number in the predecessor's, 0 for none. */
static int add_known(struct bak_writer *w, const char *name, const struct bak_inode *inode,
		     const struct bak_source_inode *in, uint64_t want, struct bak_error *err)
{
	struct bak_link_slot *slot = NULL;
	if (in->nlink > 1) {
		if (bak_link_writer_add(&w->links, in->dev, in->inode.ino, inode, want, &slot,
					err) < 0)
			return -1;
		slot->link.count = 1;
	}
	return add_entry(w, name, inode, slot, err);
}

/* The number that a linked name had in the predecessor, if it was the same inode. */
static uint64_t previous_number(const struct bak_found *old, const struct bak_source_inode *in)
{
	return old && old->entry.linked && old->entry.inode.ino == in->inode.ino ? old->entry.link
										 : 0;
}

int bak_writer_other(struct bak_writer *w, const char *name, const struct bak_source_inode *in,
		     struct bak_error *err)
{
	struct bak_inode inode = in->inode;
	inode.size = 0;
	inode.content = (struct bak_content){.kind = BAK_CONTENT_NONE};
	if (inode.ctime_s >= w->conf.scan_start_s)
		inode.flags |= BAK_INODE_REREAD;
	return add_known(w, name, &inode, in, previous_number(find_previous(w, name), in), err);
}

static bool unchanged(const struct bak_inode *old, const struct bak_inode *now)
{
	return old->type == now->type && old->ino == now->ino && old->ctime_s == now->ctime_s &&
	       old->ctime_ns == now->ctime_ns && old->mtime_s == now->mtime_s &&
	       old->mtime_ns == now->mtime_ns && old->mode == now->mode && old->uid == now->uid &&
	       old->gid == now->gid && !(old->flags & BAK_INODE_REREAD) &&
	       (old->type != BAK_TYPE_FILE || old->size == now->size);
}

int bak_writer_reuse(struct bak_writer *w, const char *name, const struct bak_source_inode *in,
		     struct bak_error *err)
{
	if (in->nlink > 1) {
		struct bak_link_slot *slot = bak_link_writer_find(&w->links, in->dev,
								  in->inode.ino);
		if (slot) {
			slot->link.count++;
			return add_entry(w, name, &slot->link.inode, slot, err) < 0 ? -1 : 1;
		}
	}
	const struct bak_found *old = find_previous(w, name);
	if (!old || !unchanged(&old->entry.inode, &in->inode))
		return 0;
	int rc = bak_usable_file(w->usable, &old->entry.inode, err);
	if (rc <= 0)
		return rc;
	w->reused++;
	return add_known(w, name, &old->entry.inode, in, previous_number(old, in), err) < 0 ? -1
											    : 1;
}

/* --- files --- */

int bak_writer_file(struct bak_writer *w, const char *name, const struct bak_source_inode *in,
		    enum bak_hint hint, struct bak_error *err)
{
	free(w->name);
	w->name = strdup(name);
	if (!w->name)
		return bak_error_nomem(err);
	w->inode = *in;
	if (copy_inode(&in->inode, &w->inode_xattrs, &w->inode.inode, err) < 0)
		return -1;
	w->class = hint == BAK_HINT_RANDOM ? BAK_CLASS_RANDOM : BAK_CLASS_BULK;
	w->in_file = true;
	return bak_writer_file_restart(w, err);
}

int bak_writer_file_restart(struct bak_writer *w, struct bak_error *err)
{
	if (!w->in_file)
		return bak_error_set(err, BAK_BUG, "no file is open");
	if (bak_file_writer_settle(w->file, err) < 0)
		return -1;
	/* What changed is told from what stayed by the same file one snapshot earlier. */
	const struct bak_found *old = find_previous(w, w->name);
	const struct bak_kin *kin = old ? NULL : find_kin(w);
	const struct bak_inode *was = old && old->entry.inode.type == BAK_TYPE_FILE &&
						      old->entry.inode.size > 0
					      ? &old->entry.inode
					      : NULL;
	if (kin)
		bak_file_writer_begin(w->file, w->class, &kin->content, kin->size);
	else
		bak_file_writer_begin(w->file, w->class, was ? &was->content : NULL,
				      was ? was->size : 0);
	w->file_bytes = 0;
	w->told = w->progress.bytes;
	return 0;
}

static void count(struct bak_writer *w, uint64_t len)
{
	w->file_bytes += len;
	if (w->progress.bytes + w->file_bytes - w->told >= PROGRESS_STEP)
		tell(w, w->name);
}

int bak_writer_data(struct bak_writer *w, const void *p, size_t len, struct bak_error *err)
{
	count(w, len);
	return bak_file_writer_data(w->file, p, len, err);
}

int bak_writer_hole(struct bak_writer *w, uint64_t len, struct bak_error *err)
{
	count(w, len);
	return bak_file_writer_hole(w->file, len, err);
}

int bak_writer_extents(struct bak_writer *w, const struct bak_extent *extents, size_t n,
		       const uint8_t sha256[32], struct bak_error *err)
{
	return bak_file_writer_extents(w->file, extents, n, sha256, err);
}

int bak_writer_raw_segment(struct bak_writer *w, const void *p, size_t len,
			   struct bak_seg_id *out_id, struct bak_error *err)
{
	struct bak_extent extent;
	if (bak_file_writer_settle(w->file, err) < 0 ||
	    bak_segmenter_flush(&w->segmenter, BAK_CLASS_BULK, err) < 0 ||
	    bak_segmenter_bytes(&w->segmenter, BAK_CLASS_BULK, p, (uint32_t)len, NULL, &extent,
				err) < 0)
		return -1;
	*out_id = extent.seg;
	return bak_segmenter_flush(&w->segmenter, BAK_CLASS_BULK, err);
}

int bak_writer_file_drop(struct bak_writer *w, struct bak_error *err)
{
	w->in_file = false;
	w->file_bytes = 0;
	return bak_file_writer_settle(w->file, err);
}

/* Closes the open file: what was written of it goes into inode. */
static int finish_content(struct bak_writer *w, struct bak_inode *inode, struct bak_error *err)
{
	bool summed;
	if (!w->in_file)
		return bak_error_set(err, BAK_BUG, "no file is open");
	inode->type = BAK_TYPE_FILE;
	if (bak_file_writer_finish(w->file, &inode->content, &inode->size, inode->sha256, &summed,
				   err) < 0)
		return -1;
	if (!summed)
		inode->flags |= BAK_INODE_NOSUM;
	if (bak_file_writer_solid(w->file))
		inode->flags |= BAK_INODE_SOLID;
	if (inode->ctime_s >= w->conf.scan_start_s || (inode->flags & BAK_INODE_CHANGED))
		inode->flags |= BAK_INODE_REREAD;
	w->in_file = false;
	w->file_bytes = 0;
	w->read++;
	return 0;
}

int bak_writer_file_end(struct bak_writer *w, const struct bak_source_inode *final,
			struct bak_error *err)
{
	const struct bak_source_inode *in = final ? final : &w->inode;
	struct bak_inode inode = in->inode;
	if (finish_content(w, &inode, err) < 0)
		return -1;
	uint64_t want = previous_number(find_previous(w, w->name), in);
	return add_known(w, w->name, &inode, in, want, err);
}

/* --- files out of order --- */

int bak_writer_loose(struct bak_writer *w, const char *path, const struct bak_source_inode *in,
		     enum bak_hint hint, struct bak_error *err)
{
	BAK_AUTO(bak_found_release) struct bak_found old = BAK_FOUND_INIT;
	struct bak_error scratch = BAK_ERROR_INIT;
	const struct bak_inode *was = NULL;
	free(w->name);
	w->name = strdup(path);
	if (!w->name)
		return bak_error_nomem(err);
	w->inode = *in;
	if (copy_inode(&in->inode, &w->inode_xattrs, &w->inode.inode, err) < 0)
		return -1;
	/* A predecessor that cannot be read counts as none. */
	if (previous_of(w) && bak_tree_path(&w->previous, path, &old, &scratch) == 1 &&
	    old.entry.inode.type == BAK_TYPE_FILE && old.entry.inode.size > 0)
		was = &old.entry.inode;
	w->class = hint == BAK_HINT_RANDOM ? BAK_CLASS_RANDOM : BAK_CLASS_BULK;
	w->in_file = true;
	bak_file_writer_begin(w->file, w->class, was ? &was->content : NULL, was ? was->size : 0);
	w->file_bytes = 0;
	w->told = w->progress.bytes;
	return 0;
}

int bak_writer_loose_end(struct bak_writer *w, struct bak_inode *out, struct bak_error *err)
{
	*out = w->inode.inode;
	if (finish_content(w, out, err) < 0)
		return -1;
	w->progress.files++;
	w->progress.bytes += out->size;
	tell(w, w->name);
	return 0;
}

int bak_writer_place(struct bak_writer *w, const char *name, const struct bak_inode *inode,
		     struct bak_error *err)
{
	struct bak_entry entry = {.name = name, .name_len = strlen(name), .inode = *inode};
	return bak_folder_writer_add(&w->top->fw, &entry, err);
}

int bak_writer_would_reuse(struct bak_writer *w, const char *path,
			   const struct bak_source_inode *in, struct bak_error *err)
{
	BAK_AUTO(bak_found_release) struct bak_found old = BAK_FOUND_INIT;
	struct bak_error scratch = BAK_ERROR_INIT;

	if (!previous_of(w) || bak_tree_path(&w->previous, path, &old, &scratch) != 1 ||
	    !unchanged(&old.entry.inode, &in->inode))
		return 0;
	return bak_usable_file(w->usable, &old.entry.inode, err);
}

/* --- the end --- */

int bak_writer_finish(struct bak_writer *w, struct bak_writer_result *out, struct bak_error *err)
{
	if (w->top->parent)
		return bak_error_set(err, BAK_BUG, "a folder is still open");
	if (bak_folder_writer_finish(&w->top->fw, &w->top->inode, err) < 0 ||
	    copy_inode(&w->top->inode, &w->root_xattrs, &w->root, err) < 0)
		return -1;
	*out = (struct bak_writer_result){.root = w->root,
					  .links = w->links.n,
					  .reused_files = w->reused,
					  .read_files = w->read};
	if (bak_link_writer_finish(&w->links, &w->segmenter, previous_of(w), &out->link_table,
				   &out->link_bytes, err) < 0)
		return -1;
	out->next_link = w->links.next;
	for (int class = 0; class < BAK_CLASSES; class ++)
		if (bak_segmenter_flush(&w->segmenter, (enum bak_seg_class) class, err) < 0)
			return -1;
	out->new_bytes = w->segmenter.new_bytes;
	return bak_sealer_finish(w->sealer, &out->added, err);
}
