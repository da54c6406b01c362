/* Numbers to bytes and back: see bytes.h. */
#include "engine/base/bytes.h"

#include <string.h>

const uint8_t *bak_get_bytes(struct bak_bytes *b, size_t len)
{
	if (b->bad || len > bak_bytes_left(b)) {
		b->bad = true;
		return NULL;
	}
	const uint8_t *p = b->p;
	b->p += len;
	return p;
}

static uint64_t get_fixed(struct bak_bytes *b, size_t width)
{
	const uint8_t *p = bak_get_bytes(b, width);
	uint64_t v = 0;
	for (size_t i = width; p && i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

uint8_t bak_get_u8(struct bak_bytes *b)
{
	return (uint8_t)get_fixed(b, 1);
}

uint16_t bak_get_u16(struct bak_bytes *b)
{
	return (uint16_t)get_fixed(b, 2);
}

uint32_t bak_get_u32(struct bak_bytes *b)
{
	return (uint32_t)get_fixed(b, 4);
}

uint64_t bak_get_u64(struct bak_bytes *b)
{
	return get_fixed(b, 8);
}

uint64_t bak_get_varint(struct bak_bytes *b)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (b->bad || b->p == b->end)
			break;
		uint8_t byte = *b->p++;
		if (shift == 63 && byte > 1)
			break;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return v;
	}
	b->bad = true;
	return 0;
}

uint64_t bak_get_varint_max(struct bak_bytes *b, uint64_t max)
{
	uint64_t v = bak_get_varint(b);
	if (v > max) {
		b->bad = true;
		return 0;
	}
	return v;
}

int64_t bak_get_zigzag(struct bak_bytes *b)
{
	uint64_t v = bak_get_varint(b);
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static int put_fixed(struct bak_buf *buf, uint64_t v, size_t width)
{
	uint8_t tmp[8];
	for (size_t i = 0; i < width; i++)
		tmp[i] = (uint8_t)(v >> (8 * i));
	return bak_buf_append(buf, tmp, width);
}

int bak_put_u8(struct bak_buf *buf, uint8_t v)
{
	return put_fixed(buf, v, 1);
}

int bak_put_u16(struct bak_buf *buf, uint16_t v)
{
	return put_fixed(buf, v, 2);
}

int bak_put_u32(struct bak_buf *buf, uint32_t v)
{
	return put_fixed(buf, v, 4);
}

int bak_put_u64(struct bak_buf *buf, uint64_t v)
{
	return put_fixed(buf, v, 8);
}

int bak_put_varint(struct bak_buf *buf, uint64_t v)
{
	uint8_t tmp[10];
	size_t n = 0;
	while (v >= 0x80) {
		tmp[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	tmp[n++] = (uint8_t)v;
	return bak_buf_append(buf, tmp, n);
}

int bak_put_zigzag(struct bak_buf *buf, int64_t v)
{
	return bak_put_varint(buf, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

void bak_store_u32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void bak_store_u64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

uint32_t bak_load_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t bak_load_u64(const uint8_t *p)
{
	return bak_load_u32(p) | (uint64_t)bak_load_u32(p + 4) << 32;
}

void bak_hex(char *out, const uint8_t *p, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * len] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool bak_unhex(uint8_t *out, size_t len, const char *hex)
{
	if (strnlen(hex, 2 * len + 1) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int hi = hex_digit(hex[2 * i]), lo = hex_digit(hex[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}
