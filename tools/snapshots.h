/*
 * Snapshots as users name and see them.
 */
#ifndef BAK_TOOLS_SNAPSHOTS_H
#define BAK_TOOLS_SNAPSHOTS_H

#include "engine/storage/index.h"
#include "tools/tool.h"

#include <jansson.h>

/* How messages name a snapshot: "app@20261121T140212Z". Returns out. */
#define BAK_SNAPSHOT_NAME (BAK_STORE_NAME_MAX + 1 + BAK_STAMP_LEN + 1)
const char *bak_snapshot_name(const char *store, int64_t stamp, char out[BAK_SNAPSHOT_NAME]);
/* A new object with what a row says; NULL for lack of memory. */
json_t *bak_row_json(const struct bak_snapshot_row *row);

/* Warns of snapshots that should be there and are not. 1 there are such, 0, -1. */
int bak_tell_omissions(struct bak_tool *tool, struct bak_error *err);

/* What an ID names, loaded, in the order of numbers. */
struct bak_selection {
	size_t n;
	struct bak_snapshot *snapshots;
};
#define BAK_SELECTION_INIT \
	{                  \
		.n = 0     \
	}
int bak_select(struct bak_tool *tool, const char *id, struct bak_selection *out,
	       struct bak_error *err);
/* Exactly one: else BAK_USAGE. */
int bak_select_one(struct bak_tool *tool, const char *id, struct bak_selection *out,
		   struct bak_error *err);
/* Leaves only the stores named; each must be there. n 0: all stay. */
int bak_selection_keep(struct bak_selection *selection, const char *const *stores, size_t n,
		       struct bak_error *err);
void bak_selection_release(struct bak_selection *selection);

/* Of which snapshot path is: the only one, or the one whose store is the first name in path, which
 * is then left out. *out_path points into path, without leading slashes; "" is the root. */
int bak_selection_path(const struct bak_selection *selection, const char *path, size_t *out_index,
		       const char **out_path, struct bak_error *err);

#endif
