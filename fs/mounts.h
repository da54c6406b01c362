/*
 * What the kernel says is mounted where (/proc/self/mountinfo). Asks no file system, so that a dead
 * or a hanging mount can be looked at.
 */
#ifndef BAK_FS_MOUNTS_H
#define BAK_FS_MOUNTS_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <limits.h>
#include <stdbool.h>

struct bak_mount_info {
	char device[32]; /* "0:45" */
	char type[64];   /* "fuse.bakfs" */
	char *point;     /* where it is mounted */
	char *root;      /* which folder of its file system is mounted */
};
void bak_mount_info_release(struct bak_mount_info *info);

/* The mount on top at exactly path (real, absolute): 1, 0 none, -1. */
int bak_mounts_at(const char *path, struct bak_mount_info *out, struct bak_error *err);
/* The mount that path lies in. */
int bak_mounts_of(const char *path, struct bak_mount_info *out, struct bak_error *err);

/* True when one of the two real paths is or lies in the other, as names or through bind mounts. */
int bak_mounts_overlap(const char *a, const char *b, bool *out, struct bak_error *err);

#endif
