/*
 * Whether an RDB file that arrives is whole: its head, and its checksum over everything before it.
 * One without a checksum cannot be proven that way.
 */
#ifndef BAK_STORES_RDB_PROOF_H
#define BAK_STORES_RDB_PROOF_H

#include "engine/base/proof.h"

extern const struct bak_proof_format bak_rdb_proof;

#endif
