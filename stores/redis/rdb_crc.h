/*
 * The checksum of RDB files and DUMP payloads: CRC-64 with the Jones polynomial, reflected, starting
 * from 0. "123456789" gives e9c6d914c4b8d9ca.
 */
#ifndef BAK_STORES_RDB_CRC_H
#define BAK_STORES_RDB_CRC_H

#include <isa-l/crc64.h>
#include <stddef.h>
#include <stdint.h>

/* Goes on from sum with [p, p + len). The library inverts what goes in and what comes out. */
static inline uint64_t bak_rdb_crc(uint64_t sum, const void *p, size_t len)
{
	return len ? ~crc64_jones_refl(~sum, p, len) : sum;
}

#endif
