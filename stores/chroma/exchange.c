/*
 * A folder put in the place of a server's: unpacked whole beside it, its database checked, and both
 * exchanged while no server runs; the old one stays under a name that says so.
 *
 * state: {"parent": "/srv", "live": "chroma", "kept": "chroma.before-20261121T140212Z"}, as the
 * files driver's.
 */
#include "stores/chroma/chroma.h"

#include "stores/files/files.h"
#include "stores/payload.h"
#include "stores/place.h"
#include "stores/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A command that stops or starts a server, and a server that loads its collections. */
#define COMMAND_MS 120000
#define START_MS 120000

struct exchange {
	struct bak_chroma *chroma;
	const struct bak_restore_from *from;
	char *parent; /* no symlinks in it */
	char live[NAME_MAX + 1], kept[NAME_MAX + 1], fresh[NAME_MAX + 1];
	bool live_is_there, stopped;
	int parent_fd, fresh_fd;
	json_t *counts;
};

/* --- the server --- */

static int ignore(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	(void)ctx, (void)p, (void)len, (void)err;
	return 0;
}

/* A server that was started may keep its output open: it gets none of ours. */
static int run_command(struct bak_chroma *chroma, const char *option, struct bak_error *err)
{
	static const struct bak_store_env quiet = {.ctx = NULL};
	const char *command = bak_store_get(chroma->conf, option);
	BAK_AUTO(bak_free_ptr) char *script = NULL;

	if (asprintf(&script, "exec >/dev/null\n%s", command) < 0) {
		script = NULL;
		return bak_error_nomem(err);
	}
	bak_store_log(chroma->env, "%s: %s", option, command);
	const struct bak_process_conf conf = {
		.env = &quiet, .command = script, .timeout_ms = COMMAND_MS};
	if (bak_process_read(&conf, ignore, NULL, err) < 0)
		return bak_error_wrap(err, "%s", option);
	return 0;
}

static bool answers(struct bak_chroma *chroma)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	return bak_http_json(chroma->http, "GET", "/api/v2/heartbeat", NULL, NULL, &scratch) == 0;
}

/* Who has the database open; a server does as long as it runs. Where we may not look into other
 * people's processes, the address tells, if one is set. */
static int check_stopped(struct exchange *x, struct bak_error *err)
{
	struct bak_chroma *chroma = x->chroma;
	char holders[256];

	if (bak_open_holders(chroma->db_path, holders, sizeof holders))
		return bak_error_set(err, BAK_BUSY,
				     "a server runs on %s: %s has it open; stop it first, or set "
				     "stop_command and start_command",
				     chroma->path, holders);
	if (geteuid() != 0 && bak_store_get_item(chroma->conf, "url", 0) && answers(chroma))
		return bak_error_set(err, BAK_BUSY,
				     "a server answers at %s: stop it first, or set stop_command "
				     "and start_command",
				     bak_http_url(chroma->http));
	return 0;
}

static int stop(struct exchange *x, struct bak_error *err)
{
	int rc = check_stopped(x, err);

	if (rc == 0 || err->code != BAK_BUSY || !bak_store_get(x->chroma->conf, "stop_command"))
		return rc;
	*err = (struct bak_error)BAK_ERROR_INIT;
	if (run_command(x->chroma, "stop_command", err) < 0)
		return -1;
	x->stopped = true;
	return check_stopped(x, err);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* With start_command it is started and must answer. */
static int start(struct exchange *x, struct bak_error *err)
{
	struct bak_chroma *chroma = x->chroma;
	int64_t until = now_ms() + START_MS;
	unsigned round = 0;

	if (!bak_store_get(chroma->conf, "start_command"))
		return 0;
	if (run_command(chroma, "start_command", err) < 0)
		return -1;
	while (!answers(chroma)) {
		if (now_ms() > until)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "it was started and does not answer at %s",
					     bak_http_url(chroma->http));
		if (bak_http_wait(chroma->http, &round, err) < 0)
			return -1;
	}
	bak_store_log(chroma->env, "the server answers at %s", bak_http_url(chroma->http));
	return 0;
}

/* --- the new folder --- */

static int find_place(struct exchange *x, struct bak_error *err)
{
	const char *path = x->chroma->path;
	char *real = realpath(path, NULL), *slash;
	struct statx st;

	x->live_is_there = real != NULL;
	if (!real && errno != ENOENT)
		return bak_error_sys(err, errno, "%s", path);
	x->parent = real ? real : strdup(path);
	if (!x->parent)
		return bak_error_nomem(err);
	for (size_t len = strlen(x->parent); len > 1 && x->parent[len - 1] == '/';)
		x->parent[--len] = '\0';
	slash = strrchr(x->parent, '/');
	if (!slash || !slash[1] || strlen(slash + 1) > NAME_MAX)
		return bak_error_set(err, BAK_REFUSED, "%s cannot be exchanged for another", path);
	snprintf(x->live, sizeof x->live, "%s", slash + 1);
	slash[slash == x->parent] = '\0';
	x->parent_fd = open(x->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->parent_fd < 0 || faccessat(x->parent_fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return bak_error_sys(
			err, errno, "the new folder is made beside the old one, and %s", x->parent);
	if (x->live_is_there &&
	    statx(x->parent_fd, x->live, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) == 0 &&
	    (st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return bak_error_set(err, BAK_REFUSED,
				     "%s is a mount point and cannot be exchanged: let path name a "
				     "folder in it, or restore with --to and copy",
				     path);
	return 0;
}

static int check_room(struct exchange *x, struct bak_error *err)
{
	uint64_t need, room;

	if (bak_payload_room(x->from, x->parent_fd, &need, &room, err) < 0)
		return bak_error_wrap(err, "%s", x->parent);
	if (need > room)
		return bak_error_set(err, BAK_NO_SPACE,
				     "%s has %llu bytes free, and the new folder beside the old "
				     "one needs %llu",
				     x->parent, (unsigned long long)room, (unsigned long long)need);
	return 0;
}

static int tick(void *ctx, uint64_t bytes)
{
	struct exchange *x = ctx;
	const struct bak_store_env *env = x->chroma->env;
	uint64_t all = x->from->snapshot->root.totals.bytes;

	if (env->progress)
		env->progress(env->ctx, all ? (int)(bytes * 100 / all) : -1, bytes);
	return env->cancelled && env->cancelled(env->ctx);
}

static int unpack(struct exchange *x, struct bak_error *err)
{
	const struct bak_extract_conf conf = {
		.owners = true, .verify = true, .sync = true, .tick = tick, .progress_ctx = x};
	struct bak_extract_result result;

	if (bak_place_make_fresh(x->parent_fd, x->live, x->fresh, &x->fresh_fd, err) < 0)
		return bak_error_wrap(err, "%s", x->parent);
	if (bak_extract(x->from->repo, x->from->snapshot, x->fresh_fd, &conf, &result, err) < 0)
		return -1;
	if (result.damaged)
		return bak_error_set(err, BAK_CORRUPT,
				     "the snapshot is damaged: %llu of its files cannot be read",
				     (unsigned long long)result.damaged);
	if (result.attributes_lost)
		bak_store_warn(x->chroma->env,
			       "%llu owners could not be set here (being root helps)",
			       (unsigned long long)result.attributes_lost);
	return 0;
}

static int check_new(struct exchange *x, struct bak_error *err)
{
	BAK_AUTO(bak_sqlite_close) sqlite3 *db = NULL;
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	json_t *facts = bak_snapshot_facts(x->from->snapshot);
	int rc;

	if (asprintf(&path, "%s/%s/%s", x->parent, x->fresh, BAK_CHROMA_DB) < 0) {
		path = NULL;
		json_decref(facts);
		return bak_error_nomem(err);
	}
	rc = bak_sqlite_open(path, BAK_SQLITE_IMMUTABLE, NULL, &db, err);
	if (rc == 0 && (bak_sqlite_check(&x->chroma->sqlite, db, path, false, err) < 0 ||
			bak_chroma_directory_counts(x->chroma, db, path, x->counts, err) < 0))
		rc = -1;
	if (rc == 0 && !json_equal(x->counts, json_object_get(facts, "counts")))
		rc = bak_error_set(err, BAK_CORRUPT,
				   "the copy has other numbers of rows than the manifest says");
	json_decref(facts);
	return rc;
}

/* --- in place --- */

static int note(struct exchange *x, json_t *state, struct bak_error *err)
{
	if (json_object_set_new(state, "parent", json_string(x->parent)) == 0 &&
	    json_object_set_new(state, "live", json_string(x->live)) == 0 &&
	    json_object_set_new(state, "kept", json_string(x->kept)) == 0)
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     "a path that is not UTF-8 cannot be noted for a rollback; restore "
			     "with --to");
}

/* The new folder takes the kept name first: so at no moment the old one bears a name that says
 * "new". */
static int exchange(struct exchange *x, struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	if (renameat2(x->parent_fd, x->fresh, x->parent_fd, x->kept, RENAME_NOREPLACE) < 0)
		return bak_error_sys(err, errno, "renaming %s to %s", x->fresh, x->kept);
	if (bak_place_toggle(x->parent_fd, x->live, x->parent_fd, x->kept, err) == 0)
		return 0;
	bak_place_remove(x->parent_fd, x->kept, &scratch);
	return -1;
}

/* A server that does not start on the new folder gets its old one back. */
static int start_or_undo(struct exchange *x, json_t *state, struct bak_error *err)
{
	struct bak_error second = BAK_ERROR_INIT;

	if (start(x, err) == 0)
		return 0;
	x->stopped = false;
	if (stop(x, &second) < 0 ||
	    bak_place_toggle(x->parent_fd, x->live, x->parent_fd, x->kept, &second) < 0)
		return bak_error_wrap(err, "the new folder stays in place (%s)", second.msg);
	json_object_set_new(state, "unchanged", json_true());
	bak_place_remove(x->parent_fd, x->kept, &second);
	if (x->live_is_there && start(x, &second) < 0)
		return bak_error_wrap(err, "the old folder is back, and does not start (%s)",
				      second.msg);
	return -1;
}

static int put_in_place(struct exchange *x, json_t *state, struct bak_error *err)
{
	struct bak_error second = BAK_ERROR_INIT;

	if (!bak_store_get(x->chroma->conf, "stop_command") && check_stopped(x, err) < 0)
		return -1;
	if (bak_place_kept_name(x->parent_fd, x->live, x->kept, err) < 0 ||
	    note(x, state, err) < 0 || bak_store_no_return(x->chroma->env, err) < 0)
		return -1;
	if (stop(x, err) < 0 || exchange(x, err) < 0) {
		json_object_set_new(state, "unchanged", json_true());
		if (x->stopped && start(x, &second) < 0)
			bak_store_warn(x->chroma->env, "the server was stopped: %s", second.msg);
		return -1;
	}
	if (start_or_undo(x, state, err) < 0)
		return -1;
	if (x->live_is_there)
		bak_store_log(x->chroma->env,
			      "what was there is kept as %s/%s; remove it when all is well",
			      x->parent, x->kept);
	return 0;
}

static void release(struct exchange *x)
{
	free(x->parent);
	json_decref(x->counts);
	bak_close_fd(&x->fresh_fd);
	bak_close_fd(&x->parent_fd);
}

int bak_chroma_directory_restore(struct bak_chroma *chroma, const struct bak_restore_from *from,
				 json_t *state, struct bak_error *err)
{
	struct exchange x = {.chroma = chroma,
			     .from = from,
			     .parent_fd = -1,
			     .fresh_fd = -1,
			     .counts = json_object()};
	struct bak_error scratch = BAK_ERROR_INIT;
	int rc;

	if (from->n_only) {
		release(&x);
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "files of a saved folder mean nothing by themselves: "
				     "--collection takes single collections out of it");
	}
	rc = find_place(&x, err) < 0 || check_room(&x, err) < 0 || unpack(&x, err) < 0 ||
			     check_new(&x, err) < 0 || put_in_place(&x, state, err) < 0
		     ? -1
		     : 0;
	if (rc == 0) {
		json_decref(chroma->restored_counts);
		chroma->restored_counts = json_incref(x.counts);
	}
	if (x.fresh_fd >= 0 && bak_place_remove(x.parent_fd, x.fresh, &scratch) < 0)
		bak_store_warn(chroma->env, "%s/%s is left over: %s", x.parent, x.fresh,
			       scratch.msg);
	release(&x);
	return rc;
}

/* --- and back --- */

int bak_chroma_directory_rollback(struct bak_chroma *chroma, const json_t *state,
				  struct bak_error *err)
{
	const char *parent = json_string_value(json_object_get(state, "parent"));
	const char *live = json_string_value(json_object_get(state, "live"));
	const char *kept = json_string_value(json_object_get(state, "kept"));
	struct exchange x = {.chroma = chroma, .parent_fd = -1, .fresh_fd = -1};
	int rc;

	if (!parent || !live || !kept)
		return bak_error_set(err, BAK_CORRUPT, "the rollback's state names no folders");
	if (!chroma->directory)
		return bak_error_set(err, BAK_REFUSED,
				     "the last restore was of a folder: set mode = directory");
	x.parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x.parent_fd < 0)
		return bak_error_sys(err, errno, "%s", parent);
	rc = stop(&x, err);
	if (rc == 0)
		rc = bak_place_toggle(x.parent_fd, live, x.parent_fd, kept, err);
	if (rc == 0)
		rc = start(&x, err);
	bak_close_fd(&x.parent_fd);
	return rc;
}
