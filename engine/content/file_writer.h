/*
 * One file's bytes to content: cuts them into chunks and spans, looks spans and chunks up, stores
 * what is new, writes span nodes and the inner nodes above them, and sums the whole with SHA-256.
 *
 * Order: begin, any of data, hole, extents, then finish. begin again throws an unfinished file
 * away.
 * Threads: one. Between data and settle or finish it may store with a thread of its own: nobody else
 * uses the segmenter then. */
#ifndef BAK_CONTENT_FILE_WRITER_H
#define BAK_CONTENT_FILE_WRITER_H

#include "engine/content/chunker.h"
#include "engine/content/segmenter.h"
#include "engine/content/usable.h"

/* Zeros of this length and more are kept as zeros, not as bytes. */
#define BAK_ZEROS_MIN (64u << 10)
/* More hole than this in a file and its SHA-256 is not taken: 16 GiB of zeros are ten seconds. */
#define BAK_HOLE_SUM_MAX ((uint64_t)16 << 30)

struct bak_file_writer;

struct bak_file_writer_conf {
	struct bak_segmenter *segmenter; /* borrowed, as are all */
	struct bak_index *index;
	struct bak_source *source;
	struct bak_usable *usable;
	const struct bak_keyring *ring;
	uint32_t chunk_min, chunk_avg, chunk_max, span;
	size_t table_bytes; /* see span_writer.h, as for these */
	bool no_alike, no_dedup;
};

int bak_file_writer_new(const struct bak_file_writer_conf *conf, struct bak_file_writer **out_fw,
			struct bak_error *err);
void bak_file_writer_free(struct bak_file_writer *fw); /* NULL is fine */

/* previous: the file's content one snapshot earlier, copied; NULL: none. */
void bak_file_writer_begin(struct bak_file_writer *fw, enum bak_seg_class class,
			   const struct bak_content *previous, uint64_t previous_size);
int bak_file_writer_data(struct bak_file_writer *fw, const void *p, size_t len,
			 struct bak_error *err);
int bak_file_writer_hole(struct bak_file_writer *fw, uint64_t len, struct bak_error *err);
/* Instead of data and holes: the file is these extents. */
int bak_file_writer_extents(struct bak_file_writer *fw, const struct bak_extent *extents, size_t n,
			    const uint8_t sha256[32], struct bak_error *err);
/* *out_summed false: too much of it is holes, sha256 is zero. */
int bak_file_writer_finish(struct bak_file_writer *fw, struct bak_content *out_content,
			   uint64_t *out_size, uint8_t out_sha256[32], bool *out_summed,
			   struct bak_error *err);
/* Waits until all is stored that was handed over: before the segmenter is used for anything else
 * while a file is open. */
int bak_file_writer_settle(struct bak_file_writer *fw, struct bak_error *err);
/* After finish: no byte of it is a hole. */
bool bak_file_writer_solid(const struct bak_file_writer *fw);

#endif
