/* Key slots: the JSON text of keys/<id>.json. Opened with a key file only; scrypt would make each
 * input cost what its parameters say. */
#include "engine/objects/keyring.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

#define SLOT "00112233445566778899aabbccddeeff"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err;
	struct bak_slot_info info;
	struct bak_keyring ring = {.n_masters = 0};
	uint8_t key[32] = {1}, repo_id[BAK_REPO_ID_BYTES] = {1};
	struct bak_secret secret = {.kind = BAK_SECRET_KEYFILE, .p = key, .len = sizeof key};
	bak_slot_describe(SLOT, (const char *)p, len, &info, &err);
	if (bak_slot_open(repo_id, SLOT, (const char *)p, len, &secret, &ring, &err) == 1)
		bak_keyring_release(&ring);
	return 0;
}
