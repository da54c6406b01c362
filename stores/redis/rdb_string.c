/* Lengths and strings of RDB: see rdb_string.h. */
#include "stores/redis/rdb_string.h"

#include <endian.h>
#include <string.h>

static uint64_t big_endian(const uint8_t *p, size_t n)
{
	uint64_t value = 0;

	while (n--)
		value = value << 8 | *p++;
	return value;
}

int64_t bak_rdb_little_endian(const uint8_t *p, size_t n)
{
	uint64_t value = 0;

	memcpy(&value, p, n);
	return (int64_t)le64toh(value);
}

/* A length, or with *out_special the kind of a string. */
static int any_length_at(const uint8_t *p, size_t n, uint64_t *out, bool *out_special)
{
	if (!n)
		return 0;
	*out_special = p[0] >> 6 == 3;
	switch (p[0] >> 6) {
	case 0:
	case 3:
		*out = p[0] & 0x3f;
		return 1;
	case 1:
		if (n < 2)
			return 0;
		*out = (uint64_t)(p[0] & 0x3f) << 8 | p[1];
		return 2;
	}
	size_t bytes = p[0] == 0x80 ? 4 : p[0] == 0x81 ? 8 : 0;
	if (!bytes)
		return -1;
	if (n < 1 + bytes)
		return 0;
	*out = big_endian(p + 1, bytes);
	return (int)(1 + bytes);
}

int bak_rdb_length_at(const uint8_t *p, size_t n, uint64_t *out)
{
	bool special = false;
	int used = any_length_at(p, n, out, &special);

	return used > 0 && special ? -1 : used;
}

size_t bak_rdb_length_put(uint8_t out[BAK_RDB_LENGTH_MAX], uint64_t n)
{
	uint64_t big = htobe64(n);

	if (n < 1 << 14) {
		bool one = n < 1 << 6;

		out[0] = (uint8_t)(one ? n : 0x40 | n >> 8);
		out[1] = (uint8_t)n;
		return one ? 1 : 2;
	}
	size_t bytes = n <= UINT32_MAX ? 4 : 8;
	out[0] = bytes == 4 ? 0x80 : 0x81;
	memcpy(out + 1, (const uint8_t *)&big + 8 - bytes, bytes);
	return 1 + bytes;
}

int bak_rdb_string_at(const uint8_t *p, size_t n, struct bak_rdb_string *out)
{
	bool special = false;
	uint64_t value = 0;
	int used = any_length_at(p, n, &value, &special), a, b;

	*out = (struct bak_rdb_string){.body_len = value, .plain_len = value};
	if (used <= 0 || !special)
		return used;
	if (value < 3) {
		out->encoding = BAK_RDB_INT;
		out->body_len = 1u << value;
		return used;
	}
	if (value > 3)
		return -1;
	out->encoding = BAK_RDB_LZF;
	a = bak_rdb_length_at(p + used, n - (size_t)used, &out->body_len);
	if (a <= 0)
		return a;
	b = bak_rdb_length_at(p + used + a, n - (size_t)used - (size_t)a, &out->plain_len);
	return b <= 0 ? b : used + a + b;
}

bool bak_rdb_lzf_unpack(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	const uint8_t *end = in + in_len;
	size_t n = 0;

	while (in < end) {
		size_t len = *in >> 5, off = (size_t)(*in & 0x1f) << 8, literals = *in + 1u;

		in++;
		if (len == 0) {
			if (literals > (size_t)(end - in) || literals > out_len - n)
				return false;
			memcpy(out + n, in, literals);
			in += literals;
			n += literals;
			continue;
		}
		if (len == 7 && in < end)
			len += *in++;
		if (in == end)
			return false;
		off += *in++ + 1u;
		len += 2;
		if (off > n || len > out_len - n)
			return false;
		/* The two may overlap: a run. */
		for (; len; len--, n++)
			out[n] = out[n - off];
	}
	return n == out_len;
}
