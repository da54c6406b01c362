/* Dumps of neo4j-admin, unpacked and framed anew: see archive.h. */
#include "stores/neo4j/archive.h"

#include "stores/neo4j/tar.h"

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define MAGIC_LEN 4
#define HEAD_LEN 24 /* "zstd", version, files, bytes */
#define WINDOW_LOG_MAX 26
#define UNPACKED_LEN (256u << 10)
#define ZSTD_BLOCK (128u << 10)
#define GZIP_BLOCK 65535u

enum form {
	FORM_UNKNOWN,
	FORM_ZSTD,
	FORM_GZIP,
};

struct bak_neo4j_archive {
	bak_neo4j_sink *sink;
	void *sink_ctx;
	enum form form;
	uint8_t magic[MAGIC_LEN];
	size_t magic_have;
	/* unpacking */
	ZSTD_DCtx *zstd;
	struct inflate_state *inflate;
	bool at_frame_end; /* of the compressed stream */
	uint8_t *unpacked;
	/* what is in it */
	uint8_t head[HEAD_LEN];
	size_t head_have;
	struct bak_neo4j_tar tar;
	/* framing */
	uint8_t *block;
	size_t block_have;
	uint32_t crc, length; /* gzip's trailer */
};

int bak_neo4j_archive_new(bak_neo4j_sink *sink, void *ctx, struct bak_neo4j_archive **out,
			  struct bak_error *err)
{
	struct bak_neo4j_archive *a = calloc(1, sizeof *a);

	if (a)
		*a = (struct bak_neo4j_archive){.sink = sink,
						.sink_ctx = ctx,
						.unpacked = malloc(UNPACKED_LEN),
						.block = malloc(ZSTD_BLOCK)};
	if (!a || !a->unpacked || !a->block) {
		bak_neo4j_archive_free(a);
		return bak_error_nomem(err);
	}
	*out = a;
	return 0;
}

void bak_neo4j_archive_free(struct bak_neo4j_archive *a)
{
	if (!a)
		return;
	ZSTD_freeDCtx(a->zstd);
	free(a->inflate);
	free(a->unpacked);
	free(a->block);
	bak_neo4j_tar_release(&a->tar);
	free(a);
}

/* --- framing anew --- */

static int give(struct bak_neo4j_archive *a, const void *p, size_t len, struct bak_error *err)
{
	return a->sink ? a->sink(a->sink_ctx, p, len, err) : 0;
}

static int give_head(struct bak_neo4j_archive *a, struct bak_error *err)
{
	/* zstd: one frame, no checksum, a window of 128 KiB. gzip: no name, no time. */
	static const uint8_t zstd[] = {'D', 'Z', 'V', '1', 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38};
	static const uint8_t gzip[] = {'D', 'G', 'V', '1', 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff};

	return a->form == FORM_ZSTD ? give(a, zstd, sizeof zstd, err)
				    : give(a, gzip, sizeof gzip, err);
}

static int give_block(struct bak_neo4j_archive *a, bool last, struct bak_error *err)
{
	uint8_t head[5];
	size_t n = 0;

	if (a->form == FORM_ZSTD) {
		uint32_t word = (uint32_t)a->block_have << 3 | last;

		while (n < 3) {
			head[n++] = (uint8_t)word;
			word >>= 8;
		}
	} else {
		uint16_t len = (uint16_t)a->block_have;

		head[n++] = last;
		for (uint32_t both = len | (uint32_t)(uint16_t)~len << 16; n < 5; both >>= 8)
			head[n++] = (uint8_t)both;
		a->crc = crc32_gzip_refl(a->crc, a->block, a->block_have);
		a->length += len;
	}
	if (give(a, head, n, err) < 0 || give(a, a->block, a->block_have, err) < 0)
		return -1;
	a->block_have = 0;
	return 0;
}

static int give_tail(struct bak_neo4j_archive *a, struct bak_error *err)
{
	uint8_t tail[8];

	if (give_block(a, true, err) < 0)
		return -1;
	if (a->form == FORM_ZSTD)
		return 0;
	for (size_t i = 0; i < 4; i++) {
		tail[i] = (uint8_t)(a->crc >> 8 * i);
		tail[4 + i] = (uint8_t)(a->length >> 8 * i);
	}
	return give(a, tail, sizeof tail, err);
}

static int frame(struct bak_neo4j_archive *a, const uint8_t *p, size_t len, struct bak_error *err)
{
	size_t room = a->form == FORM_ZSTD ? ZSTD_BLOCK : GZIP_BLOCK;

	while (len) {
		size_t n = len < room - a->block_have ? len : room - a->block_have;

		memcpy(a->block + a->block_have, p, n);
		a->block_have += n;
		p += n;
		len -= n;
		if (a->block_have == room && give_block(a, false, err) < 0)
			return -1;
	}
	return 0;
}

/* --- what is in it --- */

static int check_head(const struct bak_neo4j_archive *a, struct bak_error *err)
{
	static const uint8_t want[] = {'z', 's', 't', 'd', 0, 0, 0};

	if (memcmp(a->head, want, sizeof want) != 0)
		return bak_error_set(err, BAK_CORRUPT, "not a Neo4j dump: something else is in it");
	if (a->head[7] != 1)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "a Neo4j dump of version %u, and bakfs knows version 1",
				     a->head[7]);
	return 0;
}

static int take_unpacked(struct bak_neo4j_archive *a, const uint8_t *p, size_t len,
			 struct bak_error *err)
{
	if (frame(a, p, len, err) < 0)
		return -1;
	while (a->form == FORM_ZSTD && len && a->head_have < HEAD_LEN) {
		a->head[a->head_have++] = *p++;
		len--;
		if (a->head_have == HEAD_LEN && check_head(a, err) < 0)
			return -1;
	}
	return bak_neo4j_tar_feed(&a->tar, p, len, err);
}

/* --- unpacking --- */

static int unpack_zstd(struct bak_neo4j_archive *a, const uint8_t *p, size_t len,
		       struct bak_error *err)
{
	ZSTD_inBuffer in = {.src = p, .size = len};
	bool full = true;

	/* What is full may have left something inside. */
	while (in.pos < in.size || full) {
		ZSTD_outBuffer out = {.dst = a->unpacked, .size = UNPACKED_LEN};
		size_t left = ZSTD_decompressStream(a->zstd, &out, &in);

		if (ZSTD_isError(left))
			return bak_error_set(err, BAK_CORRUPT, "damaged: zstd: %s",
					     ZSTD_getErrorName(left));
		a->at_frame_end = left == 0;
		full = out.pos == out.size;
		if (take_unpacked(a, a->unpacked, out.pos, err) < 0)
			return -1;
		if (in.pos == in.size && left == 0)
			break;
	}
	return 0;
}

static int unpack_gzip(struct bak_neo4j_archive *a, const uint8_t *p, size_t len,
		       struct bak_error *err)
{
	if (a->at_frame_end && len)
		return bak_error_set(err, BAK_CORRUPT, "something stands behind its end");
	a->inflate->next_in = (uint8_t *)(uintptr_t)p;
	a->inflate->avail_in = (uint32_t)len;
	do {
		a->inflate->next_out = a->unpacked;
		a->inflate->avail_out = UNPACKED_LEN;
		int rc = isal_inflate(a->inflate);
		if (rc != ISAL_DECOMP_OK)
			return bak_error_set(err, BAK_CORRUPT, "damaged: gzip: error %d", rc);
		if (take_unpacked(a, a->unpacked, UNPACKED_LEN - a->inflate->avail_out, err) < 0)
			return -1;
		a->at_frame_end = a->inflate->block_state == ISAL_BLOCK_FINISH;
	} while (!a->at_frame_end && (a->inflate->avail_in || a->inflate->avail_out == 0));
	if (a->at_frame_end && a->inflate->avail_in)
		return bak_error_set(err, BAK_CORRUPT, "something stands behind its end");
	return 0;
}

static int unpack(struct bak_neo4j_archive *a, const uint8_t *p, size_t len, struct bak_error *err)
{
	/* avail_in is 32 bits wide */
	const size_t most = 1u << 30;

	for (; len > most; p += most, len -= most) {
		if (unpack(a, p, most, err) < 0)
			return -1;
	}
	return a->form == FORM_ZSTD ? unpack_zstd(a, p, len, err) : unpack_gzip(a, p, len, err);
}

static int begin_zstd(struct bak_neo4j_archive *a, struct bak_error *err)
{
	a->form = FORM_ZSTD;
	a->zstd = ZSTD_createDCtx();
	if (!a->zstd)
		return bak_error_nomem(err);
	ZSTD_DCtx_setParameter(a->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
	return 0;
}

static int begin_gzip(struct bak_neo4j_archive *a, struct bak_error *err)
{
	a->form = FORM_GZIP;
	a->inflate = malloc(sizeof *a->inflate);
	if (!a->inflate)
		return bak_error_nomem(err);
	isal_inflate_init(a->inflate);
	a->inflate->crc_flag = ISAL_GZIP;
	return 0;
}

/* By its first four bytes, which are the stream's own where there is no magic. */
static int begin(struct bak_neo4j_archive *a, struct bak_error *err)
{
	static const uint8_t zstd[] = {0x28, 0xb5, 0x2f, 0xfd}, gzip[] = {0x1f, 0x8b};
	bool bare = false;
	int rc;

	if (memcmp(a->magic, "DZV1", 4) == 0 || (bare = !memcmp(a->magic, zstd, sizeof zstd)))
		rc = begin_zstd(a, err);
	else if (memcmp(a->magic, "DGV1", 4) == 0 || (bare = !memcmp(a->magic, gzip, sizeof gzip)))
		rc = begin_gzip(a, err);
	else
		return bak_error_set(err, BAK_CORRUPT,
				     "not a Neo4j dump: it begins with neither DZV1 nor DGV1");
	if (rc < 0 || give_head(a, err) < 0)
		return -1;
	return bare ? unpack(a, a->magic, MAGIC_LEN, err) : 0;
}

int bak_neo4j_archive_feed(struct bak_neo4j_archive *a, const void *p, size_t len,
			   struct bak_error *err)
{
	const uint8_t *at = p;

	for (; a->magic_have < MAGIC_LEN && len; len--) {
		a->magic[a->magic_have++] = *at++;
		if (a->magic_have == MAGIC_LEN && begin(a, err) < 0)
			return -1;
	}
	return len ? unpack(a, at, len, err) : 0;
}

static uint64_t big_endian(const uint8_t *p)
{
	uint64_t n = 0;

	for (size_t i = 0; i < 8; i++)
		n = n << 8 | p[i];
	return n;
}

int bak_neo4j_archive_end(struct bak_neo4j_archive *a, struct bak_neo4j_archive_stats *out,
			  struct bak_error *err)
{
	if (a->magic_have == 0)
		return bak_error_set(err, BAK_CORRUPT, "the dump is empty");
	if (a->form == FORM_UNKNOWN || !a->at_frame_end)
		return bak_error_set(err, BAK_CORRUPT, "cut off behind %llu files",
				     (unsigned long long)a->tar.files);
	if (a->form == FORM_ZSTD && a->head_have < HEAD_LEN)
		return bak_error_set(err, BAK_CORRUPT, "not a Neo4j dump: it is too short");
	if (bak_neo4j_tar_end(&a->tar, err) < 0)
		return -1;

	uint64_t files = big_endian(a->head + 8), bytes = big_endian(a->head + 16);
	if (a->form == FORM_ZSTD && (files != a->tar.files || bytes != a->tar.bytes))
		return bak_error_set(err, BAK_CORRUPT,
				     "damaged: it promises %llu files with %llu bytes and has %llu "
				     "with %llu",
				     (unsigned long long)files, (unsigned long long)bytes,
				     (unsigned long long)a->tar.files,
				     (unsigned long long)a->tar.bytes);
	*out = (struct bak_neo4j_archive_stats){
		.files = a->tar.files, .bytes = a->tar.bytes, .gzip = a->form == FORM_GZIP};
	return give_tail(a, err);
}
