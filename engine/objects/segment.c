/* Segment records: see segment.h for the bytes. */
#include "engine/objects/segment.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"
#include "engine/objects/compress.h"

#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_FORMAT 1
#define HEADER_LEN 40
#define FLAG_HOLED 1

static void header_pack(struct bak_seg_header *header)
{
	uint8_t *p = header->plain;
	memset(p, 0, HEADER_LEN);
	p[0] = HEADER_FORMAT;
	p[1] = (uint8_t)header->type;
	p[2] = header->holed ? FLAG_HOLED : 0;
	p[3] = header->filter;
	p[4] = header->codec;
	memcpy(p + 8, header->id.run, BAK_RUN_BYTES);
	bak_store_u32(p + 20, header->id.n);
	bak_store_u32(p + 24, header->raw_len);
	bak_store_u32(p + 28, header->stored_len);
}

/* False when the fields are not what any writer of this format makes. */
static bool header_unpack(struct bak_seg_header *header)
{
	static const uint8_t zeros[8];
	const uint8_t *p = header->plain;
	header->type = (enum bak_seg_type)p[1];
	header->holed = p[2] & FLAG_HOLED;
	header->filter = p[3];
	header->codec = p[4];
	memcpy(header->id.run, p + 8, BAK_RUN_BYTES);
	header->id.n = bak_load_u32(p + 20);
	header->raw_len = bak_load_u32(p + 24);
	header->stored_len = bak_load_u32(p + 28);
	return p[0] == HEADER_FORMAT && p[1] >= BAK_SEG_DATA && p[1] <= BAK_SEG_FOOTER &&
	       p[2] <= FLAG_HOLED && (p[3] == 0 || (p[3] >= 2 && p[3] <= 16)) &&
	       p[4] <= BAK_CODEC_ZSTD && memcmp(p + 5, zeros, 3) == 0 &&
	       memcmp(p + 32, zeros, 8) == 0 && header->raw_len <= BAK_SEG_LIMIT &&
	       header->stored_len <= BAK_SEG_LIMIT &&
	       (header->codec != BAK_CODEC_STORED || header->stored_len == header->raw_len);
}

static void id_bytes(const struct bak_seg_id *id, uint8_t out[BAK_SEG_ID_BYTES])
{
	memcpy(out, id->run, BAK_RUN_BYTES);
	bak_store_u32(out + BAK_RUN_BYTES, id->n);
}

static int body_key(const uint8_t master[32], const uint8_t *salt, const struct bak_seg_id *id,
		    uint8_t out[32], struct bak_error *err)
{
	uint8_t bytes[BAK_SEG_ID_BYTES];
	id_bytes(id, bytes);
	return bak_subkey(master, "bakfs body", salt, bytes, sizeof bytes, out, err);
}

/* Writes the record of a chosen body at p, which has room for it. */
static int record_seal(const struct bak_keyring *ring, const struct bak_seg_header *header,
		       const uint8_t *body, uint8_t *p, struct bak_error *err)
{
	const uint8_t *master = ring->masters[ring->n_masters - 1].key;
	uint8_t key[32];
	if (bak_random(p, BAK_SALT_BYTES, err) < 0)
		return -1;
	int result = bak_subkey(master, "bakfs header", p, NULL, 0, key, err);
	if (result == 0)
		result = bak_gcm_seal(key, ring->repo_id, BAK_REPO_ID_BYTES, header->plain,
				      HEADER_LEN, p + BAK_SALT_BYTES, err);
	if (result == 0)
		result = body_key(master, p, &header->id, key, err);
	if (result == 0)
		result = bak_gcm_seal(key, header->plain, HEADER_LEN, body, header->stored_len,
				      p + BAK_SEG_HEAD_BYTES, err);
	bak_wipe(key, sizeof key);
	return result;
}

int bak_segment_seal(const struct bak_keyring *ring, struct bak_seg_codec *codec,
		     enum bak_seg_type type, bool holed, const struct bak_seg_id *id,
		     const void *raw, size_t raw_len, int level, struct bak_buf *out,
		     struct bak_seg_header *out_header, struct bak_error *err)
{
	struct bak_seg_header header = {.type = type, .holed = holed, .id = *id};
	const uint8_t *body;
	size_t body_len;
	if (raw_len > BAK_SEG_LIMIT)
		return bak_error_set(err, BAK_BUG, "segment of %zu bytes", raw_len);
	if (bak_seg_compress(codec, raw, raw_len, level, &header.filter, &header.codec, &body,
			     &body_len, err) < 0)
		return -1;
	header.raw_len = (uint32_t)raw_len;
	header.stored_len = (uint32_t)body_len;
	header_pack(&header);
	if (bak_buf_reserve(out, BAK_SEG_OVERHEAD + body_len) < 0)
		return bak_error_nomem(err);
	if (record_seal(ring, &header, body, out->p + out->len, err) < 0)
		return -1;
	out->len += BAK_SEG_OVERHEAD + body_len;
	if (out_header)
		*out_header = header;
	return 0;
}

int bak_segment_open_header(const struct bak_keyring *ring, const void *head,
			    struct bak_seg_header *out, size_t *out_master, struct bak_error *err)
{
	const uint8_t *p = head;
	for (size_t i = bak_keyring_openers(ring); i-- > 0;) {
		uint8_t key[32];
		if (bak_subkey(ring->masters[i].key, "bakfs header", p, NULL, 0, key, err) < 0)
			return -1;
		int opened = bak_gcm_open(key, ring->repo_id, BAK_REPO_ID_BYTES, p + BAK_SALT_BYTES,
					  HEADER_LEN, out->plain, err);
		bak_wipe(key, sizeof key);
		if (opened < 0)
			return -1;
		if (opened) {
			*out_master = i;
			return header_unpack(out);
		}
	}
	return 0;
}

static int kept_failed(struct bak_segment *segment, struct bak_error *err)
{
	bak_segment_release(segment);
	return bak_error_set(err, BAK_CORRUPT, "impossible table of kept ranges");
}

/* Reads the table at the front of a holed segment's raw bytes. */
static int kept_parse(struct bak_segment *segment, struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(segment->data, segment->header.raw_len);
	uint32_t n = bak_get_u32(&in);
	if (in.bad || n > bak_bytes_left(&in) / 8)
		return kept_failed(segment, err);
	segment->kept = calloc(n ? n : 1, sizeof *segment->kept);
	if (!segment->kept) {
		bak_segment_release(segment);
		return bak_error_nomem(err);
	}
	uint64_t at = 4 + 8 * (uint64_t)n, end = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct bak_seg_range *range = &segment->kept[i];
		range->off = bak_get_u32(&in);
		range->len = bak_get_u32(&in);
		range->at = (uint32_t)at;
		if (range->len == 0 || (i > 0 && range->off <= end))
			return kept_failed(segment, err);
		end = (uint64_t)range->off + range->len;
		at += range->len;
		if (end > BAK_SEG_LIMIT || at > segment->header.raw_len)
			return kept_failed(segment, err);
	}
	if (at != segment->header.raw_len)
		return kept_failed(segment, err);
	segment->n_kept = n;
	return 0;
}

/* Opens the body and decodes it into out->data, whose header is there. */
static int body_open(const struct bak_keyring *ring, struct bak_seg_codec *codec, size_t master,
		     const uint8_t *record, struct bak_segment *out, struct bak_error *err)
{
	const struct bak_seg_header *header = &out->header;
	bool direct = header->codec == BAK_CODEC_STORED && !header->filter;
	uint8_t key[32], *to = out->data;
	if (!direct) {
		codec->packed.len = 0;
		if (bak_buf_reserve(&codec->packed, (size_t)header->stored_len + 1) < 0)
			return bak_error_nomem(err);
		to = codec->packed.p;
	}
	if (body_key(ring->masters[master].key, record, &header->id, key, err) < 0)
		return -1;
	int opened = bak_gcm_open(key, header->plain, HEADER_LEN, record + BAK_SEG_HEAD_BYTES,
				  header->stored_len, to, err);
	bak_wipe(key, sizeof key);
	if (opened < 0)
		return -1;
	if (!opened)
		return bak_error_set(err, BAK_CORRUPT, "bad tag");
	return direct ? 0
		      : bak_seg_decompress(codec, header, to, header->stored_len, out->data, err);
}

int bak_segment_open(const struct bak_keyring *ring, struct bak_seg_codec *codec,
		     enum bak_seg_type want_type, const struct bak_seg_id *want_id,
		     const void *record, size_t len, struct bak_segment *out, struct bak_error *err)
{
	size_t master = 0;
	*out = (struct bak_segment){.data = NULL};
	if (len < BAK_SEG_OVERHEAD)
		return bak_error_set(err, BAK_CORRUPT, "record is cut off");
	size_t tried;
	int opened;
	do {
		tried = bak_keyring_openers(ring);
		opened = bak_segment_open_header(ring, record, &out->header, &master, err);
	} while (opened == 0 && bak_keyring_reload(ring, tried));
	if (opened < 0)
		return -1;
	if (!opened)
		return bak_error_set(err, BAK_CORRUPT, "bad header");
	if (out->header.type != want_type || !bak_seg_id_equal(&out->header.id, want_id))
		return bak_error_set(err, BAK_CORRUPT, "not the segment asked for");
	if (len != BAK_SEG_OVERHEAD + (size_t)out->header.stored_len)
		return bak_error_set(err, BAK_CORRUPT, "record of another length");
	if (codec->spare && malloc_usable_size(codec->spare) > out->header.raw_len) {
		out->data = codec->spare;
		codec->spare = NULL;
	} else {
		out->data = malloc((size_t)out->header.raw_len + 1);
	}
	if (!out->data)
		return bak_error_nomem(err);
	if (body_open(ring, codec, master, record, out, err) < 0) {
		bak_segment_release(out);
		return -1;
	}
	return out->header.holed ? kept_parse(out, err) : 0;
}

void bak_segment_release(struct bak_segment *segment)
{
	free(segment->data);
	free(segment->kept);
	segment->data = NULL;
	segment->kept = NULL;
	segment->n_kept = 0;
}

int bak_segment_at(const struct bak_segment *segment, uint32_t off, uint32_t len,
		   const uint8_t **out)
{
	if (!segment->header.holed) {
		if (off > segment->header.raw_len || len > segment->header.raw_len - off)
			return 0;
		*out = segment->data + off;
		return 1;
	}
	size_t low = 0, high = segment->n_kept;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (segment->kept[mid].off <= off)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0)
		return 0;
	const struct bak_seg_range *range = &segment->kept[low - 1];
	uint32_t into = off - range->off;
	if (into > range->len || len > range->len - into)
		return 0;
	*out = segment->data + range->at + into;
	return 1;
}
