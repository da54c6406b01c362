/*
 * A repository in real folders, put back into the same state as often as wanted: the ground on
 * which faults happen. Whatever goes wrong in a function that returns nothing fails the test.
 *
 * Folders: <dir>/work/{repo,cache,state,out} as the operation finds and leaves them; <dir>/base,
 * the same at the beginning.
 */
#ifndef BAK_TESTS_FAULT_GROUND_H
#define BAK_TESTS_FAULT_GROUND_H

#include "engine/ops/backup.h"

struct ground {
	char dir[64], base[80], work[80], repo_path[96], cache[96], state[96], out[96];
	struct bak_secret secret;
	struct bak_repo *repo;
	uint64_t snapshots; /* of the base: versions 1, 2, ... of the store app */
	uint64_t may_go;    /* those up to this one may be forgotten meanwhile */
};

/* snapshots: 0 is an empty repository. The base is made without faults. */
void ground_make(struct ground *ground, unsigned snapshots);
void ground_free(struct ground *ground);
/* The work folder as the base. Closes the repository. */
void ground_reset(struct ground *ground);
/* The base as the work folder is now. Closes the repository. */
void ground_keep(struct ground *ground);

int ground_open(struct ground *ground, struct bak_error *err);
void ground_close(struct ground *ground);
/* Opens, backs up this version of the store app, closes. */
int ground_backup(struct ground *ground, unsigned version, struct bak_error *err);

/* As if the process had ended: the leases that it could not remove have no owner. */
void ground_end_leases(struct ground *ground);

/* Opens the repository, with the index as it is or without one: clean, and each snapshot of the
 * base verifies. after says what has happened. Leaves it open. */
void ground_expect_sound(struct ground *ground, bool without_index, const char *after);
/* The snapshot is there, and its files are those of the version. The repository is open. */
void ground_expect_version(struct ground *ground, uint64_t number, unsigned version,
			   const char *after);
/* The files of a version lie below folder. */
void ground_expect_files(const char *folder, unsigned version, const char *after);
/* The highest number there is, 0 for none. The repository is open. */
uint64_t ground_highest(struct ground *ground);

#endif
