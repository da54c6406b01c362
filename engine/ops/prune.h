/*
 * Giving space back, beside running backups. In this order:
 *
 *   lease      another prune alive: withdraws
 *   look       lists packs, leases, snapshots; walks what is live. Snapshots that were forgotten a day
 *              ago, and on which no running backup may build, are none any more
 *   sweep      packs condemned a day ago, about which every running backup knows: what is live and
 *              lies in condemned packs alone is copied, made durable, then they are deleted
 *   condemn    packs with much garbage: what is live in them is copied, as it is or with holes, then
 *              they are condemned; a later prune sweeps them
 *
 * Killed at any moment it loses nothing, and the next one goes on. Alone, it waits for no grace and
 * sweeps what it condemned at once; no backup may run then.
 *
 * It refuses (BAK_REFUSED) while snapshots are missing or do not open: what they refer to would pass
 * for garbage.
 */
#ifndef BAK_OPS_PRUNE_H
#define BAK_OPS_PRUNE_H

#include "engine/ops/repo.h"

/* Packs with more garbage than this are rewritten, percent. */
#define BAK_PRUNE_UNUSED 20

struct bak_prune_result {
	uint64_t packs, bytes;                     /* of the repository, before */
	uint64_t snapshots;                        /* live */
	uint64_t removed_snapshots;                /* forgotten ones that are deleted */
	uint64_t swept_packs, swept_bytes;         /* deleted */
	uint64_t condemned_packs, condemned_bytes; /* to be deleted by a later prune */
	uint64_t copied_segments, copied_bytes;    /* before: an estimate */
	uint64_t waiting_packs, waiting_bytes;     /* condemned earlier, not yet to be deleted */
	int64_t next;                              /* when the first of all those may be; 0 none */
	uint64_t damaged_segments; /* live ones of which no copy opens; their packs are kept */
	uint64_t damaged_packs;    /* packs with a damaged footer: left to check --repair */
	uint64_t after_bytes;      /* of the repository, after */
};

struct bak_prune_conf {
	bool dry_run; /* plans, changes nothing, needs no lease */
	bool alone;
	int max_unused;    /* percent; < 0: BAK_PRUNE_UNUSED */
	size_t ranges_max; /* see live.h; 0: as there */
	/* Told what will be done, before anything is. May be NULL, as all. */
	void (*planned)(void *ctx, const struct bak_prune_result *plan);
	void (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total);
	void (*warn)(void *ctx, const char *text);
	void *ctx;
};

/* BAK_BUSY when another prune, or, alone, anything is at work. */
int bak_prune(struct bak_repo *repo, const struct bak_prune_conf *conf,
	      struct bak_prune_result *out, struct bak_error *err);

#endif
