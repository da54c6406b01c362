/* Small files in the state folder: see state_file.h. */
#include "engine/ops/state_file.h"

#include "engine/ops/repo_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static int path_of(const struct bak_repo *repo, const char *name, const char *suffix,
		   char out[PATH_MAX])
{
	if (!repo->state_dir)
		return -1;
	int n = snprintf(out, PATH_MAX, "%s/%s%s", repo->state_dir, name, suffix);
	return n < PATH_MAX ? 0 : -1;
}

int bak_state_lock(const struct bak_repo *repo, const char *name)
{
	char path[PATH_MAX];
	if (path_of(repo, name, ".lock", path) < 0)
		return -1;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (fd >= 0 && flock(fd, LOCK_EX) < 0 && errno == EINTR)
		;
	return fd;
}

int bak_state_read(const struct bak_repo *repo, const char *name, struct bak_buf *out)
{
	char path[PATH_MAX];
	if (path_of(repo, name, "", path) < 0)
		return 0;
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	for (;;) {
		if (bak_buf_reserve(out, 4096) < 0)
			return -1;
		ssize_t n = read(fd, out->p + out->len, 4095);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		out->p[out->len + (size_t)n] = '\0';
		out->len += (size_t)n;
		if (n == 0)
			return 1;
	}
}

static int write_all(int fd, const struct bak_buf *text)
{
	for (size_t at = 0; at < text->len;) {
		ssize_t n = write(fd, text->p + at, text->len - at);
		if (n < 0 && errno != EINTR)
			return -1;
		at += n > 0 ? (size_t)n : 0;
	}
	return fsync(fd);
}

static void sync_folder(const struct bak_repo *repo)
{
	BAK_AUTO(bak_close_fd) int fd = open(repo->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && fsync(fd) < 0)
		return; /* as durable as this file system makes it */
}

void bak_state_write(const struct bak_repo *repo, const char *name, const struct bak_buf *text)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	if (path_of(repo, name, "", path) < 0 || path_of(repo, name, ".new", tmp) < 0)
		return;
	if (text->len == 0) {
		unlink(path);
		return;
	}
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	int rc = write_all(fd, text);
	if (close(fd) < 0 || rc < 0 || rename(tmp, path) < 0)
		unlink(tmp);
	else
		sync_folder(repo);
}
