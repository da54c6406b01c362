/* Passwords and key files, as they come from outside: see keyring.h. */
#include "engine/objects/keyring.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"
#include "engine/base/locked.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEY_FILE_MAGIC "bakfs-key-1 "
#define KEY_FILE_LEN (sizeof KEY_FILE_MAGIC - 1 + 64)

static int secret_set(struct bak_secret *out, enum bak_secret_kind kind, const void *p, size_t len,
		      struct bak_error *err)
{
	uint8_t *copy = bak_locked_alloc(len);
	if (!copy)
		return bak_error_nomem(err);
	if (len)
		memcpy(copy, p, len);
	*out = (struct bak_secret){.kind = kind, .p = copy, .len = len};
	return 0;
}

int bak_secret_password(struct bak_secret *out, const void *p, size_t len, struct bak_error *err)
{
	if (len == 0)
		return bak_error_set(err, BAK_USAGE, "the password is empty");
	return secret_set(out, BAK_SECRET_PASSWORD, p, len, err);
}

int bak_secret_copy(struct bak_secret *out, const struct bak_secret *secret, struct bak_error *err)
{
	return secret_set(out, secret->kind, secret->p, secret->len, err);
}

void bak_secret_release(struct bak_secret *secret)
{
	bak_locked_free(secret->p, secret->len);
	*secret = (struct bak_secret){.kind = BAK_SECRET_NONE};
}

/* Up to cap bytes of a file: how many, or -1 and errno. */
static ssize_t read_up_to(const char *path, char *buf, size_t cap)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	if (fd < 0)
		return -1;
	while (len < cap) {
		ssize_t n = read(fd, buf + len, cap - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

int bak_secret_keyfile(struct bak_secret *out, const char *path, struct bak_error *err)
{
	char text[KEY_FILE_LEN + 3];
	uint8_t key[32];
	ssize_t n = read_up_to(path, text, sizeof text - 1);
	if (n < 0)
		return bak_error_sys(err, errno, "cannot read key file %s", path);
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	text[n] = '\0';
	int result = -1;
	if (n == (ssize_t)KEY_FILE_LEN &&
	    memcmp(text, KEY_FILE_MAGIC, sizeof KEY_FILE_MAGIC - 1) == 0 &&
	    bak_unhex(key, sizeof key, text + sizeof KEY_FILE_MAGIC - 1))
		result = secret_set(out, BAK_SECRET_KEYFILE, key, sizeof key, err);
	else
		bak_error_set(err, BAK_USAGE, "%s is no bakfs key file", path);
	bak_wipe(text, sizeof text);
	bak_wipe(key, sizeof key);
	return result;
}

static int sync_parent(const char *path, struct bak_error *err)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
		 slash ? path : ".");
	BAK_AUTO(bak_close_fd) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
		return bak_error_sys(err, errno, "cannot sync %s", folder);
	return 0;
}

/* A key that is lost is a repository that is lost: so this is durable before anybody uses it. */
static int write_durably(int fd, const char *text, size_t len)
{
	if (write(fd, text, len) != (ssize_t)len)
		return -1;
	return fsync(fd);
}

int bak_secret_keyfile_create(struct bak_secret *out, const char *path, struct bak_error *err)
{
	uint8_t key[32];
	char hex[65], text[KEY_FILE_LEN + 2];
	if (bak_random(key, sizeof key, err) < 0)
		return -1;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	if (fd < 0) {
		bak_wipe(key, sizeof key);
		return bak_error_sys(err, errno, "cannot make key file %s", path);
	}
	bak_hex(hex, key, sizeof key);
	snprintf(text, sizeof text, KEY_FILE_MAGIC "%s\n", hex);
	int result = write_durably(fd, text, strlen(text));
	int e = errno;
	if (close(fd) < 0 && result == 0) {
		result = -1;
		e = errno;
	}
	if (result < 0) {
		bak_error_sys(err, e, "cannot write key file %s", path);
		unlink(path);
	} else {
		result = sync_parent(path, err);
	}
	if (result == 0)
		result = secret_set(out, BAK_SECRET_KEYFILE, key, sizeof key, err);
	bak_wipe(key, sizeof key);
	bak_wipe(hex, sizeof hex);
	bak_wipe(text, sizeof text);
	return result;
}
