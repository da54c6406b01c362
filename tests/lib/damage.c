/* Objects with other bytes than were put: see damage.h. */
#include "tests/lib/damage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

uint64_t bak_test_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

void bak_test_get(struct bak_backend *be, const char *name, struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	out->len = 0;
	if (bak_backend_get(be, name, 0, SIZE_MAX, out, &err) != 1)
		fail_msg("%s: %s", name, err.msg);
}

void bak_test_replace(struct bak_backend *be, const char *name, const void *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	if (bak_backend_remove(be, name, &err) < 0 ||
	    bak_backend_put(be, "test", name, p, len, &err) != 1)
		fail_msg("%s: %s", name, err.msg);
}

void bak_test_flip(struct bak_backend *be, const char *name, uint64_t at, unsigned bit)
{
	BAK_AUTO(bak_buf_release) struct bak_buf bytes = BAK_BUF_INIT;
	bak_test_get(be, name, &bytes);
	assert_true(at < bytes.len);
	bytes.p[at] ^= (uint8_t)(1u << bit);
	bak_test_replace(be, name, bytes.p, bytes.len);
}

void bak_test_scramble(struct bak_backend *be, const char *name, uint64_t off, uint64_t len,
		       uint64_t *state)
{
	BAK_AUTO(bak_buf_release) struct bak_buf bytes = BAK_BUF_INIT;
	bak_test_get(be, name, &bytes);
	for (uint64_t at = off; at < bytes.len && at - off < len; at++)
		bytes.p[at] ^= (uint8_t)(1 + bak_test_random(state) % 255);
	bak_test_replace(be, name, bytes.p, bytes.len);
}
