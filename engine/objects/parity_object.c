/* Parity objects, read and written: see parity.h. */
#include "engine/objects/parity_private.h"

#include "engine/base/bytes.h"
#include "engine/objects/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP (1u << 20)

void bak_parity_name(const uint8_t pack[16], char out[BAK_PARITY_NAME_LEN])
{
	char hex[2 * BAK_PACK_ID_BYTES + 1];
	bak_hex(hex, pack, BAK_PACK_ID_BYTES);
	snprintf(out, BAK_PARITY_NAME_LEN, "parity/%s", hex);
}

bool bak_parity_id_of_name(const char *name, uint8_t out_pack[16])
{
	return strncmp(name, "parity/", 7) == 0 && bak_unhex(out_pack, BAK_PACK_ID_BYTES, name + 7);
}

/* --- heads --- */

/* One of the two ends of an object. */
struct end {
	struct bak_backend *backend;
	char name[BAK_PARITY_NAME_LEN];
	uint64_t size; /* of the object */
	bool last;
};

/* Reads the sealed head at one end. 1, 0 nothing that could be one, -1. */
static int read_sealed(const struct end *end, struct bak_buf *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf mark = BAK_BUF_INIT;
	if (end->size < 2 * BAK_PARITY_END)
		return 0;
	uint64_t at = end->last ? end->size - BAK_PARITY_END : 0;
	if (bak_backend_get(end->backend, end->name, at, BAK_PARITY_END, &mark, err) < 0)
		return -1;
	if (mark.len != BAK_PARITY_END ||
	    memcmp(mark.p + (end->last ? 4 : 0), BAK_PARITY_MAGIC, 8) != 0)
		return 0;
	uint32_t n = bak_load_u32(mark.p + (end->last ? 0 : 8));
	if (n > (end->size - 2 * BAK_PARITY_END) / 2)
		return 0;
	at = end->last ? at - n : BAK_PARITY_END;
	if (bak_backend_get(end->backend, end->name, at, n, out, err) < 0)
		return -1;
	return out->len == n;
}

/* 1 opened, 0 not, -1 (also of a newer version). */
static int open_end(const struct end *end, const struct bak_keyring *ring, struct bak_buf *sealed,
		    struct bak_parity *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf head = BAK_BUF_INIT;
	int rc = read_sealed(end, sealed, err);
	if (rc <= 0)
		return rc;
	if (bak_object_open(ring, end->name, sealed->p, sealed->len, &head, err) < 0 ||
	    bak_parity_decode(head.p, head.len, out, err) < 0)
		return err->code == BAK_CORRUPT ? 0 : -1;
	out->at = BAK_PARITY_END + sealed->len;
	uint64_t blocks = bak_parity_parity_blocks(&out->shape) * out->shape.block;
	if (end->size == 2 * out->at + blocks)
		return 1;
	/* Cut or lengthened: what is counted from the end is found nowhere. */
	bak_parity_release(out);
	return 0;
}

static int start(struct bak_backend *backend, const uint8_t pack[16], struct end *out,
		 struct bak_error *err)
{
	*out = (struct end){.backend = backend};
	bak_parity_name(pack, out->name);
	return bak_backend_size(backend, out->name, &out->size, err);
}

int bak_parity_load(struct bak_backend *backend, const struct bak_keyring *ring,
		    const uint8_t pack[16], struct bak_parity *out, struct bak_error *err)
{
	struct end end;
	int rc = start(backend, pack, &end, err);
	if (rc <= 0)
		return rc;
	for (rc = 0; rc == 0; end.last = true) {
		BAK_AUTO(bak_buf_release) struct bak_buf sealed = BAK_BUF_INIT;
		bool second = end.last;
		rc = open_end(&end, ring, &sealed, out, err);
		if (rc == 0 && second)
			return bak_error_set(err, BAK_CORRUPT, "%s does not open: damaged",
					     end.name);
	}
	return rc;
}

/* --- writing --- */

/* The pack's bytes in order. 1; 0 no such pack; -1. */
static int feed(struct bak_backend *backend, const char *name, uint64_t size,
		struct bak_parity_maker *maker, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf piece = BAK_BUF_INIT;
	for (uint64_t at = 0; at < size; at += STEP) {
		uint64_t rest = size - at;
		piece.len = 0;
		int rc = bak_backend_get(backend, name, at, rest < STEP ? (size_t)rest : STEP,
					 &piece, err);
		if (rc <= 0)
			return rc;
		if (bak_parity_maker_add(maker, piece.p, piece.len, err) < 0)
			return -1;
	}
	return 1;
}

int bak_parity_put(struct bak_backend *backend, const struct bak_keyring *ring,
		   const uint8_t pack[16], unsigned percent, const char *tmp_prefix,
		   struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf object = BAK_BUF_INIT;
	struct bak_parity_maker *maker = NULL;
	char name[BAK_PACK_NAME_LEN], parity[BAK_PARITY_NAME_LEN];
	uint64_t size = 0;
	bak_pack_name(pack, name);
	bak_parity_name(pack, parity);
	int rc = bak_backend_size(backend, name, &size, err);
	if (rc == 1 && size == 0)
		rc = bak_error_set(err, BAK_CORRUPT, "the pack is empty");
	if (rc == 1 && bak_parity_maker_new(size, percent, &maker, err) < 0)
		rc = -1;
	if (rc == 1)
		rc = feed(backend, name, size, maker, err);
	if (rc == 0)
		rc = bak_error_set(err, BAK_NOT_FOUND, "the pack is gone");
	if (rc == 1 && bak_parity_maker_finish(maker, ring, pack, &object, err) < 0)
		rc = -1;
	bak_parity_maker_free(maker);
	if (rc == 1)
		rc = bak_backend_put(backend, tmp_prefix, parity, object.p, object.len, err);
	return rc < 0 ? bak_error_wrap(err, "%s", parity) : rc;
}

/* --- proving --- */

/* Counts the blocks of an object that are not as their CRCs say. 1, 0 no such object, -1. */
static int count_bad(struct bak_backend *backend, const char *name, uint64_t at, uint64_t len,
		     const struct bak_parity *parity, bool of_parity, uint64_t *out_bad,
		     struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf piece = BAK_BUF_INIT;
	uint32_t block = parity->shape.block;
	uint64_t step = block < STEP ? STEP / block * block : block;
	for (uint64_t done = 0; done < len; done += step) {
		uint64_t rest = len - done < step ? len - done : step;
		piece.len = 0;
		int rc = bak_backend_get(backend, name, at + done, (size_t)rest, &piece, err);
		if (rc <= 0)
			return rc;
		if (piece.len < rest && bak_buf_resize(&piece, (size_t)rest) < 0)
			return bak_error_nomem(err);
		for (uint64_t off = 0; off < rest; off += block) {
			uint64_t n = rest - off < block ? rest - off : block;
			*out_bad += !bak_parity_good(parity, of_parity, (done + off) / block,
						     piece.p + off, (size_t)n);
		}
	}
	return 1;
}

/* Both ends have to open, and to be the same: the front one's answer is in parity. */
static int verify_ends(const struct end *front, const struct bak_keyring *ring,
		       struct bak_parity *parity, uint64_t *out_bad, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf first = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf second = BAK_BUF_INIT;
	struct bak_parity other = {.crcs = NULL};
	struct end end = *front;
	int one = open_end(&end, ring, &first, parity, err);
	end.last = true;
	int two = one < 0 ? -1 : open_end(&end, ring, &second, one ? &other : parity, err);
	bak_parity_release(&other);
	if (two < 0) {
		bak_parity_release(parity);
		return -1;
	}
	if (!one && !two)
		return bak_error_set(err, BAK_CORRUPT, "%s does not open: damaged", end.name);
	*out_bad += !one + !two;
	*out_bad += one && two &&
		    (first.len != second.len || memcmp(first.p, second.p, first.len) != 0);
	return 1;
}

int bak_parity_verify(struct bak_backend *backend, const struct bak_keyring *ring,
		      const uint8_t pack[16], uint64_t *out_bad, uint64_t *out_bad_blocks,
		      struct bak_error *err)
{
	struct bak_parity parity = {.crcs = NULL};
	struct end end;
	char name[BAK_PACK_NAME_LEN];
	uint64_t size = 0;
	*out_bad = *out_bad_blocks = 0;
	bak_pack_name(pack, name);
	int rc = start(backend, pack, &end, err);
	if (rc == 1)
		rc = verify_ends(&end, ring, &parity, out_bad, err);
	if (rc == 1)
		rc = count_bad(backend, end.name, parity.at,
			       bak_parity_parity_blocks(&parity.shape) * parity.shape.block,
			       &parity, true, out_bad, err);
	if (rc == 1)
		rc = count_bad(backend, name, 0, parity.shape.size, &parity, false, out_bad_blocks,
			       err);
	if (rc == 1)
		rc = bak_backend_size(backend, name, &size, err);
	if (rc == 1)
		*out_bad_blocks += size > parity.shape.size;
	bak_parity_release(&parity);
	return rc;
}
