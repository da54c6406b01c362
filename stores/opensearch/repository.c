/*
 * A snapshot repository of type fs, as a folder. Its files are written once and never changed; what
 * they are is said by one of them, which each change replaces by the next:
 *
 *   index.latest               8 bytes, big endian: N
 *   index-N                    JSON: snapshots [{"name", "uuid", "state", "version"}], indices
 *                              {name: {"id", "snapshots": [uuid], "shard_generations": [...]}}
 *   snap-UUID.dat, meta-UUID.dat            of a snapshot
 *   indices/ID/meta-*.dat                   of an index
 *   indices/ID/SHARD/snap-UUID.dat          which blobs a shard had; index-GENERATION: all of them
 *   indices/ID/SHARD/__*                    the blobs: Lucene's files
 *
 * All but the first two end with Lucene's footer, a CRC-32. So a copy is whole when its index-N is
 * still the newest one after all else was read: nothing goes before its successor is there.
 */
#include "stores/opensearch/opensearch.h"

#include "stores/files/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CATALOGUE_MAX ((size_t)256 << 20)
#define LIST_MAX ((size_t)64 << 20) /* a shard's list of files */
#define READ_LEN (1u << 20)
#define STATE_SUCCESS 1

/* --- Lucene's checksum --- */

/* The last 16 bytes are held back: 0xc02893e8, 0, and the sum as 64 bits. */
void bak_os_sum_feed(struct bak_os_sum *sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	const size_t keep = 8;

	sum->n += len;
	while (len > 0) {
		size_t room = sizeof sum->tail - sum->n_tail;
		size_t n = len < room ? len : room;

		if (sum->n_tail == 0 && len > sizeof sum->tail) {
			n = len - sizeof sum->tail;
			sum->crc = crc32_gzip_refl(sum->crc, p, n);
			p += n;
			len -= n;
			continue;
		}
		memcpy(sum->tail + sum->n_tail, p, n);
		sum->n_tail += n;
		p += n;
		len -= n;
		if (len > 0) {
			/* full: its first half cannot be the end any more */
			size_t gone = len < keep ? len : keep;

			sum->crc = crc32_gzip_refl(sum->crc, sum->tail, gone);
			memmove(sum->tail, sum->tail + gone, sum->n_tail - gone);
			sum->n_tail -= gone;
		}
	}
}

bool bak_os_sum_end(const struct bak_os_sum *sum)
{
	static const uint8_t magic[8] = {0xc0, 0x28, 0x93, 0xe8, 0, 0, 0, 0};
	uint8_t want[8] = {0};
	uint32_t crc;

	if (sum->n_tail != sizeof sum->tail || memcmp(sum->tail, magic, sizeof magic) != 0)
		return false;
	crc = crc32_gzip_refl(sum->crc, sum->tail, 8);
	for (unsigned i = 0; i < 4; i++)
		want[4 + i] = (uint8_t)(crc >> (24 - 8 * i));
	return memcmp(sum->tail + 8, want, sizeof want) == 0;
}

/* --- the catalogue --- */

void bak_os_catalogue_release(struct bak_os_catalogue *catalogue)
{
	json_decref(catalogue->json);
	catalogue->json = NULL;
}

/* Part of a file's name: nothing that leads elsewhere. */
static bool is_part(const char *text)
{
	return *text && strlen(text) < 100 && !strpbrk(text, "/\\") && *text != '.';
}

static bool is_catalogue(const json_t *json)
{
	const json_t *list = json_object_get(json, "snapshots"), *snapshot;
	const char *name;
	json_t *index;
	size_t i;

	if (!json_is_array(list) || !json_is_object(json_object_get(json, "indices")))
		return false;
	json_array_foreach(list, i, snapshot)
	{
		if (!is_part(bak_os_text(snapshot, "uuid")) || !*bak_os_text(snapshot, "name"))
			return false;
	}
	json_object_foreach(json_object_get(json, "indices"), name, index)
	{
		if (!bak_os_is_name(name) || !is_part(bak_os_text(index, "id")) ||
		    !json_is_array(json_object_get(index, "snapshots")))
			return false;
	}
	return true;
}

int bak_os_catalogue_parse(const void *p, size_t len, struct bak_os_catalogue *out,
			   struct bak_error *err)
{
	out->json = json_loadb(p, len, 0, NULL);
	if (out->json && is_catalogue(out->json))
		return 0;
	bak_os_catalogue_release(out);
	return bak_error_set(err, BAK_CORRUPT, "its catalogue makes no sense");
}

/* A small file, whole. */
static int read_all(int dir_fd, const char *name, size_t max, struct bak_buf *out,
		    struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = 1;

	out->len = 0;
	if (fd < 0)
		return bak_error_sys(err, errno, "%s", name);
	while (n > 0) {
		if (out->len > max)
			return bak_error_set(err, BAK_CORRUPT, "%s is too large", name);
		if (bak_buf_reserve(out, READ_LEN) < 0)
			return bak_error_nomem(err);
		n = read(fd, out->p + out->len, READ_LEN);
		if (n < 0)
			return bak_error_sys(err, errno, "%s", name);
		out->len += (size_t)n;
	}
	return 0;
}

static int latest(int dir_fd, int64_t *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	uint64_t n = 0;

	if (read_all(dir_fd, "index.latest", 8, &text, err) < 0)
		return -1;
	for (size_t i = 0; i < text.len && i < 8; i++)
		n = n << 8 | text.p[i];
	if (text.len != 8 || n > INT64_MAX)
		return bak_error_set(err, BAK_CORRUPT, "index.latest makes no sense");
	*out = (int64_t)n;
	return 0;
}

int bak_os_catalogue_read(int dir_fd, struct bak_os_catalogue *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	char name[32];

	out->json = NULL;
	if (latest(dir_fd, &out->generation, err) < 0)
		return -1;
	snprintf(name, sizeof name, "index-%" PRId64, out->generation);
	if (read_all(dir_fd, name, CATALOGUE_MAX, &text, err) < 0)
		return -1;
	return bak_os_catalogue_parse(text.p, text.len, out, err);
}

static bool has_text(const json_t *list, const char *text)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		if (json_is_string(item) && strcmp(json_string_value(item), text) == 0)
			return true;
	}
	return false;
}

/* When its file was written, as far as copies kept that. */
static int64_t written(int dir_fd, const json_t *snapshot)
{
	char name[128];
	struct stat st;

	snprintf(name, sizeof name, "snap-%s.dat", bak_os_text(snapshot, "uuid"));
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mtim.tv_sec : INT64_MIN;
}

const json_t *bak_os_catalogue_find(const struct bak_os_catalogue *catalogue, int dir_fd,
				    const char *name)
{
	const json_t *best = NULL, *snapshot;
	int64_t best_time = 0;
	size_t i;

	json_array_foreach(json_object_get(catalogue->json, "snapshots"), i, snapshot)
	{
		const char *its = bak_os_text(snapshot, "name");
		int64_t time;

		if (bak_os_number(snapshot, "state") != STATE_SUCCESS ||
		    (name && strcmp(name, its) != 0))
			continue;
		time = name ? 0 : written(dir_fd, snapshot);
		if (!best || time > best_time ||
		    (time == best_time && strcmp(its, bak_os_text(best, "name")) > 0)) {
			best = snapshot;
			best_time = time;
		}
	}
	return best;
}

json_t *bak_os_catalogue_indices(const struct bak_os_catalogue *catalogue, const json_t *snapshot)
{
	const char *uuid = bak_os_text(snapshot, "uuid"), *concrete;
	json_t *list = json_array(), *index;
	int rc = 0;

	json_object_foreach(json_object_get(catalogue->json, "indices"), concrete, index)
	{
		const char *name = bak_os_own_name(concrete);

		if (!has_text(json_object_get(index, "snapshots"), uuid) ||
		    strncmp(concrete, ".ds-", 4) == 0)
			continue;
		rc |= json_array_append_new(list,
					    json_pack("{s:s, s:s}", "name", name ? name : concrete,
						      "concrete", concrete));
	}
	if (rc == 0)
		return list;
	json_decref(list);
	return NULL;
}

/* --- is it whole --- */

struct check {
	const struct bak_store_env *env;
	const json_t *json;
	uint8_t *buffer;
};

static int damaged(struct bak_error *err, const char *path, const char *why)
{
	return bak_error_set(err, BAK_CORRUPT, "the repository is not whole: %s %s", path, why);
}

static bool is_there(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int check_sum(struct check *c, int dir_fd, const char *name, const char *path,
		     struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct bak_os_sum sum = {.n = 0};
	ssize_t n;

	if (fd < 0 && errno == ENOENT)
		return damaged(err, path, "is missing");
	if (fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	while ((n = read(fd, c->buffer, READ_LEN)) > 0) {
		bak_os_sum_feed(&sum, c->buffer, (size_t)n);
		if (bak_store_check_cancelled(c->env, err) < 0)
			return -1;
	}
	if (n < 0)
		return bak_error_sys(err, errno, "%s", path);
	return bak_os_sum_end(&sum) ? 0 : damaged(err, path, "is cut off or damaged");
}

static bool is_blob_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-' || c == '_' || c == '.';
}

/* A name is "__" and 22 characters of base 64; what is inlined in the list has a "v" before it, and
 * there is no such blob. */
int bak_os_blob_next(const void *data, size_t len, size_t *at, char *out, size_t out_len)
{
	const uint8_t *p = data;
	enum { NAME = 24 };

	for (size_t i = *at; i + NAME <= len; i++) {
		size_t n = 0;

		if (p[i] != '_' || p[i + 1] != '_')
			continue;
		while (n < NAME && is_blob_char(p[i + n]))
			n++;
		if (n < NAME || n >= out_len)
			continue;
		if (i > 0 && p[i - 1] == 'v') {
			i += NAME - 1; /* its base 64 may begin with "_" */
			continue;
		}
		memcpy(out, p + i, n);
		out[n] = '\0';
		*at = i + n;
		return 1;
	}
	return 0;
}

/* Large files may lie in parts. */
static int check_blob(struct check *c, int dir_fd, const char *name, const char *shard,
		      struct bak_error *err)
{
	char path[600], part[64];

	snprintf(path, sizeof path, "%s/%s", shard, name);
	snprintf(part, sizeof part, "%s.part0", name);
	if (is_there(dir_fd, part))
		return 0;
	return check_sum(c, dir_fd, name, path, err);
}

/* A shard's snapshot: its list of blobs, and they. Lists that are compressed are not looked into. */
static int check_shard(struct check *c, int dir_fd, const char *uuid, const char *shard,
		       struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf list = BAK_BUF_INIT;
	char name[128], path[600], blob[32];
	size_t at = 0;

	snprintf(name, sizeof name, "snap-%s.dat", uuid);
	snprintf(path, sizeof path, "%s/%s", shard, name);
	if (check_sum(c, dir_fd, name, path, err) < 0 ||
	    read_all(dir_fd, name, LIST_MAX, &list, err) < 0)
		return -1;
	while (bak_os_blob_next(list.p, list.len, &at, blob, sizeof blob) > 0) {
		if (check_blob(c, dir_fd, blob, shard, err) < 0)
			return -1;
	}
	return 0;
}

static int check_index(struct check *c, int indices_fd, const json_t *index, struct bak_error *err)
{
	const json_t *generations = json_object_get(index, "shard_generations"), *uuid;
	const char *id = bak_os_text(index, "id");
	size_t n = json_array_size(generations), i;

	for (size_t shard = 0; shard < n; shard++) {
		char path[160];

		snprintf(path, sizeof path, "%s/%zu", id, shard);
		BAK_AUTO(bak_close_fd)
		int fd = openat(indices_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return damaged(err, path, "is missing");
		json_array_foreach(json_object_get(index, "snapshots"), i, uuid)
		{
			const char *text = json_string_value(uuid);

			if (!text || !is_part(text))
				return damaged(err, path, "has no such snapshot");
			if (check_shard(c, fd, text, path, err) < 0)
				return -1;
		}
	}
	return 0;
}

static int check_all(struct check *c, int dir_fd, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd)
	int indices_fd = openat(dir_fd, "indices", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const json_t *snapshot;
	const char *name;
	json_t *index;
	size_t i;

	json_array_foreach(json_object_get(c->json, "snapshots"), i, snapshot)
	{
		static const char *const kinds[] = {"snap", "meta"};

		for (size_t k = 0; k < 2; k++) {
			char path[128];

			snprintf(path, sizeof path, "%s-%s.dat", kinds[k],
				 bak_os_text(snapshot, "uuid"));
			if (check_sum(c, dir_fd, path, path, err) < 0)
				return -1;
		}
	}
	json_object_foreach(json_object_get(c->json, "indices"), name, index)
	{
		if (indices_fd < 0)
			return damaged(err, "indices", "is missing");
		if (check_index(c, indices_fd, index, err) < 0)
			return bak_error_wrap(err, "index %s", name);
	}
	return 0;
}

int bak_os_repository_check(const struct bak_store_env *env, int dir_fd,
			    const struct bak_os_catalogue *catalogue, struct bak_error *err)
{
	struct check c = {.env = env, .json = catalogue->json, .buffer = malloc(READ_LEN)};
	int rc = c.buffer ? check_all(&c, dir_fd, err) : bak_error_nomem(err);

	free(c.buffer);
	return rc;
}

/* --- into a snapshot --- */

/* The walk tells what it leaves out; here nothing may be. */
struct strict {
	const struct bak_store_env *env;
	char first[300];
};

static void on_warn(void *ctx, const char *line)
{
	struct strict *strict = ctx;

	if (!*strict->first)
		snprintf(strict->first, sizeof strict->first, "%s", line);
}

static int on_cancelled(void *ctx)
{
	const struct strict *strict = ctx;

	return strict->env->cancelled && strict->env->cancelled(strict->env->ctx);
}

static int walk(const struct bak_store_env *env, const char *path, struct bak_writer *writer,
		struct bak_error *err)
{
	struct strict strict = {.env = env};
	const struct bak_store_env inner = {.ctx = &strict,
					    .warn = on_warn,
					    .cancelled = on_cancelled,
					    .repo_path = env->repo_path};
	struct bak_files files = {.env = &inner, .path = path, .reread = 1};
	struct bak_files_counts counts;
	struct bak_source_inode inode;
	bool single;
	/* what restores and checks of a repository make there */
	int rc = bak_exclude_add(&files.exclude, "/." BAK_OS_RESTORE_BASE ".*/", err);

	if (rc == 0)
		rc = bak_exclude_add(&files.exclude, "/tests-*/", err);
	bak_payload_inode(&inode, BAK_TYPE_DIR, 0755);
	if (rc == 0)
		rc = bak_writer_enter(writer, BAK_OS_REPOSITORY, &inode, err);
	if (rc == 0)
		rc = bak_files_walk(&files, path, NULL, writer, &counts, &single, err);
	if (rc == 0)
		rc = bak_writer_leave(writer, err);
	bak_exclude_release(&files.exclude);
	if (rc == 0 && *strict.first)
		return bak_error_set(err, BAK_IO, "%s", strict.first);
	return rc;
}

int bak_os_repository_store(const struct bak_store_env *env, const char *path,
			    struct bak_writer *writer, struct bak_os_catalogue *out,
			    struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct bak_error changed = BAK_ERROR_INIT;
	int64_t now = -1;
	char next[32];

	if (fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (bak_os_catalogue_read(fd, out, err) < 0)
		return bak_error_wrap(err, "%s", path);
	snprintf(next, sizeof next, "index-%" PRId64, out->generation + 1);
	int rc = walk(env, path, writer, err);
	/* a change, not what it made the walk see, is the reason */
	if (latest(fd, &now, &changed) < 0 || now != out->generation || is_there(fd, next))
		rc = bak_error_set(err, BAK_BUSY,
				   "%s changed while it was read: another snapshot was made or "
				   "deleted there; try again",
				   path);
	return rc;
}
