/*
 * What RDB files are made of: types of values and opcodes, each with the program (rdb_program.h) of
 * what stands behind its byte; of a type, behind the key's name.
 */
#ifndef BAK_STORES_RDB_GRAMMAR_H
#define BAK_STORES_RDB_GRAMMAR_H

#include "stores/redis/rdb.h"
#include "stores/redis/rdb_program.h"

enum bak_rdb_opcode {
	BAK_RDB_OP_SLOT_IMPORT = 243, /* Valkey's; Redis has something else there */
	BAK_RDB_OP_SLOT_INFO = 244,
	BAK_RDB_OP_FUNCTION = 245,
	BAK_RDB_OP_MODULE_AUX = 247,
	BAK_RDB_OP_IDLE = 248,
	BAK_RDB_OP_FREQ = 249,
	BAK_RDB_OP_AUX = 250,
	BAK_RDB_OP_RESIZE = 251,
	BAK_RDB_OP_EXPIRE_MS = 252,
	BAK_RDB_OP_EXPIRE_S = 253,
	BAK_RDB_OP_SELECT = 254,
	BAK_RDB_OP_END = 255,
};

struct bak_rdb_grammar {
	const char *program;
	enum bak_rdb_class class;
	bool valkey, redis; /* types whose meaning depends on who wrote it */
};
/* NULL: such a file has no such type, or opcode. BAK_RDB_OP_END has nothing behind it but the sum. */
const struct bak_rdb_grammar *bak_rdb_grammar_of(bool valkey, uint8_t type);
const char *bak_rdb_opcode_program(bool valkey, uint8_t opcode);

#endif
