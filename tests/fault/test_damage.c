/*
 * Bit rot in every kind of object, one damage at a time: every read is right or refused, check sees
 * the damage and lists exactly what does not read, repair saves what can be saved, and the next
 * backup from a source that is still there is whole.
 *
 * usage: test_damage [TRIALS [SEED]]     300 trials by default; ctest -C long runs 10,000
 */
#include "tests/fault/damage_tree.h"

#include "engine/objects/parity.h"
#include "engine/ops/forget.h"
#include "engine/ops/lost.h"
#include "engine/ops/verify.h"
#include "tests/lib/damage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#ifndef TRIALS
#define TRIALS 300 /* fewer under sanitizers */
#endif
static unsigned long n_trials = TRIALS;
static uint64_t seed = 20261121;

#define N_TREES 4 /* store a in three generations, then store b */
#define N_SNAPSHOTS 4
#define FORGOTTEN 2 /* snapshot 2, store a's second generation */

static const char *const kinds[] = {"bakfs.json", "keys/", "packs/", "parity/",    "snapshots/",
				    "forgotten/", "tags/", "packs/", "condemned/", "running/"};
#define N_KINDS (sizeof kinds / sizeof *kinds)

/* The repository before anything rots. Snapshots 1 and 2 have parity, later ones have none. */
struct ground {
	struct bak_world world;
	struct bak_damage_tree trees[N_TREES];
	struct names {
		char (*v)[80];
		size_t n, cap;
	} names; /* of all objects */
};

static int list_name(void *ctx, const char *name, uint64_t size)
{
	struct names *names = ctx;
	(void)size;
	assert_int_equal(bak_grow(&names->v, &names->cap, names->n, sizeof *names->v), 0);
	snprintf(names->v[names->n++], sizeof *names->v, "%s", name);
	return 0;
}

static void reopen(struct bak_world *world, unsigned parity)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo_conf conf = bak_world_conf(world);
	conf.parity = parity;
	bak_repo_close(world->repo);
	world->repo = NULL;
	bak_must(bak_repo_open(&conf, &world->secret, &world->repo, &err), &err);
}

/* Records of every kind that a repository may hold; the lease is of a run that is long over. */
static void put_records(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_secret other;
	char id[33];
	const struct bak_keyring *ring = bak_repo_ring(world->repo);
	struct bak_lease lease;
	bak_must(bak_secret_password(&other, "another", 7, &err), &err);
	bak_must(bak_repo_key_add(world->repo, &other, "other", id, &err), &err);
	bak_secret_release(&other);
	bak_must(bak_repo_forget(world->repo, FORGOTTEN, FORGOTTEN, &err), &err);
	bak_must(bak_record_put(world->mem, ring, "tags/1-1", "{\"tags\":[\"keep\",\"x\"]}", &err),
		 &err);
	bak_must(bak_record_put(world->mem, ring, "condemned/00112233445566778899aabbccddeeff",
				"{\"packs\":[],\"time\":\"2026-01-01T00:00:00Z\"}", &err),
		 &err);
	bak_must(bak_lease_self(&lease, "backup", "0123456789abcdef", "there", 1700000000, &err),
		 &err);
	lease.start = 1700000000;
	bak_must(bak_lease_put(world->mem, ring, &lease, 1, &err), &err);
	bak_lease_release(&lease);
}

static void make_ground(struct ground *g)
{
	struct bak_error err = BAK_ERROR_INIT;
	*g = (struct ground){.names = {.n = 0}};
	bak_world_setup(&g->world);
	for (unsigned i = 0; i < N_TREES; i++) {
		bak_damage_tree_make(&g->trees[i], i == 3, i == 3 ? 1 : i + 1);
		reopen(&g->world, i < 2 ? 5 : 0);
		assert_int_equal(bak_damage_backup(g->world.repo, i == 3 ? "b" : "a", &g->trees[i]),
				 i + 1);
	}
	put_records(&g->world);
	bak_must(bak_backend_list(g->world.mem, "", list_name, &g->names, &err), &err);
}

static void drop_ground(struct ground *g)
{
	bak_world_teardown(&g->world);
	for (unsigned i = 0; i < N_TREES; i++)
		bak_damage_tree_release(&g->trees[i]);
	free(g->names.v);
}

/* --- one trial --- */

struct lost {
	uint64_t snapshot;
	bool whole, folder;
	char path[64], first[64], end[64]; /* empty: none */
	struct bak_lost_range *ranges;
	size_t n_ranges;
};

struct trial {
	const struct ground *ground;
	struct bak_world world;
	uint64_t random, number;
	const char *name; /* of the damaged object */
	char what[200];
	bool block;
	bool many; /* several damages at once: anything may be lost, but what is has to be told */
	struct lost *lost; /* as the last check told */
	size_t n_lost, cap_lost;
};

#define EXPECT(t, condition)                                                                \
	do {                                                                                \
		if (!(condition))                                                           \
			fail_msg("trial %llu of seed %llu, %s: not %s",                     \
				 (unsigned long long)(t)->number, (unsigned long long)seed, \
				 (t)->what, #condition);                                    \
	} while (0)

static void forget_lost(struct trial *t)
{
	for (size_t i = 0; i < t->n_lost; i++)
		free(t->lost[i].ranges);
	t->n_lost = 0;
}

static void on_lost(void *ctx, const struct bak_lost *lost)
{
	struct trial *t = ctx;
	assert_int_equal(bak_grow(&t->lost, &t->cap_lost, t->n_lost, sizeof *t->lost), 0);
	struct lost *l = &t->lost[t->n_lost++];
	*l = (struct lost){.snapshot = lost->snapshot,
			   .whole = !lost->store,
			   .folder = lost->folder,
			   .n_ranges = lost->n_ranges};
	snprintf(l->path, sizeof l->path, "%s", lost->path ? lost->path : "");
	snprintf(l->first, sizeof l->first, "%s", lost->first ? lost->first : "");
	snprintf(l->end, sizeof l->end, "%s", lost->end ? lost->end : "");
	l->ranges = calloc(lost->n_ranges + 1, sizeof *l->ranges);
	assert_non_null(l->ranges);
	if (lost->n_ranges)
		memcpy(l->ranges, lost->ranges, lost->n_ranges * sizeof *l->ranges);
}

static void check(struct trial *t, bool repair, struct bak_check_result *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_verify_conf conf = {.repair = repair, .lost = on_lost, .ctx = t};
	forget_lost(t);
	int rc = bak_check(t->world.repo, &conf, out, &err);
	if (rc < 0)
		fail_msg("trial %llu, %s: check: %s", (unsigned long long)t->number, t->what,
			 err.msg);
}

/* --- comparing what reads with what is listed as lost --- */

/* Whether the path lies in the entries of a folder that are listed. */
static bool in_gap(const struct lost *l, const char *path)
{
	size_t len = strlen(l->path);
	if (!l->folder || strncmp(path, l->path, len) != 0 || (len && path[len] != '/'))
		return false;
	char name[64];
	path += len + (len > 0);
	snprintf(name, sizeof name, "%.*s", (int)strcspn(path, "/"), path);
	return (!*l->first || strcmp(name, l->first) >= 0) &&
	       (!*l->end || strcmp(name, l->end) < 0);
}

/* A file of several names is listed under the first one that can be found. */
static const struct lost *lost_file(const struct trial *t, uint64_t snapshot,
				    const struct bak_damage_file *file)
{
	for (size_t i = 0; i < t->n_lost; i++) {
		const struct lost *l = &t->lost[i];
		if (l->snapshot == snapshot &&
		    (in_gap(l, file->path) || strcmp(l->path, file->path) == 0 ||
		     (file->links > 1 && strncmp(l->path, "hard", 4) == 0)))
			return l;
	}
	return NULL;
}

static bool snapshot_lost(const struct trial *t, uint64_t snapshot)
{
	for (size_t i = 0; i < t->n_lost; i++)
		if (t->lost[i].snapshot == snapshot && t->lost[i].whole)
			return true;
	return false;
}

/* 1 right, 0 refused; wrong bytes fail the test. */
static bool range_reads(struct trial *t, const struct bak_damage_file *file,
			const struct bak_inode *inode, uint64_t off, uint64_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	static uint8_t buf[512 << 10];
	size_t n = 0;
	EXPECT(t, len <= sizeof buf);
	if (bak_read(bak_repo_source(t->world.repo), &inode->content, inode->size, off, buf, len,
		     &n, &err) < 0)
		return false;
	EXPECT(t, n == len);
	EXPECT(t, memcmp(buf, file->p + off, len) == 0);
	return true;
}

/* Of the ranges nothing reads, around them everything does. */
static void compare_ranges(struct trial *t, const struct lost *l,
			   const struct bak_damage_file *file, const struct bak_inode *inode)
{
	uint64_t at = 0;
	for (size_t i = 0; i < l->n_ranges; i++) {
		const struct bak_lost_range *r = &l->ranges[i];
		EXPECT(t, range_reads(t, file, inode, at, r->off - at));
		EXPECT(t, !range_reads(t, file, inode, r->off, 1));
		EXPECT(t, !range_reads(t, file, inode, r->off + r->len / 2, 1));
		EXPECT(t, !range_reads(t, file, inode, r->off + r->len - 1, 1));
		at = r->off + r->len;
	}
	EXPECT(t, range_reads(t, file, inode, at, file->len - at));
}

/* listed: what is listed as lost is known, and has to be exactly what does not read. */
static void compare_file(struct trial *t, const struct bak_tree *tree, uint64_t snapshot,
			 const struct bak_damage_file *file, bool listed)
{
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	const struct lost *l = listed ? lost_file(t, snapshot, file) : NULL;
	int rc = bak_tree_path(tree, file->path, &found, &err);
	EXPECT(t, rc != 0);
	if (listed)
		EXPECT(t, (rc == 1) == (!l || l->n_ranges > 0));
	if (rc < 0)
		return;
	EXPECT(t, found.entry.inode.size == file->len);
	if (l)
		compare_ranges(t, l, file, &found.entry.inode);
	else
		EXPECT(t, range_reads(t, file, &found.entry.inode, 0, file->len) || !listed);
}

/* Refusing a read is slow, and the small files of one segment are refused alike: one in 16 tells. */
static bool is_spared(const struct trial *t, uint64_t number, const struct bak_damage_file *file,
		      bool listed)
{
	return file->ino % 16 != t->number % 16 && strncmp(file->path, "many/", 5) == 0 &&
	       (!listed || lost_file(t, number, file));
}

static void compare_snapshot(struct trial *t, uint64_t number, const struct bak_damage_tree *want,
			     bool listed)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_snapshot snapshot = {0};
	int rc = bak_repo_snapshot(t->world.repo, number, &snapshot, &err);
	EXPECT(t, rc != 0);
	if (listed)
		EXPECT(t, (rc < 0) == snapshot_lost(t, number));
	if (rc < 0)
		return;
	struct bak_tree tree = {bak_repo_source(t->world.repo), &snapshot};
	for (size_t i = 0; i < want->n; i++)
		if (!is_spared(t, number, &want->files[i], listed))
			compare_file(t, &tree, number, &want->files[i], listed);
	bak_snapshot_release(&snapshot);
}

static void compare_all(struct trial *t, bool listed)
{
	for (uint64_t n = 1; n <= N_SNAPSHOTS; n++)
		if (n != FORGOTTEN)
			compare_snapshot(t, n, &t->ground->trees[n - 1], listed);
}

/* --- damage --- */

static void clone(const struct ground *g, struct trial *t)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_world *w = &t->world;
	*w = (struct bak_world){.repo = NULL};
	bak_must(bak_backend_mem_new(&w->mem, &err), &err);
	bak_must(bak_backend_fault_new(w->mem, &w->fault, &err), &err);
	bak_must(bak_secret_password(&w->secret, "horse", 5, &err), &err);
	for (size_t i = 0; i < g->names.n; i++) {
		BAK_AUTO(bak_buf_release) struct bak_buf bytes = BAK_BUF_INIT;
		bak_test_get(g->world.mem, g->names.v[i], &bytes);
		bak_test_replace(w->mem, g->names.v[i], bytes.p, bytes.len);
	}
}

/* An object of a kind that is chosen first; what was forgotten is not live. */
static const char *choose(struct trial *t, bool pack)
{
	const struct names *names = &t->ground->names;
	const char *kind = pack ? "packs/" : kinds[bak_test_random(&t->random) % N_KINDS];
	for (;;) {
		const char *name = names->v[bak_test_random(&t->random) % names->n];
		if (strncmp(name, kind, strlen(kind)) == 0 && strcmp(name, "snapshots/2") != 0)
			return name;
	}
}

static void damage(struct trial *t, bool pack)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t size = 0;
	t->name = choose(t, pack);
	bak_must(bak_backend_size(t->world.mem, t->name, &size, &err), &err);
	uint64_t at = bak_test_random(&t->random) % size;
	t->block = bak_test_random(&t->random) % 2;
	if (t->block) {
		uint64_t most = bak_test_random(&t->random) % 4 ? 4096 : 100000;
		uint64_t len = 1 + bak_test_random(&t->random) % most;
		snprintf(t->what, sizeof t->what, "%s: bytes %llu+%llu", t->name,
			 (unsigned long long)at, (unsigned long long)len);
		bak_test_scramble(t->world.mem, t->name, at, len, &t->random);
	} else {
		unsigned bit = (unsigned)(bak_test_random(&t->random) % 8);
		snprintf(t->what, sizeof t->what, "%s: bit %u of byte %llu", t->name, bit,
			 (unsigned long long)at);
		bak_test_flip(t->world.mem, t->name, at, bit);
	}
}

/* --- what has to come of it --- */

/* A damage that nothing may be lost by: parity gives a flipped bit back, nothing else is needed. */
static bool must_be_saved(const struct trial *t)
{
	struct bak_error err = BAK_ERROR_INIT;
	char parity[BAK_PARITY_NAME_LEN];
	uint8_t id[BAK_PACK_ID_BYTES];
	uint64_t size;
	if (t->many)
		return false;
	if (strncmp(t->name, "parity/", 7) == 0 || strncmp(t->name, "condemned/", 10) == 0 ||
	    strncmp(t->name, "running/", 8) == 0)
		return true;
	if (t->block || !bak_pack_id_of_name(t->name, id))
		return false;
	bak_parity_name(id, parity);
	return bak_backend_size(t->world.mem, parity, &size, &err) == 1;
}

/* Folders lie twice, so one damage never costs one. */
static void expect_files_only(struct trial *t)
{
	for (size_t i = 0; i < t->n_lost && !t->many; i++)
		EXPECT(t, t->lost[i].whole || t->lost[i].n_ranges > 0);
}

static void expect_seen(struct trial *t)
{
	struct bak_check_result result;
	check(t, false, &result);
	EXPECT(t, result.damaged_packs + result.damaged_segments + result.damaged_objects +
				  result.damaged_files + result.missing >
			  0);
	expect_files_only(t);
	compare_all(t, true);
}

static void expect_repaired(struct trial *t)
{
	struct bak_check_result result;
	bool saved = must_be_saved(t);
	check(t, true, &result);
	EXPECT(t, !saved || result.lost == 0);
	compare_all(t, true);
	uint64_t lost = result.lost;
	check(t, false, &result);
	EXPECT(t, result.lost <= lost);
	EXPECT(t, (lost == 0) == (result.damaged_packs + result.damaged_segments +
					  result.damaged_objects + result.damaged_files +
					  result.missing ==
				  0) ||
			  strncmp(t->name, "forgotten/", 10) == 0 ||
			  strncmp(t->name, "tags/", 5) == 0);
	compare_all(t, true);
}

/* The sources are still there: the next backup is whole whatever was lost. */
static void expect_healed(struct trial *t)
{
	struct bak_check_result result;
	uint64_t first = bak_damage_backup(t->world.repo, "a", &t->ground->trees[2]);
	uint64_t second = bak_damage_backup(t->world.repo, "b", &t->ground->trees[3]);
	check(t, false, &result);
	for (size_t i = 0; i < t->n_lost; i++)
		EXPECT(t, t->lost[i].snapshot < first);
	compare_snapshot(t, first, &t->ground->trees[2], true);
	compare_snapshot(t, second, &t->ground->trees[3], true);
}

/* With bakfs.json or the slot in use gone there is nothing that opens. */
static bool opens(struct trial *t)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo_conf conf = bak_world_conf(&t->world);
	int rc = bak_repo_open(&conf, &t->world.secret, &t->world.repo, &err);
	EXPECT(t,
	       rc == 0 || strcmp(t->name, "bakfs.json") == 0 || strncmp(t->name, "keys/", 5) == 0);
	return rc == 0;
}

static void run_trial(const struct ground *g, uint64_t number, bool many)
{
	struct trial t = {
		.ground = g, .number = number, .random = seed + number * 7919 + many, .many = many};
	for (int i = 0; i < 8; i++)
		bak_test_random(&t.random);
	clone(g, &t);
	/* Half of them rot under a repository that is open and has its index. */
	bool early = bak_test_random(&t.random) % 2;
	if (early)
		EXPECT(&t, opens(&t));
	for (uint64_t n = many ? 2 + bak_test_random(&t.random) % 10 : 1; n > 0; n--)
		damage(&t, many);
	if (early || opens(&t)) {
		compare_all(&t, false);
		expect_seen(&t);
		/* The other half is healed by a backup alone. */
		if (bak_test_random(&t.random) % 2)
			expect_repaired(&t);
		if (strcmp(t.name, "bakfs.json") != 0)
			expect_healed(&t);
	}
	forget_lost(&t);
	free(t.lost);
	bak_world_teardown(&t.world);
}

static void test_trials(void **state)
{
	struct ground ground;
	(void)state;
	make_ground(&ground);
	print_message("%lu damages, seed %llu\n", n_trials, (unsigned long long)seed);
	for (unsigned long i = 0; i < n_trials; i++)
		run_trial(&ground, i, false);
	drop_ground(&ground);
}

/* Folders and lists of extents are lost only when both copies are. */
static void test_many_at_once(void **state)
{
	struct ground ground;
	(void)state;
	make_ground(&ground);
	for (unsigned long i = 0; i < n_trials / 10; i++)
		run_trial(&ground, i, true);
	drop_ground(&ground);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_trials),
					   cmocka_unit_test(test_many_at_once)};
	if (argc > 1)
		n_trials = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
