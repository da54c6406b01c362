/* The catalogue of a snapshot repository; the same bytes as a shard's list of blobs, and as a file
 * with a checksum, in pieces. */
#include "stores/opensearch/opensearch.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static void look_at_catalogue(const uint8_t *p, size_t len)
{
	struct bak_os_catalogue catalogue = {.json = NULL};
	struct bak_error err = BAK_ERROR_INIT;

	if (bak_os_catalogue_parse(p, len, &catalogue, &err) < 0)
		return;
	const json_t *snapshot = bak_os_catalogue_find(&catalogue, -1, NULL);

	if (snapshot)
		json_decref(bak_os_catalogue_indices(&catalogue, snapshot));
	bak_os_catalogue_release(&catalogue);
}

static bool sum(const uint8_t *p, size_t len, size_t piece)
{
	struct bak_os_sum sum = {.n = 0};

	for (size_t at = 0; at < len; at += piece)
		bak_os_sum_feed(&sum, p + at, len - at < piece ? len - at : piece);
	return bak_os_sum_end(&sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	char name[32];
	size_t at = 0, before = 0;

	look_at_catalogue(p, len);
	while (bak_os_blob_next(p, len, &at, name, sizeof name) > 0) {
		if (at <= before || at > len || strlen(name) != 24)
			abort();
		before = at;
	}
	bool whole = sum(p, len, len + 1);

	for (size_t piece = 1; piece < 40; piece += 3) {
		if (sum(p, len, piece) != whole)
			abort();
	}
	return 0;
}
