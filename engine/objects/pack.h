/*
 * Packs: immutable objects packs/<first 2 hex of id>/<32 hex id>.
 *
 *   segment records, one behind another, no gaps
 *   footer: a segment record (segment.h) of type footer, codec stored, whose id is the pack's id as
 *           u8[16] (run = its first 12 bytes, counter = its last 4 read little endian)
 *   u32  length of the footer record      8  magic "bakpack1"
 *
 * Footer, opened: u32 zlen, u32 rawlen, zlen bytes of one zstd frame, zero padding. Padding: a pack
 * below 16 MiB is padded to the next Padme size (2019, Nikitin et al.: the length keeps only
 * floor(log2(log2(len))) + 1 bits below its leading one). The frame holds:
 *   u8 version = 1
 *   8  run (as in runs' names), i64 run start (UTC seconds, as u64)
 *   varint n_runs; each 12 bytes: run parts of segment ids used below
 *   varint n_segments; each, in the order in which they lie:
 *       varint run number, varint counter, u8 type, u8 flags, u32 key number,
 *       varint record length, varint raw_len; holed: varint n, n times (varint gap from the end of
 *       the last range, varint len)
 *   varint n_chunks; each, sorted by (segment, offset): varint segment number (difference from the
 *       last one's), varint offset (from the end of the last chunk if in the same segment, else
 *       from 0), varint length, 16 hash
 *   varint n_nodes; each in the same way: segment difference, offset, length, varint span length,
 *       16 hash
 * A pack's footer lists only chunks and nodes that lie wholly (kept) in its own segments.
 *
 * Threads: a struct bak_pack belongs to one thread at a time.
 */
#ifndef BAK_OBJECTS_PACK_H
#define BAK_OBJECTS_PACK_H

#include "engine/objects/segment.h"
#include "engine/storage/backend.h"
#include "engine/storage/index.h"

#define BAK_PACK_SIZE (64u << 20)
#define BAK_PACK_NAME_LEN 48

struct bak_pack;

/* "packs/xx/<32 hex>" */
void bak_pack_name(const uint8_t id[BAK_PACK_ID_BYTES], char out[BAK_PACK_NAME_LEN]);
/* false when the name is not a pack's. */
bool bak_pack_id_of_name(const char *name, uint8_t out_id[BAK_PACK_ID_BYTES]);

/* A new pack of a run, being written to tmp/<run hex>-<random>. run: 8 bytes. Borrows backend and
 * ring. */
int bak_pack_new(struct bak_backend *backend, const struct bak_keyring *ring, const uint8_t run[8],
		 int64_t run_start, struct bak_pack **out_pack, struct bak_error *err);
/* Adds one sealed record, as bak_segment_seal made it. kept: for holed ones, else NULL. */
int bak_pack_add(struct bak_pack *pack, const void *record, size_t len,
		 const struct bak_seg_header *header, uint32_t key,
		 const struct bak_seg_range *kept, size_t n_kept, struct bak_error *err);
int bak_pack_add_chunk(struct bak_pack *pack, const struct bak_chunk_row *chunk,
		       struct bak_error *err);
int bak_pack_add_node(struct bak_pack *pack, const struct bak_node_row *node,
		      struct bak_error *err);
uint64_t bak_pack_len(const struct bak_pack *pack); /* bytes so far, footer not counted */
/* Percent of parity (parity.h) that finish writes behind the pack; 0, as at first, for none. */
void bak_pack_set_parity(struct bak_pack *pack, unsigned percent);
/* Writes the footer and makes the pack durable, then its parity. The rows for the index are borrowed from pack until
 * bak_pack_free. */
int bak_pack_finish(struct bak_pack *pack, struct bak_pack_rows *out_rows, struct bak_error *err);
void bak_pack_free(struct bak_pack *pack); /* aborts if unfinished; NULL is fine */

/* What a footer says. Owned by the struct. */
struct bak_footer {
	struct bak_pack_rows rows;
	int64_t run_start;
	struct bak_seg_copy *segs;
	struct bak_kept_rows *kept;
	struct bak_seg_range *ranges;
	struct bak_chunk_row *chunks;
	struct bak_node_row *nodes;
};
void bak_footer_release(struct bak_footer *footer);

/* Parses an opened footer body: for bak_pack_read_footer and the fuzzer. size: of the whole pack.
 */
int bak_footer_parse(const uint8_t id[BAK_PACK_ID_BYTES], uint64_t size, const void *body,
		     size_t len, struct bak_footer *out, struct bak_error *err);
/* 1 read; 0 no such pack; -1: BAK_CORRUPT when the end is damaged (then walk). */
int bak_pack_read_footer(struct bak_backend *backend, const struct bak_keyring *ring,
			 const uint8_t id[BAK_PACK_ID_BYTES], struct bak_footer *out,
			 struct bak_error *err);
/* For a damaged end: header by header from the front; behind one that does not open the next one is
 * looked for. Chunks are not listed; nodes are found by walking the objects of tree segments
 * (span.h). out_lost: bytes that no header explained, the footer's included. 1, 0, -1 as above. */
int bak_pack_walk(struct bak_backend *backend, const struct bak_keyring *ring,
		  const uint8_t id[BAK_PACK_ID_BYTES], struct bak_footer *out, uint64_t *out_lost,
		  struct bak_error *err);

#endif
