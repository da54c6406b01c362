/* Hashes of spans, computed again: see recheck.h. */
#include "engine/content/recheck.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"

#include <stdlib.h>

/* Spans and files of one extent are about a mebibyte; nothing that we made is longer than this. */
#define WHOLE_MAX (64u << 20)
#define MAX_LEVELS 24

struct range {
	struct bak_recheck *recheck;
	struct bak_source *source;
	const struct bak_keyring *ring;
	uint64_t off, end;
};

static uint64_t place_key(const struct bak_seg_id *seg, uint32_t off)
{
	uint64_t random;
	memcpy(&random, seg->run, sizeof random);
	return (random ^ (uint64_t)seg->n << 32 ^ off) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

static bool known_right(struct bak_recheck *recheck, uint64_t key)
{
	return atomic_load(&recheck->right[(key >> 32) % BAK_RECHECK_SLOTS]) == key;
}

static void remember(struct bak_recheck *recheck, uint64_t key)
{
	atomic_store(&recheck->right[(key >> 32) % BAK_RECHECK_SLOTS], key);
}

/* What the span's hash is made of, in one buffer: marks of chunks, holes and zeros, in order. */
static int hash_items(const struct range *r, const struct bak_span *span, const uint8_t *bytes,
		      struct bak_buf *out, struct bak_error *err)
{
	size_t chunk = 0;
	uint64_t at = 0;
	for (size_t i = 0; i < span->n_extents;) {
		const struct bak_extent *extent = &span->extents[i];
		if (extent->kind != BAK_EXTENT_BYTES) {
			if (bak_put_u8(out, extent->kind == BAK_EXTENT_HOLE ? 1 : 2) < 0 ||
			    bak_put_u64(out, extent->len) < 0)
				return bak_error_nomem(err);
			at += extent->len;
			i++;
			continue;
		}
		uint8_t mac[BAK_SHA256_LEN];
		if (chunk == span->n_chunks || span->chunk_lens[chunk] > span->len - at)
			return bak_error_set(err, BAK_CORRUPT, "a span's chunks do not fill it");
		if (bak_hmac_once(r->ring->id_key, bytes + at, span->chunk_lens[chunk], mac, err) <
		    0)
			return -1;
		if (bak_put_u8(out, 0) < 0 || bak_buf_append(out, mac, BAK_HASH_BYTES) < 0)
			return bak_error_nomem(err);
		at += span->chunk_lens[chunk++];
		while (i < span->n_extents && span->at[i + 1] <= at)
			i++;
	}
	return 0;
}

static int check_span(const struct range *r, const struct bak_ref *ref, struct bak_error *err)
{
	const struct bak_span *span;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	uint64_t key = place_key(&ref->seg, ref->off);
	if (known_right(r->recheck, key))
		return 0;
	if (bak_source_span(r->source, ref, &span, &pin, err) < 0)
		return -1;
	BAK_AUTO(bak_buf_release) struct bak_buf items = BAK_BUF_INIT;
	BAK_AUTO(bak_free_ptr) uint8_t *bytes = NULL;
	/* A long one is a single hole or run of zeros: it has no bytes to look at. */
	size_t want = span->len <= WHOLE_MAX ? (size_t)span->len : 0, n = 0;
	struct bak_content content = {.kind = BAK_CONTENT_SPAN, .ref = *ref};
	if (!(bytes = malloc(want ? want : 1)))
		return bak_error_nomem(err);
	if (want && bak_read(r->source, &content, span->len, 0, bytes, want, &n, err) < 0)
		return -1;
	if (!want && span->n_chunks)
		return bak_error_set(err, BAK_CORRUPT, "a span of impossible length");
	uint8_t mac[BAK_SHA256_LEN];
	if (hash_items(r, span, bytes, &items, err) < 0 ||
	    bak_hmac_once(r->ring->id_key, items.p, items.len, mac, err) < 0)
		return -1;
	if (memcmp(mac, span->hash.b, BAK_HASH_BYTES) != 0)
		return bak_error_set(err, BAK_CORRUPT, "a span's bytes do not have its hash");
	remember(r->recheck, key);
	return 0;
}

static int check_inner(const struct range *r, uint64_t at, const struct bak_ref *ref, int level,
		       struct bak_error *err)
{
	const struct bak_inner *inner;
	BAK_AUTO(bak_pin_put_ptr) struct bak_pin *pin = NULL;
	if (level > MAX_LEVELS)
		return bak_error_set(err, BAK_CORRUPT, "a file's nodes are nested too deeply");
	if (bak_source_inner(r->source, ref, &inner, &pin, err) < 0)
		return -1;
	for (size_t i = 0; i < inner->n && at + inner->at[i] < r->end; i++) {
		const struct bak_line *line = &inner->lines[i];
		int rc = 0;
		if (at + inner->at[i] + line->len <= r->off)
			continue;
		if (line->kind == BAK_LINE_SPAN)
			rc = check_span(r, &line->ref, err);
		else if (line->kind == BAK_LINE_INNER)
			rc = check_inner(r, at + inner->at[i], &line->ref, level + 1, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* A file that is one piece of a segment: its sum is over all of it. */
static int check_whole(const struct range *r, const struct bak_inode *file, struct bak_error *err)
{
	const struct bak_extent *extent = &file->content.extent;
	uint64_t key = place_key(&extent->seg, extent->off);
	if (extent->kind != BAK_EXTENT_BYTES || (file->flags & BAK_INODE_NOSUM) ||
	    file->size > WHOLE_MAX || known_right(r->recheck, key))
		return 0;
	BAK_AUTO(bak_free_ptr) uint8_t *bytes = malloc((size_t)file->size);
	BAK_AUTO(bak_sha256_release) struct bak_sha256 sha = {0};
	uint8_t sum[BAK_SHA256_LEN];
	size_t n;
	if (!bytes)
		return bak_error_nomem(err);
	if (bak_read(r->source, &file->content, file->size, 0, bytes, (size_t)file->size, &n, err) <
		    0 ||
	    bak_sha256_init(&sha, err) < 0)
		return -1;
	bak_sha256_begin(&sha);
	bak_sha256_update(&sha, bytes, n);
	bak_sha256_final(&sha, sum);
	if (memcmp(sum, file->sha256, sizeof sum) != 0)
		return bak_error_set(err, BAK_CORRUPT, "a file's bytes do not have its SHA-256");
	remember(r->recheck, key);
	return 0;
}

int bak_recheck_range(struct bak_recheck *recheck, struct bak_source *source,
		      const struct bak_keyring *ring, const struct bak_inode *file, uint64_t off,
		      size_t len, struct bak_error *err)
{
	struct range r = {recheck, source, ring, off, off + len};
	switch (file->content.kind) {
	case BAK_CONTENT_EXTENT:
		return check_whole(&r, file, err);
	case BAK_CONTENT_SPAN:
		return check_span(&r, &file->content.ref, err);
	case BAK_CONTENT_INNER:
		return check_inner(&r, 0, &file->content.ref, 0, err);
	default:
		return 0;
	}
}
