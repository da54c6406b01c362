/*
 * Each stage of a backup alone, on one core, beside its limit: what the plainest loop over the same
 * library, or the processor, gives. bench_engine FILE: the first 64 MiB of the file.
 */
#include "engine/base/hash.h"
#include "engine/base/sha_lanes.h"
#include "engine/content/chunker.h"
#include "engine/content/matcher.h"
#include "engine/objects/seal.h"
#include "engine/objects/segment.h"

#include "tests/lib/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#define MAX_LEN ((size_t)64 << 20)
#define ROUNDS 3

struct bench {
	uint8_t *data, *out;
	size_t len;
	struct bak_chunker chunker;
	struct bak_keyring ring;
	struct bak_hmac hmac;
	struct bak_sha256 sha;
	struct bak_error err;
};

static void must(int rc, const struct bench *b)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "bench_engine: %s\n", b->err.msg);
	exit(1);
}

static double cpu_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The best of some rounds, bytes a second. */
static double rate(struct bench *b, void (*stage)(struct bench *), size_t bytes)
{
	double best = 1e9;
	for (int i = 0; i < ROUNDS; i++) {
		double start = cpu_now();
		stage(b);
		double took = cpu_now() - start;
		best = took < best ? took : best;
	}
	return (double)bytes / best;
}

static void line(const char *what, double ours, double limit, const char *which)
{
	printf("%-10s %8.0f MB/s   limit %8.0f MB/s   %5.2f   %s\n", what, ours / 1e6, limit / 1e6,
	       ours / limit, which);
}

/* --- stages, and what they are held against --- */

static volatile uint64_t sink;

static void chunk(struct bench *b)
{
	for (size_t at = 0; at < b->len;)
		at += bak_chunker_cut(&b->chunker, b->data + at, b->len - at);
}

/* One step of the hash for each byte, no cut. */
static void gear_alone(struct bench *b)
{
	uint64_t h = 0;
	for (size_t i = 0; i < b->len; i++)
		h = (h << 1) + b->chunker.gear[b->data[i]];
	sink = h;
}

/* As the writer does it: a file's sum and its chunks' keyed ones in step. */
static void hash(struct bench *b)
{
	uint8_t mac[BAK_SHA256_LEN];
	bak_sha256_begin(&b->sha);
	for (size_t at = 0, n; at < b->len; at += n) {
		n = b->len - at < 32768 ? b->len - at : 32768;
		bak_hmac_begin(&b->hmac);
		bak_hmac_update_both(&b->hmac, &b->sha, b->data + at, n);
		bak_hmac_final(&b->hmac, mac);
	}
	bak_sha256_final(&b->sha, mac);
	sink = mac[0];
}

static void openssl_twice(struct bench *b)
{
	uint8_t sum[32];
	unsigned n;
	for (int i = 0; i < 2; i++)
		EVP_Digest(b->data, b->len, sum, &n, EVP_sha256(), NULL);
	sink = sum[0];
}

static void compress(struct bench *b)
{
	static const struct bak_seg_id id = {.n = 1};
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_buf record = BAK_BUF_INIT;
	for (size_t at = 0; at < b->len; at += BAK_SEG_RAW) {
		size_t n = b->len - at < BAK_SEG_RAW ? b->len - at : BAK_SEG_RAW;
		record.len = 0;
		must(bak_segment_seal(&b->ring, &codec, BAK_SEG_DATA, false, &id, b->data + at, n,
				      3, &record, NULL, &b->err),
		     b);
	}
	bak_buf_release(&record);
	bak_seg_codec_release(&codec);
}

static void zstd_alone(struct bench *b)
{
	ZSTD_CCtx *cctx = ZSTD_createCCtx();
	for (size_t at = 0; at < b->len; at += BAK_SEG_RAW) {
		size_t n = b->len - at < BAK_SEG_RAW ? b->len - at : BAK_SEG_RAW;
		sink = ZSTD_compressCCtx(cctx, b->out, MAX_LEN, b->data + at, n, 3);
	}
	ZSTD_freeCCtx(cctx);
}

static void seal(struct bench *b)
{
	static const uint8_t salt[BAK_SALT_BYTES];
	uint8_t key[32];
	for (size_t at = 0; at < b->len; at += BAK_SEG_RAW) {
		size_t n = b->len - at < BAK_SEG_RAW ? b->len - at : BAK_SEG_RAW;
		must(bak_subkey(b->ring.masters[0].key, "bench", salt, &at, sizeof at, key,
				&b->err),
		     b);
		must(bak_gcm_seal(key, salt, sizeof salt, b->data + at, n, b->out, &b->err), b);
	}
}

static void gcm_alone(struct bench *b)
{
	static const uint8_t key[32], iv[12];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0;
	EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, iv);
	for (size_t at = 0; at < b->len; at += BAK_SEG_RAW)
		EVP_EncryptUpdate(ctx, b->out, &n, b->data + at,
				  (int)(b->len - at < BAK_SEG_RAW ? b->len - at : BAK_SEG_RAW));
	EVP_CIPHER_CTX_free(ctx);
}

static void copy(struct bench *b)
{
	memcpy(b->out, b->data, b->len);
	sink = b->out[b->len / 2];
}

/* --- matching: a version with an edit in each 4 KiB against the one before it --- */

struct versions {
	struct bak_fixture fx;
	struct bak_matcher *matcher;
	struct bak_snapshot old;
	struct bak_found file;
};
static struct versions *versions;

static void match(struct bench *b)
{
	const struct bak_piece *pieces;
	size_t n;
	const struct bak_inode *inode = &versions->file.entry.inode;
	bak_matcher_begin(versions->matcher, &inode->content, inode->size);
	for (size_t at = 0; at < b->len; at += BAK_SEG_RAW) {
		size_t len = b->len - at < BAK_SEG_RAW ? b->len - at : BAK_SEG_RAW;
		must(bak_matcher_run(versions->matcher, at, b->out + at, len, &pieces, &n, &b->err),
		     b);
	}
}

static double match_rate(struct bench *b)
{
	struct versions v = {.file = BAK_FOUND_INIT};
	bak_fixture_open(&v.fx);
	struct bak_writer *w = bak_fixture_writer(&v.fx, NULL);
	bak_test_file(w, "f", 1, b->data, b->len);
	bak_fixture_finish(&v.fx, w, &v.old, NULL, NULL);
	struct bak_tree tree = {v.fx.source, &v.old};
	must(bak_tree_path(&tree, "f", &v.file, &b->err), b);
	must(bak_matcher_new(v.fx.source, &b->chunker, &v.matcher, &b->err), b);
	copy(b);
	for (size_t at = 2000; at < b->len; at += 4096)
		b->out[at] ^= 0x55;
	versions = &v;
	double got = rate(b, match, b->len);
	bak_matcher_free(v.matcher);
	bak_found_release(&v.file);
	bak_fixture_close(&v.fx);
	return got;
}

static void open_bench(struct bench *b, const char *path)
{
	FILE *f = fopen(path, "r");
	b->data = malloc(MAX_LEN);
	b->out = malloc(MAX_LEN + 64);
	if (!f || !b->data || !b->out || (b->len = fread(b->data, 1, MAX_LEN, f)) == 0) {
		perror(path);
		exit(1);
	}
	fclose(f);
	memset(b->out, 1, MAX_LEN);
	must(bak_keyring_generate(&b->ring, &b->err), b);
	must(bak_chunker_init(&b->chunker, b->ring.gear_key, 8192, 32768, 131072, &b->err), b);
	must(bak_hmac_init(&b->hmac, b->ring.id_key, &b->err), b);
	must(bak_sha256_init(&b->sha, &b->err), b);
}

int main(int argc, char **argv)
{
	struct bench b = {.err = BAK_ERROR_INIT};
	if (argc != 2) {
		fprintf(stderr, "usage: bench_engine FILE\n");
		return 2;
	}
	open_bench(&b, argv[1]);
	size_t n = b.len;
	line("chunk", rate(&b, chunk, n), rate(&b, gear_alone, n),
	     "the hash of every byte, no cut");
	line("hash", rate(&b, hash, n), rate(&b, openssl_twice, n),
	     "OpenSSL's SHA-256, twice; both sums");
	line("match", match_rate(&b), rate(&b, copy, n), "memcpy");
	line("compress", rate(&b, compress, n), rate(&b, zstd_alone, n),
	     "zstd 3 alone; with the probe and the seal");
	line("seal", rate(&b, seal, n), rate(&b, gcm_alone, n), "AES-256-GCM, one key and no tag");
	bak_sha256_release(&b.sha);
	bak_hmac_release(&b.hmac);
	bak_keyring_release(&b.ring);
	free(b.data);
	free(b.out);
	return 0;
}
