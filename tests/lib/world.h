/*
 * A whole repository over the memory backend behind the fault wrapper, for tests of ops. Whatever
 * goes wrong in a function that returns nothing fails the test.
 */
#ifndef BAK_TESTS_WORLD_H
#define BAK_TESTS_WORLD_H

#include "tests/lib/fixture.h"

#include "engine/ops/backup.h"

struct bak_world {
	struct bak_backend *mem, *fault;
	struct bak_secret secret;
	struct bak_repo *repo;
};

/* Fails the test with the error's text when rc is negative. */
void bak_must(int rc, const struct bak_error *err);

void bak_world_setup(struct bak_world *world);
void bak_world_teardown(struct bak_world *world);
/* Index in memory, host "here", cheap scrypt. */
struct bak_repo_conf bak_world_conf(struct bak_world *world);
void bak_world_open(struct bak_world *world);
void bak_world_reopen(struct bak_world *world);

/* Three files with contents made from seed, and a folder. Returns 0 and the number, or -1. */
int bak_world_try_backup(struct bak_world *world, const char *store, const char *type,
			 uint64_t seed, uint64_t *out_number, struct bak_error *err);
uint64_t bak_world_backup(struct bak_world *world, const char *store, const char *type,
			  uint64_t seed);

/* Changes one bit of an object. */
void bak_world_flip(struct bak_world *world, const char *name, uint64_t at);

#endif
