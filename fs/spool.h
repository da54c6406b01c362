/*
 * Uploads on their way: contents in an unlinked file, in blocks sealed under a key that lives only
 * in memory. All uploads share the file, so that a tree of many small ones costs one descriptor.
 *
 *   slot n of the file: [n * BAK_SPOOL_SLOT, ...): one block's bytes, sealed (AES-256-GCM)
 *   each sealing has a serial number, kept in memory: the subkey's context. So no key seals twice,
 *   and neither another block nor an older one passes for the block that is wanted.
 *
 * What is borrowed from another file (loans.h) is read from there, and takes no slot: bytes written
 * over it later cover just what they are.
 *
 * A hole in a blob takes no slot. The block written last is kept open until another is touched or
 * bak_blob_settle. Room for a block is taken when it is first written: no space is an error of
 * that write, not of a later one.
 *
 * Threads: a spool and a blob are safe; a blob's calls wait for each other.
 */
#ifndef BAK_FS_SPOOL_H
#define BAK_FS_SPOOL_H

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "fs/loans.h"

#include <stdbool.h>

#define BAK_SPOOL_BLOCK (256u << 10)
#define BAK_SPOOL_SLOT (BAK_SPOOL_BLOCK + 4096u)
/* Longer files than this are refused. */
#define BAK_SPOOL_SIZE_MAX ((uint64_t)1 << 50)

struct bak_spool;
struct bak_blob;

/* dir: where there is room. */
int bak_spool_new(const char *dir, struct bak_spool **out, struct bak_error *err);
void bak_spool_free(struct bak_spool *spool); /* after its blobs; NULL is fine */

int bak_blob_new(struct bak_spool *spool, struct bak_blob **out, struct bak_error *err);
void bak_blob_free(struct bak_blob *blob); /* NULL is fine */

uint64_t bak_blob_size(struct bak_blob *blob);
/* Bytes that are no holes, by whole blocks; borrowed ones, too. */
uint64_t bak_blob_allocated(struct bak_blob *blob);
/* BAK_NO_SPACE when the disk is full. What was written before stays. */
int bak_blob_write(struct bak_blob *blob, uint64_t off, const void *p, size_t len,
		   struct bak_error *err);
/* From now on [off, off + len) is what origin has at from. Takes one reference of origin over, also
 * on failure. off + len is at most BAK_SPOOL_SIZE_MAX. */
int bak_blob_borrow(struct bak_blob *blob, uint64_t off, uint64_t len, struct bak_origin *origin,
		    uint64_t from, struct bak_error *err);
/* *out_n is less than len only at the end. */
int bak_blob_read(struct bak_blob *blob, uint64_t off, void *p, size_t len, size_t *out_n,
		  struct bak_error *err);
int bak_blob_truncate(struct bak_blob *blob, uint64_t size, struct bak_error *err);
/* Seals the open block and gives its memory back. */
int bak_blob_settle(struct bak_blob *blob, struct bak_error *err);
/* As lseek's SEEK_DATA (hole false) or SEEK_HOLE: 1, or 0 when off is at the end or there is no
 * data behind it. */
int bak_blob_seek(struct bak_blob *blob, uint64_t off, bool hole, uint64_t *out);

#endif
