/* Hashes of what is read, computed again: right ones pass, and nothing else does. */
#include "engine/content/recheck.h"
#include "tests/lib/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEN 5000000u

static struct bak_fixture fx;
static struct bak_snapshot snapshot;

/* Text, a run of zeros, holes short and long, and a file of one extent. */
static void setup(void)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_source_inode in = bak_test_inode(BAK_TYPE_FILE, 7, 0);
	uint8_t *p = malloc(LEN);
	bak_fixture_open(&fx);
	struct bak_writer *w = bak_fixture_writer(&fx, NULL);
	bak_fill_text(p, LEN, 1);
	memset(p + 1000000, 0, 300000);
	assert_int_equal(bak_writer_file(w, "large", &in, BAK_HINT_NONE, &err), 0);
	assert_int_equal(bak_writer_data(w, p, LEN, &err), 0);
	assert_int_equal(bak_writer_hole(w, 40000, &err), 0);
	assert_int_equal(bak_writer_data(w, p, 70000, &err), 0);
	assert_int_equal(bak_writer_hole(w, 9u << 20, &err), 0);
	assert_int_equal(bak_writer_data(w, p, 10, &err), 0);
	assert_int_equal(bak_writer_file_end(w, NULL, &err), 0);
	bak_test_file(w, "small", 8, p, 3000);
	bak_fixture_finish(&fx, w, &snapshot, NULL, NULL);
	free(p);
}

static struct bak_found find(const char *name)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_found found = BAK_FOUND_INIT;
	struct bak_tree tree = {fx.source, &snapshot};
	assert_int_equal(bak_tree_path(&tree, name, &found, &err), 1);
	return found;
}

static int recheck(struct bak_recheck *memory, const struct bak_keyring *ring,
		   const struct bak_inode *inode, uint64_t off, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	int rc = bak_recheck_range(memory, fx.source, ring, inode, off, len, &err);
	assert_int_equal(err.code, rc < 0 ? BAK_CORRUPT : BAK_OK);
	return rc;
}

static void test_what_is_right_passes(void **state)
{
	(void)state;
	setup();
	struct bak_recheck memory = {0};
	struct bak_found large = find("large"), small = find("small");
	uint64_t size = large.entry.inode.size;
	assert_int_equal(size, LEN + 40000 + 70000 + (9u << 20) + 10);
	for (uint64_t off = 0; off < size; off += 131072)
		assert_int_equal(recheck(&memory, &fx.ring, &large.entry.inode, off, 131072), 0);
	assert_int_equal(recheck(&memory, &fx.ring, &small.entry.inode, 0, 3000), 0);
	bak_found_release(&large);
	bak_found_release(&small);
	bak_fixture_close(&fx);
}

/* Another key computes other hashes: every span of bytes fails, until the right key said yes. */
static void test_what_is_wrong_fails(void **state)
{
	(void)state;
	setup();
	struct bak_recheck memory = {0};
	struct bak_keyring other = fx.ring;
	uint8_t id_key[32];
	struct bak_found large = find("large"), small = find("small");
	memcpy(id_key, fx.ring.id_key, sizeof id_key);
	id_key[3] ^= 1;
	other.id_key = id_key;
	for (uint64_t off = 0; off < LEN; off += 500000)
		assert_int_equal(recheck(&memory, &other, &large.entry.inode, off, 1), -1);
	assert_int_equal(recheck(&memory, &fx.ring, &large.entry.inode, 0, 1), 0);
	assert_int_equal(recheck(&memory, &other, &large.entry.inode, 0, 1), 0);
	struct bak_inode inode = small.entry.inode;
	inode.sha256[31] ^= 1;
	assert_int_equal(recheck(&memory, &fx.ring, &inode, 0, 3000), -1);
	bak_found_release(&large);
	bak_found_release(&small);
	bak_fixture_close(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_right_passes),
		cmocka_unit_test(test_what_is_wrong_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
