/* Whole folders: see folders.h. */
#include "tests/fault/folders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDERS_OPEN 16

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void folder_remove(const char *path)
{
	if (nftw(path, remove_one, FOLDERS_OPEN, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		fail_msg("cannot remove %s: %s", path, strerror(errno));
}

void folder_clear(const char *path)
{
	folder_remove(path);
	if (mkdir(path, 0700) < 0)
		fail_msg("cannot make %s: %s", path, strerror(errno));
}

static int remove_empty(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	if (type == FTW_DP && at->level > 0 && rmdir(path) < 0 && errno != ENOTEMPTY)
		return -1;
	return 0;
}

void folder_prune(const char *path)
{
	if (nftw(path, remove_empty, FOLDERS_OPEN, FTW_DEPTH | FTW_PHYS) < 0)
		fail_msg("cannot thin out %s: %s", path, strerror(errno));
}

static void copy_file(const char *from, const char *to, const struct stat *st)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st->st_mode & 0777);
	if (in < 0 || out < 0)
		fail_msg("cannot copy %s to %s: %s", from, to, strerror(errno));
	for (off_t at = 0; at < st->st_size;)
		if (sendfile(out, in, &at, (size_t)(st->st_size - at)) <= 0)
			fail_msg("cannot copy %s: %s", from, strerror(errno));
	close(in);
	close(out);
}

void folder_copy(const char *from, const char *to)
{
	struct stat st;
	struct dirent *entry;
	DIR *dir = opendir(from);
	if (!dir || mkdir(to, 0700) < 0)
		fail_msg("cannot copy %s to %s: %s", from, to, strerror(errno));
	while ((entry = readdir(dir))) {
		char inside[512], outside[512];
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(inside, sizeof inside, "%s/%s", from, entry->d_name);
		snprintf(outside, sizeof outside, "%s/%s", to, entry->d_name);
		if (lstat(inside, &st) < 0)
			fail_msg("cannot copy %s: %s", inside, strerror(errno));
		if (S_ISDIR(st.st_mode))
			folder_copy(inside, outside);
		else
			copy_file(inside, outside, &st);
	}
	closedir(dir);
}
