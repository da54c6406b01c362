/* A folder's entries in memory: see dirmap.h. */
#include "fs/dirmap.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash(const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (const unsigned char *p = (const unsigned char *)name; *p; p++)
		h = (h ^ *p) * UINT64_C(0x100000001b3);
	return h ^ h >> 29;
}

void bak_dirmap_release(struct bak_dirmap *map)
{
	for (size_t i = 0; i < map->n; i++)
		free(map->v[i].name);
	free(map->v);
	free(map->index);
	*map = (struct bak_dirmap){.v = NULL};
}

struct bak_dirmap_entry *bak_dirmap_find(struct bak_dirmap *map, const char *name)
{
	if (!map->n_index)
		return NULL;
	size_t at = hash(name) & (map->n_index - 1);
	for (; map->index[at]; at = (at + 1) & (map->n_index - 1)) {
		struct bak_dirmap_entry *entry = &map->v[map->index[at] - 1];
		if (entry->name && strcmp(entry->name, name) == 0)
			return entry;
	}
	return NULL;
}

static void index_put(struct bak_dirmap *map, size_t place)
{
	size_t at = hash(map->v[place].name) & (map->n_index - 1);
	while (map->index[at])
		at = (at + 1) & (map->n_index - 1);
	map->index[at] = (uint32_t)place + 1;
}

/* Closes the gaps of removed entries and indexes the rest anew. */
static int tidy(struct bak_dirmap *map)
{
	size_t n_index = 16;
	while (n_index < (map->live + 1) * 4)
		n_index *= 2;
	uint32_t *index = calloc(n_index, sizeof *index);
	if (!index)
		return -1;
	size_t to = 0;
	for (size_t i = 0; i < map->n; i++)
		if (map->v[i].name)
			map->v[to++] = map->v[i];
	map->n = to;
	map->first = 0;
	free(map->index);
	map->index = index;
	map->n_index = n_index;
	for (size_t i = 0; i < map->n; i++)
		index_put(map, i);
	return 0;
}

int bak_dirmap_add(struct bak_dirmap *map, const char *name, void *value)
{
	if ((map->n + 1) * 2 > map->n_index && tidy(map) < 0)
		return -1;
	if (map->n == map->cap) {
		size_t cap = map->cap ? map->cap * 2 : 8;
		struct bak_dirmap_entry *v = realloc(map->v, cap * sizeof *v);
		if (!v)
			return -1;
		map->v = v;
		map->cap = cap;
	}
	char *copy = strdup(name);
	if (!copy || map->n >= UINT32_MAX / 2) {
		free(copy);
		return -1;
	}
	map->v[map->n] = (struct bak_dirmap_entry){++map->serial, copy, value};
	index_put(map, map->n++);
	map->live++;
	return 0;
}

void bak_dirmap_remove(struct bak_dirmap *map, const char *name)
{
	struct bak_dirmap_entry *entry = bak_dirmap_find(map, name);
	if (!entry)
		return;
	free(entry->name);
	entry->name = NULL;
	entry->value = NULL;
	map->live--;
	/* Without memory the gaps stay: they cost time, nothing else. */
	if (map->n > map->live * 2 + 64)
		(void)tidy(map);
}

struct bak_dirmap_entry *bak_dirmap_next(struct bak_dirmap *map, uint64_t after)
{
	while (map->first < map->n && !map->v[map->first].name)
		map->first++;
	size_t low = map->first, high = map->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (map->v[mid].serial <= after)
			low = mid + 1;
		else
			high = mid;
	}
	while (low < map->n && !map->v[low].name)
		low++;
	return low < map->n ? &map->v[low] : NULL;
}
