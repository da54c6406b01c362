/*
 * POSIX ACLs as the kernel writes them into system.posix_acl_access (linux/posix_acl_xattr.h):
 *   u32 version = 2; entries: u16 tag, u16 permissions, u32 id; little endian
 * What a file system with ACLs does when one is set or the mode changes; no permission checks.
 */
#ifndef BAK_FS_ACL_H
#define BAK_FS_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BAK_ACL_ACCESS "system.posix_acl_access"

/* The permission bits that the list stands for; *out_plain: it says no more than these bits do.
 * false: it is no such list. */
bool bak_acl_mode(const void *value, size_t len, mode_t *out_bits, bool *out_plain);
/* Puts the bits of a chmod into a list that bak_acl_mode took. */
void bak_acl_chmod(void *value, size_t len, mode_t bits);

#endif
