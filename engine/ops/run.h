/* The inside of a run, for run.c and backup.c only; others use backup.h. */
#ifndef BAK_OPS_RUN_H
#define BAK_OPS_RUN_H

#include "engine/ops/backup.h"

#include <pthread.h>

struct bak_run {
	struct bak_repo *repo; /* borrowed */
	uint8_t bytes[8];
	char id[17];
	char *type, *description;
	char **stores;
	size_t n_stores;
	int64_t start, stamp; /* stamp: 0 until the first commit fixes it */
	bool has_lease, has_lock, has_thread;
	pthread_t thread;
	pthread_mutex_t lock; /* guards ending and lease_n while the thread runs */
	pthread_cond_t changed;
	bool ending;
	unsigned lease_n;
};

#endif
