/* Heads of parity objects. Input: an opened head; where its numbers are small it is sealed into an
 * object beside a pack that is damaged, and the pack is read through it. */
#include "engine/content/heal.h"

#include "engine/base/bytes.h"
#include "engine/objects/pack.h"

#include <stdlib.h>
#include <string.h>

#define PACK_LEN 9000u

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static struct bak_master masters[1] = {{.number = 7, .key = {1}}};
static const struct bak_keyring ring = {
	.repo_id = "repository-id-1", .n_masters = 1, .masters = masters};
static const uint8_t id[BAK_PACK_ID_BYTES] = {1};

static void must(int result)
{
	if (result < 0)
		abort();
}

/* The object of a head, its parity blocks all zero. */
static void put_object(struct bak_backend *be, const void *head, size_t len, size_t blocks)
{
	struct bak_error err;
	struct bak_buf sealed = BAK_BUF_INIT, object = BAK_BUF_INIT;
	char name[BAK_PARITY_NAME_LEN];
	bak_parity_name(id, name);
	must(bak_object_seal(&ring, name, head, len, &sealed, &err));
	must(bak_buf_append(&object, "bakpari1", 8));
	must(bak_put_u32(&object, (uint32_t)sealed.len));
	must(bak_buf_append(&object, sealed.p, sealed.len));
	must(bak_buf_resize(&object, object.len + blocks));
	must(bak_buf_append(&object, sealed.p, sealed.len));
	must(bak_put_u32(&object, (uint32_t)sealed.len));
	must(bak_buf_append(&object, "bakpari1", 8));
	must(bak_backend_put(be, "fuzz", name, object.p, object.len, &err));
	bak_buf_release(&sealed);
	bak_buf_release(&object);
}

static void read_pack(const void *head, size_t len, size_t blocks)
{
	struct bak_error err;
	struct bak_backend *be;
	struct bak_heal *heal;
	struct bak_buf out = BAK_BUF_INIT;
	char name[BAK_PACK_NAME_LEN];
	uint8_t pack[PACK_LEN] = {0};
	uint64_t bad, bad_blocks;
	pack[5000] = 1;
	bak_pack_name(id, name);
	must(bak_backend_mem_new(&be, &err));
	must(bak_backend_put(be, "fuzz", name, pack, sizeof pack, &err));
	put_object(be, head, len, blocks);
	must(bak_heal_new(be, &ring, &heal, &err));
	must(bak_backend_get(bak_heal_backend(heal), name, 100, SIZE_MAX, &out, &err));
	must(bak_parity_verify(be, &ring, id, &bad, &bad_blocks, &err));
	bak_heal_free(heal);
	bak_backend_close(be);
	bak_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err;
	struct bak_parity parity = {.crcs = NULL};
	if (bak_parity_decode(p, len, &parity, &err) < 0)
		return 0;
	const struct bak_parity_shape shape = parity.shape;
	uint64_t n = bak_parity_blocks(&shape), m = bak_parity_parity_blocks(&shape);
	if (n == 0 || n * shape.block < shape.size || (n + m) * 4 + 20 != len)
		abort();
	bak_parity_release(&parity);
	if (m * shape.block <= 1u << 20 && shape.size <= 1u << 20)
		read_pack(p, len, (size_t)m * shape.block);
	return 0;
}
