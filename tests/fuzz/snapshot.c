/* Snapshots. Input: the unpacked frame; it is packed here. What decodes must encode to something
 * that decodes to the same. */
#include "engine/objects/snapshot.h"

#include "engine/base/bytes.h"
#include "engine/objects/compress.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static void check(const struct bak_snapshot *snapshot)
{
	struct bak_error err;
	struct bak_buf payload = BAK_BUF_INIT;
	struct bak_snapshot again;
	if (!bak_store_name_ok(snapshot->store) || !snapshot->number)
		abort();
	if (bak_snapshot_encode(snapshot, &payload, &err) < 0 ||
	    bak_snapshot_decode(payload.p, payload.len, &again, &err) < 0)
		abort();
	if (again.number != snapshot->number || again.manifest_len != snapshot->manifest_len ||
	    again.stamp != snapshot->stamp || again.root.mode != snapshot->root.mode)
		abort();
	bak_snapshot_release(&again);
	bak_buf_release(&payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err;
	struct bak_buf payload = BAK_BUF_INIT;
	struct bak_snapshot snapshot;
	if (bak_put_u32(&payload, (uint32_t)len) < 0 ||
	    bak_zstd_pack(p, len, 1, &payload, &err) < 0)
		abort();
	if (bak_snapshot_decode(payload.p, payload.len, &snapshot, &err) == 0) {
		check(&snapshot);
		bak_snapshot_release(&snapshot);
	}
	if (bak_snapshot_decode(p, len, &snapshot, &err) == 0)
		bak_snapshot_release(&snapshot);
	bak_buf_release(&payload);
	return 0;
}
