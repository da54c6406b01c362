/* First paths of hard-linked inodes: see extract_links.h. */
#include "engine/ops/extract_links.h"

#include <stdlib.h>
#include <string.h>

/* Link numbers begin at 1 and are mostly dense: spread them. Open addressing, at most half full. */
static size_t slot_of(const struct bak_extract_links *links, uint64_t number)
{
	size_t i = (size_t)(number * 0x9e3779b97f4a7c15u) & (links->cap - 1);

	while (links->v[i].number && links->v[i].number != number)
		i = (i + 1) & (links->cap - 1);
	return i;
}

const char *bak_extract_links_get(const struct bak_extract_links *links, uint64_t number)
{
	return links->cap && number ? links->v[slot_of(links, number)].path : NULL;
}

static int grow(struct bak_extract_links *links)
{
	struct bak_extract_links bigger = {.n = links->n, .cap = links->cap ? 2 * links->cap : 64};

	bigger.v = calloc(bigger.cap, sizeof *bigger.v);
	if (!bigger.v)
		return -1;
	for (size_t i = 0; i < links->cap; i++) {
		if (links->v[i].number)
			bigger.v[slot_of(&bigger, links->v[i].number)] = links->v[i];
	}
	free(links->v);
	links->v = bigger.v;
	links->cap = bigger.cap;
	return 0;
}

int bak_extract_links_put(struct bak_extract_links *links, uint64_t number, const char *path,
			  struct bak_error *err)
{
	if (number == 0)
		return bak_error_set(err, BAK_CORRUPT, "link number 0");
	if (2 * (links->n + 1) > links->cap && grow(links) < 0)
		return bak_error_nomem(err);

	struct bak_extract_link *link = &links->v[slot_of(links, number)];
	char *copy = strdup(path);
	if (!copy)
		return bak_error_nomem(err);
	links->n += link->number == 0;
	free(link->path);
	*link = (struct bak_extract_link){.number = number, .path = copy};
	return 0;
}

void bak_extract_links_release(struct bak_extract_links *links)
{
	for (size_t i = 0; i < links->cap; i++)
		free(links->v[i].path);
	free(links->v);
	*links = (struct bak_extract_links){.n = 0};
}
