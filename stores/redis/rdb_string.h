/*
 * The smallest parts of RDB: lengths, the heads of strings, and how strings are packed.
 *
 * A length: one byte 00xxxxxx; two bytes 01xxxxxx x; 0x80 and four, or 0x81 and eight bytes,
 *   big-endian. A string: a length and so many bytes; or 11xxxxxx for a kind: 0 to 2 an integer of
 *   1, 2 or 4 bytes, little-endian; 3 two lengths, packed and plain, and what LZF made of it.
 */
#ifndef BAK_STORES_RDB_STRING_H
#define BAK_STORES_RDB_STRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bak_rdb_encoding { BAK_RDB_PLAIN, BAK_RDB_INT, BAK_RDB_LZF };

struct bak_rdb_string {
	enum bak_rdb_encoding encoding;
	uint64_t body_len;  /* bytes that follow the head */
	uint64_t plain_len; /* LZF: what they unpack to */
};

/* What stands at p, of which n bytes are there: how many it takes; 0 there are not enough, -1 it
 * makes no sense. */
int bak_rdb_length_at(const uint8_t *p, size_t n, uint64_t *out);
int bak_rdb_string_at(const uint8_t *p, size_t n, struct bak_rdb_string *out);

/* Writes a length as servers do; how many bytes it takes. */
#define BAK_RDB_LENGTH_MAX 9
size_t bak_rdb_length_put(uint8_t out[BAK_RDB_LENGTH_MAX], uint64_t n);

/* Of at most 8 bytes. */
int64_t bak_rdb_little_endian(const uint8_t *p, size_t n);

/* Unpacks what LZF packed; false when it does not give exactly out_len bytes. */
bool bak_rdb_lzf_unpack(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len);

#endif
