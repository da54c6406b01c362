/* Bytes and attributes of single inodes: see extract_inode.h. */
#include "engine/ops/extract_inode.h"

#include "engine/content/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

/* --- bytes --- */

/* Pieces of one write. A span uses at most 32 segments, so few pins hold much of the cache. */
#define PIECES 64
#define WRITE_LEN (1u << 20)

static const uint8_t zeros[64 << 10];

struct batch {
	struct bak_pour *pour;
	uint64_t at; /* in fd, of the first piece */
	size_t n, len;
	struct iovec v[PIECES];
	struct bak_pin *pins[PIECES];
};

static void batch_drop(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		bak_pin_put(b->pins[i]);
	b->n = 0;
	b->len = 0;
}

static int write_all(const struct batch *b, struct bak_error *err)
{
	struct iovec v[PIECES];
	size_t i = 0, n = b->n;
	uint64_t at = b->at;

	memcpy(v, b->v, n * sizeof *v);
	while (i < n) {
		ssize_t done = b->pour->sparse
				       ? pwritev(b->pour->fd, v + i, (int)(n - i), (off_t)at)
				       : writev(b->pour->fd, v + i, (int)(n - i));
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return bak_error_sys(err, errno, "write");
		at += (uint64_t)done;
		while (i < n && (size_t)done >= v[i].iov_len)
			done -= (ssize_t)v[i++].iov_len;
		if (i < n) {
			v[i].iov_base = (uint8_t *)v[i].iov_base + done;
			v[i].iov_len -= (size_t)done;
		}
	}
	return 0;
}

static int batch_flush(struct batch *b, struct bak_error *err)
{
	struct bak_pour *pour = b->pour;

	if (b->n == 0)
		return 0;
	if (write_all(b, err) < 0)
		return -1;
	for (size_t i = 0; pour->sha && i < b->n; i++)
		bak_sha256_update(pour->sha, b->v[i].iov_base, b->v[i].iov_len);
	b->at += b->len;
	pour->total += b->len;
	bak_ahead_took(pour->ahead, b->len);
	batch_drop(b);
	if (pour->tick && pour->tick(pour->tick_ctx, pour->total) != 0)
		return bak_error_set(err, BAK_CANCELLED, "cancelled");
	return 0;
}

/* Takes pin over. */
static int batch_add(struct batch *b, const uint8_t *p, size_t len, struct bak_pin *pin,
		     struct bak_error *err)
{
	b->v[b->n] = (struct iovec){.iov_base = (void *)(uintptr_t)p, .iov_len = len};
	b->pins[b->n++] = pin;
	b->len += len;
	return b->n == PIECES || b->len >= WRITE_LEN ? batch_flush(b, err) : 0;
}

static int batch_zeros(struct batch *b, uint64_t len, struct bak_error *err)
{
	while (len > 0) {
		size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;

		if (batch_add(b, zeros, n, NULL, err) < 0)
			return -1;
		len -= n;
	}
	return 0;
}

static int batch_hole(struct batch *b, uint64_t len, struct bak_error *err)
{
	if (!b->pour->sparse)
		return batch_zeros(b, len, err);
	if (batch_flush(b, err) < 0)
		return -1;
	b->at += len;
	for (uint64_t left = len; b->pour->sha && left > 0;) {
		size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;

		bak_sha256_update(b->pour->sha, zeros, n);
		left -= n;
	}
	return 0;
}

static int batch_extent(void *ctx, uint64_t off, const struct bak_extent *extent,
			struct bak_error *err)
{
	struct batch *b = ctx;
	const uint8_t *p;
	struct bak_pin *pin;

	(void)off;
	switch (extent->kind) {
	case BAK_EXTENT_HOLE:
		return batch_hole(b, extent->len, err);
	case BAK_EXTENT_ZEROS:
		return batch_zeros(b, extent->len, err);
	case BAK_EXTENT_BYTES:
		break;
	}
	if (bak_source_bytes(b->pour->source, &extent->seg, extent->off, (uint32_t)extent->len, &p,
			     &pin, err) < 0)
		return -1;
	return batch_add(b, p, (size_t)extent->len, pin, err);
}

int bak_pour_file(struct bak_pour *pour, const struct bak_inode *inode, struct bak_error *err)
{
	struct batch b = {.pour = pour, .at = pour->base};

	if (bak_each_extent(pour->source, &inode->content, inode->size, batch_extent, &b, err) <
		    0 ||
	    batch_flush(&b, err) < 0) {
		batch_drop(&b);
		return -1;
	}
	/* A hole at the end was only stepped over. */
	off_t end = pour->sparse ? lseek(pour->fd, 0, SEEK_END) : 0;
	if (pour->sparse &&
	    (end < 0 || ((uint64_t)end < pour->base + inode->size &&
			 ftruncate(pour->fd, (off_t)(pour->base + inode->size)) < 0)))
		return bak_error_sys(err, errno, "setting the size");
	return 0;
}

/* --- attributes --- */

/* Setuid and setgid bits must not come alive for another owner than they were meant for. */
static mode_t mode_for(const struct bak_inode *inode, bool owned)
{
	return owned ? inode->mode : inode->mode & ~(mode_t)(S_ISUID | S_ISGID);
}

static bool is_refusal(int e)
{
	return e == EPERM || e == EACCES || e == EINVAL || e == ENOTSUP || e == ENOSYS ||
	       e == EOVERFLOW;
}

/* Sets owned when the inode belongs to whom it should. */
static int set_owner(struct bak_attributes *attributes, int dir_fd, const char *name, int flags,
		     const struct bak_inode *inode, bool *out_owned, struct bak_error *err)
{
	*out_owned = inode->uid == geteuid() && inode->gid == getegid();
	if (!attributes->owners)
		return 0;
	if (fchownat(dir_fd, name, inode->uid, inode->gid, flags) == 0) {
		*out_owned = true;
		return 0;
	}
	if (!is_refusal(errno))
		return bak_error_sys(err, errno, "setting the owner");
	attributes->lost++;
	return 0;
}

/* fd >= 0, or path of something that is not followed. */
static int set_xattrs(struct bak_attributes *attributes, int fd, const char *path,
		      const struct bak_inode *inode, struct bak_error *err)
{
	size_t at = 0, name_len, value_len;
	const char *name;
	const uint8_t *value;
	int rc;

	while ((rc = bak_xattrs_next(inode->xattrs, inode->xattrs_len, &at, &name, &name_len,
				     &value, &value_len)) > 0) {
		char text[XATTR_NAME_MAX + 1];

		if (name_len > XATTR_NAME_MAX || memchr(name, 0, name_len)) {
			attributes->lost++;
			continue;
		}
		memcpy(text, name, name_len);
		text[name_len] = '\0';
		if ((fd >= 0 ? fsetxattr(fd, text, value, value_len, 0)
			     : lsetxattr(path, text, value, value_len, 0)) == 0)
			continue;
		if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
			return bak_error_sys(err, errno, "setting %s", text);
		attributes->lost++;
	}
	return rc < 0 ? bak_error_set(err, BAK_CORRUPT, "malformed extended attributes") : 0;
}

static void inode_times(const struct bak_inode *inode, struct timespec out[2])
{
	out[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
	out[1] = (struct timespec){.tv_sec = inode->mtime_s, .tv_nsec = (long)inode->mtime_ns};
}

int bak_attributes_set_fd(struct bak_attributes *attributes, int fd, const struct bak_inode *inode,
			  struct bak_error *err)
{
	struct timespec times[2];
	bool owned;

	if (set_owner(attributes, fd, "", AT_EMPTY_PATH, inode, &owned, err) < 0 ||
	    (inode->xattrs_len && set_xattrs(attributes, fd, NULL, inode, err) < 0))
		return -1;
	if (fchmod(fd, mode_for(inode, owned)) < 0) {
		if (!is_refusal(errno))
			return bak_error_sys(err, errno, "setting the mode");
		attributes->lost++;
	}
	inode_times(inode, times);
	if (futimens(fd, times) < 0) {
		if (!is_refusal(errno))
			return bak_error_sys(err, errno, "setting the times");
		attributes->lost++;
	}
	return 0;
}

/* /proc leads to the folder; only the last name is then not followed. */
static int set_xattrs_at(struct bak_attributes *attributes, int dir_fd, const char *name,
			 const struct bak_inode *inode, struct bak_error *err)
{
	char path[32 + NAME_MAX + 1];

	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir_fd, name);
	return set_xattrs(attributes, -1, path, inode, err);
}

int bak_attributes_set_at(struct bak_attributes *attributes, int dir_fd, const char *name,
			  const struct bak_inode *inode, struct bak_error *err)
{
	struct timespec times[2];
	bool owned;

	if (set_owner(attributes, dir_fd, name, AT_SYMLINK_NOFOLLOW, inode, &owned, err) < 0 ||
	    (inode->xattrs_len && set_xattrs_at(attributes, dir_fd, name, inode, err) < 0))
		return -1;
	if (inode->type != BAK_TYPE_SYMLINK &&
	    fchmodat(dir_fd, name, mode_for(inode, owned), 0) < 0) {
		if (!is_refusal(errno))
			return bak_error_sys(err, errno, "setting the mode");
		attributes->lost++;
	}
	inode_times(inode, times);
	if (utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0) {
		if (!is_refusal(errno))
			return bak_error_sys(err, errno, "setting the times");
		attributes->lost++;
	}
	return 0;
}
