/*
 * Where it is decided what is new. A span's items (chunks, holes, zeros) are looked up in this
 * order: the whole span by its hash, each chunk by its hash, what is left against the predecessor's
 * bytes around the same place; the rest is new bytes.
 *
 * Threads: one.
 */
#ifndef BAK_CONTENT_SPAN_WRITER_H
#define BAK_CONTENT_SPAN_WRITER_H

#include "engine/base/hash.h"
#include "engine/content/chunker.h"
#include "engine/content/segmenter.h"
#include "engine/content/usable.h"

enum bak_item_kind { BAK_ITEM_CHUNK = 0, BAK_ITEM_HOLE = 1, BAK_ITEM_ZEROS = 2 };

/* A piece of a span. Chunks lie one behind another in the buffer given with them. */
struct bak_item {
	enum bak_item_kind kind;
	uint32_t off; /* chunk: in the buffer */
	uint64_t len;
	struct bak_hash hash; /* chunk */
};

struct bak_span_writer;

struct bak_span_writer_conf {
	struct bak_segmenter *segmenter; /* borrowed, as are all */
	struct bak_index *index;
	struct bak_source *source;
	struct bak_usable *usable;
	const struct bak_keyring *ring;
	const struct bak_chunker *chunker;
	bool no_alike;      /* nothing is matched with the predecessor */
	bool no_dedup;      /* nothing is found by its hash, and no hash is listed */
	size_t table_bytes; /* most that the matcher's table takes; 0: its own bound */
};
int bak_span_writer_new(const struct bak_span_writer_conf *conf, struct bak_span_writer **out_sw,
			struct bak_error *err);
void bak_span_writer_free(struct bak_span_writer *sw); /* NULL is fine */

/* A file begins. previous: its content one snapshot earlier, copied; NULL: none. */
void bak_span_writer_begin(struct bak_span_writer *sw, enum bak_seg_class class,
			   const struct bak_content *previous, uint64_t previous_size);

struct bak_span_place {
	struct bak_line line; /* for the node above */
	struct bak_hash hash;
	bool single; /* the span is one extent: `only` */
	struct bak_extent only;
};
/* Stores a span of len bytes that stands at file_off. without_node: a span of a single extent gets
 * no node, and line.ref is not set. */
int bak_span_writer_store(struct bak_span_writer *sw, uint64_t file_off,
			  const struct bak_item *items, size_t n, const uint8_t *buf, uint64_t len,
			  bool without_node, struct bak_span_place *out, struct bak_error *err);
/* A node for given extents, under a hash that nothing else has. */
int bak_span_writer_given(struct bak_span_writer *sw, const struct bak_extent *extents, size_t n,
			  uint64_t len, struct bak_span_place *out, struct bak_error *err);
/* A chunk's hash. sum goes on by the same bytes; NULL: nothing else does. */
void bak_span_writer_hash(struct bak_span_writer *sw, const void *p, size_t len,
			  struct bak_sha256 *sum, struct bak_hash *out);

#endif
