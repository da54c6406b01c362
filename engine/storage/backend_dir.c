/*
 * Objects as files of a local directory (or of a network disk that is mounted as one).
 *
 * put_commit is the one place of the program where an object becomes durable: fsync, rename without
 * replacing, fsync of the folder. Everything is relative to one descriptor of the root, so that a
 * moved working directory or a renamed repository changes nothing under way. When that is dead (a
 * network disk was mounted anew, the folder was removed and put back), who reads opens it once more,
 * by its path: whoever has a repository open for long, such as a mount, goes on when it is back.
 */
#include "engine/storage/backend.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DIR_MAX_DEPTH 4 /* "packs/3f/..." is two; a loop of links must end */

struct dir_backend {
	struct bak_backend base;
	int root;
	char *path;
	char *real; /* absolute; NULL: it cannot be opened once more */
	pthread_mutex_t lock;
	struct bak_buf identity; /* bakfs.json as it was read first; the lock guards it */
};

#define IDENTITY "bakfs.json"
#define IDENTITY_MAX 65536u

struct dir_put {
	struct bak_put base;
	int fd;
	uint64_t written;
	char name[]; /* "tmp/..." */
};

static struct dir_backend *dir_of(struct bak_backend *be)
{
	return (struct dir_backend *)be;
}

static int fail_sys(struct dir_backend *dir, int e, const char *what, const char *name,
		    struct bak_error *err)
{
	return bak_error_sys(err, e, "cannot %s %s/%s", what, dir->path, name);
}

/* Full disks are told in bytes: the first thing a user wants to know. */
static int fail_write(struct dir_backend *dir, int e, uint64_t missing, const char *name,
		      struct bak_error *err)
{
	if (e != ENOSPC && e != EDQUOT)
		return fail_sys(dir, e, "write", name, err);
	bak_error_set(err, BAK_NO_SPACE, "no space left: %llu bytes of %s/%s did not fit",
		      (unsigned long long)missing, dir->path, name);
	err->sys = e;
	return -1;
}

/* --- a root that is dead --- */

static bool is_dead(const struct dir_backend *dir, int e)
{
	struct stat st;
	if (e == ENOENT) /* also in a folder that was removed */
		return fstat(dir->root, &st) == 0 && st.st_nlink == 0;
	return e == ENOTCONN || e == ESTALE || e == ENODEV;
}

/* Remembers what tells this repository from others. */
static void note_identity(struct dir_backend *dir, const void *p, size_t len)
{
	pthread_mutex_lock(&dir->lock);
	if (!dir->identity.len && len <= IDENTITY_MAX)
		(void)bak_buf_append(&dir->identity, p, len); /* without memory: as if unknown */
	pthread_mutex_unlock(&dir->lock);
}

static bool has_identity(struct dir_backend *dir, int root)
{
	BAK_AUTO(bak_close_fd) int fd = openat(root, IDENTITY, O_RDONLY | O_CLOEXEC);
	BAK_AUTO(bak_free_ptr) char *p = malloc(IDENTITY_MAX + 1);
	ssize_t n = fd < 0 || !p ? -1 : pread(fd, p, IDENTITY_MAX + 1, 0);
	return n > 0 && (size_t)n == dir->identity.len &&
	       memcmp(p, dir->identity.p, (size_t)n) == 0;
}

/* After a failure e: whether the repository is there again by its path, and dir->root is that. Where
 * a disk is not mounted its empty mount point is not. */
static bool come_back(struct dir_backend *dir, int e)
{
	bool back = false;
	if (!dir->real || !is_dead(dir, e))
		return false;
	pthread_mutex_lock(&dir->lock);
	BAK_AUTO(bak_close_fd) int root = open(dir->real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Others use the number meanwhile: it stays, what it stands for changes at once. */
	if (root >= 0 && dir->identity.len && has_identity(dir, root))
		back = dup3(root, dir->root, O_CLOEXEC) >= 0;
	pthread_mutex_unlock(&dir->lock);
	return back;
}

static int open_to_read(struct dir_backend *dir, const char *name, int flags)
{
	int fd = openat(dir->root, name, O_RDONLY | O_CLOEXEC | flags);
	int e = errno;
	if (fd < 0 && come_back(dir, e))
		return openat(dir->root, name, O_RDONLY | O_CLOEXEC | flags);
	errno = e;
	return fd;
}

/* Opens an object for reading: 1, 0 not there, -1. */
static int open_object(struct dir_backend *dir, const char *name, int *out_fd, uint64_t *out_size,
		       struct bak_error *err)
{
	struct stat st;
	int fd = open_to_read(dir, name, O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : fail_sys(dir, errno, "open", name, err);
	if (fstat(fd, &st) < 0) {
		int e = errno;
		close(fd);
		return fail_sys(dir, e, "stat", name, err);
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		return bak_error_set(err, BAK_IO, "%s/%s is not a file", dir->path, name);
	}
	*out_fd = fd;
	*out_size = (uint64_t)st.st_size;
	return 1;
}

static int dir_get(struct bak_backend *be, const char *name, uint64_t off, size_t len,
		   struct bak_buf *out, struct bak_error *err)
{
	struct dir_backend *dir = dir_of(be);
	BAK_AUTO(bak_close_fd) int fd = -1;
	uint64_t size = 0;
	size_t before = out->len;
	int found = open_object(dir, name, &fd, &size, err);
	if (found <= 0)
		return found;
	if (off >= size)
		return 1;
	if (len > size - off)
		len = (size_t)(size - off);
	if (bak_buf_reserve(out, len) < 0)
		return bak_error_nomem(err);
	while (len > 0) {
		ssize_t n = pread(fd, out->p + out->len, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_sys(dir, errno, "read", name, err);
		if (n == 0)
			break;
		out->len += (size_t)n;
		off += (size_t)n;
		len -= (size_t)n;
	}
	if (off == out->len - before && strcmp(name, IDENTITY) == 0)
		note_identity(dir, out->p + before, (size_t)off);
	return 1;
}

static int dir_size(struct bak_backend *be, const char *name, uint64_t *out_size,
		    struct bak_error *err)
{
	struct dir_backend *dir = dir_of(be);
	struct stat st;
	int e = fstatat(dir->root, name, &st, 0) < 0 ? errno : 0;
	if (e && come_back(dir, e))
		e = fstatat(dir->root, name, &st, 0) < 0 ? errno : 0;
	if (e)
		return e == ENOENT ? 0 : fail_sys(dir, e, "stat", name, err);
	*out_size = (uint64_t)st.st_size;
	return 1;
}

/* Copies the folder part of name, "" when it has none. */
static void parent_of(const char *name, char *out, size_t out_len)
{
	const char *slash = strrchr(name, '/');
	snprintf(out, out_len, "%.*s", slash ? (int)(slash - name) : 0, name);
}

static int sync_folder(struct dir_backend *dir, const char *folder, struct bak_error *err)
{
	const char *path = *folder ? folder : ".";
	BAK_AUTO(bak_close_fd) int fd = openat(dir->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_sys(dir, errno, "open", path, err);
	/* Some network file systems know no fsync of folders and say EINVAL; on a disk that is
	 * mounted read-only there is nothing to be synced. */
	if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
		return fail_sys(dir, errno, "sync", path, err);
	return 0;
}

static int dir_make_folder(struct bak_backend *be, const char *name, struct bak_error *err)
{
	struct dir_backend *dir = dir_of(be);
	char parent[PATH_MAX];
	parent_of(name, parent, sizeof parent);
	if (mkdirat(dir->root, name, 0700) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT || !*parent)
		return fail_sys(dir, errno, "make", name, err);
	if (dir_make_folder(be, parent, err) < 0)
		return -1;
	if (mkdirat(dir->root, name, 0700) < 0 && errno != EEXIST)
		return fail_sys(dir, errno, "make", name, err);
	return 0;
}

static int dir_sync(struct bak_backend *be, const char *folder, struct bak_error *err)
{
	return sync_folder(dir_of(be), folder, err);
}

/* Copies of a repository made by other tools may lack folders that were empty. */
static int mend_folder(struct bak_backend *be, const char *folder, struct bak_error *err)
{
	char parent[PATH_MAX];
	parent_of(folder, parent, sizeof parent);
	if (dir_make_folder(be, folder, err) < 0 || sync_folder(dir_of(be), parent, err) < 0)
		return -1;
	return *parent ? sync_folder(dir_of(be), "", err) : 0;
}

static int open_new(struct dir_backend *dir, const char *name)
{
	return openat(dir->root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static int dir_put_begin(struct bak_backend *be, const char *tmp, struct bak_put **out_put,
			 struct bak_error *err)
{
	struct dir_backend *dir = dir_of(be);
	size_t len = strlen("tmp/") + strlen(tmp) + 1;
	struct dir_put *put = calloc(1, sizeof *put + len);
	if (!put)
		return bak_error_nomem(err);
	put->base.backend = be;
	snprintf(put->name, len, "tmp/%s", tmp);
	put->fd = open_new(dir, put->name);
	if (put->fd < 0 && errno == ENOENT && mend_folder(be, "tmp", err) == 0)
		put->fd = open_new(dir, put->name);
	if (put->fd < 0) {
		int e = errno;
		fail_sys(dir, e, "create", put->name, err);
		free(put);
		return -1;
	}
	*out_put = &put->base;
	return 0;
}

static int dir_put_write(struct bak_put *base, const void *p, size_t len, struct bak_error *err)
{
	struct dir_put *put = (struct dir_put *)base;
	const uint8_t *from = p;
	while (len > 0) {
		ssize_t n = write(put->fd, from, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_write(dir_of(base->backend), errno, len, put->name, err);
		from += n;
		len -= (size_t)n;
		put->written += (size_t)n;
	}
	return 0;
}

static void dir_put_abort(struct bak_put *base)
{
	struct dir_put *put = (struct dir_put *)base;
	if (!put)
		return;
	if (put->fd >= 0)
		close(put->fd);
	unlinkat(dir_of(base->backend)->root, put->name, 0);
	free(put);
}

/* 0, or an errno: EEXIST when the name is taken. Where the file system cannot rename without
 * replacing, a second name does what the rename would, and the first one goes. */
static int rename_new(int root, const char *from, const char *to)
{
	if (renameat2(root, from, root, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return errno;
	if (linkat(root, from, root, to, 0) < 0)
		return errno;
	unlinkat(root, from, 0);
	return 0;
}

/* fsync and close; both may be the first to say that the disk is full. */
static int finish_file(struct dir_backend *dir, struct dir_put *put, struct bak_error *err)
{
	int e = fsync(put->fd) < 0 ? errno : 0;
	int fd = put->fd;
	put->fd = -1;
	if (close(fd) < 0 && !e)
		e = errno;
	return e ? fail_write(dir, e, put->written, put->name, err) : 0;
}

static int dir_put_commit(struct bak_put *base, const char *name, struct bak_error *err)
{
	struct dir_put *put = (struct dir_put *)base;
	struct dir_backend *dir = dir_of(base->backend);
	char folder[PATH_MAX];
	int result = -1;
	parent_of(name, folder, sizeof folder);
	if (finish_file(dir, put, err) < 0)
		goto fail;
	int e = rename_new(dir->root, put->name, name);
	if (e == ENOENT && *folder) {
		if (mend_folder(base->backend, folder, err) < 0)
			goto fail;
		e = rename_new(dir->root, put->name, name);
	}
	if (e == EEXIST) {
		result = 0;
		goto fail;
	}
	if (e) {
		fail_sys(dir, e, "rename to", name, err);
		goto fail;
	}
	free(put);
	return sync_folder(dir, folder, err) < 0 ? -1 : 1;

fail: /* also "taken": what was written goes */
	dir_put_abort(base);
	return result;
}

struct listing {
	struct dir_backend *dir;
	bak_list_fn *fn;
	void *ctx;
	struct bak_error *err;
};

static int list_folder(const struct listing *listing, const char *folder, int depth);

static int list_entry(const struct listing *listing, DIR *open_dir, const char *folder,
		      const struct dirent *entry, int depth)
{
	char name[PATH_MAX];
	struct stat st;
	int n = snprintf(name, sizeof name, "%s%s%s", folder, *folder ? "/" : "", entry->d_name);
	/* Files that begin with a dot are the file system's own (.nfs...), never objects. */
	if (entry->d_name[0] == '.' || n >= (int)sizeof name)
		return 0;
	if (fstatat(dirfd(open_dir), entry->d_name, &st, 0) < 0)
		return errno == ENOENT ? 0
				       : fail_sys(listing->dir, errno, "stat", name, listing->err);
	if (S_ISDIR(st.st_mode))
		return list_folder(listing, name, depth + 1);
	return S_ISREG(st.st_mode) ? listing->fn(listing->ctx, name, (uint64_t)st.st_size) : 0;
}

static int list_folder(const struct listing *listing, const char *folder, int depth)
{
	struct dir_backend *dir = listing->dir;
	if (depth > DIR_MAX_DEPTH)
		return 0;
	int fd = open_to_read(dir, *folder ? folder : ".", O_DIRECTORY);
	if (fd < 0)
		return errno == ENOENT ? 0 : fail_sys(dir, errno, "open", folder, listing->err);
	DIR *open_dir = fdopendir(fd);
	if (!open_dir) {
		close(fd);
		return bak_error_nomem(listing->err);
	}
	int result = 0;
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(open_dir);
		if (!entry) {
			if (errno)
				result = fail_sys(dir, errno, "list", folder, listing->err);
			break;
		}
		result = list_entry(listing, open_dir, folder, entry, depth);
		if (result)
			break;
	}
	closedir(open_dir);
	return result;
}

static int dir_list(struct bak_backend *be, const char *prefix, bak_list_fn *fn, void *ctx,
		    struct bak_error *err)
{
	struct listing listing = {dir_of(be), fn, ctx, err};
	return list_folder(&listing, prefix, 0);
}

static int dir_remove(struct bak_backend *be, const char *name, struct bak_error *err)
{
	struct dir_backend *dir = dir_of(be);
	char folder[PATH_MAX];
	if (unlinkat(dir->root, name, 0) < 0)
		return errno == ENOENT ? 0 : fail_sys(dir, errno, "remove", name, err);
	parent_of(name, folder, sizeof folder);
	return sync_folder(dir, folder, err) < 0 ? -1 : 1;
}

static int dir_space(struct bak_backend *be, uint64_t *out_free, uint64_t *out_total,
		     struct bak_error *err)
{
	struct statvfs fs;
	if (fstatvfs(dir_of(be)->root, &fs) < 0)
		return fail_sys(dir_of(be), errno, "ask for the space of", "", err);
	*out_free = (uint64_t)fs.f_bavail * fs.f_frsize;
	*out_total = (uint64_t)fs.f_blocks * fs.f_frsize;
	return 0;
}

static void dir_close(struct bak_backend *be)
{
	struct dir_backend *dir = dir_of(be);
	close(dir->root);
	bak_buf_release(&dir->identity);
	pthread_mutex_destroy(&dir->lock);
	free(dir->real);
	free(dir->path);
	free(dir);
}

static const struct bak_backend_ops dir_ops = {
	.get = dir_get,
	.size = dir_size,
	.put_begin = dir_put_begin,
	.put_write = dir_put_write,
	.put_commit = dir_put_commit,
	.put_abort = dir_put_abort,
	.list = dir_list,
	.remove = dir_remove,
	.make_folder = dir_make_folder,
	.sync = dir_sync,
	.space = dir_space,
	.close = dir_close,
};

bool bak_backend_dir_is_remote(const char *path)
{
	static const unsigned long kinds[] = {FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,
					      SMB2_SUPER_MAGIC, CIFS_SUPER_MAGIC, CEPH_SUPER_MAGIC,
					      V9FS_MAGIC,       AFS_FS_MAGIC,     CODA_SUPER_MAGIC,
					      OCFS2_SUPER_MAGIC};
	struct statfs fs;
	if (statfs(path, &fs) < 0)
		return false;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if ((unsigned long)fs.f_type == kinds[i])
			return true;
	return false;
}

/* Makes the folder durable under its name, if the one above may be read at all. */
static int sync_above(int root, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = openat(root, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
		return bak_error_sys(err, errno, "cannot sync the folder above");
	return 0;
}

int bak_backend_dir_open(const char *path, bool create, struct bak_backend **out_backend,
			 struct bak_error *err)
{
	if (create && mkdir(path, 0700) < 0 && errno != EEXIST)
		return bak_error_sys(err, errno, "cannot make %s", path);
	int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return bak_error_sys(err, errno, "cannot open %s", path);
	if (create && sync_above(root, err) < 0) {
		close(root);
		return bak_error_wrap(err, "%s", path);
	}
	struct dir_backend *dir = calloc(1, sizeof *dir);
	char *copy = strdup(path);
	if (!dir || !copy) {
		free(dir);
		free(copy);
		close(root);
		return bak_error_nomem(err);
	}
	dir->base.ops = &dir_ops;
	dir->root = root;
	dir->path = copy;
	dir->real = realpath(path, NULL);
	pthread_mutex_init(&dir->lock, NULL);
	*out_backend = &dir->base;
	return 0;
}
