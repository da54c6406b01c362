/*
 * The tar inside of a dump, walked while it streams: counted and proven, not unpacked. Names are not
 * looked at. Not for other tars: links, devices and sparse files are refused.
 */
#ifndef BAK_STORES_NEO4J_TAR_H
#define BAK_STORES_NEO4J_TAR_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <stdbool.h>

#define BAK_NEO4J_TAR_BLOCK 512u

struct bak_neo4j_tar {
	uint64_t files, bytes; /* regular files so far */
	uint8_t block[BAK_NEO4J_TAR_BLOCK];
	size_t have;        /* of the block that is being gathered */
	uint64_t skip;      /* content and padding that come before the next header */
	struct bak_buf pax; /* an extended header's content, while it comes */
	uint64_t pax_left, pax_pad;
	bool has_size; /* the next file's size, from an extended header */
	uint64_t size;
	unsigned zeros; /* blocks of zeros at its end */
};

int bak_neo4j_tar_feed(struct bak_neo4j_tar *tar, const uint8_t *p, size_t len,
		       struct bak_error *err);
/* It ends here: is that its end? */
int bak_neo4j_tar_end(const struct bak_neo4j_tar *tar, struct bak_error *err);
void bak_neo4j_tar_release(struct bak_neo4j_tar *tar);

#endif
