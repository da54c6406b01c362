/* Whether an RDB file that arrives is whole: see rdb_proof.h. */
#include "stores/redis/rdb_proof.h"

#include "stores/redis/rdb_crc.h"
#include "stores/redis/rdb_string.h"

#include <stdio.h>
#include <string.h>

#define HEAD_LEN 9
#define TAIL_LEN 9 /* the byte 255, and the sum */
#define OP_END 0xff

struct rdb_state {
	uint64_t crc; /* of all but the last eight bytes */
	uint64_t n;
	uint8_t head[HEAD_LEN], tail[TAIL_LEN];
};
_Static_assert(sizeof(struct rdb_state) <= BAK_PROOF_STATE_LEN, "the state has its room");

/* Bytes that cannot be the checksum any more go into the sum. */
static void rdb_feed(void *state, const uint8_t *p, size_t len)
{
	struct rdb_state *s = state;
	uint8_t both[2 * TAIL_LEN];
	size_t old = s->n < 8 ? (size_t)s->n : 8;

	for (size_t i = 0; s->n + i < HEAD_LEN && i < len; i++)
		s->head[s->n + i] = p[i];
	s->n += len;
	memcpy(both, s->tail + TAIL_LEN - old, old);
	if (len < TAIL_LEN) {
		memcpy(both + old, p, len);
		size_t all = old + len, out = all > 8 ? all - 8 : 0, keep = all - out;

		s->crc = bak_rdb_crc(s->crc, both, out);
		if (all > 8)
			s->tail[0] = both[out - 1];
		memcpy(s->tail + TAIL_LEN - keep, both + out, keep);
		return;
	}
	s->crc = bak_rdb_crc(s->crc, both, old);
	s->crc = bak_rdb_crc(s->crc, p, len - 8);
	memcpy(s->tail, p + len - TAIL_LEN, TAIL_LEN);
}

static enum bak_verdict rdb_verdict(const void *state, uint64_t size, char why[BAK_PROOF_WHY_LEN])
{
	const struct rdb_state *s = state;
	size_t seen = size < 5 ? (size_t)size : 5;

	if (memcmp(s->head, "REDIS", seen) != 0 && memcmp(s->head, "VALKE", seen) != 0) {
		snprintf(why, BAK_PROOF_WHY_LEN, "not an RDB file");
		return BAK_VERDICT_WRONG;
	}
	uint64_t sum = (uint64_t)bak_rdb_little_endian(s->tail + 1, 8);
	bool ends = size > HEAD_LEN + TAIL_LEN && s->tail[0] == OP_END;
	if (ends && sum == s->crc)
		return BAK_VERDICT_WHOLE;
	if (ends && sum == 0)
		return BAK_VERDICT_UNPROVABLE;
	snprintf(why, BAK_PROOF_WHY_LEN,
		 "cut off or damaged: the RDB file's checksum does not stand at its end");
	return BAK_VERDICT_CUT;
}

const struct bak_proof_format bak_rdb_proof = {
	.window = UINT64_MAX,
	.once = true,
	.feed = rdb_feed,
	.verdict = rdb_verdict,
};
