/*
 * Dumps of neo4j-admin, unpacked, proven and framed anew while they stream: what comes out is what
 * neo4j-admin loads, but nothing in it is compressed, so that two dumps share what they have in
 * common.
 *
 * Shapes, numbers big-endian:
 *   in:   "DZV1" and a zstd stream, or "DGV1" and gzip; older ones begin with the stream at once
 *   zstd, unpacked:  "zstd" | u32 1 | i64 files | i64 bytes | a tar of store files and logs
 *   gzip, unpacked:  the tar
 *   out:  "DZV1", one zstd frame of raw blocks of 128 KiB; of gzip "DGV1" and stored blocks
 * Proof: the compressed stream and the tar end where they should, every header of the tar has its
 *   checksum, files and bytes are as many as promised.
 * Limits: a window of 64 MiB; 1 MiB of a tar's extended headers. Memory: 1 MiB and the window.
 * Errors: BAK_CORRUPT for what is no whole dump.
 * Threads: one at a time.
 * Source: neo4j's Dumper and Loader (5.26); RFC 8878, RFC 1952, POSIX ustar and pax.
 */
#ifndef BAK_STORES_NEO4J_ARCHIVE_H
#define BAK_STORES_NEO4J_ARCHIVE_H

#include "engine/base/error.h"
#include "engine/base/proof.h"

struct bak_neo4j_archive;

struct bak_neo4j_archive_stats {
	uint64_t files, bytes; /* in the tar */
	bool gzip;
};

typedef int bak_neo4j_sink(void *ctx, const void *p, size_t len, struct bak_error *err);

/* sink may be NULL: only proven. */
int bak_neo4j_archive_new(bak_neo4j_sink *sink, void *ctx, struct bak_neo4j_archive **out,
			  struct bak_error *err);
void bak_neo4j_archive_free(struct bak_neo4j_archive *archive); /* NULL is fine */
int bak_neo4j_archive_feed(struct bak_neo4j_archive *archive, const void *p, size_t len,
			   struct bak_error *err);
/* No more comes. */
int bak_neo4j_archive_end(struct bak_neo4j_archive *archive, struct bak_neo4j_archive_stats *out,
			  struct bak_error *err);

/* Whether an upload is whole, by the block headers of its zstd frame alone. */
extern const struct bak_proof_format bak_neo4j_proof;

#endif
