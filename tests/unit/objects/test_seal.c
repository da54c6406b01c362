/* Sealing: what opens, what must not, and fixed vectors computed by others. */
#include "engine/objects/seal.h"

#include "engine/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct bak_master masters[2] = {{.number = 7, .key = {1}}, {.number = 9, .key = {2}}};
static const struct bak_keyring ring = {
	.repo_id = "repository-id-1", .n_masters = 2, .masters = masters};

/* python3: hmac.new(bytes([1]+[0]*31), b"bakfs body\0" + bytes(range(24)) + b"0123456789abcdef",
 * "sha256").hexdigest() */
static void test_subkey_vector(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	uint8_t salt[BAK_SALT_BYTES], key[32];
	char hex[65];
	for (size_t i = 0; i < sizeof salt; i++)
		salt[i] = (uint8_t)i;
	assert_int_equal(
		bak_subkey(masters[0].key, "bakfs body", salt, "0123456789abcdef", 16, key, &err),
		0);
	bak_hex(hex, key, 32);
	assert_string_equal(hex,
			    "00aafa914f52923d0cefafcf1299155dde178c3602fb5a6fc30457b35d9e94f8");
}

/* McGrew and Viega, case 14: zero key, zero nonce, 16 zero bytes. */
static void test_gcm_vector(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	uint8_t key[32] = {0}, zeros[16] = {0}, out[32];
	char hex[65];
	assert_int_equal(bak_gcm_seal(key, NULL, 0, zeros, 16, out, &err), 0);
	bak_hex(hex, out, 32);
	assert_string_equal(hex,
			    "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
}

static void test_gcm_binds_everything(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	uint8_t key[32] = {5}, text[10] = "some text", sealed[26], plain[10];
	assert_int_equal(bak_gcm_seal(key, "aad", 3, text, 10, sealed, &err), 0);
	assert_int_equal(bak_gcm_open(key, "aad", 3, sealed, 10, plain, &err), 1);
	assert_memory_equal(plain, text, 10);
	assert_int_equal(bak_gcm_open(key, "aae", 3, sealed, 10, plain, &err), 0);
	assert_memory_not_equal(plain, text, 10);
	key[31] ^= 1;
	assert_int_equal(bak_gcm_open(key, "aad", 3, sealed, 10, plain, &err), 0);
	key[31] ^= 1;
	for (size_t i = 0; i < sizeof sealed; i++) {
		sealed[i] ^= 0x80;
		assert_int_equal(bak_gcm_open(key, "aad", 3, sealed, 10, plain, &err), 0);
		sealed[i] ^= 0x80;
	}
	/* In place, and nothing at all. */
	assert_int_equal(bak_gcm_open(key, "aad", 3, sealed, 10, sealed, &err), 1);
	assert_memory_equal(sealed, text, 10);
	assert_int_equal(bak_gcm_seal(key, NULL, 0, NULL, 0, sealed, &err), 0);
	assert_int_equal(bak_gcm_open(key, NULL, 0, sealed, 0, plain, &err), 1);
}

static void test_object(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf sealed = BAK_BUF_INIT, again = BAK_BUF_INIT, out = BAK_BUF_INIT;
	const char *name = "snapshots/1";
	assert_int_equal(bak_object_seal(&ring, name, "payload", 7, &sealed, &err), 0);
	assert_int_equal(sealed.len, 24 + 7 + 16);
	assert_int_equal(bak_object_seal(&ring, name, "payload", 7, &again, &err), 0);
	assert_memory_not_equal(sealed.p, again.p, sealed.len);

	assert_int_equal(bak_object_open(&ring, name, sealed.p, sealed.len, &out, &err), 0);
	assert_int_equal(out.len, 7);
	assert_memory_equal(out.p, "payload", 7);

	/* Another name, another repository, cut off: none opens, nothing is appended. */
	struct bak_keyring other = ring;
	other.repo_id[0] ^= 1;
	assert_int_equal(bak_object_open(&ring, "snapshots/2", sealed.p, sealed.len, &out, &err),
			 -1);
	assert_int_equal(err.code, BAK_CORRUPT);
	assert_int_equal(bak_object_open(&other, name, sealed.p, sealed.len, &out, &err), -1);
	for (size_t len = 0; len < sealed.len; len++)
		assert_int_equal(bak_object_open(&ring, name, sealed.p, len, &out, &err), -1);
	assert_int_equal(out.len, 7);
	bak_buf_release(&sealed);
	bak_buf_release(&again);
	bak_buf_release(&out);
}

static void test_object_under_an_older_master(void **state)
{
	(void)state;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_buf sealed = BAK_BUF_INIT, out = BAK_BUF_INIT;
	struct bak_keyring before = ring;
	before.n_masters = 1;
	assert_int_equal(bak_object_seal(&before, "tags/1-1", "x", 1, &sealed, &err), 0);
	assert_int_equal(bak_object_open(&ring, "tags/1-1", sealed.p, sealed.len, &out, &err), 0);
	assert_int_equal(out.len, 1);
	bak_buf_release(&sealed);

	/* What the newest sealed, the old ring does not open. */
	assert_int_equal(bak_object_seal(&ring, "tags/1-1", "x", 1, &sealed, &err), 0);
	assert_int_equal(bak_object_open(&before, "tags/1-1", sealed.p, sealed.len, &out, &err),
			 -1);
	bak_buf_release(&sealed);
	bak_buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_subkey_vector),
		cmocka_unit_test(test_gcm_vector),
		cmocka_unit_test(test_gcm_binds_everything),
		cmocka_unit_test(test_object),
		cmocka_unit_test(test_object_under_an_older_master),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
