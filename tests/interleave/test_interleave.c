/*
 * Backups and prunes beside each other: one is stopped before its n-th call to the storage, for
 * every n, while the other one goes on. Afterwards check is clean, every snapshot has its bytes, and
 * in the end the space comes back.
 *
 *   test_interleave         a few of the steps, other ones for each scenario
 *   test_interleave long    every step; and both stopped, for every pair of steps
 */
#include "tests/lib/gate.h"
#include "tests/lib/stage.h"

#include "engine/base/bytes.h"
#include "engine/ops/forget.h"
#include "engine/ops/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOUR 3600
#define DAY (24 * HOUR)
#define MAX_STEPS 400u
#define LAST_STEPS 5u

/* A backup or a prune by a handle of its own, behind a gate. */
struct actor {
	struct bak_stage *stage;
	struct bak_gate *gate;
	struct bak_repo *repo;
	const char *store, *files; /* NULL: a prune */
	bool alone;
	struct bak_run *run; /* while it is under way */
	uint64_t number;
	struct bak_prune_result result;
	int rc;
	struct bak_error err;
};

static void act(void *ctx)
{
	struct actor *a = ctx;
	struct bak_prune_conf conf = {.max_unused = 0, .alone = a->alone};
	if (a->files)
		a->rc = bak_stage_do_backup(a->stage, a->repo, a->store, a->files, &a->run,
					    &a->number, &a->err);
	else
		a->rc = bak_prune(a->repo, &conf, &a->result, &a->err);
}

static void actor_open(struct actor *a, struct bak_stage *stage, const char *store,
		       const char *files)
{
	*a = (struct actor){.stage = stage, .store = store, .files = files};
	a->gate = bak_gate_new(stage->mem);
	a->repo = bak_stage_open(stage, bak_gate_backend(a->gate));
}

/* After its end. A snapshot that it says it made has to be there from now on. */
static void actor_close(struct actor *a)
{
	bak_gate_finish(a->gate);
	if (a->rc == 0 && a->files)
		a->stage->must[a->stage->n_must++] = a->number;
	bak_repo_close(a->repo);
	bak_gate_free(a->gate);
}

/* It may have given up, but only for this reason. */
static void must_or(const struct actor *a, enum bak_errc code)
{
	if (a->rc < 0 && a->err.code != code)
		fail_msg("%s: %s", a->files ? "backup" : "prune", a->err.msg);
}

/* One of two prunes may have found the other's lease, or its own one gone. */
static void give_way(const struct actor *a)
{
	must_or(a, a->err.code == BAK_BUSY ? BAK_BUSY : BAK_UNAVAILABLE);
}

/* --- the stage --- */

static struct bak_stage base;

/* Three generations of app, of which half of the first is garbage, in one segment with what is not;
 * a db that shares half of each file with app, and is forgotten. The garbage is due. */
static void setup_base(void)
{
	bak_stage_setup(&base);
	uint64_t first = bak_stage_backup(&base, "app", "acegiqsu");
	uint64_t db = bak_stage_backup(&base, "db", "bdkmn");
	bak_stage_backup(&base, "app", "aceGo");
	bak_stage_forget(&base, first);
	bak_stage_forget(&base, db);
	base.clock += DAY;
	bak_stage_backup(&base, "app", "aceo");
}

/* What a backup reads while a prune is about to take it away. */
#define FILES "acdikMoq"

static const struct scenario *now_testing;
static unsigned now_n, now_m;

/* All is well, and after a day or two of prunes nothing is left that nobody uses. */
static void finish(struct bak_stage *stage, unsigned files)
{
	bak_stage_verify(stage);
	for (int i = 0; i < 3; i++) {
		stage->clock += DAY + 2 * HOUR;
		bak_stage_prune(stage, false);
		bak_stage_verify(stage);
	}
	assert_int_equal(bak_stage_count(stage, "condemned"), 0);
	assert_int_equal(bak_stage_count(stage, "running"), 0);
	struct bak_prune_result r = bak_stage_prune(stage, false);
	assert_int_equal(r.condemned_packs + r.swept_packs + r.removed_snapshots, 0);
	uint64_t bytes = bak_stage_bytes(stage);
	if (bytes > files * (uint64_t)BAK_STAGE_FILE * 6 / 5 + 60000)
		fail_msg("%llu bytes are left for %u files", (unsigned long long)bytes, files);
}

/* What a backup writes is its own until its lease ends, used or not. */
static void assert_spared(const struct actor *backup)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot_row row;
	struct bak_pack_row *packs;
	size_t n;
	struct bak_repo *repo = bak_stage_open(backup->stage, NULL);
	struct bak_index *index = bak_repo_index(repo);
	assert_int_equal(bak_index_snapshot(index, backup->number, &row, &err), 1);
	assert_int_equal(bak_index_packs(index, &packs, &n, &err), 0);
	for (size_t i = 0; i < n; i++) {
		char run[17];
		bak_hex(run, packs[i].run, sizeof packs[i].run);
		if (packs[i].condemned)
			assert_string_not_equal(run, row.run);
	}
	free(packs);
	bak_snapshot_row_release(&row);
	bak_repo_close(repo);
}

/* --- scenarios: each is run with n = 1, 2, ... until it says that n was beyond its end --- */

/* A backup stops, a prune goes from its begin to its end. */
static bool backup_stops(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor backup, prune;
	(void)m;
	actor_open(&backup, stage, "app", FILES);
	actor_open(&prune, stage, NULL, NULL);
	bak_gate_stop_at(backup.gate, n);
	bool stopped = bak_gate_start(backup.gate, act, &backup);
	bak_gate_start(prune.gate, act, &prune);
	actor_close(&prune);
	actor_close(&backup);
	must_or(&prune, BAK_OK);
	must_or(&backup, BAK_OK);
	assert_spared(&backup);
	finish(stage, 10);
	return stopped;
}

/* The other way round. */
static bool prune_stops(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor backup, prune;
	(void)m;
	actor_open(&backup, stage, "app", FILES);
	actor_open(&prune, stage, NULL, NULL);
	bak_gate_stop_at(prune.gate, n);
	bool stopped = bak_gate_start(prune.gate, act, &prune);
	bak_gate_start(backup.gate, act, &backup);
	actor_close(&backup);
	actor_close(&prune);
	must_or(&prune, BAK_OK);
	must_or(&backup, BAK_OK);
	finish(stage, 10);
	return stopped;
}

/* Both: the backup up to n, the prune up to m, the backup to its end, the prune to its end. */
static bool both_stop(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor backup, prune;
	actor_open(&backup, stage, "app", FILES);
	actor_open(&prune, stage, NULL, NULL);
	bak_gate_stop_at(backup.gate, n);
	bak_gate_stop_at(prune.gate, m);
	bool stopped = bak_gate_start(backup.gate, act, &backup);
	stopped &= bak_gate_start(prune.gate, act, &prune);
	actor_close(&backup);
	actor_close(&prune);
	must_or(&prune, BAK_OK);
	must_or(&backup, BAK_OK);
	finish(stage, 10);
	return stopped;
}

/* Packs are condemned and due when the two begin: the sweep against the commit. */
static bool sweep_against_commit(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor backup, prune;
	bak_stage_prune(stage, false);
	stage->clock += DAY + 2 * HOUR;
	actor_open(&backup, stage, "app", FILES);
	actor_open(&prune, stage, NULL, NULL);
	bak_gate_stop_at(backup.gate, n);
	bak_gate_stop_at(prune.gate, m);
	bool stopped = bak_gate_start(backup.gate, act, &backup);
	stopped &= bak_gate_start(prune.gate, act, &prune);
	actor_close(&backup);
	actor_close(&prune);
	must_or(&prune, BAK_OK);
	must_or(&backup, BAK_OK);
	finish(stage, 10);
	return stopped;
}

/* The sweep stops, a whole backup goes by. */
static bool commit_against_sweep(struct bak_stage *stage, unsigned n, unsigned m)
{
	bak_stage_prune(stage, false);
	stage->clock += DAY + 2 * HOUR;
	return prune_stops(stage, n, m);
}

/* While the backup works its predecessor is forgotten, and days pass, in which it renews its lease
 * and prunes come by. */
static bool predecessor_forgotten(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct actor backup;
	(void)m;
	actor_open(&backup, stage, "app", FILES);
	bak_gate_pass_leases(backup.gate);
	bak_gate_stop_at(backup.gate, n);
	bool stopped = bak_gate_start(backup.gate, act, &backup);
	if (stopped)
		bak_stage_forget(stage, 4);
	for (int i = 0; stopped && i < 4; i++) {
		stage->clock += 20 * HOUR;
		if (backup.run && bak_hold_renew(backup.run->hold, &err) < 0)
			fail_msg("%s", err.msg);
		bak_stage_prune(stage, false);
	}
	actor_close(&backup);
	/* A begin that lasts for days is not renewed yet. */
	must_or(&backup, BAK_OK);
	finish(stage, 10);
	return stopped;
}

/* A backup that takes longer than the grace of what is condemned meanwhile. */
static bool longer_than_grace(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct actor backup;
	(void)m;
	actor_open(&backup, stage, "app", FILES);
	bak_gate_pass_leases(backup.gate);
	bak_gate_stop_at(backup.gate, n);
	bool stopped = bak_gate_start(backup.gate, act, &backup);
	for (int i = 0; stopped && i < 4; i++) {
		bak_stage_prune(stage, false);
		stage->clock += 20 * HOUR;
		if (backup.run && bak_hold_renew(backup.run->hold, &err) < 0)
			fail_msg("%s", err.msg);
	}
	actor_close(&backup);
	must_or(&backup, BAK_OK);
	finish(stage, 10);
	return stopped;
}

/* The machine sleeps for days in mid-backup: the lease is dead, and prunes know of nobody. The
 * backup is right, or says that something is gone; then the next one is right. */
static bool lapsed(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor backup;
	(void)m;
	actor_open(&backup, stage, "app", FILES);
	bak_gate_stop_at(backup.gate, n);
	bool stopped = bak_gate_start(backup.gate, act, &backup);
	for (int i = 0; stopped && i < 3; i++) {
		stage->clock += DAY + 2 * HOUR;
		bak_stage_prune(stage, false);
	}
	actor_close(&backup);
	must_or(&backup, BAK_NOT_FOUND);
	if (backup.rc < 0) {
		bak_stage_verify(stage);
		bak_stage_backup(stage, "app", FILES);
	}
	finish(stage, 10);
	return stopped;
}

/* The same, and the predecessor goes too. */
static bool lapsed_and_forgotten(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor backup;
	(void)m;
	actor_open(&backup, stage, "app", FILES);
	bak_gate_stop_at(backup.gate, n);
	bool stopped = bak_gate_start(backup.gate, act, &backup);
	if (stopped) {
		bak_stage_forget(stage, 3);
		bak_stage_forget(stage, 4);
	}
	for (int i = 0; stopped && i < 3; i++) {
		stage->clock += DAY + 2 * HOUR;
		bak_stage_prune(stage, false);
	}
	actor_close(&backup);
	must_or(&backup, BAK_NOT_FOUND);
	if (backup.rc < 0) {
		bak_stage_verify(stage);
		bak_stage_backup(stage, "app", FILES);
	}
	finish(stage, 10);
	return stopped;
}

/* Nothing is found by hash, all of it is the predecessor's: and that goes while the machine sleeps. */
static bool only_predecessor(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor backup;
	(void)m;
	actor_open(&backup, stage, "app", "aceo");
	bak_gate_stop_at(backup.gate, n);
	bool stopped = bak_gate_start(backup.gate, act, &backup);
	if (stopped) {
		bak_stage_forget(stage, 3);
		bak_stage_forget(stage, 4);
	}
	for (int i = 0; stopped && i < 3; i++) {
		stage->clock += DAY + 2 * HOUR;
		bak_stage_prune(stage, false);
	}
	actor_close(&backup);
	must_or(&backup, BAK_NOT_FOUND);
	bak_stage_verify(stage);
	bak_stage_backup(stage, "app", "aceo");
	finish(stage, 4 + (stopped ? 0 : 1));
	return stopped;
}

/* While a prune looks at what there is, on the same machine something is forgotten and something
 * else comes: that is no loss. */
static bool others_forget(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor prune;
	(void)m;
	bak_stage_backup(stage, "db", "bd");
	actor_open(&prune, stage, NULL, NULL);
	bak_stage_backup(stage, "db", "bdkm");
	bak_gate_stop_at(prune.gate, n);
	bool stopped = bak_gate_start(prune.gate, act, &prune);
	bak_stage_forget(stage, 5);
	bak_stage_backup(stage, "db", "bdk");
	actor_close(&prune);
	must_or(&prune, BAK_OK);
	finish(stage, 9);
	return stopped;
}

/* A prune is killed at a step; its process is found dead; the next one goes on. */
static bool killed(struct bak_stage *stage, unsigned n, bool alone)
{
	struct actor prune;
	actor_open(&prune, stage, NULL, NULL);
	prune.alone = alone;
	bak_gate_kill_at(prune.gate, n);
	bak_gate_start(prune.gate, act, &prune);
	actor_close(&prune);
	must_or(&prune, BAK_IO);
	bak_stage_end_leases(stage);
	bak_stage_verify(stage);
	bak_stage_backup(stage, "app", FILES);
	finish(stage, 10);
	return prune.rc < 0;
}

static bool prune_killed(struct bak_stage *stage, unsigned n, unsigned m)
{
	(void)m;
	return killed(stage, n, false);
}

static bool alone_killed(struct bak_stage *stage, unsigned n, unsigned m)
{
	(void)m;
	return killed(stage, n, true);
}

static bool sweep_killed(struct bak_stage *stage, unsigned n, unsigned m)
{
	(void)m;
	bak_stage_prune(stage, false);
	stage->clock += DAY + 2 * HOUR;
	return killed(stage, n, false);
}

/* Two prunes at once, though they exclude each other: the first one's lease is lost. */
static bool two_prunes(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor one, two;
	actor_open(&one, stage, NULL, NULL);
	actor_open(&two, stage, NULL, NULL);
	bak_gate_stop_at(one.gate, n);
	bak_gate_stop_at(two.gate, m);
	bool stopped = bak_gate_start(one.gate, act, &one);
	if (stopped)
		bak_stage_end_leases(stage);
	stopped &= bak_gate_start(two.gate, act, &two);
	actor_close(&one);
	actor_close(&two);
	give_way(&one);
	give_way(&two);
	bak_stage_end_leases(stage);
	finish(stage, 5);
	return stopped;
}

/* Two backups store the same at the same time; of each segment two prunes hold one for garbage. */
static bool two_duplicates(struct bak_stage *stage, unsigned n, unsigned m)
{
	struct actor app, db;
	actor_open(&app, stage, "app", "aceorstu");
	actor_open(&db, stage, "db", "rstu");
	bak_gate_stop_at(app.gate, 12);
	bak_gate_start(app.gate, act, &app);
	bak_gate_start(db.gate, act, &db);
	actor_close(&db);
	actor_close(&app);
	must_or(&app, BAK_OK);
	must_or(&db, BAK_OK);
	bak_stage_verify(stage);
	struct actor one, two;
	actor_open(&one, stage, NULL, NULL);
	actor_open(&two, stage, NULL, NULL);
	bak_gate_stop_at(one.gate, n);
	bak_gate_stop_at(two.gate, m);
	bool stopped = bak_gate_start(one.gate, act, &one);
	if (stopped)
		bak_stage_end_leases(stage);
	stopped &= bak_gate_start(two.gate, act, &two);
	actor_close(&one);
	actor_close(&two);
	give_way(&one);
	give_way(&two);
	bak_stage_end_leases(stage);
	finish(stage, 13);
	return stopped;
}

/* The table: how many steps of n, and of m, the short form takes, about. */
static const struct scenario {
	const char *name;
	bool (*run)(struct bak_stage *stage, unsigned n, unsigned m);
	unsigned step;   /* of n, in the short form */
	unsigned step_m; /* 0: m means nothing */
	bool shared;     /* always one index for both */
} scenarios[] = {
	{"backup_stops", backup_stops, 9, 0},
	{"prune_stops", prune_stops, 9, 0},
	{"both_stop", both_stop, 29, 31},
	{"sweep_against_commit", sweep_against_commit, 23, 37},
	{"commit_against_sweep", commit_against_sweep, 11, 0},
	{"predecessor_forgotten", predecessor_forgotten, 13, 0},
	{"longer_than_grace", longer_than_grace, 13, 0},
	{"lapsed", lapsed, 11, 0},
	{"lapsed_and_forgotten", lapsed_and_forgotten, 13, 0},
	{"only_predecessor", only_predecessor, 1, 0},
	{"others_forget", others_forget, 14, 0, true},
	{"prune_killed", prune_killed, 13, 0},
	{"alone_killed", alone_killed, 13, 0},
	{"sweep_killed", sweep_killed, 13, 0},
	{"two_prunes", two_prunes, 29, 41},
	{"two_duplicates", two_duplicates, 29, 41},
};
#define N_SCENARIOS (sizeof scenarios / sizeof *scenarios)

static bool is_long;

/* One pair of steps. Every other time both sides have one index, as processes of one machine. */
static bool run_one(const struct scenario *s, unsigned n, unsigned m)
{
	struct bak_stage stage;
	now_testing = s;
	now_n = n;
	now_m = m;
	bak_stage_copy(&base, s->shared || (n + m) % 2, &stage);
	bool reached = s->run(&stage, n, m);
	bak_stage_teardown(&stage);
	return reached;
}

static void run_scenario(const struct scenario *s)
{
	unsigned step = is_long ? 1 : s->step, step_m = is_long ? 1 : s->step_m;
	bool reached = true;
	unsigned n, last = 0;
	for (n = 1; reached && n < MAX_STEPS; n += step) {
		unsigned m = s->step_m && !is_long ? 1 + n % step_m : s->step_m > 0;
		reached = run_one(s, n, m);
		last = reached ? n : last;
		for (bool more = reached && m; more && m < MAX_STEPS; m += step_m)
			more = run_one(s, n, m);
	}
	print_message("%s: up to step %u\n", s->name, last);
	assert_true(n < MAX_STEPS);
	/* Most happens at the end, around the commit. */
	unsigned from = last > LAST_STEPS ? last - LAST_STEPS : 1;
	reached = step > 1 && !s->step_m;
	for (n = from; reached && n < last + step; n++)
		reached = run_one(s, n, 0);
}

static void test_scenario(void **state)
{
	run_scenario(*state);
}

static int tell_failure(void **state)
{
	(void)state;
	if (now_testing)
		print_message("at n %u, m %u\n", now_n, now_m);
	return 0;
}

static int group_setup(void **state)
{
	(void)state;
	setup_base();
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	bak_stage_teardown(&base);
	return 0;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[N_SCENARIOS];
	is_long = argc > 1 && strcmp(argv[1], "long") == 0;
	for (size_t i = 0; i < N_SCENARIOS; i++)
		tests[i] = (struct CMUnitTest){scenarios[i].name, test_scenario, NULL, tell_failure,
					       (void *)(uintptr_t)&scenarios[i]};
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
