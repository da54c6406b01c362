/* Key rings, slots, key files: what opens, what does not, and what damaged slots say. */
#include "engine/objects/keyring.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SLOT "00112233445566778899aabbccddeeff"
#define OTHER_SLOT "00112233445566778899aabbccddeefe"
#define LOG_N 10

struct fixture {
	struct bak_keyring ring;
	struct bak_secret password, wrong, keyfile;
	char dir[64], path[128];
};

static int setup(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct fixture *f = calloc(1, sizeof *f);
	if (!f)
		return -1;
	*state = f;
	snprintf(f->dir, sizeof f->dir, "/tmp/bakfs-keyring-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof f->path, "%s/key", f->dir);
	if (bak_keyring_generate(&f->ring, &err) < 0 ||
	    bak_secret_password(&f->password, "correct horse", 13, &err) < 0 ||
	    bak_secret_password(&f->wrong, "correct hors", 12, &err) < 0)
		return -1;
	return bak_secret_keyfile_create(&f->keyfile, f->path, &err);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	bak_keyring_release(&f->ring);
	bak_secret_release(&f->password);
	bak_secret_release(&f->wrong);
	bak_secret_release(&f->keyfile);
	unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void assert_same_ring(const struct bak_keyring *a, const struct bak_keyring *b)
{
	assert_memory_equal(a->repo_id, b->repo_id, sizeof a->repo_id);
	assert_memory_equal(a->id_key, b->id_key, 32);
	assert_memory_equal(a->gear_key, b->gear_key, 32);
	assert_int_equal(a->n_masters, b->n_masters);
	for (size_t i = 0; i < a->n_masters; i++) {
		assert_int_equal(a->masters[i].number, b->masters[i].number);
		assert_memory_equal(a->masters[i].key, b->masters[i].key, 32);
	}
}

static int open_slot(const struct fixture *f, const char *id, const struct bak_buf *json,
		     const struct bak_secret *secret, struct bak_keyring *out,
		     struct bak_error *err)
{
	return bak_slot_open(f->ring.repo_id, id, (const char *)json->p, json->len, secret, out,
			     err);
}

static void test_round_trip(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	const struct bak_secret *secrets[] = {&f->password, &f->keyfile};
	assert_int_not_equal(f->ring.masters[0].number, 0);
	for (int i = 0; i < 2; i++) {
		struct bak_buf json = BAK_BUF_INIT;
		struct bak_keyring opened = {0};
		assert_int_equal(bak_slot_seal(&f->ring, SLOT, secrets[i], "a \"label\"", LOG_N,
					       &json, &err),
				 0);
		assert_int_equal(open_slot(f, SLOT, &json, secrets[i], &opened, &err), 1);
		assert_same_ring(&f->ring, &opened);
		bak_keyring_release(&opened);
		/* The other kind of secret, and a wrong one: no error, no ring. */
		assert_int_equal(open_slot(f, SLOT, &json, secrets[1 - i], &opened, &err), 0);
		assert_int_equal(open_slot(f, SLOT, &json, &f->wrong, &opened, &err), 0);
		/* The slot is bound to its name. */
		assert_int_equal(open_slot(f, OTHER_SLOT, &json, secrets[i], &opened, &err), 0);
		assert_null(opened.masters);

		struct bak_slot_info info;
		assert_int_equal(bak_slot_describe(SLOT, (char *)json.p, json.len, &info, &err), 0);
		assert_string_equal(info.kind, i ? "keyfile" : "password");
		assert_string_equal(info.label, "a \"label\"");
		assert_string_equal(info.id, SLOT);
		assert_int_equal(strlen(info.created), 20);
		bak_buf_release(&json);
	}
}

/* Who has another secret still sees every flipped bit. */
static void test_every_flip_of_a_slot(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf json = BAK_BUF_INIT;
	assert_int_equal(bak_slot_seal(&f->ring, SLOT, &f->keyfile, "ours", LOG_N, &json, &err), 0);
	assert_int_equal(bak_slot_check(&f->ring, SLOT, (char *)json.p, json.len, &err), 1);
	assert_int_equal(bak_slot_check(&f->ring, OTHER_SLOT, (char *)json.p, json.len, &err), -1);
	for (size_t bit = 0; bit < 8 * json.len; bit++) {
		json.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(bak_slot_check(&f->ring, SLOT, (char *)json.p, json.len, &err),
				 -1);
		json.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	bak_buf_release(&json);
}

static void test_many_masters(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf json = BAK_BUF_INIT;
	struct bak_keyring ring = f->ring, opened = {0};
	struct bak_master masters[BAK_KEYRING_MAX_MASTERS];
	for (size_t i = 0; i < BAK_KEYRING_MAX_MASTERS; i++)
		masters[i] = (struct bak_master){.number = (uint32_t)(i * 77777777 + 1),
						 .key = {(uint8_t)i, 1, 2}};
	ring.masters = masters;
	ring.n_masters = BAK_KEYRING_MAX_MASTERS;
	assert_int_equal(bak_slot_seal(&ring, SLOT, &f->keyfile, NULL, LOG_N, &json, &err), 0);
	assert_int_equal(open_slot(f, SLOT, &json, &f->keyfile, &opened, &err), 1);
	assert_same_ring(&ring, &opened);
	bak_keyring_release(&opened);
	bak_buf_release(&json);
}

static int open_text(const struct fixture *f, const char *text, struct bak_error *err)
{
	struct bak_keyring opened = {0};
	*err = (struct bak_error)BAK_ERROR_INIT;
	int result = bak_slot_open(f->ring.repo_id, SLOT, text, strlen(text), &f->password, &opened,
				   err);
	bak_keyring_release(&opened);
	return result;
}

#define SLOT_TEXT(version, kind, kdf)                                                       \
	"{\"version\":" version ",\"kind\":\"" kind                                         \
	"\",\"label\":\"\",\"created\":\"\",\"ring\":\"00112233445566778899aabbccddeeff\"," \
	"\"kdf\":" kdf "}"
#define KDF(n, r, p)                                                                              \
	"{\"name\":\"scrypt\",\"salt\":\"00112233445566778899aabbccddeeff\",\"n\":" n ",\"r\":" r \
	",\"p\":" p "}"

static void test_bad_slots(void **state)
{
	struct fixture *f = *state;
	struct bak_error err;
	static const struct {
		const char *text;
		int result;
		enum bak_errc code;
	} cases[] = {
		{SLOT_TEXT("1", "password", KDF("16", "8", "1")), 0, BAK_OK},
		{SLOT_TEXT("2", "password", KDF("16", "8", "1")), -1, BAK_UNSUPPORTED},
		{SLOT_TEXT("0", "password", KDF("16", "8", "1")), -1, BAK_CORRUPT},
		{SLOT_TEXT("1", "fingerprint", KDF("16", "8", "1")), -1, BAK_CORRUPT},
		{SLOT_TEXT("1", "password", KDF("17", "8", "1")), -1, BAK_CORRUPT},
		{SLOT_TEXT("1", "password", KDF("-16", "8", "1")), -1, BAK_CORRUPT},
		{SLOT_TEXT("1", "password", KDF("16", "0", "1")), -1, BAK_CORRUPT},
		{SLOT_TEXT("1", "password", KDF("2097152", "8", "1")), -1, BAK_REFUSED},
		{SLOT_TEXT("1", "password", KDF("16", "9223372036854775807", "1")), -1,
		 BAK_REFUSED},
		{SLOT_TEXT("1", "password", KDF("16", "8", "1000000")), -1, BAK_REFUSED},
		{SLOT_TEXT("1", "password", "{}"), -1, BAK_CORRUPT},
		{SLOT_TEXT("1", "password", "7"), -1, BAK_CORRUPT},
		{"{\"version\":1}", -1, BAK_CORRUPT},
		{"[]", -1, BAK_CORRUPT},
		{"not json", -1, BAK_CORRUPT},
		{"", -1, BAK_CORRUPT},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(open_text(f, cases[i].text, &err), cases[i].result);
		assert_int_equal(err.code, cases[i].code);
	}
}

static void test_key_file(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_secret again = {0};
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	assert_int_equal(st.st_size, 12 + 64 + 1);
	assert_int_equal(bak_secret_keyfile(&again, f->path, &err), 0);
	assert_int_equal(again.len, 32);
	assert_memory_equal(again.p, f->keyfile.p, 32);
	bak_secret_release(&again);

	assert_int_equal(bak_secret_keyfile_create(&again, f->path, &err), -1);
	assert_int_equal(err.code, BAK_EXISTS);
	assert_int_equal(bak_secret_keyfile(&again, "/tmp/bakfs-no-such-key", &err), -1);
	assert_int_equal(err.code, BAK_NOT_FOUND);
}

static void test_no_key_file(void **state)
{
	struct fixture *f = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_secret secret = {0};
	char path[160];
	static const char *const texts[] = {"", "\n", "bakfs-key-1 ", "bakfs-key-1 00ff\n",
					    "-----BEGIN PRIVATE KEY-----\n"};
	snprintf(path, sizeof path, "%s.other", f->path);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
		assert_int_equal(write(fd, texts[i], strlen(texts[i])), strlen(texts[i]));
		close(fd);
		assert_int_equal(bak_secret_keyfile(&secret, path, &err), -1);
		assert_int_equal(err.code, BAK_USAGE);
	}
	unlink(path);
	assert_int_equal(bak_secret_password(&secret, "", 0, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_flip_of_a_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_masters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_key_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_key_file, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
