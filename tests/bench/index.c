/*
 * A synthetic index: bench_index FILE MILLIONS fills an index with chunks, pack by pack as a backup
 * does, and at each doubling prints how fast rows went in, how fast present and absent ones are
 * looked up, the file's size and the memory in use. Made, not read from anywhere, so hashes are
 * as scattered as real ones and cost nothing.
 */
#include "engine/storage/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define CHUNKS 4096 /* of a pack: 128 MiB raw in chunks of 32 KiB */
#define SEGS 128
#define LOOKUPS 100000

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* splitmix64: the same number gives the same hash. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void hash_of(uint64_t n, struct bak_hash *out)
{
	uint64_t words[2] = {mix(2 * n), mix(2 * n + 1)};
	memcpy(out->b, words, sizeof out->b);
}

static void must(int rc, const struct bak_error *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "bench_index: %s\n", err->msg);
	exit(1);
}

static void add_pack(struct bak_index *index, uint64_t first)
{
	static struct bak_chunk_row chunks[CHUNKS];
	static struct bak_seg_copy segs[SEGS];
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pack_rows rows = {
		.segs = segs, .n_segs = SEGS, .chunks = chunks, .n_chunks = CHUNKS};
	uint64_t pack[2] = {mix(first), first};
	memcpy(rows.pack.id, pack, BAK_PACK_ID_BYTES < sizeof pack ? BAK_PACK_ID_BYTES : 16);
	rows.pack.size = 64u << 20;
	for (uint32_t i = 0; i < SEGS; i++) {
		segs[i] = (struct bak_seg_copy){.id.n = (uint32_t)(first / CHUNKS * SEGS + i),
						.off = (uint64_t)i << 19,
						.len = 1u << 19,
						.raw_len = 1u << 20,
						.type = 1};
		memcpy(segs[i].pack, rows.pack.id, BAK_PACK_ID_BYTES);
	}
	for (uint32_t i = 0; i < CHUNKS; i++) {
		hash_of(first + i, &chunks[i].hash);
		chunks[i].seg = segs[i / (CHUNKS / SEGS)].id;
		chunks[i].off = i % (CHUNKS / SEGS) << 15;
		chunks[i].len = 1u << 15;
	}
	must(bak_index_add_pack(index, &rows, &err), &err);
}

/* Microseconds of one look-up, of chunks spread over [from, from + span). */
static double look_up(struct bak_index *index, uint64_t from, uint64_t span, int want)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_chunk_row row;
	struct bak_hash hash;
	double start = now();
	for (uint64_t i = 0; i < LOOKUPS; i++) {
		hash_of(from + mix(i) % span, &hash);
		int found = bak_index_find_chunk(index, &hash, &row, &err);
		must(found, &err);
		if (found != want) {
			fprintf(stderr, "bench_index: a wrong answer\n");
			exit(1);
		}
	}
	return (now() - start) / LOOKUPS * 1e6;
}

static long resident_mb(void)
{
	long pages = 0, skipped = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f && fscanf(f, "%ld %ld", &skipped, &pages) != 2)
		pages = 0;
	if (f)
		fclose(f);
	return pages * 4096 / 1000000;
}

int main(int argc, char **argv)
{
	struct bak_index *index;
	struct bak_error err = BAK_ERROR_INIT;
	struct stat st;
	bool fresh;
	if (argc != 3) {
		fprintf(stderr, "usage: bench_index FILE MILLIONS\n");
		return 2;
	}
	uint64_t want = strtoul(argv[2], NULL, 10) * 1000000, n = 0, next = 1000000;
	must(bak_index_open(argv[1], &index, &fresh, &err), &err);
	printf("%10s %12s %12s %12s %9s %9s\n", "chunks", "rows/s in", "found us", "absent us",
	       "index MB", "RSS MB");
	for (uint64_t done = 0; n < want; next = 2 * next < want ? 2 * next : want) {
		double start = now();
		for (; n < next; n += CHUNKS)
			add_pack(index, n);
		double took = now() - start;
		double found = look_up(index, 0, n, 1), absent = look_up(index, 1ull << 40, n, 0);
		if (stat(argv[1], &st) < 0)
			st.st_size = 0;
		printf("%10llu %12.0f %12.2f %12.2f %9lld %9ld\n", (unsigned long long)n,
		       (double)(n - done) / took, found, absent, (long long)st.st_size / 1000000,
		       resident_mb());
		fflush(stdout);
		done = n;
	}
	bak_index_close(index);
	return 0;
}
