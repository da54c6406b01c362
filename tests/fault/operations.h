/*
 * What may be under way when something fails, as a table: each operation opens the repository of
 * its ground, does its work and closes it, as the program does.
 */
#ifndef BAK_TESTS_FAULT_OPERATIONS_H
#define BAK_TESTS_FAULT_OPERATIONS_H

#include "tests/fault/ground.h"

struct operation {
	const char *name;
	unsigned snapshots; /* that the ground has before */
	/* Before a fault may come; may be NULL. */
	void (*prepare)(struct ground *ground);
	/* 0 done, -1. Can be done again, whether it was done or not. */
	int (*run)(struct ground *ground, struct bak_error *err);
	/* What a reported success promises; the repository is open. */
	void (*done)(struct ground *ground, const char *after);
	bool once; /* done again it finds nothing to do, and promises nothing */
};

extern const struct operation operations[];
extern const size_t n_operations;

#endif
