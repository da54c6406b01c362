/* Snapshot files made elsewhere: a file, or a folder of them. Each is walked to its end. */
#include "stores/qdrant/qdrant.h"
#include "stores/qdrant/tar.h"

#include "engine/base/bytes.h"
#include "engine/objects/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_LEN (1u << 20)
#define CONFIG_MAX (1u << 20)

struct import {
	struct bak_qdrant *q;
	struct bak_writer *writer;
	json_t *collections;
	struct bak_qdrant_tar tar; /* of the file that is being read */
	struct bak_buf config;     /* its config.json */
};

/* --- names --- */

static size_t span(const char *text, const char *set, size_t n)
{
	return strspn(text, set) == n ? n : 0;
}

/* "-PEER-2026-11-21-14-02-12" at the end: where it begins; NULL: it is none. */
static char *server_suffix(char *name)
{
	static const size_t widths[] = {2, 2, 2, 2, 2, 4};
	char *at = name + strlen(name);

	for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
		size_t n = widths[i];

		if ((size_t)(at - name) <= n || span(at - n, "0123456789", strlen(at - n)) == 0)
			return NULL;
		at -= n + 1;
		if (*at != '-')
			return NULL;
		*at = '\0';
	}
	while (at > name && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return at > name + 1 && *at && at[-1] == '-' ? at - 1 : NULL;
}

/* The collection that a file is of, by its name: NAME.snapshot, or as servers name them. To free;
 * NULL: by its name it is none. */
static char *collection_of(const char *file)
{
	size_t len = strlen(file), end = strlen(BAK_QDRANT_SNAPSHOT);
	char *name, *cut, *copy;

	if (len <= end || strcmp(file + len - end, BAK_QDRANT_SNAPSHOT) != 0)
		return NULL;
	name = strndup(file, len - end);
	copy = name ? strdup(name) : NULL;
	cut = copy ? server_suffix(copy) : NULL;
	if (cut)
		name[cut - copy] = '\0';
	free(copy);
	return name;
}

static int check_foreign(const struct import *im, const char *collection, struct bak_error *err)
{
	json_t *aliases = NULL;
	struct bak_error ignored = BAK_ERROR_INIT;
	bool ours;

	if (bak_store_get_bool(im->q->conf, "accept_foreign"))
		return 0;
	if (bak_qdrant_aliases(im->q->http, &aliases, &ignored) < 0)
		aliases = NULL;
	ours = bak_qdrant_chosen(im->q, collection, aliases);
	json_decref(aliases);
	return ours ? 0
		    : bak_error_set(err, BAK_REFUSED,
				    "it is of collection %s, which is none of this store's "
				    "(accept_foreign = yes takes it all the same)",
				    collection);
}

/* --- a file --- */

static int take(void *ctx, const char *name, const void *p, size_t len, struct bak_error *err)
{
	struct import *im = ctx;

	if (strcmp(name, "config.json") != 0)
		return 0;
	if (len > CONFIG_MAX - im->config.len)
		return bak_error_set(err, BAK_REFUSED, "its config.json is too long");
	return bak_buf_append(&im->config, p, len) < 0 ? bak_error_nomem(err) : 0;
}

static int copy(struct import *im, int fd, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);
	ssize_t n;

	if (!buffer)
		return bak_error_nomem(err);
	while ((n = read(fd, buffer, READ_LEN)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "reading it");
		if (bak_store_check_cancelled(im->q->env, err) < 0 ||
		    bak_qdrant_tar_feed(&im->tar, buffer, (size_t)n, take, im, err) < 0 ||
		    bak_writer_data(im->writer, buffer, (size_t)n, err) < 0)
			return -1;
	}
	return 0;
}

static int note(struct import *im, const char *collection, const char *file,
		const struct bak_inode *inode, struct bak_error *err)
{
	json_t *config = json_loadb((const char *)im->config.p, im->config.len, 0, NULL), *entry;
	char hex[65];

	if (!json_is_object(config)) {
		json_decref(config);
		return bak_error_set(err, BAK_REFUSED, "its config.json is no JSON");
	}
	bak_hex(hex, inode->sha256, sizeof inode->sha256);
	entry = json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", collection, "file", file, "mode",
			  "snapshot", "sha256", hex, "config", config);
	return !entry || json_array_append_new(im->collections, entry) < 0 ? bak_error_nomem(err)
									   : 0;
}

static int import_file(struct import *im, int fd, const char *collection, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *file = bak_qdrant_file_name(collection, BAK_QDRANT_SNAPSHOT);
	char why[BAK_PROOF_WHY_LEN];
	struct bak_source_inode in;
	struct bak_inode inode;

	if (!file)
		return bak_error_nomem(err);
	im->tar = (struct bak_qdrant_tar){.fed = 0};
	im->config.len = 0;
	bak_payload_inode(&in, BAK_TYPE_FILE, 0600);
	if (check_foreign(im, collection, err) < 0 ||
	    bak_writer_loose(im->writer, file, &in, BAK_HINT_NONE, err) < 0 ||
	    copy(im, fd, err) < 0)
		return -1;
	if (bak_qdrant_tar_verdict(&im->tar, why) != BAK_VERDICT_WHOLE)
		return bak_error_set(err, BAK_REFUSED, "%s", im->tar.fed ? why : "it is empty");
	if (bak_writer_loose_end(im->writer, &inode, err) < 0 ||
	    note(im, collection, file, &inode, err) < 0)
		return -1;
	return bak_writer_place(im->writer, file, &inode, err);
}

static int import_at(struct import *im, int dir_fd, const char *file, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd)
	int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *base = strrchr(file, '/');
	BAK_AUTO(bak_free_ptr) char *collection = collection_of(base ? base + 1 : file);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return bak_error_sys(err, errno, "%s", file);
	if (!S_ISREG(st.st_mode))
		return bak_error_set(err, BAK_REFUSED, "%s is not a regular file", file);
	if (!collection)
		return bak_error_set(err, BAK_REFUSED,
				     "%s: name it COLLECTION" BAK_QDRANT_SNAPSHOT
				     ", so that it says which one it is of",
				     file);
	return import_file(im, fd, collection, err) < 0 ? bak_error_wrap(err, "%s", file) : 0;
}

/* --- a folder --- */

static int is_shown(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return bak_name_cmp((*a)->d_name, strlen((*a)->d_name), (*b)->d_name, strlen((*b)->d_name));
}

static int import_folder(struct import *im, int dir_fd, const char *path, struct bak_error *err)
{
	struct dirent **names = NULL;
	int n = scandir(path, &names, is_shown, by_name), rc = 0;

	if (n < 0)
		return bak_error_sys(err, errno, "%s", path);
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = import_at(im, dir_fd, names[i]->d_name, err);
		free(names[i]);
	}
	free(names);
	if (rc == 0 && n == 0)
		return bak_error_set(err, BAK_REFUSED, "the folder has no snapshots");
	return rc;
}

int bak_qdrant_import(struct bak_qdrant *q, const char *path, struct bak_writer *writer,
		      json_t *facts, struct bak_error *err)
{
	struct import im = {.q = q, .writer = writer, .collections = json_array()};
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct bak_source_inode root;
	struct stat st;
	int rc = im.collections ? 0 : bak_error_nomem(err);

	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	if (rc == 0 && (fd < 0 || fstat(fd, &st) < 0))
		rc = bak_error_sys(err, errno, "%s", path);
	if (rc == 0)
		rc = bak_writer_root(writer, &root, err);
	if (rc == 0)
		rc = S_ISDIR(st.st_mode) ? import_folder(&im, fd, path, err)
					 : import_at(&im, AT_FDCWD, path, err);
	if (rc == 0 && (json_object_set(facts, "collections", im.collections) < 0 ||
			json_object_set_new(facts, "imported", json_true()) < 0))
		rc = bak_error_nomem(err);
	json_decref(im.collections);
	bak_buf_release(&im.config);
	return rc;
}
