/*
 * Folders to write into.
 */
#include "tools/destination.h"

#include "engine/base/buf.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Cuts the last name off; false when nothing is left to cut. */
static bool cut_last(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || !slash[1])
		return false;
	if (slash == path)
		slash[1] = 0;
	else
		*slash = 0;
	return true;
}

static char *absolute(const char *path)
{
	BAK_AUTO(bak_free_ptr) char *cwd = NULL;
	size_t len = strlen(path);
	char *out;

	while (len > 1 && path[len - 1] == '/')
		len--;
	if (path[0] == '/')
		return strndup(path, len);
	cwd = getcwd(NULL, 0);
	return cwd && asprintf(&out, "%s/%.*s", cwd, (int)len, path) >= 0 ? out : NULL;
}

/* Is one of the names ".."? */
static bool climbs(const char *path)
{
	for (; (path = strstr(path, "/..")); path += 3) {
		if (!path[3] || path[3] == '/')
			return true;
	}
	return false;
}

char *bak_destination_real(const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *whole = absolute(path);
	BAK_AUTO(bak_free_ptr) char *there = whole ? strdup(whole) : NULL;
	BAK_AUTO(bak_free_ptr) char *real = NULL;
	char *out;

	if (!there) {
		bak_error_nomem(err);
		return NULL;
	}
	while (!(real = realpath(there, NULL))) {
		if (errno != ENOENT || !cut_last(there)) {
			bak_error_sys(err, errno, "%s", there);
			return NULL;
		}
	}
	if (climbs(whole + strlen(there))) {
		bak_error_set(err, BAK_USAGE, "%s: \"..\" behind a folder that is not there", path);
		return NULL;
	}
	if (asprintf(&out, "%s%s", strcmp(real, "/") ? real : "", whole + strlen(there)) >= 0)
		return out;
	bak_error_nomem(err);
	return NULL;
}

bool bak_destination_is_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	if (!strcmp(folder, "/"))
		return true;
	return !strncmp(path, folder, len) && (!path[len] || path[len] == '/');
}

/* 1 the device is a mounted bakfs, 0 it is not, -1. A line of mountinfo: id, parent, major:minor,
 * root, mount point, options, optional fields, "-", type, ... (proc(5)). */
static int is_bakfs(dev_t dev, struct bak_error *err)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	int found = 0;

	if (!mounts)
		return bak_error_sys(err, errno, "/proc/self/mountinfo");
	while (!found && getline(&line, &room, mounts) >= 0) {
		unsigned dev_major, dev_minor;
		const char *type = strstr(line, " - ");

		found = type && !strncmp(type + 3, "fuse.bakfs ", 11) &&
			sscanf(line, "%*d %*d %u:%u", &dev_major, &dev_minor) == 2 &&
			makedev(dev_major, dev_minor) == dev;
	}
	free(line);
	fclose(mounts);
	return found;
}

int bak_destination_refuse_mount(const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *there = strdup(path);
	struct stat st;
	int rc;

	if (!there)
		return bak_error_nomem(err);
	while (stat(there, &st) < 0) {
		if (errno != ENOENT || !cut_last(there))
			return bak_error_sys(err, errno, "%s", there);
	}
	rc = is_bakfs(st.st_dev, err);
	if (rc > 0)
		return bak_error_set(err, BAK_REFUSED,
				     "%s: inside a mounted bakfs, where backups are shown", path);
	return rc;
}

int bak_destination_make(const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *part = strdup(path);
	char *slash;
	struct stat st;

	if (!part)
		return bak_error_nomem(err);
	for (slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(part, 0777) < 0 && errno != EEXIST)
			return bak_error_sys(err, errno, "%s", part);
		*slash = '/';
	}
	if (mkdir(part, 0700) < 0 && errno != EEXIST)
		return bak_error_sys(err, errno, "%s", part);
	if (stat(part, &st) < 0)
		return bak_error_sys(err, errno, "%s", part);
	return S_ISDIR(st.st_mode) ? 0 : bak_error_sys(err, ENOTDIR, "%s", part);
}

int bak_destination_is_empty(const char *path, struct bak_error *err)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int empty = 1;

	if (!dir && errno == ENOENT)
		return 1;
	if (!dir)
		return bak_error_sys(err, errno, "%s", path);
	errno = 0;
	while (empty && (entry = readdir(dir)))
		empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
	if (empty && errno)
		empty = bak_error_sys(err, errno, "%s", path);
	closedir(dir);
	return empty;
}
