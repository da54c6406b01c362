/* The inside of a run, for run.c, backup.c and commit.c only; others use backup.h. */
#ifndef BAK_OPS_RUN_H
#define BAK_OPS_RUN_H

#include "engine/ops/backup.h"
#include "engine/ops/hold.h"

struct bak_run {
	struct bak_repo *repo; /* borrowed */
	struct bak_hold *hold;
	uint8_t bytes[8];
	char id[17];
	char *type, *description;
	char **stores;
	size_t n_stores;
	unsigned lapses;      /* of the lease, when the catalogue was listed last */
	int64_t start, stamp; /* stamp: 0 until the first commit fixes it */
};

/* Lists what a backup has to know, in the order that misses nothing. */
int bak_run_look(struct bak_run *run, struct bak_error *err);

#endif
