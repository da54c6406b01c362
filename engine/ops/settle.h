/*
 * What a backup looks at once more before its commit: whether all that its snapshot refers to will
 * stay. Condemnations may have come since it was found; if the lease lapsed, packs may have gone.
 */
#ifndef BAK_OPS_SETTLE_H
#define BAK_OPS_SETTLE_H

#include "engine/content/usable.h"
#include "engine/ops/run.h"

/* Segments found by hash, that lie only in condemned packs by now, are copied as they are into packs
 * of the run. The catalogue is fresh. *out_added: bytes of those packs. BAK_NOT_FOUND when one is
 * gone. */
int bak_settle_found(struct bak_run *run, const struct bak_place_set *segments, uint64_t *out_added,
		     struct bak_error *err);
/* After a lapse: every range that the snapshot refers to, the predecessor's too. */
int bak_settle_all(struct bak_run *run, const struct bak_snapshot *snapshot, uint64_t *out_added,
		   struct bak_error *err);

#endif
