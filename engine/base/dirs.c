/* A path of open folders: see dirs.h. */
#include "engine/base/dirs.h"

#include "engine/base/buf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* Takes fd over. -1 with errno. */
static int add(struct bak_dirs *dirs, int fd)
{
	struct stat st;

	if (dirs->n == dirs->cap) {
		size_t cap = dirs->cap ? 2 * dirs->cap : 16;
		struct bak_dir *v = realloc(dirs->v, cap * sizeof *v);

		if (!v) {
			close(fd);
			errno = ENOMEM;
			return -1;
		}
		dirs->v = v;
		dirs->cap = cap;
	}
	if (fstat(fd, &st) < 0) {
		int e = errno;

		close(fd);
		errno = e;
		return -1;
	}
	dirs->v[dirs->n++] = (struct bak_dir){.fd = fd, .dev = st.st_dev, .ino = st.st_ino};
	return 0;
}

int bak_dirs_start(struct bak_dirs *dirs, int fd, struct bak_error *err)
{
	assert(dirs->n == 0);
	return add(dirs, fd) < 0 ? bak_error_sys(err, errno, "folder") : 0;
}

int bak_dirs_push(struct bak_dirs *dirs, const char *name, int flags)
{
	int fd = openat(bak_dirs_fd(dirs), name, OPEN_FLAGS | flags);

	if (fd < 0 && errno == EPERM && (flags & O_NOATIME))
		fd = openat(bak_dirs_fd(dirs), name, OPEN_FLAGS | (flags & ~O_NOATIME));
	if (fd < 0 || add(dirs, fd) < 0)
		return -1;
	if (dirs->n > BAK_DIRS_OPEN)
		bak_close_fd(&dirs->v[dirs->n - 1 - BAK_DIRS_OPEN].fd);
	return 0;
}

static int reopen(struct bak_dir *parent, int below, struct bak_error *err)
{
	struct stat st;

	if (parent->fd >= 0)
		return 0;
	parent->fd = openat(below, "..", OPEN_FLAGS);
	if (parent->fd < 0 || fstat(parent->fd, &st) < 0)
		return bak_error_sys(err, errno, "going back up");
	if (st.st_dev != parent->dev || st.st_ino != parent->ino)
		return bak_error_set(err, BAK_IO, "going back up: the folder was moved meanwhile");
	return 0;
}

int bak_dirs_pop(struct bak_dirs *dirs, struct bak_error *err)
{
	assert(dirs->n > 0);

	struct bak_dir *lowest = &dirs->v[--dirs->n];
	int rc = dirs->n ? reopen(&dirs->v[dirs->n - 1], lowest->fd, err) : 0;

	bak_close_fd(&lowest->fd);
	return rc;
}

int bak_dirs_fd(const struct bak_dirs *dirs)
{
	assert(dirs->n > 0);
	return dirs->v[dirs->n - 1].fd;
}

void bak_dirs_release(struct bak_dirs *dirs)
{
	while (dirs->n > 0)
		bak_close_fd(&dirs->v[--dirs->n].fd);
	free(dirs->v);
	*dirs = (struct bak_dirs)BAK_DIRS_INIT;
}

int bak_open_parent(int root_fd, const char *path, int flags, const char **out_name)
{
	int fd = openat(root_fd, ".", O_DIRECTORY | O_CLOEXEC | flags);
	const char *slash;

	while (fd >= 0 && (slash = strchr(path, '/')) != NULL) {
		char name[NAME_MAX + 1];
		size_t len = (size_t)(slash - path);
		int below = -1;

		if (len <= NAME_MAX) {
			memcpy(name, path, len);
			name[len] = '\0';
			below = openat(fd, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | flags);
		} else {
			errno = ENAMETOOLONG;
		}
		int e = errno;
		close(fd);
		errno = e;
		fd = below;
		path = slash + 1;
	}
	*out_name = path;
	return fd;
}
