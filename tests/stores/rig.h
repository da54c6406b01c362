/*
 * A repository in memory and a scratch folder, for tests of drivers: back up, restore and look at
 * what was warned of. Failures fail the test.
 */
#ifndef BAK_TESTS_RIG_H
#define BAK_TESTS_RIG_H

#include "stores/drivers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct rig {
	char dir[64]; /* scratch */
	struct bak_backend *mem;
	struct bak_repo *repo;
	struct bak_store_conf conf;
	struct bak_store_env env;
	char warnings[65536], log[65536]; /* lines */
	unsigned no_returns;
	bool refuse_no_return;           /* the point of no return answers "cancelled" */
	bool cancel;                     /* what `cancelled` answers */
	void (*on_no_return)(void *ctx); /* called there */
	void *no_return_ctx;
	/* Called while a backup reads, each 4 MiB and after each file. */
	void (*on_progress)(struct rig *rig, const char *path, uint64_t bytes);
	struct bak_writer_result result; /* of the last backup; its pointers are gone */
};

/* For cmocka's setup and teardown; *state is the rig. */
int rig_setup(void **state);
int rig_teardown(void **state);

/* Opens the repository anew, with nothing cached; first changes a byte in the data of each large
 * pack, if damaged. */
void rig_reopen(struct rig *rig, bool damaged);

/* The store under test: driver, then key, value, ..., NULL. Replaces the one before. */
void rig_store(struct rig *rig, const char *driver, ...);
/* dir/<name> in one of eight buffers. */
const char *rig_path(struct rig *rig, const char *name);
void rig_sh(struct rig *rig, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* 0 if the command, run in the scratch folder, succeeds. */
int rig_try(struct rig *rig, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What a command prints, without the last newline; static buffer. */
const char *rig_out(struct rig *rig, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Returns once the second is over in which the file changed last: changes in the second of a backup
 * make the next one read again. */
void rig_settle(struct rig *rig, const char *name);

/* The number of the new snapshot. */
uint64_t rig_backup(struct rig *rig);
/* 0 and the number, or -1 and err. path: import that instead. */
int rig_try_backup(struct rig *rig, const char *path, uint64_t *out_number, struct bak_error *err);
/* Restores with the driver alone. state: new reference. */
int rig_try_restore(struct rig *rig, uint64_t number, const char *const *only, size_t n_only,
		    json_t **out_state, struct bak_error *err);
json_t *rig_restore(struct rig *rig, uint64_t number);
int rig_rollback(struct rig *rig, const json_t *state, struct bak_error *err);
/* Counts of the live store; facts of a snapshot. New references. */
json_t *rig_counts(struct rig *rig);
json_t *rig_facts(struct rig *rig, uint64_t number);
/* Unpacks a snapshot into dir/<name>, which is made. */
void rig_extract(struct rig *rig, uint64_t number, const char *name);

#endif
