/* The inside of a prune, for prune*.c. */
#ifndef BAK_OPS_PRUNE_PRIVATE_H
#define BAK_OPS_PRUNE_PRIVATE_H

#include "engine/base/place_set.h"
#include "engine/content/repack.h"
#include "engine/ops/hold.h"
#include "engine/ops/live.h"
#include "engine/ops/prune.h"

/* A segment of which less than this is live is stored again with holes, percent. */
#define BAK_PRUNE_HOLED 75

/* Ids of packs, sorted once they are all there. */
struct bak_pack_ids {
	size_t n, cap;
	uint8_t (*v)[BAK_PACK_ID_BYTES];
};
int bak_pack_ids_add(struct bak_pack_ids *ids, const uint8_t id[BAK_PACK_ID_BYTES]);
void bak_pack_ids_sort(struct bak_pack_ids *ids);
bool bak_pack_ids_has(const struct bak_pack_ids *ids, const uint8_t id[BAK_PACK_ID_BYTES]);
void bak_pack_ids_release(struct bak_pack_ids *ids);

struct bak_prune {
	struct bak_repo *repo;
	const struct bak_prune_conf *conf;
	struct bak_prune_result *out;
	struct bak_hold *hold; /* NULL in a dry run */
	unsigned lapses;
	struct bak_live *live;
	struct bak_pack_row *packs; /* as listed before the leases */
	size_t n_packs;
	struct bak_leases leases;
	uint64_t *walked; /* snapshots that are in live, sorted */
	size_t n_walked, cap_walked;
	struct bak_buf due; /* names of objects of snapshots that are none any more, terminated */
	struct bak_pack_ids kept; /* with live segments that do not open */
};

/* The row of a pack among sorted ones, or NULL. */
const struct bak_pack_row *bak_prune_row(const struct bak_pack_row *rows, size_t n,
					 const uint8_t id[BAK_PACK_ID_BYTES]);

/* Brings p->leases and the snapshots up to date, in this order, and walks what is new. */
int bak_prune_look(struct bak_prune *p, struct bak_error *err);
/* Fails when the lease lapsed since the prune began. */
int bak_prune_check_lease(struct bak_prune *p, struct bak_error *err);
void bak_prune_progress(struct bak_prune *p, const char *what, uint64_t done, uint64_t total);
void bak_prune_warn(struct bak_prune *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Whether the data segment is to be counted exactly before a copy of it is judged. */
bool bak_prune_inexact(const struct bak_live_seg *seg, const struct bak_seg_copy *copy,
		       const struct bak_live *live);
/* Whether the copy has all that is live of its segment. 1, 0, -1. */
int bak_prune_serves(struct bak_prune *p, const struct bak_seg_copy *copy,
		     const struct bak_live_seg *seg, struct bak_error *err);
/* Copies that a segment has to have outside of condemned packs. */
static inline unsigned bak_prune_needed(uint8_t type)
{
	return type == BAK_SEG_TREE ? 2 : 1;
}

/* Copies what is live in these packs, and is kept by too few packs that are neither condemned nor
 * among them, into new ones; durable on return. Of segments that do not open the packs are added to
 * p->kept. */
int bak_prune_evacuate(struct bak_prune *p, const struct bak_pack_ids *leaving,
		       struct bak_error *err);

/* Chooses, tells in p->out what will be done; the packs chosen are the caller's to release. */
int bak_prune_plan(struct bak_prune *p, struct bak_pack_ids *out_packs, struct bak_error *err);
int bak_prune_condemn(struct bak_prune *p, const struct bak_pack_ids *packs, struct bak_error *err);
/* Deletes packs whose grace is over; only says so in a dry run. */
int bak_prune_sweep(struct bak_prune *p, bool only_say, struct bak_error *err);

#endif
