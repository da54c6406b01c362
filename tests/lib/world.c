/* A whole repository over the memory backend: see world.h. */
#include "tests/lib/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

void bak_must(int rc, const struct bak_error *err)
{
	if (rc < 0)
		fail_msg("%s", err->msg);
}

struct bak_repo_conf bak_world_conf(struct bak_world *world)
{
	return (struct bak_repo_conf){.backend = world->fault,
				      .index_in_memory = true,
				      .host = "here",
				      .scrypt_log_n = 10};
}

void bak_world_open(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo_conf conf = bak_world_conf(world);
	bak_must(bak_repo_open(&conf, &world->secret, &world->repo, &err), &err);
}

void bak_world_setup(struct bak_world *world)
{
	struct bak_error err = BAK_ERROR_INIT;
	*world = (struct bak_world){0};
	bak_must(bak_backend_mem_new(&world->mem, &err), &err);
	bak_must(bak_backend_fault_new(world->mem, &world->fault, &err), &err);
	bak_must(bak_secret_password(&world->secret, "horse", 5, &err), &err);
	struct bak_repo_conf conf = bak_world_conf(world);
	bak_must(bak_repo_init(&conf, &world->secret, "test", &err), &err);
	bak_world_open(world);
}

void bak_world_teardown(struct bak_world *world)
{
	bak_repo_close(world->repo);
	bak_secret_release(&world->secret);
	bak_backend_close(world->fault);
	bak_backend_close(world->mem);
}

/* A few files with contents made from seed. Returns 0 and the number, or -1. */
int bak_world_try_backup(struct bak_world *world, const char *store, const char *type,
			 uint64_t seed, uint64_t *out_number, struct bak_error *err)
{
	const char *stores[] = {store};
	struct bak_run *run = NULL;
	struct bak_backup *backup = NULL;
	struct bak_backup_conf conf = {.store = store, .driver = "files", .workers = 1};
	struct bak_source_inode dir = bak_test_inode(BAK_TYPE_DIR, 9, 0);
	uint8_t *p = malloc(600000);
	json_t *facts = json_pack("{s:{s:i}}", "counts", "files", 3);
	int rc = p && facts ? bak_run_begin(world->repo, type, "a test", stores, 1, &run, err)
			    : bak_error_nomem(err);
	if (rc == 0)
		rc = bak_backup_begin(run, &conf, &backup, err);
	struct bak_writer *w = backup ? bak_backup_writer(backup) : NULL;
	const char *const names[] = {"big", "odd\\name\n", "small"};
	for (size_t i = 0; i < 3 && rc == 0; i++) {
		size_t len = i == 0 ? 600000 : 30;
		struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 10 + i, len);
		bak_fill_text(p, len, seed + i);
		rc = bak_writer_file(w, names[i], &in, BAK_HINT_NONE, err);
		if (rc == 0)
			rc = bak_writer_data(w, p, len, err);
		if (rc == 0)
			rc = bak_writer_file_end(w, NULL, err);
	}
	if (rc == 0)
		rc = bak_writer_enter(w, "sub", &dir, err);
	if (rc == 0)
		rc = bak_writer_leave(w, err);
	if (rc == 0)
		rc = bak_backup_commit(backup, facts, NULL, out_number, err);
	bak_backup_free(backup);
	bak_run_end(run);
	json_decref(facts);
	free(p);
	return rc;
}

uint64_t bak_world_backup(struct bak_world *world, const char *store, const char *type,
			  uint64_t seed)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number = 0;
	bak_must(bak_world_try_backup(world, store, type, seed, &number, &err), &err);
	return number;
}

void bak_world_flip(struct bak_world *world, const char *name, uint64_t at)
{
	struct bak_error err = BAK_ERROR_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf whole = BAK_BUF_INIT;
	assert_int_equal(bak_backend_get(world->mem, name, 0, SIZE_MAX, &whole, &err), 1);
	whole.p[at] ^= 0x10;
	assert_int_equal(bak_backend_remove(world->mem, name, &err), 1);
	assert_int_equal(bak_backend_put(world->mem, "test", name, whole.p, whole.len, &err), 1);
}

void bak_world_reopen(struct bak_world *world)
{
	bak_repo_close(world->repo);
	bak_world_open(world);
}
