/* Small sealed JSON records: forgotten, tags, condemned. See snapshot.h. */
#include "engine/objects/snapshot.h"

#include <string.h>

int bak_record_get(struct bak_backend *backend, const struct bak_keyring *ring, const char *name,
		   struct bak_buf *out_json, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sealed = BAK_BUF_INIT;
	int found = bak_backend_get(backend, name, 0, SIZE_MAX, &sealed, err);
	if (found <= 0)
		return found;
	return bak_object_open(ring, name, sealed.p, sealed.len, out_json, err) < 0 ? -1 : 1;
}

/* The unfinished object is not named after a run: a backup that tidies tmp/ leaves it alone. */
int bak_record_put(struct bak_backend *backend, const struct bak_keyring *ring, const char *name,
		   const char *json, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sealed = BAK_BUF_INIT;
	if (bak_object_seal(ring, name, json, strlen(json), &sealed, err) < 0)
		return -1;
	return bak_backend_put(backend, "record", name, sealed.p, sealed.len, err);
}
