/*
 * What a store holds in the damage tests, generation by generation: a file that is edited a little
 * each time, one that no codec shrinks, a hole, hard links, a folder of several pages. Made from
 * seeds, so what a snapshot has to give back is known without reading it.
 */
#ifndef BAK_TESTS_DAMAGE_TREE_H
#define BAK_TESTS_DAMAGE_TREE_H

#include "tests/lib/world.h"

struct bak_damage_file {
	char path[32];
	uint8_t *p;
	size_t len, hole; /* hole: bytes at the front that are one */
	unsigned ino, links;
	unsigned changed; /* the generation that changed it last */
};

struct bak_damage_tree {
	size_t n;
	struct bak_damage_file *files; /* in the order of a walk */
};

void bak_damage_tree_make(struct bak_damage_tree *tree, unsigned store, unsigned generation);
void bak_damage_tree_release(struct bak_damage_tree *tree);

/* Backs it up as a driver of files does; the snapshot's number. */
uint64_t bak_damage_backup(struct bak_repo *repo, const char *store,
			   const struct bak_damage_tree *tree);

#endif
