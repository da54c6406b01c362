/* The types and opcodes of RDB, each with what follows it: see rdb_grammar.h. */
#include "stores/redis/rdb_grammar.h"

const char *const bak_rdb_class_names[BAK_RDB_N_CLASSES] = {
	"string", "list", "set", "zset", "hash", "stream", "module",
};

static const struct bak_rdb_grammar types[] = {
	[0] = {"s", BAK_RDB_STRING, true, true},
	[1] = {"(s)", BAK_RDB_LIST, true, true},
	[2] = {"(s)", BAK_RDB_SET, true, true},
	[3] = {"(sd)", BAK_RDB_ZSET, true, true},
	[4] = {"(ss)", BAK_RDB_HASH, true, true},
	[5] = {"(s8)", BAK_RDB_ZSET, true, true},
	[7] = {"lm", BAK_RDB_MODULE, true, true},
	[9] = {"s", BAK_RDB_HASH, true, true},  /* zipmap */
	[10] = {"s", BAK_RDB_LIST, true, true}, /* ziplist */
	[11] = {"s", BAK_RDB_SET, true, true},  /* intset */
	[12] = {"s", BAK_RDB_ZSET, true, true}, /* ziplist */
	[13] = {"s", BAK_RDB_HASH, true, true}, /* ziplist */
	[14] = {"(s)", BAK_RDB_LIST, true, true},
	/* Stream: nodes; length and last id; groups with their pending entries and consumers. */
	[15] = {"(ss)lll(sll(68l)(s8(6)))", BAK_RDB_STREAM, true, true},
	[16] = {"s", BAK_RDB_HASH, true, true}, /* listpack */
	[17] = {"s", BAK_RDB_ZSET, true, true}, /* listpack */
	[18] = {"(ls)", BAK_RDB_LIST, true, true},
	/* and first id, largest deleted id, entries added; entries read of a group */
	[19] = {"(ss)llllllll(slll(68l)(s8(6)))", BAK_RDB_STREAM, true, true},
	[20] = {"s", BAK_RDB_SET, true, true}, /* listpack */
	/* and when a consumer was active */
	[21] = {"(ss)llllllll(slll(68l)(s88(6)))", BAK_RDB_STREAM, true, true},
	[22] = {"(ss8)", BAK_RDB_HASH, true, false},  /* Valkey 9: fields that expire */
	[24] = {"8(lss)", BAK_RDB_HASH, false, true}, /* Redis 7.4: the same */
	[25] = {"8s", BAK_RDB_HASH, false, true},     /* the same as a listpack */
};
#define N_TYPES (sizeof types / sizeof *types)

#define FIRST_OPCODE BAK_RDB_OP_SLOT_IMPORT

static const char *const opcodes[] = {
	[BAK_RDB_OP_SLOT_IMPORT - FIRST_OPCODE] = "s(ll)",
	[BAK_RDB_OP_SLOT_INFO - FIRST_OPCODE] = "lll",
	[BAK_RDB_OP_FUNCTION - FIRST_OPCODE] = "s",
	[BAK_RDB_OP_MODULE_AUX - FIRST_OPCODE] = "lllm",
	[BAK_RDB_OP_IDLE - FIRST_OPCODE] = "l",
	[BAK_RDB_OP_FREQ - FIRST_OPCODE] = "1",
	[BAK_RDB_OP_AUX - FIRST_OPCODE] = "nt",
	[BAK_RDB_OP_RESIZE - FIRST_OPCODE] = "ll",
	[BAK_RDB_OP_EXPIRE_MS - FIRST_OPCODE] = "8",
	[BAK_RDB_OP_EXPIRE_S - FIRST_OPCODE] = "4",
	[BAK_RDB_OP_SELECT - FIRST_OPCODE] = "l",
};

const struct bak_rdb_grammar *bak_rdb_grammar_of(bool valkey, uint8_t type)
{
	const struct bak_rdb_grammar *g = type < N_TYPES ? &types[type] : NULL;

	if (!g || !g->program)
		return NULL;
	return (valkey ? g->valkey : g->redis) ? g : NULL;
}

const char *bak_rdb_opcode_program(bool valkey, uint8_t opcode)
{
	if (opcode < FIRST_OPCODE || opcode == BAK_RDB_OP_END ||
	    (opcode == BAK_RDB_OP_SLOT_IMPORT && !valkey))
		return NULL;
	return opcodes[opcode - FIRST_OPCODE];
}
