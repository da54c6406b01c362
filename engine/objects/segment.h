/*
 * Segments: the unit of compression, sealing and verification; about 1 MiB raw.
 *
 * A record in a pack:
 *   0    24  salt, random, fresh at every sealing
 *   24   40  header, sealed (subkey of master and salt; associated data: repository id)
 *   64   16  its tag
 *   80   n   body: stored_len bytes, sealed (subkey of master, salt and id; associated data: the
 *            opened header's 40 bytes)
 *   80+n 16  its tag
 * Header, opened:
 *   0   u8   format = 1
 *   1   u8   type: 1 data, 2 tree, 3 footer
 *   2   u8   flags: bit 0 holed; others 0
 *   3   u8   filter: 0 none; n in 2..16: the body before compression is transposed by elements of
 *            n bytes (all first bytes, then all second bytes ...; a rest shorter than n follows)
 *   4   u8   codec: 0 stored, 1 zstd (one frame, with its content checksum)
 *   5   3    zero
 *   8   16   segment id (for a footer: the pack's id)
 *   24  u32  raw_len: bytes after codec and filter
 *   28  u32  stored_len
 *   32  8    zero
 * A holed segment's raw bytes are: u32 n; n times (u32 off, u32 len), sorted, not touching, the
 * kept ranges of the segment as it was; then the kept bytes one after another.
 *
 * Limits: the writer makes at most BAK_SEG_MAX_RAW; a reader refuses raw_len or stored_len above
 * BAK_SEG_LIMIT before it allocates.
 * Threads: no shared state; a struct bak_seg_codec belongs to one thread at a time.
 */
#ifndef BAK_OBJECTS_SEGMENT_H
#define BAK_OBJECTS_SEGMENT_H

#include "engine/base/buf.h"
#include "engine/objects/seal.h"

#include <stdbool.h>

enum bak_seg_type { BAK_SEG_DATA = 1, BAK_SEG_TREE = 2, BAK_SEG_FOOTER = 3 };

#define BAK_SEG_HEAD_BYTES (BAK_SALT_BYTES + 40 + BAK_TAG_BYTES) /* 80 */
#define BAK_SEG_OVERHEAD (BAK_SEG_HEAD_BYTES + BAK_TAG_BYTES)    /* 96 */
#define BAK_SEG_RAW (1u << 20)       /* target: the knee of FUSE request size and zstd's ratio */
#define BAK_SEG_RAW_SMALL (1u << 18) /* for files read at random */
#define BAK_SEG_RAW_TINY (1u << 16)  /* for what is spread over a file: edits, lists of extents */
#define BAK_SEG_MAX_RAW (5u << 18)
#define BAK_SEG_LIMIT (64u << 20)

struct bak_seg_header {
	enum bak_seg_type type;
	bool holed;
	uint8_t filter, codec;
	struct bak_seg_id id;
	uint32_t raw_len, stored_len;
	uint8_t plain[40]; /* as opened */
};

/* Compression contexts of one thread. */
struct bak_seg_codec {
	void *cctx, *dctx;
	struct bak_buf scratch, packed;
	void *spare; /* from malloc, for the next segment opened: it takes what is large enough */
};
void bak_seg_codec_release(struct bak_seg_codec *codec);

/* Appends a whole record to out under the newest master. level: zstd's; 0 stores. Probes: what does
 * not shrink by 3 % is stored; a transposing filter is tried where a sample shows that it pays.
 * holed: raw is the holed form already. *out_header may be NULL. */
int bak_segment_seal(const struct bak_keyring *ring, struct bak_seg_codec *codec,
		     enum bak_seg_type type, bool holed, const struct bak_seg_id *id,
		     const void *raw, size_t raw_len, int level, struct bak_buf *out,
		     struct bak_seg_header *out_header, struct bak_error *err);

/* Opens BAK_SEG_HEAD_BYTES bytes. *out_master is the index in ring->masters that fits. 1 opened,
 * 0 no master opens it or its fields are impossible, -1 error. */
int bak_segment_open_header(const struct bak_keyring *ring, const void *head,
			    struct bak_seg_header *out, size_t *out_master, struct bak_error *err);

/* A decoded segment, whole or holed. */
struct bak_segment {
	struct bak_seg_header header;
	uint8_t *data; /* owned; header.raw_len bytes */
	size_t n_kept; /* holed only, sorted */
	struct bak_seg_range *kept;
};

/* Opens and decodes one whole record. want_id and want_type are what the caller looks for.
 * BAK_CORRUPT with a short text ("bad tag", "not the segment asked for", "bad zstd frame", ...). */
int bak_segment_open(const struct bak_keyring *ring, struct bak_seg_codec *codec,
		     enum bak_seg_type want_type, const struct bak_seg_id *want_id,
		     const void *record, size_t len, struct bak_segment *out,
		     struct bak_error *err);
void bak_segment_release(struct bak_segment *segment);

/* Bytes [off, off + len): 1 and *out (borrowed), or 0 when they touch a hole or lie outside. */
int bak_segment_at(const struct bak_segment *segment, uint32_t off, uint32_t len,
		   const uint8_t **out);

#endif
