/* A pack's footer to bytes and back; pack.h draws it. Used by pack.c and walk.c. */
#ifndef BAK_OBJECTS_FOOTER_H
#define BAK_OBJECTS_FOOTER_H

#include "engine/objects/pack.h"
#include "engine/objects/span.h"

#define BAK_PACK_MAGIC "bakpack1"
#define BAK_PACK_TAIL 12 /* length of the footer record, magic */

/* What goes into a footer; chunks and nodes in any order. */
struct bak_footer_in {
	const uint8_t *run;
	int64_t run_start;
	const struct bak_seg_copy *segs;
	size_t n_segs;
	const struct bak_kept_rows *kept; /* sorted by seg */
	size_t n_kept;
	const struct bak_seg_range *ranges;
	const struct bak_chunk_row *chunks;
	size_t n_chunks;
	const struct bak_node_row *nodes;
	size_t n_nodes;
};
/* Appends the body, padded so that the whole pack (pack_len bytes of records, then the footer) has
 * a size that tells little. */
int bak_footer_encode(const struct bak_footer_in *in, uint64_t pack_len, struct bak_buf *out,
		      struct bak_error *err);

/* The footer's segment id: the pack's id read as one. */
struct bak_seg_id bak_footer_seg_id(const uint8_t id[BAK_PACK_ID_BYTES]);

/* Next Padme size. */
uint64_t bak_padme(uint64_t len);

#endif
