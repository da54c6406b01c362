/*
 * Bench data, the same every time: make_data DIR SCALE makes
 *   DIR/tree   SCALE * 5.4 folders of 100 small files (text, code-like and binary, 0 to 90 KiB)
 *   DIR/dump.sql    SCALE * 5 MB: rows as pg_dump writes them
 *   DIR/vectors.f32 SCALE * 4 MB: float32 vectors of unit length
 * SCALE 100 is 54,000 files and about 1.5 GB.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t seed = 20261121;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static FILE *create(const char *path)
{
	FILE *f = fopen(path, "w");
	if (!f) {
		perror(path);
		exit(1);
	}
	return f;
}

static void finish(FILE *f, const char *path)
{
	if (ferror(f) || fclose(f) != 0) {
		perror(path);
		exit(1);
	}
}

static const char *const words[] = {
	"return",  "the",     "backup",  "struct", "const",   "error", "of",       "and",
	"segment", "pointer", "license", "copy",   "library", "int",   "default",  "value",
	"static",  "version", "if",      "config", "restore", "is",    "function", "this"};

static void text_file(FILE *f, size_t len)
{
	size_t at = 0;
	while (at < len) {
		uint64_t r = rnd();
		const char *w = words[r % 24];
		at += (size_t)fprintf(f, (r >> 8) % 11 ? "%s " : "%s_%x;\n", w,
				      (unsigned)(r >> 20) & 0xfff);
	}
}

static void binary_file(FILE *f, size_t len)
{
	for (size_t at = 0; at < len; at += 8) {
		uint64_t r = rnd();
		/* Half of the words come from a small set, as opcodes do. */
		uint64_t w = r & 1 ? (r >> 8) % 512 * 0x0101010101u : r;
		fwrite(&w, 1, len - at < 8 ? len - at : 8, f);
	}
}

static void make_tree(const char *dir, unsigned scale)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/tree", dir);
	mkdir(path, 0755);
	for (unsigned d = 0; d < scale * 54 / 10; d++) {
		snprintf(path, sizeof path, "%s/tree/pkg%04u", dir, d);
		mkdir(path, 0755);
		for (unsigned i = 0; i < 100; i++) {
			uint64_t r = rnd();
			size_t len = (size_t)(r % 1000 < 20    ? 0
					      : r % 1000 < 900 ? (r >> 10) % 18000
							       : (r >> 10) % 90000);
			snprintf(path, sizeof path, "%s/tree/pkg%04u/file%03u.%s", dir, d, i,
				 (r >> 40) % 4 ? "txt" : "bin");
			FILE *f = create(path);
			if ((r >> 40) % 4)
				text_file(f, len);
			else
				binary_file(f, len);
			finish(f, path);
		}
	}
}

static void make_dump(const char *dir, unsigned scale)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/dump.sql", dir);
	FILE *f = create(path);
	size_t at = 0;
	for (unsigned long id = 1; at < (size_t)scale * 5000000; id++) {
		uint64_t r = rnd(), s = rnd();
		at += (size_t)fprintf(f,
				      "%lu\tuser%llu@example.org\t%llu\t2026-%02u-%02u "
				      "%02u:%02u:%02u\t%s %s %s\t%llx\n",
				      id, (unsigned long long)(r >> 44),
				      (unsigned long long)(s % 100000), (unsigned)(r % 12) + 1,
				      (unsigned)(r >> 4) % 28 + 1, (unsigned)(r >> 9) % 24,
				      (unsigned)(r >> 14) % 60, (unsigned)(r >> 20) % 60,
				      words[s % 24], words[(s >> 5) % 24], words[(s >> 10) % 24],
				      (unsigned long long)(s >> 16));
	}
	finish(f, path);
}

static void make_vectors(const char *dir, unsigned scale)
{
	enum { DIM = 384 };
	char path[4096];
	float v[DIM];
	snprintf(path, sizeof path, "%s/vectors.f32", dir);
	FILE *f = create(path);
	for (size_t n = (size_t)scale * 4000000 / sizeof v; n > 0; n--) {
		double sum = 0;
		for (int i = 0; i < DIM; i++) {
			double a = 0;
			for (int k = 0; k < 4; k++)
				a += (double)(rnd() >> 40) / (1 << 24) - 0.5;
			v[i] = (float)a;
			sum += a * a;
		}
		for (int i = 0; i < DIM; i++)
			v[i] = (float)(v[i] / sqrt(sum));
		fwrite(v, sizeof v, 1, f);
	}
	finish(f, path);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: make_data DIR SCALE\n");
		return 2;
	}
	unsigned scale = (unsigned)strtoul(argv[2], NULL, 10);
	mkdir(argv[1], 0755);
	make_tree(argv[1], scale);
	make_dump(argv[1], scale);
	make_vectors(argv[1], scale);
	return 0;
}
