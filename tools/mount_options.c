/*
 * What `bakfs mount -o` takes.
 */
#include "tools/mount_options.h"

#include "tools/commands.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>

/* Longer than a disk takes to wake up, shorter than whoever waits has patience. */
#define TIMEOUT_S 30

const struct bak_option bak_suboptions_mount[] = {
	{0, "ro", NULL, "read-only: the fast mount, without /restore", false},
	{0, "allow_other", NULL, "other users may look too", false},
	{0, "owner", NULL, "enforce the stored owners and permissions", false},
	{0, "uid", "N", "show this owner", false},
	{0, "gid", "N", "show this group", false},
	{0, "umask", "OCTAL", "take these permissions away", false},
	{0, "restore_group", "GROUP", "its members may restore, too", false},
	{0, "store", "NAME", "show only this store", false},
	{0, "snapshot", "ID", "show only this snapshot", false},
	{0, "cache", "SIZE", "memory for decoded segments, such as 256M", false},
	{0, "timeout", "SECONDS", "how long a disk of the network may take to answer", false},
	{0, "verify", "full", "prove every byte again while reading", false},
	{0, "log", "FILE", "as --log, for fstab", false},
	{0, "key_file", "FILE", "as --key-file, for fstab", false},
	{0, "password_file", "FILE", "as --password-file, for fstab", false},
	{0, NULL, NULL, NULL, false},
};

/* For mount(8), systemd and others, or what is so anyway. */
static const char *const ignored[] = {
	"rw",         "defaults", "auto",       "noauto",     "user",    "nouser",
	"users",      "nofail",   "exec",       "nodev",      "nosuid",  "async",
	"atime",      "noatime",  "relatime",   "nodiratime", "_netdev", "strictatime",
	"norelatime", "lazytime", "nolazytime", "silent",     "loud",    NULL,
};

void bak_mount_options_init(struct bak_mount_options *options)
{
	*options = (struct bak_mount_options){
		.uid = -1, .gid = -1, .umask = -1, .restore_gid = -1, .timeout_s = TIMEOUT_S};
}

void bak_mount_options_release(struct bak_mount_options *options)
{
	free(options->store);
	free(options->snapshot);
	free(options->log);
	free(options->key_file);
	free(options->password_file);
	free(options->passed);
	bak_mount_options_init(options);
}

static bool is_ignored(const char *name)
{
	size_t i;

	for (i = 0; ignored[i]; i++) {
		if (!strcmp(ignored[i], name))
			return true;
	}
	return !strncmp(name, "x-", 2) || !strncmp(name, "X-", 2) || !strcmp(name, "comment");
}

static int set_text(char **slot, const char *value, struct bak_error *err)
{
	free(*slot);
	*slot = strdup(value);
	return *slot ? 0 : bak_error_nomem(err);
}

static int set_number(long long *slot, const char *name, const char *value, int base,
		      struct bak_error *err)
{
	char *end;

	errno = 0;
	*slot = strtoll(value, &end, base);
	if (!*value || *end || errno || *slot < 0 || *slot > UINT32_MAX - 1LL ||
	    (base == 8 && *slot > 0777))
		return bak_error_set(err, BAK_USAGE, "-o %s=%s: not a number that fits", name,
				     value);
	return 0;
}

/* A group's name or number. */
static int set_group(long long *slot, const char *name, const char *value, struct bak_error *err)
{
	char buf[16384];
	struct group group, *found = NULL;

	if (*value && strspn(value, "0123456789") == strlen(value))
		return set_number(slot, name, value, 10, err);
	if (getgrnam_r(value, &group, buf, sizeof buf, &found) != 0 || !found)
		return bak_error_set(err, BAK_USAGE, "-o %s=%s: no such group", name, value);
	*slot = group.gr_gid;
	return 0;
}

static int set_flag(struct bak_mount_options *options, const char *name, struct bak_error *err)
{
	if (!strcmp(name, "ro"))
		options->read_only = true;
	else if (!strcmp(name, "allow_other"))
		options->allow_other = true;
	else if (!strcmp(name, "owner"))
		options->owner = true;
	else if (!strcmp(name, "noexec"))
		return set_text(&options->passed, name, err);
	else if (!is_ignored(name))
		return bak_error_set(err, BAK_USAGE, "-o %s: unknown option", name);
	return 0;
}

static int set_value(struct bak_mount_options *options, const char *name, const char *value,
		     struct bak_error *err)
{
	if (!strcmp(name, "uid"))
		return set_number(&options->uid, name, value, 10, err);
	if (!strcmp(name, "gid"))
		return set_number(&options->gid, name, value, 10, err);
	if (!strcmp(name, "umask"))
		return set_number(&options->umask, name, value, 8, err);
	if (!strcmp(name, "restore_group"))
		return set_group(&options->restore_gid, name, value, err);
	if (!strcmp(name, "store"))
		return set_text(&options->store, value, err);
	if (!strcmp(name, "snapshot"))
		return set_text(&options->snapshot, value, err);
	if (!strcmp(name, "log"))
		return set_text(&options->log, value, err);
	if (!strcmp(name, "key_file"))
		return set_text(&options->key_file, value, err);
	if (!strcmp(name, "password_file"))
		return set_text(&options->password_file, value, err);
	if (!strcmp(name, "timeout"))
		return set_number(&options->timeout_s, name, value, 10, err) < 0 ? -1
		       : options->timeout_s > 86400
			       ? bak_error_set(err, BAK_USAGE, "-o timeout=%s: more than a day",
					       value)
			       : 0;
	if (!strcmp(name, "cache") && bak_parse_size(value, &options->cache_bytes))
		return 0;
	if (!strcmp(name, "verify") && !strcmp(value, "full")) {
		options->verify_full = true;
		return 0;
	}
	if (is_ignored(name))
		return 0;
	return bak_error_set(err, BAK_USAGE, "-o %s=%s: unknown option or value", name, value);
}

int bak_mount_options_parse(struct bak_mount_options *options, const char *text,
			    struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *copy = strdup(text);
	char *at = copy, *word;

	if (!copy)
		return bak_error_nomem(err);
	while ((word = strsep(&at, ","))) {
		char *equals = strchr(word, '=');
		int rc;

		if (!*word)
			continue;
		if (equals)
			*equals = 0;
		rc = equals ? set_value(options, word, equals + 1, err)
			    : set_flag(options, word, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}
