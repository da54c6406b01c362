/* What the doctors of several drivers look at: see checkup.h. */
#include "stores/checkup.h"

#include "stores/process.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

bool bak_checkup_readable(const struct bak_checkup *checkup, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 errno == ENOENT
					 ? "correct the store's path, or mount what holds it"
					 : "run bakfs as a user who may look there",
				 "%s: %s", path, strerror(errno));
		return false;
	}
	if (access(path, S_ISDIR(st.st_mode) ? R_OK | X_OK : R_OK) == 0)
		return true;
	bak_checkup_tell(checkup, BAK_AILMENT_BROKEN, "run bakfs as its owner or as root",
			 "%s cannot be read: %s", path, strerror(errno));
	return false;
}

/* "" for the root folder itself. To free; NULL for lack of memory. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

void bak_checkup_restorable(const struct bak_checkup *checkup, const char *path)
{
	BAK_AUTO(bak_free_ptr) char *folder = folder_of(path);
	struct statvfs fs;

	if (!folder)
		return;
	if (access(folder, W_OK | X_OK) < 0) {
		bak_checkup_tell(
			checkup, BAK_AILMENT_ADVICE,
			"backups work; to restore, run bakfs as a user who may write there",
			"%s cannot be written: %s", folder, strerror(errno));
		return;
	}
	if (statvfs(folder, &fs) < 0)
		return;
	uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (room < checkup->bytes)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "make room there, or restore elsewhere with --to",
				 "%s has %" PRIu64 " bytes left, and a restore needs %" PRIu64,
				 folder, room, checkup->bytes);
}

/* The first word that is a program's plain name or path, behind NAME=value words; NULL when there
 * is something cleverer. To free. */
static char *program_of(const char *command)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_-+./";

	for (;;) {
		command += strspn(command, " \t");
		size_t n = strspn(command, plain);

		if (n && command[n] == '=') {
			n += 1 + strspn(command + n + 1, plain);
			if (!strchr(" \t", command[n]) || !command[n])
				return NULL;
			command += n;
			continue;
		}
		if (!n || !strchr(" \t;|&", command[n]))
			return NULL;
		return strndup(command, n);
	}
}

static int ignore(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	(void)ctx;
	(void)p;
	(void)len;
	(void)err;
	return 0;
}

void bak_checkup_command(const struct bak_checkup *checkup, const char *option, const char *command)
{
	static const struct bak_store_env env = {.ctx = NULL};
	BAK_AUTO(bak_free_ptr) char *program = program_of(command);
	struct bak_error err = BAK_ERROR_INIT;
	char ask[300];

	if (!program || strlen(program) > 255)
		return;
	snprintf(ask, sizeof ask, "command -v %s", program);
	if (bak_process_read(&(struct bak_process_conf){.env = &env, .command = ask}, ignore, NULL,
			     &err) < 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "install it, or correct the command or PATH",
				 "%s: the program %s is not there", option, program);
}

void bak_checkup_password_file(const struct bak_checkup *checkup, const struct bak_store_conf *conf)
{
	const char *path = bak_store_get(conf, "password_file");
	struct stat st;

	if (path && stat(path, &st) == 0 && (st.st_mode & S_IRWXO))
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, "chmod o= that file",
				 "everybody on this machine may read or write password_file %s",
				 path);
}
