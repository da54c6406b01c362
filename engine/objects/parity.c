/* Parity of packs, bytes to bytes: see parity.h. What reads and writes objects is in
 * parity_object.c. */
#include "engine/objects/parity_private.h"

#include "engine/base/bytes.h"

#include <assert.h>
#include <isa-l/crc.h>
#include <isa-l/erasure_code.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096u     /* a sector of a disk: what tears is whole ones */
#define ROWS 100u       /* what mends one block: so many others are read */
#define WIDTH 64u       /* a window is up to 25 MiB; at 5 % a burst of 1 MiB of it is mended */
#define TABLE_BYTES 32u /* of ISA-L's, for each coefficient */

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

void bak_parity_choose(uint64_t size, unsigned percent, struct bak_parity_shape *out)
{
	uint32_t block = size < BLOCK ? ((uint32_t)size + 63) / 64 * 64 : BLOCK;
	uint64_t n = div_up(size, block);
	uint64_t windows = div_up(n, (uint64_t)ROWS * WIDTH);
	uint64_t in_window = div_up(n, windows);
	uint32_t width = (uint32_t)div_up(in_window, ROWS);
	uint32_t k = (uint32_t)div_up(in_window, width);
	uint32_t m = (k * percent + 99) / 100, least = k > 1 ? 2 : 1;
	*out = (struct bak_parity_shape){size, block, width, k, m > least ? m : least};
}

uint64_t bak_parity_blocks(const struct bak_parity_shape *shape)
{
	return div_up(shape->size, shape->block);
}

uint64_t bak_parity_parity_blocks(const struct bak_parity_shape *shape)
{
	uint64_t windows = div_up(bak_parity_blocks(shape), (uint64_t)shape->k * shape->width);
	return windows * shape->m * shape->width;
}

/* Coefficients of all parity rows, row by row. */
static void coefficients(const struct bak_parity_shape *shape, uint8_t *out)
{
	for (uint32_t r = 0; r < shape->m; r++)
		for (uint32_t i = 0; i < shape->k; i++)
			out[r * shape->k + i] = gf_inv((uint8_t)((shape->k + r) ^ i));
}

static uint32_t crc_of(const void *p, size_t len)
{
	return crc32_gzip_refl(0, p, len);
}

/* --- making --- */

struct bak_parity_maker {
	struct bak_parity_shape shape;
	uint8_t *tables, *row, *parity; /* parity: m rows of the open window */
	size_t row_len, filled;
	uint32_t next_row;
	uint64_t taken;
	struct bak_buf crcs, parity_crcs, blocks;
};

void bak_parity_maker_free(struct bak_parity_maker *maker)
{
	if (!maker)
		return;
	free(maker->tables);
	free(maker->row);
	free(maker->parity);
	bak_buf_release(&maker->crcs);
	bak_buf_release(&maker->parity_crcs);
	bak_buf_release(&maker->blocks);
	free(maker);
}

/* Tables for the coefficients of `rows` rows of k. NULL for lack of memory. */
static uint8_t *make_tables(const uint8_t *coefs, uint32_t k, uint32_t rows)
{
	uint8_t *tables = malloc((size_t)TABLE_BYTES * k * rows);
	if (tables)
		ec_init_tables((int)k, (int)rows, (uint8_t *)coefs, tables);
	return tables;
}

int bak_parity_maker_new(uint64_t size, unsigned percent, struct bak_parity_maker **out_maker,
			 struct bak_error *err)
{
	uint8_t coefs[128 * 128];
	assert(size > 0 && percent > 0 && percent <= BAK_PARITY_MAX_PERCENT);
	struct bak_parity_maker *maker = calloc(1, sizeof *maker);
	if (!maker)
		return bak_error_nomem(err);
	struct bak_parity_shape *shape = &maker->shape;
	bak_parity_choose(size, percent, shape);
	coefficients(shape, coefs);
	maker->row_len = (size_t)shape->width * shape->block;
	maker->tables = make_tables(coefs, shape->k, shape->m);
	maker->row = malloc(maker->row_len);
	maker->parity = calloc(shape->m, maker->row_len);
	if (!maker->tables || !maker->row || !maker->parity) {
		bak_parity_maker_free(maker);
		return bak_error_nomem(err);
	}
	*out_maker = maker;
	return 0;
}

static int put_crcs(struct bak_buf *out, const uint8_t *p, size_t n_blocks, uint32_t block)
{
	for (size_t i = 0; i < n_blocks; i++)
		if (bak_put_u32(out, crc_of(p + i * block, block)) < 0)
			return -1;
	return 0;
}

/* The window's parity is complete. */
static int end_window(struct bak_parity_maker *maker)
{
	const struct bak_parity_shape *shape = &maker->shape;
	size_t len = shape->m * maker->row_len;
	if (put_crcs(&maker->parity_crcs, maker->parity, (size_t)shape->m * shape->width,
		     shape->block) < 0 ||
	    bak_buf_append(&maker->blocks, maker->parity, len) < 0)
		return -1;
	memset(maker->parity, 0, len);
	maker->next_row = 0;
	return 0;
}

/* A row is full, or is the last one and is filled up with zeros. */
static int end_row(struct bak_parity_maker *maker)
{
	const struct bak_parity_shape *shape = &maker->shape;
	uint8_t *rows[256];
	size_t n_blocks = (size_t)div_up(maker->filled, shape->block);
	memset(maker->row + maker->filled, 0, maker->row_len - maker->filled);
	if (put_crcs(&maker->crcs, maker->row, n_blocks, shape->block) < 0)
		return -1;
	for (uint32_t r = 0; r < shape->m; r++)
		rows[r] = maker->parity + r * maker->row_len;
	ec_encode_data_update((int)maker->row_len, (int)shape->k, (int)shape->m,
			      (int)maker->next_row, maker->tables, maker->row, rows);
	maker->filled = 0;
	return ++maker->next_row == shape->k ? end_window(maker) : 0;
}

int bak_parity_maker_add(struct bak_parity_maker *maker, const void *p, size_t len,
			 struct bak_error *err)
{
	const uint8_t *in = p;
	if (len > maker->shape.size - maker->taken)
		return bak_error_set(err, BAK_CORRUPT, "the pack grew");
	maker->taken += len;
	while (len > 0) {
		size_t room = maker->row_len - maker->filled, n = len < room ? len : room;
		memcpy(maker->row + maker->filled, in, n);
		maker->filled += n;
		in += n;
		len -= n;
		if (maker->filled == maker->row_len && end_row(maker) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

static int put_head(const struct bak_parity_maker *maker, struct bak_buf *out)
{
	const struct bak_parity_shape *shape = &maker->shape;
	return bak_put_u8(out, 1) < 0 || bak_put_u8(out, (uint8_t)shape->k) < 0 ||
			       bak_put_u8(out, (uint8_t)shape->m) < 0 || bak_put_u8(out, 0) < 0 ||
			       bak_put_u32(out, shape->block) < 0 ||
			       bak_put_u32(out, shape->width) < 0 ||
			       bak_put_u64(out, shape->size) < 0 ||
			       bak_buf_append(out, maker->crcs.p, maker->crcs.len) < 0 ||
			       bak_buf_append(out, maker->parity_crcs.p, maker->parity_crcs.len) < 0
		       ? -1
		       : 0;
}

int bak_parity_maker_finish(struct bak_parity_maker *maker, const struct bak_keyring *ring,
			    const uint8_t pack[16], struct bak_buf *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf head = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf sealed = BAK_BUF_INIT;
	char name[BAK_PARITY_NAME_LEN];
	if (maker->taken != maker->shape.size)
		return bak_error_set(err, BAK_CORRUPT, "the pack shrank");
	if ((maker->filled > 0 && end_row(maker) < 0) ||
	    (maker->next_row > 0 && end_window(maker) < 0) || put_head(maker, &head) < 0)
		return bak_error_nomem(err);
	bak_parity_name(pack, name);
	if (bak_object_seal(ring, name, head.p, head.len, &sealed, err) < 0)
		return -1;
	uint32_t n = (uint32_t)sealed.len;
	return bak_buf_append(out, BAK_PARITY_MAGIC, 8) < 0 || bak_put_u32(out, n) < 0 ||
			       bak_buf_append(out, sealed.p, n) < 0 ||
			       bak_buf_append(out, maker->blocks.p, maker->blocks.len) < 0 ||
			       bak_buf_append(out, sealed.p, n) < 0 || bak_put_u32(out, n) < 0 ||
			       bak_buf_append(out, BAK_PARITY_MAGIC, 8) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

/* --- reading --- */

void bak_parity_release(struct bak_parity *parity)
{
	free(parity->crcs);
	*parity = (struct bak_parity){.crcs = NULL};
}

int bak_parity_decode(const void *head, size_t len, struct bak_parity *out, struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(head, len);
	struct bak_parity_shape shape;
	uint8_t version = bak_get_u8(&in);
	shape.k = bak_get_u8(&in);
	shape.m = bak_get_u8(&in);
	bak_get_u8(&in);
	shape.block = bak_get_u32(&in);
	shape.width = bak_get_u32(&in);
	shape.size = bak_get_u64(&in);
	if (!in.bad && version != 1)
		return bak_error_set(err, BAK_UNSUPPORTED, "parity of version %u", version);
	/* Bounds of width and size keep the products below in range. */
	if (in.bad || shape.k == 0 || shape.m == 0 || shape.k + shape.m > 255 || shape.block == 0 ||
	    shape.block > BAK_PARITY_MAX_BLOCK || shape.width == 0 || shape.width > 1u << 20 ||
	    shape.size == 0 || shape.size > UINT64_C(1) << 40)
		return bak_error_set(err, BAK_CORRUPT, "a head of parity that makes no sense");
	uint64_t n = bak_parity_blocks(&shape) + bak_parity_parity_blocks(&shape);
	if (bak_bytes_left(&in) % 4 != 0 || bak_bytes_left(&in) / 4 != n)
		return bak_error_set(err, BAK_CORRUPT, "a head of parity of a wrong length");
	out->crcs = malloc(n * sizeof *out->crcs);
	if (!out->crcs)
		return bak_error_nomem(err);
	for (uint64_t i = 0; i < n; i++)
		out->crcs[i] = bak_get_u32(&in);
	out->shape = shape;
	return 0;
}

bool bak_parity_good(const struct bak_parity *parity, bool of_parity, uint64_t n, const void *p,
		     size_t len)
{
	static const uint8_t zeros[4096];
	uint64_t at = of_parity ? bak_parity_blocks(&parity->shape) + n : n;
	uint32_t crc = crc_of(p, len);
	for (size_t rest = parity->shape.block - len; rest > 0;) {
		size_t step = rest < sizeof zeros ? rest : sizeof zeros;
		crc = crc32_gzip_refl(crc, zeros, step);
		rest -= step;
	}
	return crc == parity->crcs[at];
}

/* --- mending --- */

/* The rows of a column that matter: which data blocks are lost, and as many parity rows. k and m
 * are 255 together, so the smaller one is at most 127. */
struct gaps {
	uint32_t n, lost[128], row[128];
	uint32_t want; /* place of the wanted one in lost */
};

/* false when more are lost than parity rows are known. */
static bool find_gaps(const struct bak_parity_shape *shape, const bool *good, uint32_t want,
		      struct gaps *out)
{
	uint32_t rows = 0;
	out->n = out->want = 0;
	for (uint32_t i = 0; i < shape->k; i++) {
		if (good[i])
			continue;
		if (out->n == shape->m)
			return false;
		if (i == want)
			out->want = out->n;
		out->lost[out->n++] = i;
	}
	for (uint32_t r = 0; r < shape->m && rows < out->n; r++)
		if (good[shape->k + r])
			out->row[rows++] = r;
	return rows == out->n;
}

/* What the lost blocks add to the chosen parity rows: those rows less what the known blocks give.
 * out: gaps->n blocks. */
static int differences(const struct bak_parity_shape *shape, uint8_t *column,
		       const struct gaps *gaps, uint8_t *out)
{
	uint8_t *in[256], *rows[128];
	uint8_t *coefs = malloc((size_t)gaps->n * shape->k);
	if (!coefs)
		return -1;
	for (uint32_t i = 0; i < shape->k; i++)
		in[i] = column + (size_t)i * shape->block;
	for (uint32_t g = 0; g < gaps->n; g++) {
		memset(in[gaps->lost[g]], 0, shape->block);
		rows[g] = out + (size_t)g * shape->block;
		for (uint32_t i = 0; i < shape->k; i++)
			coefs[g * shape->k + i] = gf_inv((uint8_t)((shape->k + gaps->row[g]) ^ i));
	}
	uint8_t *tables = make_tables(coefs, shape->k, gaps->n);
	free(coefs);
	if (!tables)
		return -1;
	ec_encode_data((int)shape->block, (int)shape->k, (int)gaps->n, tables, in, rows);
	free(tables);
	for (uint32_t g = 0; g < gaps->n; g++) {
		const uint8_t *parity = column + (size_t)(shape->k + gaps->row[g]) * shape->block;
		for (uint32_t x = 0; x < shape->block; x++)
			rows[g][x] ^= parity[x];
	}
	return 0;
}

/* The line of the inverse of the lost blocks' coefficients that gives the wanted one. */
static int invert(const struct bak_parity_shape *shape, const struct gaps *gaps, uint8_t *out_line)
{
	uint32_t n = gaps->n;
	uint8_t *matrix = malloc((size_t)2 * n * n);
	if (!matrix)
		return -1;
	uint8_t *inverse = matrix + (size_t)n * n;
	for (uint32_t r = 0; r < n; r++)
		for (uint32_t i = 0; i < n; i++)
			matrix[r * n + i] = gf_inv(
				(uint8_t)((shape->k + gaps->row[r]) ^ gaps->lost[i]));
	/* Every square part of a Cauchy matrix has an inverse. */
	int singular = gf_invert_matrix(matrix, inverse, (int)n);
	memcpy(out_line, inverse + (size_t)gaps->want * n, n);
	free(matrix);
	assert(!singular);
	return 0;
}

int bak_parity_solve(const struct bak_parity_shape *shape, uint8_t *column, const bool *good,
		     uint32_t want, uint8_t *out, struct bak_error *err)
{
	struct gaps gaps;
	uint8_t line[128], *in[128];
	assert(want < shape->k && !good[want]);
	if (!find_gaps(shape, good, want, &gaps))
		return 0;
	uint8_t *diff = malloc((size_t)gaps.n * shape->block), *tables = NULL;
	if (diff && differences(shape, column, &gaps, diff) == 0 && invert(shape, &gaps, line) == 0)
		tables = make_tables(line, gaps.n, 1);
	if (tables) {
		for (uint32_t g = 0; g < gaps.n; g++)
			in[g] = diff + (size_t)g * shape->block;
		ec_encode_data((int)shape->block, (int)gaps.n, 1, tables, in, &out);
	}
	int rc = tables ? 1 : bak_error_nomem(err);
	free(tables);
	free(diff);
	return rc;
}
