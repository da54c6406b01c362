/* Packs read through their parity: see heal.h. */
#include "engine/content/heal.h"

#include "engine/objects/pack.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct bak_heal {
	struct bak_backend be; /* the view */
	struct bak_backend *inner;
	const struct bak_keyring *ring;
	pthread_mutex_t lock; /* guards all that follows */
	bool loaded;          /* parity is that of pack id */
	uint8_t id[BAK_PACK_ID_BYTES];
	struct bak_parity parity;
	struct bak_buf block; /* one, as it was read */
	struct bak_buf column;
	uint64_t blocks;
};

/* --- one pack's parity --- */

/* 1 loaded, 0 there is none that opens, -1. */
static int load(struct bak_heal *heal, const uint8_t id[BAK_PACK_ID_BYTES], struct bak_error *err)
{
	struct bak_error why = BAK_ERROR_INIT;
	if (heal->loaded && memcmp(heal->id, id, sizeof heal->id) == 0)
		return 1;
	heal->loaded = false;
	bak_parity_release(&heal->parity);
	int rc = bak_parity_load(heal->inner, heal->ring, id, &heal->parity, &why);
	if (rc == 1) {
		heal->loaded = true;
		memcpy(heal->id, id, sizeof heal->id);
	} else if (rc < 0 && why.code == BAK_NO_MEMORY) {
		*err = why;
		return -1;
	}
	return rc == 1;
}

/* Reads a block of the pack or of its parity to out, filled up with zeros; true when it is as it
 * was. One that cannot be read is as lost as a wrong one. */
static bool read_block(struct bak_heal *heal, bool of_parity, uint64_t n, uint8_t *out)
{
	const struct bak_parity_shape *shape = &heal->parity.shape;
	struct bak_error scratch = BAK_ERROR_INIT;
	char name[BAK_PACK_NAME_LEN];
	uint64_t at = n * shape->block;
	size_t want = shape->block;
	if (of_parity)
		bak_parity_name(heal->id, name);
	else
		bak_pack_name(heal->id, name);
	if (!of_parity && shape->size - at < want)
		want = (size_t)(shape->size - at);
	heal->block.len = 0;
	memset(out, 0, shape->block);
	if (bak_backend_get(heal->inner, name, of_parity ? heal->parity.at + at : at, want,
			    &heal->block, &scratch) != 1)
		return false;
	memcpy(out, heal->block.p, heal->block.len);
	return bak_parity_good(&heal->parity, of_parity, n, out, want);
}

/* Makes block n of the pack from its column. 1, 0 too much is lost, -1. */
static int mend(struct bak_heal *heal, uint64_t n, uint8_t *out, struct bak_error *err)
{
	const struct bak_parity_shape *shape = &heal->parity.shape;
	uint64_t n_blocks = bak_parity_blocks(shape);
	uint64_t in_window = (uint64_t)shape->k * shape->width, window = n / in_window;
	uint32_t want = (uint32_t)(n % in_window / shape->width), lost = 0;
	uint64_t col = n % shape->width;
	bool good[256] = {false};
	if (bak_buf_resize(&heal->column, (size_t)(shape->k + shape->m) * shape->block) < 0)
		return bak_error_nomem(err);
	for (uint32_t i = 0; i < shape->k; i++) {
		uint64_t at = window * in_window + (uint64_t)i * shape->width + col;
		uint8_t *p = heal->column.p + (size_t)i * shape->block;
		if (i != want && at >= n_blocks)
			memset(p, 0, shape->block);
		good[i] = i != want && (at >= n_blocks || read_block(heal, false, at, p));
		lost += !good[i];
	}
	for (uint32_t r = 0; r < shape->m && lost > 0; r++) {
		uint64_t at = (window * shape->m + r) * shape->width + col;
		uint8_t *p = heal->column.p + (size_t)(shape->k + r) * shape->block;
		good[shape->k + r] = read_block(heal, true, at, p);
		lost -= good[shape->k + r];
	}
	int rc = bak_parity_solve(shape, heal->column.p, good, want, out, err);
	size_t len = n + 1 < n_blocks ? shape->block : (size_t)(shape->size - n * shape->block);
	return rc == 1 ? bak_parity_good(&heal->parity, false, n, out, len) : rc;
}

/* [off, off + len) of the pack whose parity is loaded, cut at its end; appended to out. */
static int read_range(struct bak_heal *heal, uint64_t off, size_t len, struct bak_buf *out,
		      struct bak_error *err)
{
	const struct bak_parity_shape *shape = &heal->parity.shape;
	BAK_AUTO(bak_buf_release) struct bak_buf block = BAK_BUF_INIT;
	if (off >= shape->size)
		return 0;
	uint64_t end = len < shape->size - off ? off + len : shape->size;
	if (bak_buf_resize(&block, shape->block) < 0)
		return bak_error_nomem(err);
	for (uint64_t n = off / shape->block; n * shape->block < end; n++) {
		uint64_t at = n * shape->block,
			 stop = at + shape->block < end ? at + shape->block : end;
		uint64_t from = at > off ? at : off;
		if (!read_block(heal, false, n, block.p)) {
			int rc = mend(heal, n, block.p, err);
			if (rc < 0)
				return -1;
			heal->blocks += rc == 1;
			if (rc == 0)
				read_block(heal, false, n, block.p);
		}
		if (bak_buf_append(out, block.p + (from - at), (size_t)(stop - from)) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

/* --- the view --- */

static struct bak_heal *heal_of(struct bak_backend *be)
{
	return (struct bak_heal *)be;
}

static int heal_get(struct bak_backend *be, const char *name, uint64_t off, size_t len,
		    struct bak_buf *out, struct bak_error *err)
{
	struct bak_heal *heal = heal_of(be);
	uint8_t id[BAK_PACK_ID_BYTES];
	uint64_t size;
	if (!bak_pack_id_of_name(name, id))
		return bak_backend_get(heal->inner, name, off, len, out, err);
	int rc = bak_backend_size(heal->inner, name, &size, err);
	if (rc <= 0)
		return rc;
	pthread_mutex_lock(&heal->lock);
	rc = load(heal, id, err);
	if (rc == 1 && read_range(heal, off, len, out, err) < 0)
		rc = -1;
	pthread_mutex_unlock(&heal->lock);
	return rc == 0 ? bak_backend_get(heal->inner, name, off, len, out, err) : rc;
}

static int heal_size(struct bak_backend *be, const char *name, uint64_t *out_size,
		     struct bak_error *err)
{
	struct bak_heal *heal = heal_of(be);
	uint8_t id[BAK_PACK_ID_BYTES];
	int rc = bak_backend_size(heal->inner, name, out_size, err);
	if (rc <= 0 || !bak_pack_id_of_name(name, id))
		return rc;
	pthread_mutex_lock(&heal->lock);
	rc = load(heal, id, err);
	if (rc == 1)
		*out_size = heal->parity.shape.size;
	pthread_mutex_unlock(&heal->lock);
	return rc < 0 ? -1 : 1;
}

static const struct bak_backend_ops heal_ops = {.get = heal_get, .size = heal_size};

int bak_heal_new(struct bak_backend *backend, const struct bak_keyring *ring,
		 struct bak_heal **out_heal, struct bak_error *err)
{
	struct bak_heal *heal = calloc(1, sizeof *heal);
	if (!heal)
		return bak_error_nomem(err);
	heal->be.ops = &heal_ops;
	heal->inner = backend;
	heal->ring = ring;
	pthread_mutex_init(&heal->lock, NULL);
	*out_heal = heal;
	return 0;
}

void bak_heal_free(struct bak_heal *heal)
{
	if (!heal)
		return;
	bak_parity_release(&heal->parity);
	bak_buf_release(&heal->block);
	bak_buf_release(&heal->column);
	pthread_mutex_destroy(&heal->lock);
	free(heal);
}

struct bak_backend *bak_heal_backend(struct bak_heal *heal)
{
	return &heal->be;
}

bool bak_heal_has(struct bak_heal *heal, const uint8_t pack[16])
{
	struct bak_error scratch = BAK_ERROR_INIT;
	pthread_mutex_lock(&heal->lock);
	bool has = load(heal, pack, &scratch) == 1;
	pthread_mutex_unlock(&heal->lock);
	return has;
}

uint64_t bak_heal_blocks(struct bak_heal *heal)
{
	pthread_mutex_lock(&heal->lock);
	uint64_t n = heal->blocks;
	pthread_mutex_unlock(&heal->lock);
	return n;
}
