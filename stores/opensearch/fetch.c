/*
 * Restoring from a server's own snapshot: the repository's files go into a folder of their own that
 * the server sees, it reads them as a repository that nobody writes to, and makes new indices of
 * them. It says "accepted" long before they are there, and counts too few documents for a while: an
 * index is there when each shard's recovery is done, each primary active, and all of them answer.
 */
#include "stores/opensearch/opensearch.h"

#include "engine/base/hash.h"
#include "stores/place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define UNREGISTER_TRIES 8 /* 5 s */

struct fetch {
	struct bak_os_restore *r;
	const char *path, *server_path, *snapshot;
	int folder_fd, fresh_fd;
	char fresh[NAME_MAX + 1];
	char repository[64];
	bool registered;
};

/* --- the files --- */

static int tick(void *ctx, uint64_t bytes)
{
	const struct bak_os_restore *r = ctx;
	const struct bak_store_env *env = r->os->env;
	uint64_t all = r->from->snapshot->root.totals.bytes;

	/* The other half is the server's. */
	if (env->progress)
		env->progress(env->ctx, all ? (int)(bytes * 50 / all) : -1, bytes);
	return env->cancelled && env->cancelled(env->ctx);
}

static int check_room(const struct fetch *f, struct bak_error *err)
{
	uint64_t need = f->r->from->snapshot->root.totals.bytes, room;
	struct statvfs fs;

	if (fstatvfs(f->folder_fd, &fs) < 0)
		return bak_error_sys(err, errno, "%s", f->path);
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (need <= room)
		return 0;
	return bak_error_set(err, BAK_NO_SPACE,
			     "%s has %" PRIu64 " bytes free, and the restore needs %" PRIu64
			     " there for a while",
			     f->path, room, need);
}

static int unpack(struct fetch *f, struct bak_error *err)
{
	static const char *const only[] = {BAK_OS_REPOSITORY};
	const struct bak_extract_conf conf = {.only = only,
					      .n_only = 1,
					      .owners = geteuid() == 0,
					      .verify = true,
					      .tick = tick,
					      .progress_ctx = f->r};
	struct bak_extract_result result;

	f->folder_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->folder_fd < 0)
		return bak_error_sys(err, errno, "%s", f->path);
	if (check_room(f, err) < 0 || bak_place_make_fresh(f->folder_fd, BAK_OS_RESTORE_BASE,
							   f->fresh, &f->fresh_fd, err) < 0)
		return bak_error_wrap(err, "%s", f->path);
	if (bak_extract(f->r->from->repo, f->r->from->snapshot, f->fresh_fd, &conf, &result, err) <
	    0)
		return -1;
	if (result.damaged)
		return bak_error_set(err, BAK_CORRUPT,
				     "the snapshot is damaged: %" PRIu64 " files cannot be read",
				     result.damaged);
	/* The server is another user, and may see what it wrote itself. */
	if (fchmod(f->fresh_fd, 0755) < 0)
		return bak_error_sys(err, errno, "%s/%s", f->path, f->fresh);
	return 0;
}

/* --- the server's part --- */

static int offer(struct fetch *f, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *location = NULL;
	uint8_t bytes[4];
	char hex[9];

	if (bak_random(bytes, sizeof bytes, err) < 0)
		return -1;
	bak_hex(hex, bytes, sizeof bytes);
	snprintf(f->repository, sizeof f->repository, BAK_OS_RESTORE_BASE "-%s", hex);
	if (asprintf(&location, "%s/%s/%s", f->server_path, f->fresh, BAK_OS_REPOSITORY) < 0) {
		location = NULL;
		return bak_error_nomem(err);
	}
	f->registered = true;
	return bak_os_repository_put(f->r->os, f->repository, location, true, err);
}

/* As Java's regular expressions take it literally on their right side. */
static char *literal(const char *text)
{
	char *out = malloc(2 * strlen(text) + 1), *to = out;

	for (; out && *text; text++) {
		if (*text == '$' || *text == '\\')
			*to++ = '\\';
		*to++ = *text;
	}
	if (out)
		*to = '\0';
	return out;
}

static int ask(struct fetch *f, struct bak_os_target *t, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *fresh = literal(t->fresh);
	BAK_AUTO(bak_os_json_free)
	json_t *body = fresh ? json_pack("{s:s, s:b, s:b, s:s, s:s, s:b, s:[s]}", "indices",
					 t->concrete, "include_global_state", 0, "include_aliases",
					 0, "rename_pattern", "^.+$", "rename_replacement", fresh,
					 "partial", 0, "ignore_index_settings",
					 "index.blocks.read_only_allow_delete")
			     : NULL;

	if (!body)
		return bak_error_nomem(err);
	t->made = true;
	return bak_os_call(f->r->os->http, "POST",
			   bak_http_path("/_snapshot/%s/%s/_restore?wait_for_completion=false",
					 f->repository, f->snapshot),
			   body, NULL, err);
}

/* 1 all shards that are primary are done, 0 not yet, -1. */
static int is_recovered(struct fetch *f, const struct bak_os_target *t, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	const json_t *shards, *shard;
	size_t i, n = 0, done = 0;

	if (bak_os_call(f->r->os->http, "GET", bak_http_path("/%s/_recovery", t->fresh), NULL,
			&answer, err) < 0)
		return -1;
	shards = bak_os_at(answer, t->fresh, "shards");
	json_array_foreach(shards, i, shard)
	{
		if (!json_is_true(json_object_get(shard, "primary")))
			continue;
		n++;
		done += strcmp(bak_os_text(shard, "stage"), "DONE") == 0;
	}
	return n > 0 && done == n;
}

static int check_count(struct fetch *f, struct bak_os_target *t, struct bak_error *err)
{
	const json_t *want = bak_os_at(f->r->facts, "counts", t->name);

	if (bak_os_count(f->r->os, t->fresh, &t->count, err) < 0)
		return -1;
	if (!want || t->count == (uint64_t)json_integer_value(want))
		return 0;
	return bak_error_set(err, BAK_CORRUPT,
			     "validation: index %s has %" PRIu64
			     " documents, and the snapshot has %" JSON_INTEGER_FORMAT,
			     t->name, t->count, json_integer_value(want));
}

/* Active first: a shard that fails never gets "done". */
static int wait_done(struct fetch *f, struct bak_os_target *t, struct bak_error *err)
{
	unsigned round = 0;
	int rc;

	if (bak_os_wait_active(f->r->os, t->fresh, err) < 0)
		return -1;
	while ((rc = is_recovered(f, t, err)) == 0) {
		if (bak_http_wait(f->r->os->http, &round, err) < 0)
			return -1;
	}
	return rc < 0 ? -1 : check_count(f, t, err);
}

/* Not while it restores from there; it takes a moment to note that an index is done, or gone. */
static int unregister(struct fetch *f, struct bak_error *err)
{
	struct bak_http *http = f->r->os->http;
	unsigned round = 0;

	while (bak_os_delete(http, bak_http_path("/_snapshot/%s", f->repository), NULL, 0, err) <
	       0) {
		if (round == UNREGISTER_TRIES || !strstr(err->msg, "currently used") ||
		    bak_http_wait(http, &round, err) < 0)
			return -1;
	}
	return 0;
}

/* Whatever it was that failed, the server need not see the folder any more. */
static void clean_up(struct fetch *f, bool failed)
{
	struct bak_error err = BAK_ERROR_INIT;

	if (failed)
		bak_os_drop_fresh(f->r);
	if (f->registered && unregister(f, &err) < 0)
		bak_store_warn(f->r->os->env, "repository %s stays registered: %s", f->repository,
			       err.msg);
	if (f->fresh_fd >= 0 && bak_place_remove(f->folder_fd, f->fresh, &err) < 0)
		bak_store_warn(f->r->os->env, "%s/%s is left over: %s", f->path, f->fresh, err.msg);
	bak_close_fd(&f->fresh_fd);
	bak_close_fd(&f->folder_fd);
}

static int run(struct fetch *f, struct bak_error *err)
{
	struct bak_os_restore *r = f->r;

	if (unpack(f, err) < 0 || offer(f, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n; i++) {
		if (ask(f, &r->v[i], err) < 0)
			return bak_error_wrap(err, "index %s", r->v[i].name);
	}
	for (size_t i = 0; i < r->n; i++) {
		if (wait_done(f, &r->v[i], err) < 0)
			return bak_error_wrap(err, "index %s", r->v[i].name);
	}
	return 0;
}

int bak_os_fetch(struct bak_os_restore *r, struct bak_error *err)
{
	struct fetch f = {.r = r,
			  .snapshot = bak_os_text(r->facts, "snapshot"),
			  .folder_fd = -1,
			  .fresh_fd = -1};
	int rc;

	if (bak_os_folder(r->os, &f.path, &f.server_path, err) < 0)
		return -1;
	if (json_array_size(json_object_get(r->facts, "data_streams")))
		bak_store_warn(r->os->env,
			       "data streams are left out: restore them with the server's own "
			       "_restore, out of the snapshot's folder repository");
	if (!r->n)
		return 0;
	rc = run(&f, err);
	clean_up(&f, rc < 0);
	return rc;
}
