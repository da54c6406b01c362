/*
 * Being at work on a repository: a lease, written before anything is looked at, renewed every five
 * minutes by a thread of its own, ended by its owner. What others left is cleared away on the way
 * in: leases of the dead, unfinished files of runs without a live lease.
 *
 * Who may work beside whom: backups beside each other, unless they name the same store; one prune
 * beside backups; BAK_HOLD_ALONE beside nobody.
 *
 * Threads: everything but begin and end may be called from any thread.
 */
#ifndef BAK_OPS_HOLD_H
#define BAK_OPS_HOLD_H

#include "engine/ops/repo.h"

/* A lease is dead this long after its last renewal; clocks may differ by an hour. */
#define BAK_LEASE_S (24 * 3600)
#define BAK_CLOCKS_S 3600

enum bak_hold_kind {
	BAK_HOLD_BACKUP,
	BAK_HOLD_PRUNE,
	BAK_HOLD_ALONE, /* a prune that waits for no grace, new keys */
};

struct bak_hold;

/* stores: that a backup sets out to do, copied. BAK_BUSY, and nothing stays behind, when somebody
 * else's live lease does not bear this one. */
int bak_hold_begin(struct bak_repo *repo, enum bak_hold_kind kind, const char *const *stores,
		   size_t n_stores, struct bak_hold **out_hold, struct bak_error *err);
void bak_hold_end(struct bak_hold *hold); /* ends the lease; NULL is fine */

const uint8_t *bak_hold_run(const struct bak_hold *hold); /* 8 bytes */
const char *bak_hold_id(const struct bak_hold *hold);     /* the same, 16 hex digits */
int64_t bak_hold_start(struct bak_hold *hold);

/* Renews the lease. It has lapsed when it is a day old, or gone: then the new one begins now, and
 * whatever was found before has to be looked at anew. */
int bak_hold_renew(struct bak_hold *hold, struct bak_error *err);
/* Renews it if need be. *out_lapses: how often it has lapsed so far. */
int bak_hold_check(struct bak_hold *hold, unsigned *out_lapses, struct bak_error *err);
/* Seconds since the last renewal. */
int64_t bak_hold_age(struct bak_hold *hold);

/* Live leases of others. */
struct bak_leases {
	size_t n, cap;
	struct bak_lease_line {
		char run[17];
		int64_t start;
	} * v;
};
void bak_leases_release(struct bak_leases *leases);
/* but: the id of a run that does not count, or NULL. */
int bak_leases_list(struct bak_repo *repo, const char *but, struct bak_leases *out,
		    struct bak_error *err);
/* Whether one of them may have begun before that time. */
bool bak_leases_before(const struct bak_leases *leases, int64_t time);

#endif
