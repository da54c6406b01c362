/* SHA-256 and HMAC against OpenSSL's own one-call forms, at every length and alignment that a block
 * can have, alone and two messages in step. */
#include "engine/base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>
#include <string.h>

#include <cmocka.h>

#define LEN 700

static uint8_t data[LEN];

static void fill(void)
{
	uint32_t x = 1;
	for (size_t i = 0; i < LEN; i++) {
		x = x * 1103515245 + 12345;
		data[i] = (uint8_t)(x >> 16);
	}
}

static void expect_sum(size_t off, size_t len, const uint8_t got[32])
{
	uint8_t want[32];
	unsigned n;
	assert_int_equal(EVP_Digest(data + off, len, want, &n, EVP_sha256(), NULL), 1);
	assert_memory_equal(got, want, 32);
}

static void every_length_and_cut(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_sha256 sha;
	uint8_t sum[32];
	(void)state;
	assert_int_equal(bak_sha256_init(&sha, &err), 0);
	for (size_t len = 0; len <= 300; len++) {
		for (size_t cut = 0; cut <= len; cut += 13) {
			bak_sha256_begin(&sha);
			bak_sha256_update(&sha, data, cut);
			bak_sha256_update(&sha, data + cut, len - cut);
			bak_sha256_final(&sha, sum);
			expect_sum(0, len, sum);
		}
	}
	bak_sha256_release(&sha);
}

/* Two messages that began at different places go on by the same bytes. */
static void two_in_step(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_sha256 a, b;
	uint8_t sum[32];
	(void)state;
	assert_int_equal(bak_sha256_init(&a, &err), 0);
	assert_int_equal(bak_sha256_init(&b, &err), 0);
	for (size_t head = 0; head <= 140; head += 7) {
		for (size_t late = 0; late <= head; late += 9) {
			for (size_t len = 0; len <= 400; len += 31) {
				bak_sha256_begin(&a);
				bak_sha256_begin(&b);
				bak_sha256_update(&a, data, head);
				bak_sha256_update(&b, data + late, head - late);
				bak_sha256_update_both(&a, &b, data + head, len);
				bak_sha256_final(&a, sum);
				expect_sum(0, head + len, sum);
				bak_sha256_final(&b, sum);
				expect_sum(late, head - late + len, sum);
			}
		}
	}
	bak_sha256_release(&a);
	bak_sha256_release(&b);
}

static void keyed(void **state)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_hmac hmac;
	struct bak_sha256 sha;
	uint8_t want[32], got[32];
	(void)state;
	assert_int_equal(bak_hmac_init(&hmac, data, &err), 0);
	assert_int_equal(bak_sha256_init(&sha, &err), 0);
	for (size_t len = 0; len < 600; len += 17) {
		assert_int_equal(bak_hmac_once(data, data + 32, len, want, &err), 0);
		bak_hmac_begin(&hmac);
		bak_sha256_begin(&sha);
		bak_hmac_update_both(&hmac, &sha, data + 32, len);
		bak_hmac_final(&hmac, got);
		assert_memory_equal(got, want, 32);
		bak_sha256_final(&sha, got);
		expect_sum(32, len, got);
	}
	bak_sha256_release(&sha);
	bak_hmac_release(&hmac);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_and_cut),
		cmocka_unit_test(two_in_step),
		cmocka_unit_test(keyed),
	};
	fill();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
