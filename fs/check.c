/* What must be right before anything is mounted: see mount.h. */
#include "fs/fs.h"
#include "fs/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#define OUR_TYPE "fuse.bakfs"

/* The real path without asking what lies at its end, which may be dead. */
static int path_around(const char *path, char **out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *copy = strdup(path);
	if (!copy)
		return bak_error_nomem(err);
	size_t len = strlen(copy);
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	char *slash = strrchr(copy, '/');
	const char *name = slash ? slash + 1 : copy;
	if (slash)
		*slash = '\0';
	const char *folder = slash ? (slash == copy ? "/" : copy) : ".";
	BAK_AUTO(bak_free_ptr) char *real = realpath(folder, NULL);
	if (!real)
		return bak_error_sys(err, errno, "mount point %s", path);
	if (asprintf(out, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name) < 0)
		return bak_error_nomem(err);
	return 0;
}

static int fusermount_detach(const char *path)
{
	char *argv[] = {(char[]){"fusermount3"}, (char[]){"-u"}, (char[]){"-z"},
			(char[]){"--"},          NULL,           NULL};
	pid_t pid;
	int status;
	argv[4] = strdup(path);
	if (!argv[4])
		return -1;
	int no = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	free(argv[4]);
	if (no || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void say(const struct bak_mount_conf *conf, const char *line)
{
	if (conf->log)
		conf->log(conf->log_ctx, LOG_WARNING, line);
}

/* The process that served this place is gone: takes what it left away, if it was ours. */
static int detach_dead(const struct bak_mount_conf *conf, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	BAK_AUTO(bak_mount_info_release) struct bak_mount_info mount = {.point = NULL};
	if (path_around(conf->mount_point, &path, err) < 0)
		return -1;
	int rc = bak_mounts_at(path, &mount, err);
	if (rc < 0)
		return -1;
	if (rc == 0 || strcmp(mount.type, OUR_TYPE) != 0)
		return bak_error_set(err, BAK_REFUSED,
				     "a dead mount (%s) is at %s: unmount it first",
				     rc ? mount.type : "of unknown type", path);
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && fusermount_detach(path) < 0)
		return bak_error_set(err, BAK_REFUSED,
				     "a dead mount is at %s and cannot be detached: try "
				     "`fusermount3 -uz %s`",
				     path, path);
	char line[1200];
	snprintf(line, sizeof line, "%.1000s: detached a dead mount that was left behind", path);
	say(conf, line);
	return 0;
}

static int check_is_folder(const struct bak_mount_conf *conf, struct bak_error *err)
{
	struct stat st;
	/* Dead mounts may lie on one another. */
	for (int i = 0; stat(conf->mount_point, &st) < 0; i++) {
		if (errno == ENOENT || errno == ENOTDIR)
			return bak_error_set(err, BAK_REFUSED, "mount point %s is not there",
					     conf->mount_point);
		if (errno != ENOTCONN || i == 8)
			return bak_error_sys(err, errno, "mount point %s", conf->mount_point);
		if (detach_dead(conf, err) < 0)
			return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return bak_error_set(err, BAK_REFUSED, "mount point %s is no folder",
				     conf->mount_point);
	return 0;
}

static int check_overlap(const char *point, const char *what, const char *path,
			 struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *real = realpath(path, NULL);
	bool overlap;
	if (!real) /* a repository in memory; a folder to be made */
		return 0;
	if (bak_mounts_overlap(point, real, &overlap, err) < 0)
		return -1;
	if (overlap)
		return bak_error_set(err, BAK_REFUSED, "mount point %s and %s %s overlap", point,
				     what, real);
	return 0;
}

static int check_empty(const char *point, struct bak_error *err)
{
	DIR *folder = opendir(point);
	if (!folder)
		return bak_error_sys(err, errno, "mount point %s", point);
	const struct dirent *entry;
	int n = 0;
	while (n <= 2 && (entry = readdir(folder)))
		n++;
	closedir(folder);
	if (n > 2)
		return bak_error_set(err, BAK_REFUSED, "mount point %s is not empty", point);
	return 0;
}

int bak_mount_check(const struct bak_mount_conf *conf, struct bak_error *err)
{
	if (check_is_folder(conf, err) < 0)
		return -1;
	BAK_AUTO(bak_free_ptr) char *point = realpath(conf->mount_point, NULL);
	if (!point)
		return bak_error_sys(err, errno, "mount point %s", conf->mount_point);
	BAK_AUTO(bak_mount_info_release) struct bak_mount_info mount = {.point = NULL};
	int rc = bak_mounts_at(point, &mount, err);
	if (rc < 0)
		return -1;
	if (rc && strcmp(mount.type, OUR_TYPE) == 0)
		return bak_error_set(err, BAK_REFUSED, "%s is mounted already", point);
	if (check_overlap(point, "repository", bak_repo_path(conf->repo), err) < 0 ||
	    check_overlap(point, "state folder", bak_repo_state_dir(conf->repo), err) < 0)
		return -1;
	if (conf->spool_dir && check_overlap(point, "spool folder", conf->spool_dir, err) < 0)
		return -1;
	return check_empty(point, err);
}
