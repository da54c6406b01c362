/* The inside of check and repair, for check*.c and repair*.c only; others use verify.h. */
#ifndef BAK_OPS_CHECK_PRIVATE_H
#define BAK_OPS_CHECK_PRIVATE_H

#include "engine/base/place_set.h"
#include "engine/ops/hold.h"
#include "engine/ops/lost.h"
#include "engine/ops/verify.h"

/* Packs, as a growing list of ids. */
struct bak_pack_list {
	uint8_t (*v)[BAK_PACK_ID_BYTES];
	size_t n, cap;
};

struct bak_checking {
	struct bak_repo *repo;
	const struct bak_verify_conf *conf;
	struct bak_check_result *out;
	struct bak_hold *hold; /* NULL: nothing is repaired */
	uint64_t total, done;
	struct bak_seg_codec codec;
	struct bak_buf record;
	struct bak_place_set good; /* segments of which a copy opened, or parity gave one; off 0 */
	struct bak_place_set entire; /* those of which one without holes did */
	struct bak_place_set bad;    /* segments of which a copy did not open as it lies */
	struct bak_place_set gone;   /* what snapshots need, and no copy gives */
	struct bak_place_set clean;  /* folders without damage below */
	struct bak_pack_list packs;  /* damaged ones */
	struct bak_pack_list parity; /* packs whose parity is missing or damaged */
	struct bak_buf objects;      /* names of small objects that do not open, each terminated */
	const struct bak_snapshot *snapshot; /* the one being walked */
};

void bak_checking_tell(struct bak_checking *c, const char *what, const char *where,
		       const char *why);
void bak_checking_progress(struct bak_checking *c, const char *what);
int bak_pack_list_add(struct bak_pack_list *list, const uint8_t id[BAK_PACK_ID_BYTES]);
bool bak_pack_list_has(const struct bak_pack_list *list, const uint8_t id[BAK_PACK_ID_BYTES]);

/* The parts, in the order in which they run. */
int bak_check_packs(struct bak_checking *c, struct bak_error *err);
int bak_check_parity(struct bak_checking *c, struct bak_error *err);
int bak_check_objects(struct bak_checking *c, struct bak_error *err);
int bak_repair(struct bak_checking *c, struct bak_error *err); /* with a hold */
int bak_check_trees(struct bak_checking *c, struct bak_error *err);

/* Something that is lost for good, told and counted. */
void bak_checking_lost(struct bak_checking *c, const struct bak_lost *lost);

#endif
