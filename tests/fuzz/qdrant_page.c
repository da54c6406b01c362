/* Pages of points from a Qdrant server: what is handed on lies in the page and is one object in one
 * line, and what jansson takes for such a page is one. */
#include "stores/qdrant/page.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

struct seen {
	const char *begin, *end;
	size_t points;
};

static int on_point(void *ctx, const char *p, size_t len, struct bak_error *err)
{
	struct seen *seen = ctx;

	(void)err;
	if (p < seen->begin || len < 2 || len > (size_t)(seen->end - p) || *p != '{' ||
	    p[len - 1] != '}' || memchr(p, '\n', len))
		abort();
	seen->points++;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct seen seen = {.begin = (const char *)p, .end = (const char *)p + len};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_qdrant_page page;
	int rc = bak_qdrant_page_read((const char *)p, len, on_point, &seen, &page, &err);
	json_t *json = json_loadb((const char *)p, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *points = json_object_get(json_object_get(json, "result"), "points");

	if (rc == 0 && json_is_array(points) && json_array_size(points) != seen.points)
		abort();
	if (rc == 0 && page.next_len &&
	    (page.next < seen.begin || page.next_len > (size_t)(seen.end - page.next)))
		abort();
	json_decref(json);
	return 0;
}
