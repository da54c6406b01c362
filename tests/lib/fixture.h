/*
 * An engine without a repository around it, for tests of the content floor: memory backend (behind
 * a fault wrapper), fresh keys, an index in memory, a reading side.
 */
#ifndef BAK_TESTS_FIXTURE_H
#define BAK_TESTS_FIXTURE_H

#include "engine/content/reader.h"
#include "engine/content/writer.h"

struct bak_fixture {
	struct bak_backend *mem, *backend; /* backend: the fault wrapper around mem */
	struct bak_keyring ring;
	struct bak_index *index;
	struct bak_source *source;
	struct bak_chunk_conf chunk;
	bool no_alike, no_dedup; /* of writers to come */
};

/* Fails the test when anything goes wrong. */
void bak_fixture_open(struct bak_fixture *fx);
void bak_fixture_close(struct bak_fixture *fx);
struct bak_writer *bak_fixture_writer(struct bak_fixture *fx, const struct bak_snapshot *previous);
/* Finishes the writer, frees it, and makes a snapshot that reading functions take; it owns
 * nothing. added, new_bytes may be NULL. */
void bak_fixture_finish(struct bak_fixture *fx, struct bak_writer *w, struct bak_snapshot *out,
			uint64_t *added, uint64_t *new_bytes);
/* What bak_fixture_finish makes of a writer's result. */
struct bak_snapshot bak_fixture_snapshot(const struct bak_writer_result *result);

/* Reproducible bytes. */
void bak_fill_random(uint8_t *p, size_t len, uint64_t seed);
void bak_fill_text(uint8_t *p, size_t len, uint64_t seed);
/* A regular file's or folder's inode with plausible fields. */
struct bak_source_inode bak_test_inode(enum bak_type type, uint64_t ino, uint64_t size);
/* One whole file through the writer. */
void bak_test_file(struct bak_writer *w, const char *name, uint64_t ino, const void *p, size_t len);

#endif
