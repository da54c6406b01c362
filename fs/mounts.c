/* Reading /proc/self/mountinfo: see mounts.h. */
#include "fs/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bak_mount_info_release(struct bak_mount_info *info)
{
	free(info->point);
	free(info->root);
	*info = (struct bak_mount_info){.point = NULL};
}

/* Blanks, tabs, newlines and backslashes stand there as \ and three octal digits. */
static void unescape(char *text)
{
	char *to = text;
	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
		    from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* The parts of one line: 36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda1 rw */
struct line {
	char *device, *root, *point, *type;
};

static bool parse_line(char *text, struct line *out)
{
	char *rest, *field[5];
	rest = text;
	for (int i = 0; i < 5; i++)
		if (!(field[i] = strsep(&rest, " ")) || !rest)
			return false;
	char *dash = strstr(rest, " - ");
	if (!dash)
		return false;
	rest = dash + 3;
	*out = (struct line){field[2], field[3], field[4], strsep(&rest, " ")};
	unescape(out->root);
	unescape(out->point);
	return true;
}

/* True when path is dir or lies in it. */
static bool path_within(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	if (strcmp(dir, "/") == 0)
		return true;
	return strncmp(path, dir, len) == 0 && (path[len] == '/' || !path[len]);
}

static int take(const struct line *line, struct bak_mount_info *out, struct bak_error *err)
{
	bak_mount_info_release(out);
	snprintf(out->device, sizeof out->device, "%s", line->device);
	snprintf(out->type, sizeof out->type, "%s", line->type ? line->type : "");
	out->point = strdup(line->point);
	out->root = strdup(line->root);
	return out->point && out->root ? 1 : bak_error_nomem(err);
}

/* Later lines are mounted on top of earlier ones. */
static int find(const char *path, bool exactly, struct bak_mount_info *out, struct bak_error *err)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return bak_error_sys(err, errno, "open /proc/self/mountinfo");
	char *text = NULL;
	size_t cap = 0, best = 0;
	ssize_t n;
	int found = 0;
	*out = (struct bak_mount_info){.point = NULL};
	while (found >= 0 && (n = getline(&text, &cap, f)) > 0) {
		struct line line;
		text[n - 1] = '\0';
		if (!parse_line(text, &line))
			continue;
		size_t len = strlen(line.point);
		if (exactly ? strcmp(line.point, path) != 0
			    : !path_within(path, line.point) || len < best)
			continue;
		best = len;
		found = take(&line, out, err);
	}
	free(text);
	fclose(f);
	if (found < 0)
		bak_mount_info_release(out);
	return found;
}

int bak_mounts_at(const char *path, struct bak_mount_info *out, struct bak_error *err)
{
	return find(path, true, out, err);
}

int bak_mounts_of(const char *path, struct bak_mount_info *out, struct bak_error *err)
{
	return find(path, false, out, err);
}

/* Where path lies in its file system, whichever way it is mounted. */
static char *path_on_device(const char *path, const struct bak_mount_info *mount)
{
	const char *below = strcmp(mount->point, "/") == 0 ? path : path + strlen(mount->point);
	const char *root = strcmp(mount->root, "/") == 0 ? "" : mount->root;
	char *out;
	if (asprintf(&out, "%s%s%s", root, *below == '/' || !*below ? "" : "/", below) < 0)
		return NULL;
	if (!*out) {
		free(out);
		return strdup("/");
	}
	return out;
}

int bak_mounts_overlap(const char *a, const char *b, bool *out, struct bak_error *err)
{
	*out = path_within(a, b) || path_within(b, a);
	if (*out)
		return 0;
	BAK_AUTO(bak_mount_info_release) struct bak_mount_info ma = {.point = NULL};
	BAK_AUTO(bak_mount_info_release) struct bak_mount_info mb = {.point = NULL};
	int ra = bak_mounts_of(a, &ma, err);
	int rb = ra < 0 ? -1 : bak_mounts_of(b, &mb, err);
	if (rb < 0)
		return -1;
	if (!ra || !rb || strcmp(ma.device, mb.device) != 0)
		return 0;
	BAK_AUTO(bak_free_ptr) char *pa = path_on_device(a, &ma);
	BAK_AUTO(bak_free_ptr) char *pb = path_on_device(b, &mb);
	if (!pa || !pb)
		return bak_error_nomem(err);
	*out = path_within(pa, pb) || path_within(pb, pa);
	return 0;
}
