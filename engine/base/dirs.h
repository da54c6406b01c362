/*
 * A path of open folders, however deep: names are opened one below another, so PATH_MAX does not
 * bound it and no symlink is followed. Only the lowest BAK_DIRS_OPEN folders keep a descriptor;
 * the others are opened again by ".." on the way up, and must then be the folders that they were
 * (device and inode), else the path was moved meanwhile.
 *
 * Ownership: the struct owns its descriptors, also the first one.
 * Errors: bak_dirs_push returns -1 with errno only, so that the caller may go on without that
 *   folder; bak_dirs_pop fills err, and afterwards the stack is of no use.
 */
#ifndef BAK_BASE_DIRS_H
#define BAK_BASE_DIRS_H

#include "engine/base/error.h"

#include <stddef.h>
#include <sys/types.h>

/* Enough for nearly every tree to be walked without opening anything twice, far below the usual
 * limit of 1024 descriptors. */
#define BAK_DIRS_OPEN 64

struct bak_dirs {
	size_t n, cap;
	struct bak_dir {
		int fd; /* -1: closed for now */
		dev_t dev;
		ino_t ino;
	} * v;
};
#define BAK_DIRS_INIT  \
	{              \
		.n = 0 \
	}

/* Takes fd over, also on failure. */
int bak_dirs_start(struct bak_dirs *dirs, int fd, struct bak_error *err);
/* Opens the folder name below the lowest one. flags are added (O_NOATIME and the like). */
int bak_dirs_push(struct bak_dirs *dirs, const char *name, int flags);
int bak_dirs_pop(struct bak_dirs *dirs, struct bak_error *err);
/* Descriptor of the lowest one, borrowed. */
int bak_dirs_fd(const struct bak_dirs *dirs);
void bak_dirs_release(struct bak_dirs *dirs);

/* Opens the folder that holds path (names joined by '/', relative to root_fd, no ".."), name by
 * name without following symlinks; *out_name points to the last name in path. A descriptor, or -1
 * with errno. flags are for each folder on the way: O_PATH or O_RDONLY. */
int bak_open_parent(int root_fd, const char *path, int flags, const char **out_name);

#endif
