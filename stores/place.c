/* Names changing places: see place.h. */
#include "stores/place.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"
#include "engine/objects/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- names --- */

#define FRESH ".%.200s.bakfs-new-"

static int fresh_name(const char *base, char *out, struct bak_error *err)
{
	uint8_t random[8];
	char hex[17];

	if (bak_random(random, sizeof random, err) < 0)
		return -1;
	bak_hex(hex, random, sizeof random);
	snprintf(out, NAME_MAX + 1, FRESH "%s", base, hex);
	return 0;
}

int bak_place_kept_name(int dir_fd, const char *base, char *out, struct bak_error *err)
{
	char stamp[BAK_STAMP_LEN + 1];
	struct stat st;

	bak_stamp_format(time(NULL), stamp);
	snprintf(out, NAME_MAX + 1, "%.220s.before-%s", base, stamp);
	for (int i = 2; fstatat(dir_fd, out, &st, AT_SYMLINK_NOFOLLOW) == 0; i++)
		snprintf(out, NAME_MAX + 1, "%.220s.before-%s-%d", base, stamp, i);
	return errno == ENOENT ? 0 : bak_error_sys(err, errno, "%s", out);
}

/* --- toggling --- */

static int present(int dir_fd, const char *name)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -1;
}

int bak_place_exchange_by_renames(int live_dir, const char *live, int kept_dir, const char *kept,
				  struct bak_error *err)
{
	char between[NAME_MAX + 1];

	if (fresh_name(live, between, err) < 0)
		return -1;
	if (renameat(live_dir, live, live_dir, between) < 0)
		return bak_error_sys(err, errno, "renaming %s", live);
	if (renameat(kept_dir, kept, live_dir, live) < 0) {
		bak_error_sys(err, errno, "renaming %s to %s", kept, live);
		if (renameat(live_dir, between, live_dir, live) < 0)
			bak_error_wrap(err, "%s is now named %s", live, between);
		return -1;
	}
	if (renameat(live_dir, between, kept_dir, kept) < 0)
		return bak_error_sys(err, errno, "%s is in place, but the old one is named %s",
				     live, between);
	return 0;
}

static int exchange(int live_dir, const char *live, int kept_dir, const char *kept,
		    struct bak_error *err)
{
	if (renameat2(live_dir, live, kept_dir, kept, RENAME_EXCHANGE) == 0)
		return 0;
	if (errno == EINVAL || errno == ENOSYS)
		return bak_place_exchange_by_renames(live_dir, live, kept_dir, kept, err);
	return bak_error_sys(err, errno, "exchanging %s and %s", live, kept);
}

static int move(int from_dir, const char *from, int to_dir, const char *to, struct bak_error *err)
{
	if (renameat(from_dir, from, to_dir, to) < 0)
		return bak_error_sys(err, errno, "renaming %s to %s", from, to);
	return 0;
}

int bak_place_toggle(int live_dir, const char *live, int kept_dir, const char *kept,
		     struct bak_error *err)
{
	int has_live = present(live_dir, live), has_kept = present(kept_dir, kept);
	int rc;

	if (has_live < 0 || has_kept < 0)
		return bak_error_sys(err, errno, "%s", has_live < 0 ? live : kept);
	if (has_live && has_kept)
		rc = exchange(live_dir, live, kept_dir, kept, err);
	else if (has_live)
		rc = move(live_dir, live, kept_dir, kept, err);
	else if (has_kept)
		rc = move(kept_dir, kept, live_dir, live, err);
	else
		rc = bak_error_set(err, BAK_NOT_FOUND, "neither %s nor %s is there", live, kept);
	if (rc < 0)
		return -1;
	if (fsync(live_dir) < 0 || fsync(kept_dir) < 0)
		return bak_error_sys(err, errno, "%s is in place, but may not outlive a crash",
				     live);
	return 0;
}

/* --- removing --- */

/* A name of the folder fd that is not "." or ".."; 1, 0 empty, -1. Unlinks plain files on the way,
 * so that only folders are handed out. */
static int next_folder(int fd, char out[NAME_MAX + 1], struct bak_error *err)
{
	char buffer[8192] __attribute__((aligned(8)));
	ssize_t len;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return bak_error_sys(err, errno, "seek");
	while ((len = getdents64(fd, buffer, sizeof buffer)) > 0) {
		for (ssize_t at = 0; at < len;) {
			const struct dirent64 *d = (const void *)(buffer + at);

			at += d->d_reclen;
			if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
				continue;
			if (unlinkat(fd, d->d_name, 0) == 0 || errno == ENOENT)
				continue;
			if (errno != EISDIR && errno != EPERM)
				return bak_error_sys(err, errno, "removing %s", d->d_name);
			snprintf(out, NAME_MAX + 1, "%s", d->d_name);
			return 1;
		}
	}
	return len < 0 ? bak_error_sys(err, errno, "listing") : 0;
}

/* Folders inside name move up into top before it goes, so that depth needs no stack. */
static int remove_folder(int top, const char *name, uint64_t *n_moved, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd)
	int fd = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char inner[NAME_MAX + 1], moved[64];
	int rc;

	if (fd < 0)
		return bak_error_sys(err, errno, "removing %s", name);
	while ((rc = next_folder(fd, inner, err)) > 0) {
		snprintf(moved, sizeof moved, ".bakfs-gone-%" PRIu64, (*n_moved)++);
		if (renameat(fd, inner, top, moved) < 0)
			return bak_error_sys(err, errno, "removing %s", inner);
	}
	if (rc == 0 && unlinkat(top, name, AT_REMOVEDIR) < 0)
		return bak_error_sys(err, errno, "removing %s", name);
	return rc;
}

int bak_place_remove(int dir_fd, const char *name, struct bak_error *err)
{
	char folder[NAME_MAX + 1];
	uint64_t n_moved = 0;
	int rc;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return bak_error_sys(err, errno, "removing %s", name);
	BAK_AUTO(bak_close_fd)
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return bak_error_sys(err, errno, "removing %s", name);
	while ((rc = next_folder(fd, folder, err)) > 0) {
		if (remove_folder(fd, folder, &n_moved, err) < 0)
			return -1;
	}
	if (rc == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0)
		rc = bak_error_sys(err, errno, "removing %s", name);
	return rc;
}

/* --- folders to unpack into --- */

static bool is_abandoned(int dir_fd, const char *name)
{
	BAK_AUTO(bak_close_fd)
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* What cannot be removed stays: it is in nobody's way. */
static void sweep(int dir_fd, const char *base)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	struct dirent **names = NULL;
	char prefix[NAME_MAX + 1];
	int n = scandirat(dir_fd, ".", &names, NULL, NULL);

	snprintf(prefix, sizeof prefix, FRESH, base);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;

		if (strncmp(name, prefix, strlen(prefix)) == 0 &&
		    strspn(name + strlen(prefix), "0123456789abcdef") == 16 &&
		    strlen(name) == strlen(prefix) + 16 && is_abandoned(dir_fd, name))
			bak_place_remove(dir_fd, name, &scratch);
		free(names[i]);
	}
	free(names);
}

int bak_place_make_fresh(int dir_fd, const char *base, char *out, int *out_fd,
			 struct bak_error *err)
{
	sweep(dir_fd, base);
	if (fresh_name(base, out, err) < 0)
		return -1;
	if (mkdirat(dir_fd, out, 0700) < 0)
		return bak_error_sys(err, errno, "making %s", out);
	*out_fd = openat(dir_fd, out, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*out_fd < 0)
		return bak_error_sys(err, errno, "%s", out);
	if (flock(*out_fd, LOCK_EX | LOCK_NB) < 0)
		return bak_error_sys(err, errno, "locking %s", out);
	return 0;
}
