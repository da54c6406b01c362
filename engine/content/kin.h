/*
 * What a file was, or is like, when nothing had its name one snapshot earlier: of the files beside
 * it in the predecessor's folder one with its inode number (renamed), or one whose name differs
 * only in numbers (dumps with their dates, of one database or of several).
 *
 * Threads: one.
 */
#ifndef BAK_CONTENT_KIN_H
#define BAK_CONTENT_KIN_H

#include "engine/base/buf.h"
#include "engine/objects/tree.h"

struct bak_kin {
	struct bak_buf name; /* empty: none */
	uint64_t ino, size;
	struct bak_content content;
};
void bak_kin_release(struct bak_kin *kin);

/* Remembers an entry that the cursor leaves behind, if it is a file with bytes. */
void bak_kin_remember(struct bak_kin *kin, const struct bak_entry *entry);
/* Whether a file with that name and inode number may have come from it. */
bool bak_kin_fits(const struct bak_kin *kin, const char *name, uint64_t ino);

#endif
