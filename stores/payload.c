/* Payloads of servers: see payload.h. */
#include "stores/payload.h"

#include "engine/content/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

void bak_payload_inode(struct bak_source_inode *out, enum bak_type type, uint32_t mode)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*out = (struct bak_source_inode){.inode = {.type = type,
						   .mode = mode,
						   .uid = geteuid(),
						   .gid = getegid(),
						   .mtime_s = now.tv_sec,
						   .mtime_ns = (uint32_t)now.tv_nsec,
						   .ctime_s = now.tv_sec,
						   .ctime_ns = (uint32_t)now.tv_nsec},
					 .nlink = 1};
}

#define PIECE_LEN (1u << 20)

int bak_payload_give(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err)
{
	struct bak_payload_reader *r = ctx;
	uint64_t all = r->all ? r->all : r->inode->size;

	if (r->env->progress)
		r->env->progress(r->env->ctx, all ? (int)((r->before + r->at) * 100 / all) : -1,
				 r->before + r->at);
	if (r->at == r->inode->size)
		return 0;
	if (!r->buffer)
		r->buffer = malloc(PIECE_LEN);
	if (!r->buffer)
		return bak_error_nomem(err);
	if (bak_read(r->source, &r->inode->content, r->inode->size, r->at, r->buffer, PIECE_LEN,
		     out_len, err) < 0)
		return -1;
	r->at += *out_len;
	*out_p = r->buffer;
	return 1;
}

int bak_payload_check(struct bak_payload_reader *r, struct bak_error *err)
{
	const void *p;
	size_t len;
	int rc;

	while ((rc = bak_payload_give(r, &p, &len, err)) > 0) {
		if (bak_store_check_cancelled(r->env, err) < 0)
			return -1;
	}
	r->at = 0;
	return rc;
}

/* --- a file to seek in --- */

static int check_room(int fd, const char *dir, uint64_t need, struct bak_error *err)
{
	struct statvfs fs;

	if (fstatvfs(fd, &fs) < 0)
		return bak_error_sys(err, errno, "%s", dir);
	uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (need <= room)
		return 0;
	return bak_error_set(err, BAK_NO_SPACE,
			     "%s has %" PRIu64 " bytes free, and a copy of %" PRIu64 " goes there",
			     dir, room, need);
}

/* Where the file system knows no files without a name, one whose name is gone at once. */
static int open_nameless(const char *dir, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf name = BAK_BUF_INIT;
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd >= 0 ? fd : bak_error_sys(err, errno, "%s", dir);
	if (bak_buf_printf(&name, "%s/.bakfs-XXXXXX", dir) < 0 || bak_buf_append(&name, "", 1) < 0)
		return bak_error_nomem(err);
	fd = mkostemp((char *)name.p, O_CLOEXEC);
	if (fd < 0 || unlink((char *)name.p) < 0)
		bak_error_sys(err, errno, "%s", (char *)name.p);
	else
		return fd;
	bak_close_fd(&fd);
	return -1;
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return -1;
		p += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int bak_payload_spill(struct bak_payload_reader *r, const char *dir, bak_payload_see *see,
		      void *ctx, int *out_fd, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open_nameless(dir, err);
	const void *p;
	size_t len;
	int rc = fd < 0 ? -1 : check_room(fd, dir, r->inode->size, err);

	while (rc == 0 && (rc = bak_payload_give(r, &p, &len, err)) > 0) {
		rc = bak_store_check_cancelled(r->env, err);
		if (rc == 0 && write_all(fd, p, len) < 0)
			rc = bak_error_sys(err, errno, "a copy in %s", dir);
		if (rc == 0 && see)
			rc = see(ctx, p, len, err);
	}
	if (rc < 0)
		return -1;
	*out_fd = fd;
	fd = -1;
	return 0;
}

int bak_payload_allocated(const struct bak_restore_from *from, uint64_t *out, struct bak_error *err)
{
	const struct bak_snapshot *snapshot = from->snapshot;
	struct bak_tree tree = {bak_repo_source(from->repo), snapshot};

	*out = 0;
	for (uint64_t n = 1; n <= snapshot->root.totals.entries; n++) {
		BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
		const struct bak_inode *inode = &found.entry.inode;
		uint64_t bytes = 0;

		if (bak_tree_at(&tree, n, &found, NULL, err) != 1)
			return -1;
		if (inode->type == BAK_TYPE_FILE &&
		    bak_allocated(tree.source, &inode->content, inode->size, &bytes, err) < 0)
			return -1;
		*out += bytes;
	}
	return 0;
}

int bak_payload_room(const struct bak_restore_from *from, int dir_fd, uint64_t *out_need,
		     uint64_t *out_room, struct bak_error *err)
{
	struct statvfs vfs;

	if (fstatvfs(dir_fd, &vfs) < 0)
		return bak_error_sys(err, errno, "looking for room");
	*out_room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	*out_need = from->snapshot->root.totals.bytes;
	return *out_need > *out_room ? bak_payload_allocated(from, out_need, err) : 0;
}

void bak_payload_reader_release(struct bak_payload_reader *r)
{
	free(r->buffer);
	r->buffer = NULL;
}
