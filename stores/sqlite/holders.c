/* Which processes hold locks on a file, or have it open: what /proc says. */
#include "stores/sqlite/sqlite.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define HOLDERS_MAX 3

struct holders {
	pid_t pids[HOLDERS_MAX];
	size_t n;
};

static void add(struct holders *holders, pid_t pid)
{
	if (pid <= 0 || pid == getpid() || holders->n == HOLDERS_MAX)
		return;
	for (size_t i = 0; i < holders->n; i++) {
		if (holders->pids[i] == pid)
			return;
	}
	holders->pids[holders->n++] = pid;
}

static void command_of(pid_t pid, char *out, size_t len)
{
	char path[64];
	FILE *file;
	size_t n = 0;

	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (file) {
		n = fread(out, 1, len - 1, file);
		fclose(file);
	}
	while (n && out[n - 1] == '\n')
		n--;
	out[n] = '\0';
}

static int describe(const struct holders *holders, char *out, size_t len)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < holders->n && at < len; i++) {
		char command[64];

		command_of(holders->pids[i], command, sizeof command);
		at += (size_t)snprintf(out + at, len - at, "%sprocess %d (%s)", i ? ", " : "",
				       (int)holders->pids[i], command);
	}
	return holders->n > 0;
}

/* A line of /proc/locks: "1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; one that waits has
 * "->" behind the number. The device is not compared where any lock of that inode number names
 * another: layered file systems show other devices there than stat does. */
static void locks_of(const struct stat *st, bool same_device, struct holders *holders)
{
	FILE *file = fopen("/proc/locks", "re");
	BAK_AUTO(bak_free_ptr) char *line = NULL;
	size_t cap = 0;

	while (file && getline(&line, &cap, file) > 0) {
		unsigned major_number, minor_number;
		unsigned long long inode;
		char kind[16];
		int pid;

		if (sscanf(line, "%*d: %15s %*s %*s %d %x:%x:%llu", kind, &pid, &major_number,
			   &minor_number, &inode) != 5 ||
		    inode != st->st_ino)
			continue;
		if (!same_device || makedev(major_number, minor_number) == st->st_dev)
			add(holders, pid);
	}
	if (file)
		fclose(file);
}

int bak_lock_holders(const char *path, char *out, size_t len)
{
	static const char *const suffixes[] = {"", "-shm"};
	struct holders holders = {.n = 0};

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		BAK_AUTO(bak_free_ptr) char *name = NULL;
		struct stat st;

		if (asprintf(&name, "%s%s", path, suffixes[i]) < 0) {
			name = NULL;
			continue;
		}
		if (stat(name, &st) < 0)
			continue;
		locks_of(&st, true, &holders);
		if (holders.n == 0)
			locks_of(&st, false, &holders);
	}
	return describe(&holders, out, len);
}

static bool has_open(const char *pid, const struct stat *want)
{
	char path[300];
	DIR *dir;
	struct dirent *entry;
	bool found = false;

	snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)) != NULL) {
		struct stat st;

		found = isdigit((unsigned char)entry->d_name[0]) &&
			fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
			st.st_ino == want->st_ino && st.st_dev == want->st_dev;
	}
	if (dir)
		closedir(dir);
	return found;
}

int bak_open_holders(const char *path, char *out, size_t len)
{
	struct holders holders = {.n = 0};
	struct dirent *entry;
	struct stat st;
	DIR *proc;

	out[0] = '\0';
	if (stat(path, &st) < 0)
		return 0;
	proc = opendir("/proc");
	while (proc && (entry = readdir(proc)) != NULL) {
		if (isdigit((unsigned char)entry->d_name[0]) && has_open(entry->d_name, &st))
			add(&holders, (pid_t)atoi(entry->d_name));
	}
	if (proc)
		closedir(proc);
	return describe(&holders, out, len);
}
