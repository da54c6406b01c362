/* Sealed blocks in an unlinked file: see spool.h. */
#include "fs/spool.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"
#include "engine/objects/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NO_SLOT 0u /* slot numbers start at 1 */
#define TABLE_BLOCKS 1024u

struct bak_spool {
	int fd;
	uint8_t key[32], salt[BAK_SALT_BYTES];
	pthread_mutex_t lock; /* guards all below */
	uint64_t next_serial;
	uint32_t next_slot;
	uint32_t *free_slots;
	size_t n_free, cap_free;
};

struct block {
	uint64_t serial;
	uint32_t slot;
	uint32_t len; /* bytes in use; the rest of the block is zero */
};

struct table {
	struct block blocks[TABLE_BLOCKS];
};

struct bak_blob {
	struct bak_spool *spool;
	pthread_mutex_t lock; /* guards all below */
	uint64_t size;
	uint64_t n_slots;
	struct bak_loans loans; /* they cover what the blocks hold there */
	struct table **tables;  /* NULL where nothing was written */
	size_t n_tables;
	/* The open block. */
	bool open, dirty;
	uint64_t index;
	struct bak_buf bytes; /* its bytes in use */
	uint32_t reserved;    /* of its slot, on disk */
};

/* --- the file --- */

static int open_unlinked(const char *dir, struct bak_error *err)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	if (asprintf(&path, "%s/spool-XXXXXX", dir) < 0)
		return bak_error_nomem(err);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return bak_error_sys(err, errno, "make a spool file in %s", dir);
	unlink(path);
	return fd;
}

int bak_spool_new(const char *dir, struct bak_spool **out, struct bak_error *err)
{
	struct bak_spool *spool = calloc(1, sizeof *spool);
	if (!spool)
		return bak_error_nomem(err);
	pthread_mutex_init(&spool->lock, NULL);
	spool->next_slot = 1;
	spool->next_serial = 1;
	spool->fd = open_unlinked(dir, err);
	if (spool->fd < 0 || bak_random(spool->key, sizeof spool->key, err) < 0 ||
	    bak_random(spool->salt, sizeof spool->salt, err) < 0) {
		bak_spool_free(spool);
		return -1;
	}
	*out = spool;
	return 0;
}

void bak_spool_free(struct bak_spool *spool)
{
	if (!spool)
		return;
	if (spool->fd >= 0)
		close(spool->fd);
	bak_wipe(spool->key, sizeof spool->key);
	free(spool->free_slots);
	pthread_mutex_destroy(&spool->lock);
	free(spool);
}

static off_t slot_off(uint32_t slot)
{
	return (off_t)slot * BAK_SPOOL_SLOT;
}

static int slot_take(struct bak_spool *spool, uint32_t *out, struct bak_error *err)
{
	int rc = 0;
	pthread_mutex_lock(&spool->lock);
	if (spool->n_free)
		*out = spool->free_slots[--spool->n_free];
	else if (spool->next_slot == UINT32_MAX)
		rc = bak_error_set(err, BAK_NO_SPACE, "the spool is full");
	else
		*out = spool->next_slot++;
	pthread_mutex_unlock(&spool->lock);
	return rc;
}

/* The slot's room goes back to the disk. Without memory to note it down it is not used again. */
static void slot_give(struct bak_spool *spool, uint32_t slot)
{
	fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, slot_off(slot),
		  BAK_SPOOL_SLOT);
	pthread_mutex_lock(&spool->lock);
	if (spool->n_free == spool->cap_free) {
		size_t cap = spool->cap_free ? spool->cap_free * 2 : 64;
		uint32_t *slots = realloc(spool->free_slots, cap * sizeof *slots);
		if (slots) {
			spool->free_slots = slots;
			spool->cap_free = cap;
		}
	}
	if (spool->n_free < spool->cap_free)
		spool->free_slots[spool->n_free++] = slot;
	pthread_mutex_unlock(&spool->lock);
}

static uint64_t serial_take(struct bak_spool *spool)
{
	pthread_mutex_lock(&spool->lock);
	uint64_t serial = spool->next_serial++;
	pthread_mutex_unlock(&spool->lock);
	return serial;
}

static int block_key(const struct bak_spool *spool, uint64_t serial, uint8_t out[32],
		     struct bak_error *err)
{
	uint8_t context[8];
	bak_store_u64(context, serial);
	return bak_subkey(spool->key, "bakfs spool", spool->salt, context, sizeof context, out,
			  err);
}

static int write_all(int fd, const uint8_t *p, size_t len, off_t off, struct bak_error *err)
{
	while (len) {
		ssize_t n = pwrite(fd, p, len, off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "write to the spool");
		p += n;
		len -= (size_t)n;
		off += n;
	}
	return 0;
}

static int read_all(int fd, uint8_t *p, size_t len, off_t off, struct bak_error *err)
{
	while (len) {
		ssize_t n = pread(fd, p, len, off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return bak_error_sys(err, n < 0 ? errno : EIO, "read from the spool");
		p += n;
		len -= (size_t)n;
		off += n;
	}
	return 0;
}

/* --- blocks --- */

static struct block *block_at(const struct bak_blob *blob, uint64_t index)
{
	uint64_t t = index / TABLE_BLOCKS;
	if (t >= blob->n_tables || !blob->tables[t])
		return NULL;
	return &blob->tables[t]->blocks[index % TABLE_BLOCKS];
}

static struct block *block_make(struct bak_blob *blob, uint64_t index)
{
	size_t t = (size_t)(index / TABLE_BLOCKS);
	if (t >= blob->n_tables) {
		size_t n = t + 1 > blob->n_tables * 2 ? t + 1 : blob->n_tables * 2;
		struct table **tables = realloc(blob->tables, n * sizeof(*tables));
		if (!tables)
			return NULL;
		memset(tables + blob->n_tables, 0, (n - blob->n_tables) * sizeof(*tables));
		blob->tables = tables;
		blob->n_tables = n;
	}
	if (!blob->tables[t] && !(blob->tables[t] = calloc(1, sizeof(struct table))))
		return NULL;
	return &blob->tables[t]->blocks[index % TABLE_BLOCKS];
}

static void block_drop(struct bak_blob *blob, struct block *block)
{
	if (block->slot == NO_SLOT)
		return;
	slot_give(blob->spool, block->slot);
	*block = (struct block){.slot = NO_SLOT};
	blob->n_slots--;
}

/* Room on disk for len bytes of the open block; a file system that cannot promise any finds out
 * when it is written to. */
static int reserve(struct bak_blob *blob, const struct block *block, uint32_t len,
		   struct bak_error *err)
{
	uint32_t want = 4096;
	while (want < len + BAK_TAG_BYTES)
		want *= 2;
	if (want > BAK_SPOOL_SLOT)
		want = BAK_SPOOL_SLOT;
	if (want <= blob->reserved)
		return 0;
	if (fallocate(blob->spool->fd, 0, slot_off(block->slot), want) < 0 &&
	    (errno == ENOSPC || errno == EDQUOT))
		return bak_error_sys(err, errno, "make room in the spool");
	blob->reserved = want;
	return 0;
}

static int open_block_seal(struct bak_blob *blob, struct bak_error *err)
{
	if (!blob->open || !blob->dirty)
		return 0;
	struct block *block = block_at(blob, blob->index);
	uint64_t serial = serial_take(blob->spool);
	uint8_t key[32];
	if (bak_buf_reserve(&blob->bytes, BAK_TAG_BYTES) < 0)
		return bak_error_nomem(err);
	/* Sealed in place: whatever happens from here on, these bytes are no plain ones any more.
	 */
	blob->open = false;
	int rc = block_key(blob->spool, serial, key, err);
	if (rc == 0)
		rc = bak_gcm_seal(key, NULL, 0, blob->bytes.p, blob->bytes.len, blob->bytes.p, err);
	bak_wipe(key, sizeof key);
	if (rc == 0)
		rc = write_all(blob->spool->fd, blob->bytes.p, blob->bytes.len + BAK_TAG_BYTES,
			       slot_off(block->slot), err);
	if (rc == 0) {
		block->serial = serial;
		block->len = (uint32_t)blob->bytes.len;
	}
	return rc;
}

static int block_load(struct bak_blob *blob, const struct block *block, struct bak_error *err)
{
	uint8_t key[32];
	blob->bytes.len = 0;
	if (bak_buf_reserve(&blob->bytes, (size_t)block->len + BAK_TAG_BYTES) < 0)
		return bak_error_nomem(err);
	if (read_all(blob->spool->fd, blob->bytes.p, (size_t)block->len + BAK_TAG_BYTES,
		     slot_off(block->slot), err) < 0 ||
	    block_key(blob->spool, block->serial, key, err) < 0)
		return -1;
	int rc = bak_gcm_open(key, NULL, 0, blob->bytes.p, block->len, blob->bytes.p, err);
	bak_wipe(key, sizeof key);
	if (rc == 0)
		bak_error_set(err, BAK_CORRUPT, "the spool file was changed from outside");
	if (rc <= 0)
		return -1;
	blob->bytes.len = block->len;
	blob->reserved = block->len + BAK_TAG_BYTES;
	return 0;
}

/* Makes block index the open one. For writing a missing one gets its slot. */
static int block_open(struct bak_blob *blob, uint64_t index, bool writing, struct bak_error *err)
{
	if (blob->open && blob->index == index)
		return 0;
	if (open_block_seal(blob, err) < 0)
		return -1;
	blob->open = false;
	struct block *block = writing ? block_make(blob, index) : block_at(blob, index);
	if (!block)
		return bak_error_nomem(err);
	if (block->slot == NO_SLOT) {
		if (slot_take(blob->spool, &block->slot, err) < 0)
			return -1;
		blob->n_slots++;
		blob->bytes.len = 0;
		blob->reserved = 0;
	} else if (block_load(blob, block, err) < 0) {
		return -1;
	}
	blob->open = true;
	blob->dirty = false;
	blob->index = index;
	return 0;
}

static int block_write(struct bak_blob *blob, uint64_t index, uint32_t at, const uint8_t *p,
		       uint32_t len, struct bak_error *err)
{
	if (block_open(blob, index, true, err) < 0)
		return -1;
	struct block *block = block_at(blob, index);
	uint32_t end = at + len;
	if (end > blob->bytes.len) {
		if (reserve(blob, block, end, err) < 0) {
			if (block->serial == 0 && !blob->dirty) { /* nothing was ever in it */
				block_drop(blob, block);
				blob->open = false;
			}
			return -1;
		}
		if (bak_buf_resize(&blob->bytes, end) < 0)
			return bak_error_nomem(err);
	}
	memcpy(blob->bytes.p + at, p, len);
	blob->dirty = true;
	return 0;
}

/* --- blobs --- */

int bak_blob_new(struct bak_spool *spool, struct bak_blob **out, struct bak_error *err)
{
	struct bak_blob *blob = calloc(1, sizeof *blob);
	if (!blob)
		return bak_error_nomem(err);
	blob->spool = spool;
	pthread_mutex_init(&blob->lock, NULL);
	*out = blob;
	return 0;
}

/* Drops the blocks from index on. */
static void drop_from(struct bak_blob *blob, uint64_t index)
{
	for (uint64_t t = index / TABLE_BLOCKS; t < blob->n_tables; t++) {
		uint64_t first = t == index / TABLE_BLOCKS ? index % TABLE_BLOCKS : 0;
		for (uint64_t i = first; blob->tables[t] && i < TABLE_BLOCKS; i++)
			block_drop(blob, &blob->tables[t]->blocks[i]);
		if (first == 0) {
			free(blob->tables[t]);
			blob->tables[t] = NULL;
		}
	}
	if (blob->open && blob->index >= index)
		blob->open = false;
}

void bak_blob_free(struct bak_blob *blob)
{
	if (!blob)
		return;
	drop_from(blob, 0);
	free(blob->tables);
	bak_loans_release(&blob->loans);
	bak_buf_release(&blob->bytes);
	pthread_mutex_destroy(&blob->lock);
	free(blob);
}

uint64_t bak_blob_size(struct bak_blob *blob)
{
	pthread_mutex_lock(&blob->lock);
	uint64_t size = blob->size;
	pthread_mutex_unlock(&blob->lock);
	return size;
}

uint64_t bak_blob_allocated(struct bak_blob *blob)
{
	pthread_mutex_lock(&blob->lock);
	uint64_t n = blob->n_slots * BAK_SPOOL_BLOCK;
	/* The last block counts as far as the file goes. */
	uint64_t tail = blob->size % BAK_SPOOL_BLOCK;
	const struct block *last = block_at(blob, blob->size / BAK_SPOOL_BLOCK);
	if (tail && last && last->slot != NO_SLOT)
		n -= BAK_SPOOL_BLOCK - tail;
	n += blob->loans.total;
	pthread_mutex_unlock(&blob->lock);
	return n;
}

int bak_blob_write(struct bak_blob *blob, uint64_t off, const void *p, size_t len,
		   struct bak_error *err)
{
	if (off > BAK_SPOOL_SIZE_MAX || len > BAK_SPOOL_SIZE_MAX - off)
		return bak_error_set(err, BAK_NO_SPACE, "the file is too long for the spool");
	const uint8_t *from = p;
	pthread_mutex_lock(&blob->lock);
	int rc = bak_loans_cut(&blob->loans, off, len) < 0 ? bak_error_nomem(err) : 0;
	while (len && rc == 0) {
		uint32_t at = (uint32_t)(off % BAK_SPOOL_BLOCK);
		uint32_t n = len < BAK_SPOOL_BLOCK - at ? (uint32_t)len : BAK_SPOOL_BLOCK - at;
		rc = block_write(blob, off / BAK_SPOOL_BLOCK, at, from, n, err);
		if (rc == 0 && off + n > blob->size)
			blob->size = off + n;
		off += n;
		from += n;
		len -= n;
	}
	pthread_mutex_unlock(&blob->lock);
	return rc;
}

static int block_read(struct bak_blob *blob, uint64_t index, uint32_t at, uint8_t *p, uint32_t len,
		      struct bak_error *err)
{
	const struct block *block = block_at(blob, index);
	size_t have = 0;
	if (block && block->slot != NO_SLOT) {
		if (block_open(blob, index, false, err) < 0)
			return -1;
		have = blob->bytes.len > at ? blob->bytes.len - at : 0;
		have = have < len ? have : len;
		if (have)
			memcpy(p, blob->bytes.p + at, have);
	}
	memset(p + have, 0, len - have);
	return 0;
}

/* As much of *n as is borrowed from one file, or lies in one block. */
static int piece_read(struct bak_blob *blob, uint64_t off, uint8_t *p, size_t *n,
		      struct bak_error *err)
{
	const struct bak_loan *loan = bak_loans_find(&blob->loans, off);
	uint32_t at = (uint32_t)(off % BAK_SPOOL_BLOCK);
	uint64_t room = BAK_SPOOL_BLOCK - at;
	bool borrowed = loan && loan->off <= off;
	if (borrowed)
		room = loan->off + loan->len - off;
	else if (loan && loan->off - off < room)
		room = loan->off - off;
	if (room < *n)
		*n = (size_t)room;
	if (borrowed)
		return loan->origin->read(loan->origin, loan->from + (off - loan->off), p, *n, err);
	return block_read(blob, off / BAK_SPOOL_BLOCK, at, p, (uint32_t)*n, err);
}

int bak_blob_read(struct bak_blob *blob, uint64_t off, void *p, size_t len, size_t *out_n,
		  struct bak_error *err)
{
	int rc = 0;
	uint8_t *to = p;
	pthread_mutex_lock(&blob->lock);
	if (off >= blob->size)
		len = 0;
	else if (len > blob->size - off)
		len = (size_t)(blob->size - off);
	*out_n = len;
	while (len && rc == 0) {
		size_t n = len;
		rc = piece_read(blob, off, to, &n, err);
		off += n;
		to += n;
		len -= n;
	}
	pthread_mutex_unlock(&blob->lock);
	return rc;
}

/* What lies behind size in its last block must read as zeros if the file grows again. */
static int cut_block(struct bak_blob *blob, uint64_t size, struct bak_error *err)
{
	uint32_t keep = (uint32_t)(size % BAK_SPOOL_BLOCK);
	const struct block *block = block_at(blob, size / BAK_SPOOL_BLOCK);
	if (!keep || !block || block->slot == NO_SLOT)
		return 0;
	if (block_open(blob, size / BAK_SPOOL_BLOCK, false, err) < 0)
		return -1;
	if (blob->bytes.len > keep) {
		blob->bytes.len = keep;
		blob->dirty = true;
	}
	return 0;
}

int bak_blob_truncate(struct bak_blob *blob, uint64_t size, struct bak_error *err)
{
	int rc = 0;
	if (size > BAK_SPOOL_SIZE_MAX)
		return bak_error_set(err, BAK_NO_SPACE, "the file is too long for the spool");
	pthread_mutex_lock(&blob->lock);
	if (size < blob->size) {
		rc = cut_block(blob, size, err);
		if (rc == 0 && bak_loans_cut(&blob->loans, size, UINT64_MAX) < 0)
			rc = bak_error_nomem(err);
		if (rc == 0)
			drop_from(blob, (size + BAK_SPOOL_BLOCK - 1) / BAK_SPOOL_BLOCK);
	}
	if (rc == 0)
		blob->size = size;
	pthread_mutex_unlock(&blob->lock);
	return rc;
}

int bak_blob_settle(struct bak_blob *blob, struct bak_error *err)
{
	pthread_mutex_lock(&blob->lock);
	int rc = open_block_seal(blob, err);
	blob->open = false;
	bak_buf_release(&blob->bytes);
	pthread_mutex_unlock(&blob->lock);
	return rc;
}

int bak_blob_borrow(struct bak_blob *blob, uint64_t off, uint64_t len, struct bak_origin *origin,
		    uint64_t from, struct bak_error *err)
{
	pthread_mutex_lock(&blob->lock);
	int rc = bak_loans_add(&blob->loans, off, len, from, origin);
	if (rc == 0 && len && off + len > blob->size)
		blob->size = off + len;
	pthread_mutex_unlock(&blob->lock);
	return rc < 0 ? bak_error_nomem(err) : 0;
}

/* Whether there is data at off; all of [off, *end) is the same. */
static bool run_at(const struct bak_blob *blob, uint64_t off, uint64_t *end)
{
	const struct bak_loan *loan = bak_loans_find(&blob->loans, off);
	if (loan && loan->off <= off) {
		*end = loan->off + loan->len;
		return true;
	}
	uint64_t i = off / BAK_SPOOL_BLOCK;
	const struct block *block = block_at(blob, i);
	/* A table that is not there is one large hole. */
	uint64_t step = block ? 1 : TABLE_BLOCKS - i % TABLE_BLOCKS;
	*end = (i + step) * BAK_SPOOL_BLOCK;
	if (loan && loan->off < *end)
		*end = loan->off;
	return block && block->slot != NO_SLOT;
}

int bak_blob_seek(struct bak_blob *blob, uint64_t off, bool hole, uint64_t *out)
{
	int found = 0;
	pthread_mutex_lock(&blob->lock);
	bool any = off < blob->size;
	while (off < blob->size && !found) {
		uint64_t end;
		if (run_at(blob, off, &end) != hole) {
			*out = off;
			found = 1;
		}
		off = end;
	}
	if (!found && hole && any) {
		*out = blob->size;
		found = 1;
	}
	pthread_mutex_unlock(&blob->lock);
	return found;
}
