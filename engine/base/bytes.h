/*
 * Numbers to bytes and back: little endian, and varints of 7 bits a byte, lowest first, at most
 * ten bytes. The reading half is for hostile input: every get checks the bound, and once one has
 * failed all later ones answer zero and `bad` stays set, so a parser may check once at its end
 * (but before it allocates or loops by a number that it read).
 */
#ifndef BAK_BASE_BYTES_H
#define BAK_BASE_BYTES_H

#include "engine/base/buf.h"

#include <stdbool.h>

struct bak_bytes {
	const uint8_t *p, *end;
	bool bad;
};

/* NULL is fine for no bytes. */
static inline struct bak_bytes bak_bytes_of(const void *p, size_t len)
{
	return (struct bak_bytes){.p = p, .end = len ? (const uint8_t *)p + len : p};
}

static inline size_t bak_bytes_left(const struct bak_bytes *b)
{
	return (size_t)(b->end - b->p);
}

uint8_t bak_get_u8(struct bak_bytes *b);
uint16_t bak_get_u16(struct bak_bytes *b);
uint32_t bak_get_u32(struct bak_bytes *b);
uint64_t bak_get_u64(struct bak_bytes *b);
uint64_t bak_get_varint(struct bak_bytes *b);
/* A varint that must not exceed max. */
uint64_t bak_get_varint_max(struct bak_bytes *b, uint64_t max);
/* Signed, zigzag: 0, -1, 1, -2 ... are 0, 1, 2, 3 ... */
int64_t bak_get_zigzag(struct bak_bytes *b);
/* len bytes borrowed from the input, or NULL. */
const uint8_t *bak_get_bytes(struct bak_bytes *b, size_t len);

/* All return 0, or -1 for lack of memory. */
int bak_put_u8(struct bak_buf *buf, uint8_t v);
int bak_put_u16(struct bak_buf *buf, uint16_t v);
int bak_put_u32(struct bak_buf *buf, uint32_t v);
int bak_put_u64(struct bak_buf *buf, uint64_t v);
int bak_put_varint(struct bak_buf *buf, uint64_t v);
int bak_put_zigzag(struct bak_buf *buf, int64_t v);

/* Fixed-width stores and loads for records of fixed layout. */
void bak_store_u32(uint8_t *p, uint32_t v);
void bak_store_u64(uint8_t *p, uint64_t v);
uint32_t bak_load_u32(const uint8_t *p);
uint64_t bak_load_u64(const uint8_t *p);

/* Lower-case hex. out holds 2 * len + 1 characters. */
void bak_hex(char *out, const uint8_t *p, size_t len);
/* Reads exactly 2 * len hex digits, lower case; false when there is anything else. */
bool bak_unhex(uint8_t *out, size_t len, const char *hex);

#endif
