/*
 * Small files are given to the kernel before it asks: who reads the files of a folder one after
 * another (tar, cp -r, grep -r) pays one wake-up a file otherwise, which costs more than the file.
 *
 * One reader is followed, by the preorder numbers that it reads. After a few in order, the folder
 * that was listed last, and each one listed from then on, is pushed, the newest listing first: a
 * walk goes into a folder and comes back to the one above. What was pushed is not asked for any
 * more, so some files are left out on purpose: their reads tell how far the reader is, and without
 * them not much more is pushed. `ls -l` and find read nothing, and nothing is pushed for them.
 *
 * The kernel takes bytes only for inodes it knows, which a listing with attributes made known. It
 * waits for pages that are being read, so a thread of its own does this, and holds nothing.
 */
#include "fs/fs.h"

#include "engine/content/reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SMALL (128u << 10)
/* Reads in order before anything is pushed, and how far apart they may be. */
#define HITS_MIN 3
#define STRIDE 512u
/* One file in so many is left to be asked for. */
#define PROBE 32u
/* Files right before the reader are left to it: a race for them is lost by both. */
#define STEP 2u
/* So much may be pushed beyond what the reader is known to have come to. */
#define LEAD_FILES 256u
#define LEAD_BYTES (8u << 20)
#define STACK 32u
/* Entries looked at in one go. */
#define BATCH 64u

struct folder {
	uint64_t ino;
	uint64_t next; /* relative preorder number to go on from */
	bool stalled;  /* the kernel does not know its next file yet */
};

struct bak_push {
	struct bak_fs *fs;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	bool stopping;
	uint64_t snapshot, last; /* what was read last: number, preorder number */
	unsigned hits;
	uint64_t listed; /* the folder listed last */
	struct folder stack[STACK];
	size_t n;
	uint64_t lead_files, lead_bytes;
	uint64_t files; /* pushed so far */
};

/* --- the reader --- */

/* With the lock held. */
static void add_folder(struct bak_push *push, uint64_t ino)
{
	for (size_t i = 0; i < push->n; i++)
		if (push->stack[i].ino == ino)
			return;
	if (push->n == STACK)
		memmove(push->stack, push->stack + 1, --push->n * sizeof *push->stack);
	push->stack[push->n++] = (struct folder){.ino = ino, .next = 1};
}

void bak_push_listed(struct bak_push *push, uint64_t ino, bool first)
{
	struct bak_ino at = bak_ino_parse(ino);
	if (!push->running || at.range != BAK_RANGE_TREE)
		return;
	pthread_mutex_lock(&push->lock);
	if (first) {
		push->listed = ino;
		if (push->hits >= HITS_MIN && push->snapshot == at.number)
			add_folder(push, ino);
	}
	for (size_t i = 0; i < push->n; i++)
		if (push->stack[i].ino == ino)
			push->stack[i].stalled = false;
	pthread_cond_signal(&push->changed);
	pthread_mutex_unlock(&push->lock);
}

void bak_push_read(struct bak_push *push, uint64_t ino, uint64_t size)
{
	struct bak_ino at = bak_ino_parse(ino);
	if (!push->running || at.range != BAK_RANGE_TREE || size > SMALL)
		return;
	pthread_mutex_lock(&push->lock);
	if (at.number != push->snapshot || at.n <= push->last || at.n - push->last > STRIDE) {
		push->snapshot = at.number;
		push->hits = 0;
		push->n = 0;
	}
	push->last = at.n;
	push->lead_files = push->lead_bytes = 0;
	if (++push->hits == HITS_MIN && bak_ino_parse(push->listed).number == at.number)
		add_folder(push, push->listed);
	if (push->n)
		pthread_cond_signal(&push->changed);
	pthread_mutex_unlock(&push->lock);
}

uint64_t bak_push_files(struct bak_push *push)
{
	pthread_mutex_lock(&push->lock);
	uint64_t files = push->files;
	pthread_mutex_unlock(&push->lock);
	return files;
}

/* --- the thread --- */

struct batch {
	uint64_t files, bytes;
	bool done; /* the folder is through */
};

static int store_piece(struct bak_fs *fs, uint64_t ino, const void *p, size_t len)
{
	struct fuse_bufvec bufs = FUSE_BUFVEC_INIT(len);
	bufs.buf[0].mem = (void *)(uintptr_t)p;
	return fuse_lowlevel_notify_store(fs->session, ino, 0, &bufs, 0);
}

static int store_gathered(struct bak_fs *fs, uint64_t ino, const struct bak_slices *slices,
			  size_t len)
{
	BAK_AUTO(bak_free_ptr) uint8_t *p = malloc(len);
	size_t at = 0;
	for (size_t i = 0; i < slices->n && p; i++) {
		memcpy(p + at, slices->v[i].p, slices->v[i].len);
		at += slices->v[i].len;
	}
	return p ? store_piece(fs, ino, p, at) : -ENOMEM;
}

/* 0 or a negative errno, as the kernel says it. */
static int store(struct bak_fs *fs, uint64_t ino, const struct bak_inode *inode)
{
	const struct bak_content *content = &inode->content;
	struct bak_slices slices = {.in_order = true};
	struct bak_error ignored = BAK_ERROR_INIT;
	if (content->kind == BAK_CONTENT_EXTENT && content->extent.kind == BAK_EXTENT_BYTES)
		bak_prefetch_follow(fs->prefetch, &content->extent.seg);
	if (bak_read_slices(fs->source, content, inode->size, 0, inode->size, &slices, &ignored) <
	    0)
		return 0; /* whoever asks for it will hear of it */
	int rc = slices.n == 1 ? store_piece(fs, ino, slices.v[0].p, slices.v[0].len)
			       : store_gathered(fs, ino, &slices, inode->size);
	bak_slices_release(&slices);
	return rc;
}

static bool is_small_file(const struct bak_entry *entry)
{
	return entry->inode.type == BAK_TYPE_FILE && !entry->linked && entry->inode.size > 0 &&
	       entry->inode.size <= SMALL;
}

/* Up to which file the reader has come, and a little further. */
static uint64_t reader_at(struct bak_push *push, uint64_t snapshot)
{
	pthread_mutex_lock(&push->lock);
	uint64_t at = push->snapshot == snapshot ? push->last + STEP : 0;
	pthread_mutex_unlock(&push->lock);
	return at;
}

/* The folder's next files, those that the reader has before him alone. */
static void push_batch(struct bak_fs *fs, struct bak_place *dir, struct folder *folder,
		       struct batch *out)
{
	struct bak_error ignored = BAK_ERROR_INIT;
	struct bak_cursor *cursor = NULL;
	const struct bak_found *found;
	int rc = -1;
	uint64_t at = reader_at(fs->push, dir->at.number);
	if (at >= dir->at.n + folder->next)
		folder->next = at - dir->at.n + 1;
	if (bak_cursor_open(&dir->snap->tree, &dir->found.entry.inode.dir, folder->next, &cursor,
			    &ignored) == 0)
		rc = 1;
	for (unsigned i = 0; i < BATCH && rc > 0 && !folder->stalled; i++) {
		rc = bak_cursor_next(cursor, &found, &ignored);
		if (rc <= 0)
			break;
		uint64_t n = dir->at.n + found->preorder;
		if (is_small_file(&found->entry) && n % PROBE &&
		    n > reader_at(fs->push, dir->at.number)) {
			int no = store(fs, bak_ino_tree(BAK_VIEW_SHARED, dir->at.number, n),
				       &found->entry.inode);
			folder->stalled = no == -ENOENT;
			out->files += no == 0;
			out->bytes += no == 0 ? found->entry.inode.size : 0;
		}
		if (!folder->stalled)
			folder->next = found->preorder + 1;
	}
	out->done = rc <= 0;
	bak_cursor_close(cursor);
}

static void work(struct bak_fs *fs, struct folder *folder, struct batch *out)
{
	struct bak_place dir;
	out->done = true;
	if (bak_place_open(fs, folder->ino, &dir))
		return;
	const struct bak_inode *inode = &dir.found.entry.inode;
	if (inode->type == BAK_TYPE_DIR && inode->dir.len)
		push_batch(fs, &dir, folder, out);
	bak_place_close(&dir);
}

/* With the lock held: the newest folder of which something can be pushed. */
static struct folder *next_folder(struct bak_push *push)
{
	if (push->lead_files >= LEAD_FILES || push->lead_bytes >= LEAD_BYTES)
		return NULL;
	for (size_t i = push->n; i-- > 0;)
		if (!push->stack[i].stalled)
			return &push->stack[i];
	return NULL;
}

/* With the lock held; the stack may be another by now. */
static void note(struct bak_push *push, const struct folder *folder, const struct batch *batch)
{
	push->files += batch->files;
	push->lead_files += batch->files;
	push->lead_bytes += batch->bytes;
	for (size_t i = 0; i < push->n; i++) {
		struct folder *at = &push->stack[i];
		if (at->ino != folder->ino)
			continue;
		*at = *folder;
		if (batch->done)
			memmove(at, at + 1, (--push->n - i) * sizeof *at);
		return;
	}
}

static void *push_main(void *arg)
{
	struct bak_push *push = arg;
	pthread_mutex_lock(&push->lock);
	while (!push->stopping) {
		struct folder *next = next_folder(push);
		if (!next) {
			pthread_cond_wait(&push->changed, &push->lock);
			continue;
		}
		struct folder folder = *next;
		struct batch batch = {.files = 0};
		pthread_mutex_unlock(&push->lock);
		work(push->fs, &folder, &batch);
		pthread_mutex_lock(&push->lock);
		note(push, &folder, &batch);
	}
	pthread_mutex_unlock(&push->lock);
	return NULL;
}

/* --- life --- */

int bak_push_new(struct bak_fs *fs, struct bak_push **out, struct bak_error *err)
{
	struct bak_push *push = calloc(1, sizeof *push);
	if (!push)
		return bak_error_nomem(err);
	push->fs = fs;
	pthread_mutex_init(&push->lock, NULL);
	pthread_cond_init(&push->changed, NULL);
	*out = push;
	return 0;
}

int bak_push_start(struct bak_push *push, struct bak_error *err)
{
	/* verify=full proves what is asked for, and nothing that is not. */
	if (push->fs->conf->verify_full)
		return 0;
	push->running = true;
	int no = pthread_create(&push->thread, NULL, push_main, push);
	if (no)
		push->running = false;
	return no ? bak_error_sys(err, no, "start a thread") : 0;
}

void bak_push_stop(struct bak_push *push)
{
	if (!push->running)
		return;
	pthread_mutex_lock(&push->lock);
	push->stopping = true;
	pthread_cond_signal(&push->changed);
	pthread_mutex_unlock(&push->lock);
	pthread_join(push->thread, NULL);
}

void bak_push_free(struct bak_push *push)
{
	if (!push)
		return;
	pthread_mutex_destroy(&push->lock);
	pthread_cond_destroy(&push->changed);
	free(push);
}
