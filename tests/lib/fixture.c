/* An engine without a repository around it: see fixture.h. */
#include "tests/lib/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void must(int rc, const struct bak_error *err)
{
	if (rc < 0)
		fail_msg("%s", err->msg);
}

void bak_fixture_open(struct bak_fixture *fx)
{
	struct bak_error err = BAK_ERROR_INIT;
	bool fresh;
	*fx = (struct bak_fixture){.chunk = {8192, 32768, 131072, 1u << 20}};
	must(bak_backend_mem_new(&fx->mem, &err), &err);
	must(bak_backend_fault_new(fx->mem, &fx->backend, &err), &err);
	must(bak_keyring_generate(&fx->ring, &err), &err);
	must(bak_index_open(NULL, &fx->index, &fresh, &err), &err);
	struct bak_source_conf conf = {.backend = fx->backend,
				       .ring = &fx->ring,
				       .index = fx->index,
				       .cache_bytes = 64u << 20};
	must(bak_source_new(&conf, &fx->source, &err), &err);
}

void bak_fixture_close(struct bak_fixture *fx)
{
	bak_source_free(fx->source);
	bak_index_close(fx->index);
	bak_keyring_release(&fx->ring);
	bak_backend_close(fx->backend);
	bak_backend_close(fx->mem);
}

struct bak_writer *bak_fixture_writer(struct bak_fixture *fx, const struct bak_snapshot *previous)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_writer_conf conf = {.backend = fx->backend,
				       .ring = &fx->ring,
				       .index = fx->index,
				       .source = fx->source,
				       .no_alike = fx->no_alike,
				       .no_dedup = fx->no_dedup,
				       .chunk = fx->chunk,
				       .run_start = 1000,
				       .level = 3,
				       .workers = 2,
				       .previous = previous,
				       .scan_start_s = INT64_MAX};
	struct bak_writer *w = NULL;
	must(bak_writer_new(&conf, &w, &err), &err);
	return w;
}

struct bak_snapshot bak_fixture_snapshot(const struct bak_writer_result *result)
{
	struct bak_snapshot s = {.number = 1,
				 .root = result->root,
				 .links = result->links,
				 .link_bytes = result->link_bytes,
				 .next_link = result->next_link,
				 .link_table = result->link_table};
	s.root.xattrs = NULL;
	s.root.xattrs_len = 0;
	return s;
}

void bak_fixture_finish(struct bak_fixture *fx, struct bak_writer *w, struct bak_snapshot *out,
			uint64_t *added, uint64_t *new_bytes)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_writer_result result;
	(void)fx;
	must(bak_writer_finish(w, &result, &err), &err);
	*out = bak_fixture_snapshot(&result);
	if (added)
		*added = result.added;
	if (new_bytes)
		*new_bytes = result.new_bytes;
	bak_writer_free(w);
}

void bak_fill_random(uint8_t *p, size_t len, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)(x >> 24);
	}
}

void bak_fill_text(uint8_t *p, size_t len, uint64_t seed)
{
	char line[96];
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t at = 0; at < len;) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		int n = snprintf(line, sizeof line, "%llu\tcustomer %llu\t%u.%02u\tpaid\n",
				 (unsigned long long)(x >> 20), (unsigned long long)(x >> 40),
				 (unsigned)(x >> 50), (unsigned)(x >> 57));
		size_t k = (size_t)n < len - at ? (size_t)n : len - at;
		memcpy(p + at, line, k);
		at += k;
	}
}

struct bak_source_inode bak_test_inode(enum bak_type type, uint64_t ino, uint64_t size)
{
	return (struct bak_source_inode){.inode = {.type = type,
						   .mode = type == BAK_TYPE_DIR ? 0755 : 0644,
						   .mtime_s = 1700000000,
						   .mtime_ns = 5,
						   .ctime_s = 1700000001,
						   .ino = ino,
						   .size = size},
					 .dev = 1,
					 .nlink = 1};
}

void bak_test_file(struct bak_writer *w, const char *name, uint64_t ino, const void *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, ino, len);
	must(bak_writer_file(w, name, &in, BAK_HINT_NONE, &err), &err);
	/* In odd pieces, as a driver might. */
	for (size_t at = 0; at < len;) {
		size_t n = len - at < 70001 ? len - at : 70001;
		must(bak_writer_data(w, (const uint8_t *)p + at, n, &err), &err);
		at += n;
	}
	must(bak_writer_file_end(w, NULL, &err), &err);
}
