/*
 * Whether a dump that arrives is whole: its zstd frame is walked from block to block, without
 * unpacking, until the one that says it is the last (RFC 8878). What is in the blocks is looked at
 * when it is imported. gzip's end can only be found by unpacking.
 */
#include "stores/neo4j/archive.h"

#include <stdio.h>
#include <string.h>

enum at {
	AT_START, /* of the file */
	AT_MAGIC, /* of a frame */
	AT_DESCRIPTOR,
	AT_BLOCK,
	AT_CHECKSUM,
	AT_GZIP,
	AT_WRONG,
};

struct proof {
	enum at at;
	bool checksum, last, whole; /* whole: a frame has ended here */
	uint64_t skip;              /* bytes of no interest before the next one of it */
	uint8_t have[4];
	uint32_t n_have;
};
_Static_assert(sizeof(struct proof) <= BAK_PROOF_STATE_LEN, "the state has its room");

static const uint8_t frame_magic[] = {0x28, 0xb5, 0x2f, 0xfd};

/* How many bytes each place takes. */
static uint32_t wanted(enum at at)
{
	switch (at) {
	case AT_START:
	case AT_MAGIC:
		return 4;
	case AT_BLOCK:
		return 3;
	default:
		return 1;
	}
}

static void go(struct proof *s, enum at at, uint64_t skip)
{
	s->at = at;
	s->skip = skip;
	s->n_have = 0;
}

static void use_descriptor(struct proof *s)
{
	static const uint8_t size_lens[] = {0, 2, 4, 8}, dictionary_lens[] = {0, 1, 2, 4};
	uint8_t d = s->have[0];
	bool single = d & 0x20;
	uint64_t rest = size_lens[d >> 6] + dictionary_lens[d & 3];

	if (single && d >> 6 == 0)
		rest++;
	if (!single)
		rest++;
	s->checksum = d & 4;
	go(s, d & 8 ? AT_WRONG : AT_BLOCK, rest);
}

static void use_block(struct proof *s)
{
	uint32_t head = s->have[0] | (uint32_t)s->have[1] << 8 | (uint32_t)s->have[2] << 16;
	uint32_t type = head >> 1 & 3, size = head >> 3;

	if (type == 3) {
		go(s, AT_WRONG, 0);
		return;
	}
	s->last = head & 1;
	go(s, s->last ? AT_CHECKSUM : AT_BLOCK, type == 1 ? 1 : size);
}

static void use(struct proof *s)
{
	bool magic = memcmp(s->have, frame_magic, 4) == 0;

	switch (s->at) {
	case AT_START:
		if (memcmp(s->have, "DZV1", 4) == 0)
			go(s, AT_MAGIC, 0);
		else if (memcmp(s->have, "DGV1", 4) == 0 ||
			 (s->have[0] == 0x1f && s->have[1] == 0x8b))
			go(s, AT_GZIP, 0);
		else
			go(s, magic ? AT_DESCRIPTOR : AT_WRONG, 0);
		break;
	case AT_MAGIC:
		go(s, magic ? AT_DESCRIPTOR : AT_WRONG, 0);
		break;
	case AT_DESCRIPTOR:
		use_descriptor(s);
		break;
	case AT_BLOCK:
		use_block(s);
		break;
	default:
		break;
	}
}

/* Behind the last block's content: the frame ends at once, or behind four bytes. */
static void pass_end(struct proof *s)
{
	if (s->at != AT_CHECKSUM || s->skip)
		return;
	if (s->checksum) {
		s->checksum = false;
		s->skip = 4;
		return;
	}
	s->whole = true;
	go(s, AT_MAGIC, 0);
}

static void neo4j_feed(void *state, const uint8_t *p, size_t len)
{
	struct proof *s = state;

	while (len && s->at != AT_GZIP && s->at != AT_WRONG) {
		if (s->skip) {
			size_t n = s->skip < len ? (size_t)s->skip : len;

			s->skip -= n;
			p += n;
			len -= n;
		} else {
			s->whole = false;
			s->have[s->n_have++] = *p++;
			len--;
			if (s->n_have == wanted(s->at))
				use(s);
		}
		pass_end(s);
		/* a checksum's length may have come up just now */
		if (s->at == AT_CHECKSUM)
			pass_end(s);
	}
}

static enum bak_verdict neo4j_verdict(const void *state, uint64_t size, char why[BAK_PROOF_WHY_LEN])
{
	const struct proof *s = state;

	if (size == 0)
		return BAK_VERDICT_EMPTY;
	if (s->at == AT_GZIP)
		return BAK_VERDICT_UNPROVABLE;
	if (s->at == AT_WRONG) {
		snprintf(why, BAK_PROOF_WHY_LEN, "not a dump of neo4j-admin, or damaged");
		return BAK_VERDICT_WRONG;
	}
	if (s->whole)
		return BAK_VERDICT_WHOLE;
	snprintf(why, BAK_PROOF_WHY_LEN, "cut off: the dump's last block is not there");
	return BAK_VERDICT_CUT;
}

const struct bak_proof_format bak_neo4j_proof = {
	.window = UINT64_MAX,
	.once = true,
	.feed = neo4j_feed,
	.verdict = neo4j_verdict,
};
