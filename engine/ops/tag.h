/*
 * Tags of snapshots: words that users give. A record holds the whole set; the highest version that
 * opens counts.
 */
#ifndef BAK_OPS_TAG_H
#define BAK_OPS_TAG_H

#include "engine/ops/repo.h"

/* What to do to a set of tags. Tags are no longer than BAK_TAG_MAX and hold no comma; whoever reads
 * them from users checks that. */
struct bak_tag_change {
	const char *const *add, *const *remove;
	size_t n_add, n_remove;
};

/* Adds and removes; a change that changes nothing writes nothing. The index knows it on return. Of
 * two changes at once both count. BAK_NOT_FOUND for no such snapshot. */
int bak_repo_tag(struct bak_repo *repo, uint64_t number, const struct bak_tag_change *change,
		 struct bak_error *err);

#endif
