/* Stores for the damage tests: see damage_tree.h. */
#include "tests/fault/damage_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define N_SMALL 700u

static struct bak_damage_file *add(struct bak_damage_tree *tree, const char *path, size_t len,
				   size_t hole)
{
	struct bak_damage_file *f = &tree->files[tree->n++];
	snprintf(f->path, sizeof f->path, "%s", path);
	f->len = len;
	f->hole = hole;
	f->ino = (unsigned)tree->n + 10;
	f->links = 1;
	f->changed = 1;
	f->p = calloc(len, 1);
	assert_non_null(f->p);
	return f;
}

/* Edits of all generations up to this one, one behind another. */
static void edit(struct bak_damage_file *f, unsigned generation)
{
	for (unsigned g = 2; g <= generation; g++) {
		for (size_t at = g * 1000; at + 100 < f->len; at += 30011)
			bak_fill_random(f->p + at, 60, g * 1000 + at);
		f->changed = g;
	}
}

void bak_damage_tree_make(struct bak_damage_tree *tree, unsigned store, unsigned generation)
{
	struct bak_damage_file *f;
	uint64_t seed = store * 100;
	tree->n = 0;
	tree->files = calloc(N_SMALL + 10, sizeof *tree->files);
	assert_non_null(tree->files);
	f = add(tree, "big", 350000, 0);
	bak_fill_text(f->p, f->len, seed + 1);
	edit(f, generation);
	for (int i = 0; i < 2; i++) {
		f = add(tree, i ? "hard2" : "hard1", 5000, 0);
		bak_fill_random(f->p, f->len, seed + 2);
		f->links = 2;
		f->ino = 5;
	}
	for (unsigned i = 0; i < N_SMALL; i++) {
		char path[32];
		snprintf(path, sizeof path, "many/file-%03u", i);
		f = add(tree, path, 20 + i % 7, 0);
		bak_fill_text(f->p, f->len, seed + 1000 + i);
	}
	f = add(tree, "noise", 120000, 0);
	bak_fill_random(f->p, f->len, seed + 3);
	f = add(tree, "sparse", 180000, 128 << 10);
	bak_fill_random(f->p + f->hole, f->len - f->hole, seed + 4);
	f = add(tree, "sub/inner", 90000, 0);
	bak_fill_text(f->p, f->len, seed + 5);
	edit(f, generation);
}

void bak_damage_tree_release(struct bak_damage_tree *tree)
{
	for (size_t i = 0; i < tree->n; i++)
		free(tree->files[i].p);
	free(tree->files);
}

static void put_file(struct bak_writer *w, const char *name, const struct bak_damage_file *f)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, f->ino, f->len);
	in.nlink = f->links;
	in.inode.ctime_s = in.inode.mtime_s = 1700000000 + (int64_t)f->changed;
	int rc = bak_writer_reuse(w, name, &in, &err);
	bak_must(rc, &err);
	if (rc == 1)
		return;
	bak_must(bak_writer_file(w, name, &in, BAK_HINT_NONE, &err), &err);
	if (f->hole)
		bak_must(bak_writer_hole(w, f->hole, &err), &err);
	bak_must(bak_writer_data(w, f->p + f->hole, f->len - f->hole, &err), &err);
	bak_must(bak_writer_file_end(w, NULL, &err), &err);
}

/* Folders are one level deep. */
static void put_tree(struct bak_writer *w, const struct bak_damage_tree *tree)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_inode dir = bak_test_inode(BAK_TYPE_DIR, 2, 0);
	char open[32] = "";
	for (size_t i = 0; i < tree->n; i++) {
		const struct bak_damage_file *f = &tree->files[i];
		const char *slash = strchr(f->path, '/');
		char folder[32] = "";
		if (slash)
			snprintf(folder, sizeof folder, "%.*s", (int)(slash - f->path), f->path);
		if (strcmp(folder, open) != 0) {
			if (*open)
				bak_must(bak_writer_leave(w, &err), &err);
			if (*folder)
				bak_must(bak_writer_enter(w, folder, &dir, &err), &err);
			memcpy(open, folder, sizeof open);
		}
		put_file(w, slash ? slash + 1 : f->path, f);
	}
	if (*open)
		bak_must(bak_writer_leave(w, &err), &err);
}

uint64_t bak_damage_backup(struct bak_repo *repo, const char *store,
			   const struct bak_damage_tree *tree)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backup_conf conf = {.store = store, .driver = "files", .workers = 1};
	struct bak_run *run;
	struct bak_backup *backup;
	uint64_t number;
	json_t *facts = json_object();
	bak_must(bak_run_begin(repo, "manual", "", &store, 1, &run, &err), &err);
	bak_must(bak_backup_begin(run, &conf, &backup, &err), &err);
	put_tree(bak_backup_writer(backup), tree);
	bak_must(bak_backup_commit(backup, facts, NULL, &number, &err), &err);
	bak_backup_free(backup);
	bak_run_end(run);
	json_decref(facts);
	return number;
}
