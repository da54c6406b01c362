/* What the kernel says of one inode, in the engine's terms. */
#include "stores/files/files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static enum bak_type type_of(uint16_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return BAK_TYPE_DIR;
	case S_IFLNK:
		return BAK_TYPE_SYMLINK;
	case S_IFIFO:
		return BAK_TYPE_FIFO;
	case S_IFCHR:
		return BAK_TYPE_CHAR;
	case S_IFBLK:
		return BAK_TYPE_BLOCK;
	case S_IFSOCK:
		return BAK_TYPE_SOCKET;
	default:
		return BAK_TYPE_FILE;
	}
}

void bak_files_inode(const struct statx *st, struct bak_source_inode *out)
{
	*out = (struct bak_source_inode){
		.inode = {.type = type_of(st->stx_mode),
			  .mode = st->stx_mode & 07777,
			  .uid = st->stx_uid,
			  .gid = st->stx_gid,
			  .mtime_s = st->stx_mtime.tv_sec,
			  .mtime_ns = st->stx_mtime.tv_nsec,
			  .ctime_s = st->stx_ctime.tv_sec,
			  .ctime_ns = st->stx_ctime.tv_nsec,
			  .ino = st->stx_ino,
			  .major = st->stx_rdev_major,
			  .minor = st->stx_rdev_minor},
		.dev = makedev(st->stx_dev_major, st->stx_dev_minor),
		.nlink = st->stx_nlink,
	};
	if (out->inode.type == BAK_TYPE_FILE)
		out->inode.size = st->stx_size;
}

/* --- extended attributes --- */

/* Where to ask: a descriptor, or a path through /proc of which the last name is not followed. */
struct source {
	int fd;
	char path[32 + NAME_MAX + 1];
};

static ssize_t list(const struct source *source, void *p, size_t len)
{
	return source->fd >= 0 ? flistxattr(source->fd, p, len) : llistxattr(source->path, p, len);
}

static ssize_t get(const struct source *source, const char *name, void *p, size_t len)
{
	return source->fd >= 0 ? fgetxattr(source->fd, name, p, len)
			       : lgetxattr(source->path, name, p, len);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted pointers to the names in xattrs->names, in xattrs->order. *out_n of them. */
static int sort_names(struct bak_files_xattrs *xattrs, size_t len, size_t *out_n)
{
	char *p = (char *)xattrs->names.p, *end = p + len;

	xattrs->order.len = 0;
	*out_n = 0;
	for (; p < end; p += strlen(p) + 1, (*out_n)++) {
		if (bak_buf_append(&xattrs->order, &p, sizeof p) < 0)
			return -1;
	}
	qsort(xattrs->order.p, *out_n, sizeof(char *), by_name);
	return 0;
}

/* The mount's own attributes prove what a file is; copied along they would prove wrong things. */
static bool is_own(struct bak_files *files, const char *name, const char *path)
{
	char quoted[300];

	if (strncmp(name, "user.bakfs.", 11) != 0)
		return false;
	if (!files->told_own_xattrs)
		bak_store_warn(files->env,
			       "%s: attributes user.bakfs.* are left out, here and below",
			       bak_error_quote(path, quoted, sizeof quoted));
	files->told_own_xattrs = true;
	return true;
}

static int add(struct bak_files *files, struct bak_files_xattrs *xattrs,
	       const struct source *source, const char *name, const char *path,
	       struct bak_error *err)
{
	char quoted[300];
	ssize_t len;

	if (is_own(files, name, path))
		return 0;
	len = get(source, name, xattrs->value.p, xattrs->value.cap);
	if (len < 0 && errno == ENODATA)
		return 0;
	if (len < 0) {
		bak_store_warn(files->env, "%s: attribute %s is left out: %s",
			       bak_error_quote(path, quoted, sizeof quoted), name,
			       strerrordesc_np(errno));
		return 0;
	}
	return bak_xattrs_add(&xattrs->block, name, xattrs->value.p, (size_t)len) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

int bak_files_xattrs_read(struct bak_files *files, struct bak_files_xattrs *xattrs, int fd,
			  int dir_fd, const char *name, const char *path, struct bak_error *err)
{
	struct source source = {.fd = fd};
	char quoted[300];
	size_t n;

	xattrs->block.len = 0;
	if (!files->xattrs)
		return 0;
	if (bak_buf_reserve(&xattrs->names, XATTR_LIST_MAX) < 0 ||
	    bak_buf_reserve(&xattrs->value, XATTR_SIZE_MAX) < 0)
		return bak_error_nomem(err);
	if (fd < 0)
		snprintf(source.path, sizeof source.path, "/proc/self/fd/%d/%s", dir_fd, name);

	ssize_t len = list(&source, xattrs->names.p, XATTR_LIST_MAX);
	if (len < 0 && errno != ENOTSUP && errno != ENOENT)
		bak_store_warn(files->env, "%s: extended attributes are left out: %s",
			       bak_error_quote(path, quoted, sizeof quoted),
			       strerrordesc_np(errno));
	if (len <= 0)
		return 0;
	if (sort_names(xattrs, (size_t)len, &n) < 0)
		return bak_error_nomem(err);
	for (size_t i = 0; i < n; i++) {
		if (add(files, xattrs, &source, ((char **)(void *)xattrs->order.p)[i], path, err) <
		    0)
			return -1;
	}
	return 0;
}

void bak_files_xattrs_release(struct bak_files_xattrs *xattrs)
{
	bak_buf_release(&xattrs->block);
	bak_buf_release(&xattrs->names);
	bak_buf_release(&xattrs->value);
	bak_buf_release(&xattrs->order);
}
