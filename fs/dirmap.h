/*
 * The entries of a folder in memory: found by name, listed in the order in which they came, from
 * any place on. An entry's serial number never changes and is never given again, so it serves as
 * an offset.
 *
 * Not for sharing between threads. Knows nothing of what an entry is.
 */
#ifndef BAK_FS_DIRMAP_H
#define BAK_FS_DIRMAP_H

#include <stddef.h>
#include <stdint.h>

struct bak_dirmap_entry {
	uint64_t serial;
	char *name; /* NULL: removed */
	void *value;
};

struct bak_dirmap {
	struct bak_dirmap_entry *v; /* by serial */
	size_t n, cap, live;
	size_t first;    /* none before it is there any more */
	uint32_t *index; /* hash of names: place in v + 1 */
	size_t n_index;  /* a power of two, or 0 */
	uint64_t serial;
};

/* Begins as all zero. Values are the caller's. */
void bak_dirmap_release(struct bak_dirmap *map);
struct bak_dirmap_entry *bak_dirmap_find(struct bak_dirmap *map, const char *name);
/* The name must not be there. 0, or -1 for lack of memory. */
int bak_dirmap_add(struct bak_dirmap *map, const char *name, void *value);
void bak_dirmap_remove(struct bak_dirmap *map, const char *name);
/* The first entry with a serial number above after, or NULL. */
struct bak_dirmap_entry *bak_dirmap_next(struct bak_dirmap *map, uint64_t after);

#endif
