/* The tar inside of a dump: see tar.h. */
#include "stores/neo4j/tar.h"

#include <string.h>

#define BLOCK BAK_NEO4J_TAR_BLOCK
#define PAX_MAX (1u << 20)

/* Where things stand in a header. */
#define SIZE_AT 124
#define SIZE_LEN 12
#define SUM_AT 148
#define SUM_LEN 8
#define TYPE_AT 156

static int damaged(const struct bak_neo4j_tar *tar, const char *what, struct bak_error *err)
{
	return bak_error_set(err, BAK_CORRUPT, "damaged behind %llu files: %s",
			     (unsigned long long)tar->files, what);
}

/* Octal digits up to a blank or NUL, or base 256 where the first bit is set. */
static bool parse_number(const uint8_t *p, size_t len, uint64_t *out)
{
	uint64_t n = 0;
	size_t i = 0;

	if (p[0] & 0x80) {
		n = p[0] & 0x7f;
		for (i = 1; i < len; i++) {
			if (n >> 55)
				return false;
			n = n << 8 | p[i];
		}
		*out = n;
		return true;
	}
	while (i < len && p[i] == ' ')
		i++;
	size_t first = i;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
		n = n << 3 | (uint64_t)(p[i] - '0');
	*out = n;
	return i > first && (i == len || p[i] == ' ' || p[i] == '\0');
}

static bool sum_is_right(const uint8_t *block)
{
	uint64_t want, sum = 0;

	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= SUM_AT && i < SUM_AT + SUM_LEN ? ' ' : block[i];
	return parse_number(block + SUM_AT, SUM_LEN, &want) && want == sum;
}

static bool is_zero(const uint8_t *block)
{
	for (size_t i = 0; i < BLOCK; i++) {
		if (block[i])
			return false;
	}
	return true;
}

/* --- extended headers: "LEN KEY=VALUE\n", LEN in digits and of all of it --- */

static bool parse_decimal(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
	uint64_t n = 0;
	const uint8_t *from = *p;

	for (; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
		if (n > UINT64_MAX / 10 - 1)
			return false;
		n = n * 10 + (uint64_t)(**p - '0');
	}
	*out = n;
	return *p > from;
}

static int use_pax(struct bak_neo4j_tar *tar, struct bak_error *err)
{
	const uint8_t *p = tar->pax.p, *end = p + tar->pax.len;

	while (p < end) {
		const uint8_t *record = p;
		uint64_t len;

		if (!parse_decimal(&p, end, &len) || len > (uint64_t)(end - record) ||
		    record + len < p + 2 || *p != ' ' || record[len - 1] != '\n')
			return damaged(tar, "an extended header", err);
		p++;
		if (record + len - p > 5 && memcmp(p, "size=", 5) == 0) {
			p += 5;
			if (!parse_decimal(&p, end, &tar->size) || p != record + len - 1)
				return damaged(tar, "a size in an extended header", err);
			tar->has_size = true;
		}
		p = record + len;
	}
	tar->pax.len = 0;
	return 0;
}

/* --- headers --- */

static uint64_t padding(uint64_t size)
{
	return (BLOCK - size % BLOCK) % BLOCK;
}

static int begin_pax(struct bak_neo4j_tar *tar, uint64_t size, struct bak_error *err)
{
	if (size == 0 || size > PAX_MAX)
		return damaged(tar, "an extended header's length", err);
	tar->pax_left = size;
	tar->pax_pad = padding(size);
	return 0;
}

static int begin_file(struct bak_neo4j_tar *tar, uint64_t size, struct bak_error *err)
{
	if (tar->has_size)
		size = tar->size;
	tar->has_size = false;
	if (size > INT64_MAX - tar->bytes - BLOCK)
		return damaged(tar, "a file's length", err);
	tar->files++;
	tar->bytes += size;
	tar->skip = size + padding(size);
	return 0;
}

static int use_header(struct bak_neo4j_tar *tar, struct bak_error *err)
{
	uint64_t size;

	if (is_zero(tar->block)) {
		tar->zeros++;
		return 0;
	}
	if (tar->zeros)
		return damaged(tar, "something stands behind its end", err);
	if (!sum_is_right(tar->block) || !parse_number(tar->block + SIZE_AT, SIZE_LEN, &size))
		return damaged(tar, "a header of its tar", err);
	switch (tar->block[TYPE_AT]) {
	case '0':
	case '\0':
		return begin_file(tar, size, err);
	case '5':
		tar->has_size = false;
		return size ? damaged(tar, "a folder's length", err) : 0;
	case 'x':
	case 'g':
		return begin_pax(tar, size, err);
	case 'L': /* a long name, as GNU has it */
		if (size > PAX_MAX)
			return damaged(tar, "a name's length", err);
		tar->skip = size + padding(size);
		return 0;
	default:
		return damaged(tar, "an entry that no dump has", err);
	}
}

/* --- feeding --- */

static size_t least(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

/* How much was used. */
static int take_pax(struct bak_neo4j_tar *tar, const uint8_t *p, size_t len, size_t *out_n,
		    struct bak_error *err)
{
	*out_n = least(tar->pax_left, len);
	if (bak_buf_append(&tar->pax, p, *out_n) < 0)
		return bak_error_nomem(err);
	tar->pax_left -= *out_n;
	if (tar->pax_left)
		return 0;
	tar->skip = tar->pax_pad;
	return use_pax(tar, err);
}

static int take_header(struct bak_neo4j_tar *tar, const uint8_t *p, size_t len, size_t *out_n,
		       struct bak_error *err)
{
	*out_n = least(BLOCK - tar->have, len);
	memcpy(tar->block + tar->have, p, *out_n);
	tar->have += *out_n;
	if (tar->have < BLOCK)
		return 0;
	tar->have = 0;
	return use_header(tar, err);
}

int bak_neo4j_tar_feed(struct bak_neo4j_tar *tar, const uint8_t *p, size_t len,
		       struct bak_error *err)
{
	while (len) {
		size_t n = 0;
		int rc = 0;

		if (tar->skip) {
			n = least(tar->skip, len);
			tar->skip -= n;
		} else if (tar->pax_left) {
			rc = take_pax(tar, p, len, &n, err);
		} else {
			rc = take_header(tar, p, len, &n, err);
		}
		if (rc < 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

int bak_neo4j_tar_end(const struct bak_neo4j_tar *tar, struct bak_error *err)
{
	if (tar->zeros < 2 || tar->have || tar->skip || tar->pax_left)
		return bak_error_set(err, BAK_CORRUPT, "cut off behind %llu files",
				     (unsigned long long)tar->files);
	return 0;
}

void bak_neo4j_tar_release(struct bak_neo4j_tar *tar)
{
	bak_buf_release(&tar->pax);
}
