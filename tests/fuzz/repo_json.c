/* bakfs.json, as it stands in the clear, and under its MAC. */
#include "engine/objects/repo_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	static const uint8_t id_key[32] = {1};
	struct bak_error err;
	struct bak_repo_json json;
	if (bak_repo_json_parse((const char *)p, len, &json, &err) == 0)
		bak_repo_json_verify((const char *)p, len, id_key, &err);
	return 0;
}
