/* Segment records. Input: an opened header (40 bytes), then a body; both are sealed here, since
 * nothing else gets past the tags. */
#include "engine/objects/segment.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static struct bak_master masters[1] = {{.number = 1, .key = {1}}};
static const struct bak_keyring ring = {.repo_id = {1}, .n_masters = 1, .masters = masters};

static void must(int result)
{
	if (result < 0)
		abort();
}

static void seal(const uint8_t *p, size_t len, uint8_t *record)
{
	struct bak_error err;
	uint8_t key[32];
	must(bak_subkey(masters[0].key, "bakfs header", record, NULL, 0, key, &err));
	must(bak_gcm_seal(key, ring.repo_id, BAK_REPO_ID_BYTES, p, 40, record + BAK_SALT_BYTES,
			  &err));
	must(bak_subkey(masters[0].key, "bakfs body", record, p + 8, BAK_SEG_ID_BYTES, key, &err));
	must(bak_gcm_seal(key, p, 40, p + 40, len - 40, record + BAK_SEG_HEAD_BYTES, &err));
}

/* Whatever a segment holds, ranges within it are readable and others are refused. */
static void touch(const struct bak_segment *segment)
{
	volatile uint8_t sum = 0;
	const uint8_t *at;
	for (uint32_t off = 0; off < 5000; off += 7)
		for (uint32_t n = 1; n < 5000; n = n * 3 + 1)
			if (bak_segment_at(segment, off, n, &at) == 1)
				sum = (uint8_t)(sum + at[0] + at[n - 1]);
	(void)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct bak_error err;
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_segment segment;
	struct bak_seg_header header;
	size_t master;
	if (len < 40)
		return 0;
	uint8_t *record = calloc(1, BAK_SEG_OVERHEAD + len - 40);
	if (!record)
		abort();
	seal(p, len, record);
	if (bak_segment_open_header(&ring, record, &header, &master, &err) == 1 &&
	    bak_segment_open(&ring, &codec, header.type, &header.id, record,
			     BAK_SEG_OVERHEAD + len - 40, &segment, &err) == 0) {
		touch(&segment);
		bak_segment_release(&segment);
	}
	free(record);
	bak_seg_codec_release(&codec);
	return 0;
}
