/*
 * A file's content as tree objects: span nodes and the inner nodes above them. Codec only; nothing
 * here reads or writes the repository.
 *
 * Tree objects lie one behind another in tree segments, each with a prefix:
 *   0  u8   kind: 1 span node, 2 inner node, 3 folder page, 4 page of first names, 5 link page,
 *           6 page of first link numbers
 *   1  u32  length of the payload
 *   5       payload
 * A reference (struct bak_ref) names the object with its prefix. Inside a payload a reference is:
 *   varint number in the payload's run table, varint counter, varint off, varint len
 * and a run table is: varint n, n times 12 bytes.
 *
 * Span node, payload:
 *   u8      version = 1
 *   varint  span length (raw bytes)
 *   16      keyed hash (below)
 *   varint  scatter: bytes of this node's and its predecessors' extent lists since the span was
 *           last written whole
 *   run table
 *   varint  n_segments; each: varint run number, varint counter, varint bytes used (each byte once)
 *   varint  n_chunks
 *   varint  n_extents
 *   u8      codec of the columns (0 stored, 1 zstd)
 *   varint  raw length of the columns
 *   varint  stored length
 *   columns, one behind another:
 *     chunk lengths: varint each
 *     extents, where: varint each: 0 hole, 1 zeros, 2 + number in the table of segments
 *     extents, from: zigzag each (of bytes only): offset minus where the last extent in the same
 *       segment ended (0 at first)
 *     extents, length: varint each
 * Chunks and holes or zeros follow one another in the span; each hole or zeros extent ends a chunk.
 * Keyed hash: the first 16 bytes of HMAC-SHA256(id key, in order: u8 0 and the hash of a chunk; or
 *   u8 1 (hole) or u8 2 (zeros) and u64 length). A chunk's hash is the first 16 bytes of
 *   HMAC-SHA256(id key, its bytes).
 *
 * Inner node, payload:
 *   u8      version = 1
 *   run table
 *   varint  n; each: u8 kind (0 hole, 1 zeros, 2 span node, 3 inner node), varint length in the
 *           file, and for kinds 2 and 3 a reference
 */
#ifndef BAK_OBJECTS_SPAN_H
#define BAK_OBJECTS_SPAN_H

#include "engine/base/bytes.h"
#include "engine/base/error.h"
#include "engine/base/ids.h"

#define BAK_SPAN_MAX_SEGMENTS 32 /* the writer's limits; a reader takes what the field holds */
#define BAK_SPAN_MAX_EXTENTS 65536

enum bak_object_kind {
	BAK_OBJECT_SPAN = 1,
	BAK_OBJECT_INNER = 2,
	BAK_OBJECT_PAGE = 3,
	BAK_OBJECT_NAMES = 4,
	BAK_OBJECT_LINKS = 5,
	BAK_OBJECT_LINK_NAMES = 6,
};
#define BAK_OBJECT_PREFIX 5

/* What a folder's entry says of a file's bytes. */
enum bak_content_kind {
	BAK_CONTENT_NONE = 0,   /* empty */
	BAK_CONTENT_EXTENT = 1, /* one extent, kept in the entry */
	BAK_CONTENT_SPAN = 2,   /* one span node */
	BAK_CONTENT_INNER = 3,  /* an inner node */
};
struct bak_content {
	enum bak_content_kind kind;
	struct bak_extent extent; /* EXTENT */
	struct bak_ref ref;       /* SPAN, INNER */
};

/* A parsed span. Invariants: extents cover [0, len) in order, none empty; at[i] is where extent i
 * starts, at[n_extents] == len. */
struct bak_span {
	uint64_t len, scatter;
	struct bak_hash hash;
	size_t n_chunks, n_extents, n_segments;
	uint32_t *chunk_lens;
	struct bak_extent *extents;
	uint64_t *at;
	struct bak_span_use {
		struct bak_seg_id seg;
		uint64_t used;
	} * segments; /* decode fills it; encode computes its own */
};
/* Appends the payload (no prefix). Uses len, scatter, hash, chunk_lens and extents. */
int bak_span_encode(const struct bak_span *span, struct bak_buf *out, struct bak_error *err);
int bak_span_decode(const void *payload, size_t len, struct bak_span *out, struct bak_error *err);
void bak_span_release(struct bak_span *span);
/* The extent that holds byte off (off < len): O(log n). */
size_t bak_span_find(const struct bak_span *span, uint64_t off);

enum bak_line_kind {
	BAK_LINE_HOLE = 0,
	BAK_LINE_ZEROS = 1,
	BAK_LINE_SPAN = 2,
	BAK_LINE_INNER = 3,
};
/* A parsed inner node: line i covers [at[i], at[i + 1]) of it. */
struct bak_inner {
	size_t n;
	struct bak_line {
		enum bak_line_kind kind;
		uint64_t len;
		struct bak_ref ref;
	} * lines;
	uint64_t *at;
};
int bak_inner_encode(const struct bak_line *lines, size_t n, struct bak_buf *out,
		     struct bak_error *err);
int bak_inner_decode(const void *payload, size_t len, struct bak_inner *out, struct bak_error *err);
void bak_inner_release(struct bak_inner *inner);

/* The run table shared by payloads with references. Writing: add runs while encoding a body, then
 * put table and body together. */
struct bak_runs {
	size_t n, cap;
	uint8_t (*runs)[BAK_RUN_BYTES];
};
void bak_runs_release(struct bak_runs *runs);
/* The run's number in the table, added when new; -1 for lack of memory. */
int64_t bak_runs_number(struct bak_runs *runs, const uint8_t run[BAK_RUN_BYTES]);
int bak_put_runs(struct bak_buf *out, const struct bak_runs *runs);
int bak_get_runs(struct bak_bytes *in, struct bak_runs *out, struct bak_error *err);
int bak_put_ref(struct bak_buf *out, struct bak_runs *runs, const struct bak_ref *ref);
void bak_get_ref(struct bak_bytes *in, const struct bak_runs *runs, struct bak_ref *out);

/* Walks the objects of a tree segment's raw bytes: 1 and the object, 0 at the end, -1 malformed.
 * *at is the offset to begin with, moved behind the object. */
int bak_object_next(const void *raw, size_t len, uint32_t *at, enum bak_object_kind *out_kind,
		    const uint8_t **out_payload, uint32_t *out_len);

#endif
