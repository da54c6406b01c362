/*
 * Inodes for files that nobody ever had: what a driver makes out of a server's answers. Owned by
 * who runs this, of now.
 */
#ifndef BAK_STORES_PAYLOAD_H
#define BAK_STORES_PAYLOAD_H

#include "engine/content/writer.h"

void bak_payload_inode(struct bak_source_inode *out, enum bak_type type, uint32_t mode);

#endif
