/* From a snapshot's inodes to struct stat. */
#include "fs/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

/*
 * Folders' link counts and sparse files' allocated bytes are not in the entry: the pages or spans
 * below say them. They are looked up once and kept here by inode number, in a table without chains
 * or locks: a slot holds (number xor value, value), so one that two threads wrote half each does
 * not fit its number and counts as absent.
 */
#define CACHE_SLOTS 32768u

struct bak_attr_cache {
	struct {
		atomic_uint_fast64_t mixed, value;
	} slots[CACHE_SLOTS];
};

int bak_attr_cache_new(struct bak_attr_cache **out, struct bak_error *err)
{
	*out = calloc(1, sizeof **out);
	return *out ? 0 : bak_error_nomem(err);
}

void bak_attr_cache_free(struct bak_attr_cache *cache)
{
	free(cache);
}

static size_t cache_slot(uint64_t ino)
{
	return (size_t)((ino * UINT64_C(0x9e3779b97f4a7c15)) >> 49) % CACHE_SLOTS;
}

static bool cache_get(struct bak_attr_cache *cache, uint64_t ino, uint64_t *out)
{
	size_t at = cache_slot(ino);
	uint64_t mixed = atomic_load_explicit(&cache->slots[at].mixed, memory_order_relaxed);
	uint64_t value = atomic_load_explicit(&cache->slots[at].value, memory_order_relaxed);
	*out = value;
	return (mixed ^ value) == ino;
}

static void cache_put(struct bak_attr_cache *cache, uint64_t ino, uint64_t value)
{
	size_t at = cache_slot(ino);
	atomic_store_explicit(&cache->slots[at].mixed, ino ^ value, memory_order_relaxed);
	atomic_store_explicit(&cache->slots[at].value, value, memory_order_relaxed);
}

/* A folder's link count: two, and one for each folder in it. Where that cannot be found out 1, as
 * file systems say that do not count: 2 would tell programs that there is none to go into, and the
 * kernel keeps the answer when the disk is long back. */
static nlink_t folder_links(struct bak_fs *fs, const struct bak_tree *tree, uint64_t ino,
			    const struct bak_inode *inode)
{
	/* Nothing but files anywhere below: the usual leaf, told by its totals. */
	if (inode->totals.entries == inode->totals.files)
		return 2;
	uint64_t n;
	/* The views' numbers of a folder differ in one field; the count is the same. */
	struct bak_ino at = bak_ino_parse(ino);
	uint64_t key = bak_ino_tree(BAK_VIEW_BY_DATE, at.number, at.n);
	if (cache_get(fs->attrs, key, &n))
		return 2 + n;
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_folder_subdirs(tree, &inode->dir, &n, &err) < 0)
		return 1;
	cache_put(fs->attrs, key, n);
	return 2 + n;
}

static uint64_t count_allocated(struct bak_fs *fs, uint64_t ino, const struct bak_inode *inode)
{
	const struct bak_content *content = &inode->content;
	if (content->kind == BAK_CONTENT_NONE)
		return 0;
	if (inode->flags & BAK_INODE_SOLID)
		return inode->size;
	if (content->kind == BAK_CONTENT_EXTENT)
		return content->extent.kind == BAK_EXTENT_HOLE ? 0 : inode->size;
	uint64_t n;
	if (cache_get(fs->attrs, ino, &n))
		return n;
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_allocated(fs->source, content, inode->size, &n, &err) < 0)
		return inode->size;
	cache_put(fs->attrs, ino, n);
	return n;
}

static const mode_t mode_of_type[] = {
	[BAK_TYPE_FILE] = S_IFREG,    [BAK_TYPE_DIR] = S_IFDIR,  [BAK_TYPE_SYMLINK] = S_IFLNK,
	[BAK_TYPE_FIFO] = S_IFIFO,    [BAK_TYPE_CHAR] = S_IFCHR, [BAK_TYPE_BLOCK] = S_IFBLK,
	[BAK_TYPE_SOCKET] = S_IFSOCK,
};

static void apply_options(const struct bak_mount_conf *conf, struct stat *st)
{
	if (conf->uid >= 0)
		st->st_uid = (uid_t)conf->uid;
	if (conf->gid >= 0)
		st->st_gid = (gid_t)conf->gid;
	if (conf->umask >= 0)
		st->st_mode &= ~((mode_t)conf->umask & 0777);
}

/* What `ls` shows as a folder's size: one block, as most file systems say. */
#define FOLDER_SIZE 4096
/* Larger than a page, so that programs that size their buffers by it ask less often. */
#define BLOCK_SIZE 65536

void bak_attr_found(struct bak_fs *fs, const struct bak_tree *tree, uint64_t ino,
		    const struct bak_found *found, struct stat *st)
{
	const struct bak_inode *inode = &found->entry.inode;
	*st = (struct stat){
		.st_ino = ino,
		.st_mode = mode_of_type[inode->type] | (inode->mode & 07777),
		.st_nlink = found->nlink ? found->nlink : 1,
		.st_uid = inode->uid,
		.st_gid = inode->gid,
		.st_blksize = BLOCK_SIZE,
		.st_mtim = {.tv_sec = inode->mtime_s, .tv_nsec = (long)inode->mtime_ns},
		.st_ctim = {.tv_sec = inode->ctime_s, .tv_nsec = (long)inode->ctime_ns},
	};
	st->st_atim = st->st_mtim; /* reading changes nothing here */
	switch (inode->type) {
	case BAK_TYPE_FILE:
		st->st_size = (off_t)inode->size;
		st->st_blocks = (blkcnt_t)((count_allocated(fs, ino, inode) + 511) / 512);
		break;
	case BAK_TYPE_DIR:
		st->st_size = FOLDER_SIZE;
		st->st_nlink = folder_links(fs, tree, ino, inode);
		break;
	case BAK_TYPE_SYMLINK:
		st->st_size = (off_t)inode->target_len;
		break;
	case BAK_TYPE_CHAR:
	case BAK_TYPE_BLOCK:
		st->st_rdev = makedev(inode->major, inode->minor);
		break;
	default:
		break;
	}
	apply_options(fs->conf, st);
}

void bak_attr_own(struct bak_fs *fs, uint64_t ino, mode_t mode, nlink_t nlink, uint64_t size,
		  int64_t mtime, struct stat *st)
{
	*st = (struct stat){
		.st_ino = ino,
		.st_mode = mode,
		.st_nlink = nlink,
		.st_uid = fs->uid,
		.st_gid = fs->gid,
		.st_size = (off_t)size,
		.st_blocks = S_ISREG(mode) ? (blkcnt_t)((size + 511) / 512) : 0,
		.st_blksize = BLOCK_SIZE,
		.st_atim.tv_sec = mtime,
		.st_mtim.tv_sec = mtime,
		.st_ctim.tv_sec = mtime,
	};
	apply_options(fs->conf, st);
}

static int find_in_tree(struct bak_place *place, struct bak_error *err)
{
	const struct bak_tree *tree = &place->snap->tree;
	if (place->at.range == BAK_RANGE_LINK)
		return bak_tree_link(tree, place->at.n, &place->found, err);
	return bak_tree_at(tree, place->at.n, &place->found, &place->parent, err);
}

int bak_place_open(struct bak_fs *fs, uint64_t ino, struct bak_place *place)
{
	*place = (struct bak_place){.ino = ino, .at = bak_ino_parse(ino), .found = BAK_FOUND_INIT};
	if (place->at.range > BAK_RANGE_LINK || !place->at.number)
		return ESTALE;
	struct bak_error err = BAK_ERROR_INIT;
	int rc = bak_snap_get(fs->snaps, place->at.number, &place->snap, &err);
	if (rc == 0)
		return ESTALE;
	if (rc < 0)
		return bak_damage(fs, NULL, place->at, &err);
	rc = find_in_tree(place, &err);
	if (rc > 0)
		return 0;
	int no = rc < 0 ? bak_damage(fs, &place->snap->tree, place->at, &err) : ESTALE;
	bak_place_close(place);
	return no;
}

void bak_place_close(struct bak_place *place)
{
	bak_found_release(&place->found);
	bak_snap_put(place->snap);
	place->snap = NULL;
}
