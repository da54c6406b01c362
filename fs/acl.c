/* POSIX ACLs of uploads: see acl.h. */
#include "fs/acl.h"

#define HEAD 4u
#define ENTRY 8u

enum acl_tag { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };

static unsigned get16(const uint8_t *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

/* Where the entry with this tag is, or NULL; the last one of several. */
static uint8_t *entry_with(uint8_t *list, size_t len, enum acl_tag tag)
{
	uint8_t *found = NULL;
	for (size_t at = HEAD; at < len; at += ENTRY)
		if (get16(list + at) == tag)
			found = list + at;
	return found;
}

/* The group's bits of a mode stand for the mask where there is one. */
static uint8_t *group_entry(uint8_t *list, size_t len)
{
	uint8_t *mask = entry_with(list, len, MASK);
	return mask ? mask : entry_with(list, len, GROUP_OBJ);
}

bool bak_acl_mode(const void *value, size_t len, mode_t *out_bits, bool *out_plain)
{
	uint8_t *list = (uint8_t *)(uintptr_t)value; /* only read here */
	if (len < HEAD || (len - HEAD) % ENTRY || get16(list) != 2 || get16(list + 2) != 0)
		return false;
	const uint8_t *user = entry_with(list, len, USER_OBJ);
	const uint8_t *group = entry_with(list, len, GROUP_OBJ);
	const uint8_t *other = entry_with(list, len, OTHER);
	if (!user || !group || !other)
		return false;
	*out_plain = len == HEAD + 3 * ENTRY;
	*out_bits = (mode_t)((get16(user + 2) & 7) << 6 |
			     (get16(group_entry(list, len) + 2) & 7) << 3 | (get16(other + 2) & 7));
	return true;
}

static void put_bits(uint8_t *entry, mode_t bits)
{
	entry[2] = (uint8_t)(bits & 7);
	entry[3] = 0;
}

void bak_acl_chmod(void *value, size_t len, mode_t bits)
{
	put_bits(entry_with(value, len, USER_OBJ), bits >> 6);
	put_bits(group_entry(value, len), bits >> 3);
	put_bits(entry_with(value, len, OTHER), bits);
}
