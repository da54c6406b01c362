/*
 * The index: a SQLite database outside the repository that finds chunks, span nodes, segments,
 * packs and snapshots fast. A cache of what footers and snapshots say: deleting it loses nothing.
 * It knows no crypto and no backend; objects/ and ops/ fill it.
 *
 * Threads: every call may come from any thread; a mutex inside serialises them (a look-up holds it
 *   for microseconds). No callback is called with the mutex held unless its comment says so.
 * Errors: look-ups 1 found, 0 absent, -1 error. A database that SQLite calls malformed, or of
 *   another schema version, is deleted and made anew by open (out_fresh tells).
 */
#ifndef BAK_STORAGE_INDEX_H
#define BAK_STORAGE_INDEX_H

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bak_index;

/* Where one copy of a segment lies. */
struct bak_seg_copy {
	struct bak_seg_id id;
	uint8_t pack[BAK_PACK_ID_BYTES];
	uint64_t off; /* of its record (salt) in the pack */
	uint32_t len; /* of the whole record */
	uint32_t raw_len;
	uint32_t key; /* number of the master that sealed it */
	uint8_t type; /* enum bak_seg_type */
	bool holed;
	bool condemned; /* its pack is condemned */
};

struct bak_chunk_row {
	struct bak_hash hash;
	struct bak_seg_id seg;
	uint32_t off, len;
};

struct bak_node_row {
	struct bak_hash hash;
	struct bak_ref ref;
	uint64_t span_len; /* raw bytes that the span holds */
};

struct bak_pack_row {
	uint8_t id[BAK_PACK_ID_BYTES];
	uint64_t size;
	uint8_t run[8];
	bool condemned;
	bool walked; /* its footer was damaged: read header by header */
};

/* One snapshot, as the list shows it. Strings are borrowed in callbacks, owned by
 * bak_snapshot_row_release elsewhere. */
struct bak_snapshot_row {
	uint64_t number;
	char *store, *type, *host, *run, *description, *driver;
	int64_t stamp, run_stamp;                          /* UTC seconds */
	uint64_t entries, files, escaped, bytes, sums_len; /* whole payload, hard links counted once
							      in bytes */
	uint64_t added; /* bytes that it added to the repository */
	uint64_t manifest_len;
	uint64_t object_len; /* of the sealed object */
	bool forgotten;      /* by what the index knows; adding a row does not look at it */
	char *tags;          /* comma separated, "" for none */
};
void bak_snapshot_row_release(struct bak_snapshot_row *row);

/* path is the database file; its folder is made (0700), the file is 0600. NULL path: in memory. */
int bak_index_open(const char *path, struct bak_index **out_index, bool *out_fresh,
		   struct bak_error *err);
void bak_index_close(struct bak_index *index);
/* The pages that it keeps in memory take at most so many bytes; 64 MiB if this is not called. */
int bak_index_limit(struct bak_index *index, size_t bytes, struct bak_error *err);

/* One transaction around many changes (reindex): others see all of them or none. clear: begins by
 * emptying everything, also when the file is malformed. Nothing else may use the index from this
 * process until end. */
int bak_index_begin(struct bak_index *index, bool clear, struct bak_error *err);
int bak_index_end(struct bak_index *index, bool commit, struct bak_error *err);

/* What the holed copy segs[seg] keeps: n of `ranges`, from first on. */
struct bak_kept_rows {
	size_t seg, first, n;
};

/* Everything that one pack says, in one transaction. rows are sorted inside as needed. */
struct bak_pack_rows {
	struct bak_pack_row pack;
	const struct bak_seg_copy *segs;
	size_t n_segs;
	const struct bak_kept_rows *kept; /* sorted by seg; a holed copy without them keeps nothing
					     that is known */
	size_t n_kept;
	const struct bak_seg_range *ranges;
	const struct bak_chunk_row *chunks;
	size_t n_chunks;
	const struct bak_node_row *nodes;
	size_t n_nodes;
};
int bak_index_add_pack(struct bak_index *index, const struct bak_pack_rows *rows,
		       struct bak_error *err);
/* Drops the pack with its segments, and the chunks and nodes whose segment has no copy left. */
int bak_index_drop_pack(struct bak_index *index, const uint8_t id[BAK_PACK_ID_BYTES],
			struct bak_error *err);
int bak_index_condemn_pack(struct bak_index *index, const uint8_t id[BAK_PACK_ID_BYTES],
			   bool condemned, struct bak_error *err);
/* All packs, sorted by id. *out_packs is the caller's to free. */
int bak_index_packs(struct bak_index *index, struct bak_pack_row **out_packs, size_t *out_n,
		    struct bak_error *err);

int bak_index_find_chunk(struct bak_index *index, const struct bak_hash *hash,
			 struct bak_chunk_row *out, struct bak_error *err);
int bak_index_find_node(struct bak_index *index, const struct bak_hash *hash,
			struct bak_node_row *out, struct bak_error *err);
/* All copies of a segment, uncondemned and whole ones first. Fills at most max; *out_n is how many
 * there are. 1 found, 0 none. */
int bak_index_find_segment(struct bak_index *index, const struct bak_seg_id *id,
			   struct bak_seg_copy *out, size_t max, size_t *out_n,
			   struct bak_error *err);
/* What a holed copy keeps, sorted; none when that is not known. *out is the caller's. */
int bak_index_kept(struct bak_index *index, const struct bak_seg_copy *copy,
		   struct bak_seg_range **out, size_t *out_n, struct bak_error *err);
/* Whether a copy keeps the bytes [off, off + len): */
enum bak_keeps {
	BAK_KEEPS_NOT = 0,
	BAK_KEEPS_CONDEMNED = 1, /* only copies in condemned packs do */
	BAK_KEEPS_RANGE = 2,     /* one in an uncondemned pack does, with holes elsewhere */
	BAK_KEEPS_WHOLE = 3,     /* one in an uncondemned pack has the whole segment */
};
int bak_index_keeps(struct bak_index *index, const struct bak_seg_id *id, uint32_t off,
		    uint32_t len, enum bak_keeps *out, struct bak_error *err);
/* All segment copies of one pack, in the order in which they lie there. *out is the caller's. */
int bak_index_pack_segments(struct bak_index *index, const uint8_t id[BAK_PACK_ID_BYTES],
			    struct bak_seg_copy **out, size_t *out_n, struct bak_error *err);

/* What a tree object refers to (objects/refs.h), kept under its place for the next time. Goes with
 * the last copy of its segment, and in a reindex. */
struct bak_refs_row {
	struct bak_seg_id seg;
	uint32_t off, len; /* of the object */
	size_t at, n;      /* where its bytes stand in the buffer given with the rows */
};
int bak_index_add_refs(struct bak_index *index, const struct bak_refs_row *rows, size_t n,
		       const struct bak_buf *bytes, struct bak_error *err);
/* Appends to out: 1, 0 not kept, -1. */
int bak_index_find_refs(struct bak_index *index, const struct bak_seg_id *seg, uint32_t off,
			struct bak_buf *out, struct bak_error *err);
/* All of a tree segment, in order. *out_rows is the caller's; their bytes are appended to out. */
int bak_index_refs_of_segment(struct bak_index *index, const struct bak_seg_id *seg,
			      struct bak_refs_row **out_rows, size_t *out_n, struct bak_buf *out,
			      struct bak_error *err);

int bak_index_add_snapshot(struct bak_index *index, const struct bak_snapshot_row *row,
			   struct bak_error *err);
int bak_index_drop_snapshot(struct bak_index *index, uint64_t number, struct bak_error *err);

/* Records of forgotten numbers: unforget is for one that is gone again. */
struct bak_numbers {
	uint64_t first, last;
};
int bak_index_forget(struct bak_index *index, uint64_t first, uint64_t last, struct bak_error *err);
int bak_index_unforget(struct bak_index *index, uint64_t first, uint64_t last,
		       struct bak_error *err);
/* All of them, sorted by first and last; the caller's to free. */
int bak_index_forgotten(struct bak_index *index, struct bak_numbers **out_ranges, size_t *out_n,
			struct bak_error *err);

/* Whether this very record is known: 1, 0, -1. */
int bak_index_has_forgotten(struct bak_index *index, uint64_t first, uint64_t last,
			    struct bak_error *err);

/* Tags: version is the number behind the dash of the record that they were read from. */
struct bak_tag_version {
	uint64_t number, version;
};
int bak_index_set_tags(struct bak_index *index, uint64_t number, uint64_t version, const char *tags,
		       struct bak_error *err);
/* The version of the tags that are known: 1, 0 none, -1. */
int bak_index_tag_version(struct bak_index *index, uint64_t number, uint64_t *out_version,
			  struct bak_error *err);
int bak_index_drop_tags(struct bak_index *index, uint64_t number, struct bak_error *err);
/* All that are known, sorted by number; the caller's to free. */
int bak_index_tag_versions(struct bak_index *index, struct bak_tag_version **out, size_t *out_n,
			   struct bak_error *err);

/* 1 found (owned by the caller), 0, -1. Forgotten ones are found too; look at .forgotten. */
int bak_index_snapshot(struct bak_index *index, uint64_t number, struct bak_snapshot_row *out,
		       struct bak_error *err);
/* All unforgotten ones, by number; store NULL for all stores. fn is called without the mutex;
 * non-zero ends it and is returned. */
typedef int bak_snapshot_fn(void *ctx, const struct bak_snapshot_row *row);
int bak_index_each_snapshot(struct bak_index *index, const char *store, bak_snapshot_fn *fn,
			    void *ctx, struct bak_error *err);
/* The same as an array; free it with bak_snapshot_rows_free. */
int bak_index_snapshots(struct bak_index *index, const char *store,
			struct bak_snapshot_row **out_rows, size_t *out_n, struct bak_error *err);
void bak_snapshot_rows_free(struct bak_snapshot_row *rows, size_t n);
/* Numbers that have a row, forgotten or not, sorted; the caller's to free. */
int bak_index_snapshot_numbers(struct bak_index *index, uint64_t **out_numbers, size_t *out_n,
			       struct bak_error *err);
/* The same with the length of each one's object. */
struct bak_snapshot_object {
	uint64_t number, len;
};
int bak_index_snapshot_objects(struct bak_index *index, struct bak_snapshot_object **out,
			       size_t *out_n, struct bak_error *err);
/* Highest number that has a row or a forget record; 0 for none. */
int bak_index_highest(struct bak_index *index, uint64_t *out_number, struct bak_error *err);
/* Changes whenever another connection or process changed the database (PRAGMA data_version plus
 * our own count): what a mount polls. */
int bak_index_version(struct bak_index *index, uint64_t *out_version, struct bak_error *err);

/* What the packs hold: a segment or node with two copies counts twice. */
struct bak_index_counts {
	uint64_t packs, pack_bytes, segments, chunks, nodes, snapshots;
};
int bak_index_counts(struct bak_index *index, struct bak_index_counts *out, struct bak_error *err);

#endif
