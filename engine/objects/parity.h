/*
 * Parity of packs: objects parity/<32 hex pack id> that say which bytes of a pack rotted and give
 * them back.
 *
 *   0     8   "bakpari1"
 *   8     u32 n, length of the sealed head
 *   12    n   head, a sealed object (seal.h) under the parity object's name
 *   12+n      parity blocks
 *         n   the head again, the same bytes
 *         u32 n
 *         8   "bakpari1"
 * Head, opened:
 *   u8  version = 1
 *   u8  k: data rows of a window    u8  m: parity rows of a window    u8 0
 *   u32 block: bytes of a block     u32 width: blocks of a row
 *   u64 size of the pack
 *   u32 CRC-32 (as in gzip) of each block of the pack, the last one filled up with zeros
 *   u32 CRC-32 of each parity block, in the order in which they lie
 *
 * The pack, filled up with zeros, is cut into windows of k rows of `width` blocks. Each window has m
 * parity rows, as wide: with numbers of GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1, byte x of parity
 * row r is the sum over the data rows i of 1 / ((k + r) xor i) times byte x of row i. So of the
 * k + m blocks at one place of their rows (a column) any m may be lost: a burst of m rows is mended,
 * and a single block by reading k others, not the pack.
 *
 * What is authenticated: the head, so that nobody without a key can say what a pack's bytes ought to
 * be or pass off another pack's parity. Parity blocks are in the clear, as they are sums of
 * ciphertext, and are believed only as far as CRCs go: what is made from them must open under a
 * segment's seal before it is used. The head lies there twice, as one flipped bit ends it.
 *
 * Threads: no shared state.
 */
#ifndef BAK_OBJECTS_PARITY_H
#define BAK_OBJECTS_PARITY_H

#include "engine/objects/seal.h"
#include "engine/storage/backend.h"

#include <stdbool.h>

#define BAK_PARITY_NAME_LEN 40
#define BAK_PARITY_MAX_PERCENT 50u
#define BAK_PARITY_MAX_BLOCK (64u << 10) /* a column is at most 16 MiB */

/* "parity/<32 hex>" */
void bak_parity_name(const uint8_t pack[16], char out[BAK_PARITY_NAME_LEN]);
/* false when the name is not a parity object's. */
bool bak_parity_id_of_name(const char *name, uint8_t out_pack[16]);

/* Blocks of a pack are numbered from its front, parity blocks as they lie. */
struct bak_parity_shape {
	uint64_t size; /* of the pack, not 0 */
	uint32_t block, width;
	uint32_t k, m; /* each at least 1, together at most 255 */
};
/* What a writer takes for a pack: blocks of 4 KiB (a sector), up to 100 data rows, percent parity
 * rows for them but at least one, and two where there are two blocks. */
void bak_parity_choose(uint64_t size, unsigned percent, struct bak_parity_shape *out);
uint64_t bak_parity_blocks(const struct bak_parity_shape *shape);        /* of the pack */
uint64_t bak_parity_parity_blocks(const struct bak_parity_shape *shape); /* of the parity */

/* Makes a parity object from a pack's bytes, given in order. Memory: one window's parity rows, one
 * data row, and the object; of 64 MiB at 5 % some 8 MiB, and 26 ms of one core (2.5 GB/s). */
struct bak_parity_maker;
int bak_parity_maker_new(uint64_t size, unsigned percent, struct bak_parity_maker **out_maker,
			 struct bak_error *err);
int bak_parity_maker_add(struct bak_parity_maker *maker, const void *p, size_t len,
			 struct bak_error *err);
/* Appends the object to out. BAK_CORRUPT when it were not size bytes. */
int bak_parity_maker_finish(struct bak_parity_maker *maker, const struct bak_keyring *ring,
			    const uint8_t pack[16], struct bak_buf *out, struct bak_error *err);
void bak_parity_maker_free(struct bak_parity_maker *maker); /* NULL is fine */

/* An opened head. */
struct bak_parity {
	struct bak_parity_shape shape;
	uint64_t at;    /* where the parity blocks begin in the object */
	uint32_t *crcs; /* of the blocks, then of the parity blocks; owned */
};
void bak_parity_release(struct bak_parity *parity);
/* Parses an opened head; fills shape and crcs. */
int bak_parity_decode(const void *head, size_t len, struct bak_parity *out, struct bak_error *err);
/* Reads the head of a pack's parity: the front one, else the one at the end. 1; 0 no such object;
 * -1, BAK_CORRUPT when none opens. */
int bak_parity_load(struct bak_backend *backend, const struct bak_keyring *ring,
		    const uint8_t pack[16], struct bak_parity *out, struct bak_error *err);

/* Whether these are the bytes of block n (parity: of parity block n). len: as many as the pack has
 * of it, less than a block only for the last one. */
bool bak_parity_good(const struct bak_parity *parity, bool of_parity, uint64_t n, const void *p,
		     size_t len);

/* A column: its k data blocks, then its m parity blocks, each `block` bytes, those with good[i]
 * true known. Makes data block `want`. 1 made, 0 too many are lost, -1. Blocks that are not good
 * are overwritten. */
int bak_parity_solve(const struct bak_parity_shape *shape, uint8_t *column, const bool *good,
		     uint32_t want, uint8_t *out, struct bak_error *err);

/* Reads a pack and puts its parity object, through tmp/<tmp_prefix>-...: 1, 0 it is there already,
 * -1. */
int bak_parity_put(struct bak_backend *backend, const struct bak_keyring *ring,
		   const uint8_t pack[16], unsigned percent, const char *tmp_prefix,
		   struct bak_error *err);
/* Compares every byte of the object with its CRCs, and the pack's bytes with theirs. Either count
 * may come out above zero; that is no error. *out_bad: of the parity object's parts (heads, ends,
 * parity blocks). 1, 0 no such object (or pack), -1: BAK_CORRUPT when no head opens. */
int bak_parity_verify(struct bak_backend *backend, const struct bak_keyring *ring,
		      const uint8_t pack[16], uint64_t *out_bad, uint64_t *out_bad_blocks,
		      struct bak_error *err);

#endif
