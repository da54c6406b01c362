/*
 * Restoring a tree: unpacked whole beside the live one, then put in its place in one step; the old
 * one stays, under a name that says so, and a rollback exchanges them again. With `only`, the same
 * for each of these paths, the old ones kept below one folder.
 *
 * state: {"parent": "/srv", "live": "app", "kept": "app.before-20261121T140212Z"} and, for single
 * paths, "paths": [...]: each is then exchanged between the folders live and kept.
 */
#include "stores/files/files.h"

#include "engine/base/dirs.h"
#include "engine/content/reader.h"
#include "stores/payload.h"
#include "stores/place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct restore {
	struct bak_files *files;
	const struct bak_store_env *env;
	const struct bak_restore_from *from;
	char *parent; /* of the live path, no symlinks in it */
	char live[NAME_MAX + 1], kept[NAME_MAX + 1], fresh[NAME_MAX + 1];
	bool live_is_there;
	bool single;   /* the payload is one file, named file in it */
	json_t *facts; /* of the snapshot; file points into it */
	char file[NAME_MAX + 1];
	int parent_fd, fresh_fd;
	const char **only; /* borrowed, none below another */
	size_t n_only;
	uint64_t need; /* bytes to write */
};

static void release(struct restore *r)
{
	free(r->parent);
	free(r->only);
	json_decref(r->facts);
	bak_close_fd(&r->fresh_fd);
	bak_close_fd(&r->parent_fd);
}

/* --- where --- */

/* Cuts the last part of an absolute path off. */
static int split(char *path, char live[NAME_MAX + 1], struct bak_error *err)
{
	char *slash = strrchr(path, '/');

	if (!slash || !slash[1] || strlen(slash + 1) > NAME_MAX)
		return bak_error_set(err, BAK_REFUSED,
				     "%s cannot be exchanged for another; restore with --to", path);
	snprintf(live, NAME_MAX + 1, "%s", slash + 1);
	slash[slash == path] = '\0';
	return 0;
}

/* The real place, symlinks followed: what they lead to is exchanged, not they. */
static int find_place(struct restore *r, struct bak_error *err)
{
	char *real = realpath(r->files->path, NULL);

	r->live_is_there = real != NULL;
	if (!real && errno != ENOENT)
		return bak_error_sys(err, errno, "%s", r->files->path);
	r->parent = real ? real : strdup(r->files->path);
	if (!r->parent)
		return bak_error_nomem(err);
	for (size_t len = strlen(r->parent); len > 1 && r->parent[len - 1] == '/';)
		r->parent[--len] = '\0';
	if (split(r->parent, r->live, err) < 0)
		return -1;
	r->parent_fd = open(r->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->parent_fd < 0)
		return bak_error_sys(err, errno, "the folder to restore into, %s", r->parent);
	if (faccessat(r->parent_fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return bak_error_sys(err, errno, "the new tree is made beside the old one, and %s",
				     r->parent);
	return 0;
}

/* A mounted file system cannot change places with a folder. */
static int check_mount(struct restore *r, struct bak_error *err)
{
	struct statx st;

	if (!r->live_is_there)
		return 0;
	if (statx(r->parent_fd, r->live, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) < 0)
		return bak_error_sys(err, errno, "%s", r->files->path);
	if (st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return bak_error_set(err, BAK_REFUSED,
				     "%s is a mount point and cannot be exchanged; restore with "
				     "--to and copy",
				     r->files->path);
	return 0;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *p = text; *p; out++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] && p[3]) {
			*out = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 4;
		} else {
			*out = *p++;
		}
	}
	*out = '\0';
}

/* What is mounted inside would go away with the old tree. */
static int check_mounts_inside(struct restore *r, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *line = NULL, *inside = NULL;
	FILE *file = fopen("/proc/self/mountinfo", "re");
	size_t cap = 0;
	int rc = 0;

	if (!file)
		return 0;
	if (asprintf(&inside, "%s%s%s/", r->parent, r->parent[1] ? "/" : "", r->live) < 0) {
		inside = NULL;
		rc = bak_error_nomem(err);
	}
	while (rc == 0 && getline(&line, &cap, file) > 0) {
		char *save = NULL, *field = strtok_r(line, " ", &save);

		for (int i = 0; field && i < 4; i++)
			field = strtok_r(NULL, " ", &save);
		if (!field)
			continue;
		unescape(field);
		if (strncmp(field, inside, strlen(inside)) == 0)
			rc = bak_error_set(err, BAK_REFUSED,
					   "%s is mounted inside %s and would leave with the old "
					   "tree; unmount it, or restore with --only or --to",
					   field, r->files->path);
	}
	fclose(file);
	return rc;
}

/* --- what --- */

static bool is_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(path, folder, len) == 0 && (path[len] == '/' || !path[len]);
}

/* Paths that lie below others come with them. The whole tree named is no choice at all. */
static int choose_only(struct restore *r, struct bak_error *err)
{
	const struct bak_restore_from *from = r->from;

	r->only = calloc(from->n_only + 1, sizeof *r->only);
	if (!r->only)
		return bak_error_nomem(err);
	for (size_t i = 0; i < from->n_only; i++) {
		const char *path = from->only[i];
		bool covered = false;

		if (!*path || strcmp(path, ".") == 0) {
			r->n_only = 0;
			return 0;
		}
		if (path[0] == '/' || path[strlen(path) - 1] == '/' || strstr(path, "//") ||
		    strncmp(path, "./", 2) == 0 || strstr(path, "/./"))
			return bak_error_set(err, BAK_USAGE,
					     "%s: give the path as it is in the snapshot", path);
		for (size_t j = 0; j < from->n_only; j++)
			covered = covered || (j != i && is_below(path, from->only[j]) &&
					      (j < i || strcmp(path, from->only[j]) != 0));
		if (!covered)
			r->only[r->n_only++] = path;
	}
	if (r->n_only && r->single)
		r->n_only = 0; /* its one file */
	return 0;
}

static int read_facts(struct restore *r, struct bak_error *err)
{
	const struct bak_snapshot *snapshot = r->from->snapshot;
	struct bak_tree tree = {bak_repo_source(r->from->repo), snapshot};
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;

	r->facts = bak_snapshot_facts(snapshot);
	if (!r->facts)
		return bak_error_nomem(err);
	r->single = json_is_true(json_object_get(r->facts, "single"));
	if (!r->single)
		return 0;
	if (snapshot->root.totals.entries != 1 ||
	    bak_folder_at(&tree, &snapshot->root.dir, 1, &found, err) != 1 ||
	    found.entry.inode.type != BAK_TYPE_FILE || found.entry.name_len > NAME_MAX)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot should hold a single file");
	memcpy(r->file, found.entry.name, found.entry.name_len);
	r->file[found.entry.name_len] = '\0';
	return 0;
}

/* The repository may lie in the tree, and is in no snapshot: it would leave with the old tree. */
static int check_repository(struct restore *r, struct bak_error *err)
{
	const char *repo = r->env->repo_path;
	size_t i = 0;

	if (!repo || repo[0] != '/')
		return 0;
	do {
		BAK_AUTO(bak_free_ptr) char *path = NULL;

		if (asprintf(&path, "%s%s%s%s%s", r->parent, r->parent[1] ? "/" : "", r->live,
			     r->n_only ? "/" : "", r->n_only ? r->only[i] : "") < 0) {
			path = NULL;
			return bak_error_nomem(err);
		}
		if (is_below(repo, path))
			return bak_error_set(err, BAK_REFUSED,
					     "the repository lies inside %s and would leave with "
					     "the old tree; restore with --only or --to",
					     path);
	} while (++i < r->n_only);
	return 0;
}

/* --- room --- */

static int need_of_only(struct restore *r, struct bak_error *err)
{
	struct bak_tree tree = {bak_repo_source(r->from->repo), r->from->snapshot};

	r->need = 0;
	for (size_t i = 0; i < r->n_only; i++) {
		BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
		int rc = bak_tree_path(&tree, r->only[i], &found, err);

		if (rc < 0)
			return -1;
		if (rc == 0)
			return bak_error_set(err, BAK_NOT_FOUND, "%s is not in the snapshot",
					     r->only[i]);
		r->need += found.entry.inode.type == BAK_TYPE_DIR ? found.entry.inode.totals.bytes
								  : found.entry.inode.size;
	}
	return 0;
}

static int check_room(struct restore *r, struct bak_error *err)
{
	const struct bak_snapshot *snapshot = r->from->snapshot;
	struct statvfs vfs;

	r->need = snapshot->root.totals.bytes + snapshot->link_bytes;
	if (r->n_only && need_of_only(r, err) < 0)
		return -1;
	if (fstatvfs(r->parent_fd, &vfs) < 0)
		return bak_error_sys(err, errno, "%s", r->parent);
	uint64_t room = (uint64_t)vfs.f_bavail * vfs.f_frsize, need = r->need;
	if (need > room && !r->n_only && bak_payload_allocated(r->from, &need, err) < 0)
		return -1;
	if (need > room)
		return bak_error_set(err, BAK_NO_SPACE,
				     "%s has %llu bytes free, and the new tree beside the old one "
				     "needs %llu",
				     r->parent, (unsigned long long)room, (unsigned long long)need);
	return 0;
}

/* --- unpacking --- */

static int tick(void *ctx, uint64_t bytes)
{
	struct restore *r = ctx;

	if (r->env->progress)
		r->env->progress(r->env->ctx, r->need ? (int)(bytes * 100 / r->need) : -1, bytes);
	return r->env->cancelled && r->env->cancelled(r->env->ctx);
}

static void told(void *ctx, const char *path, uint64_t bytes, const char *why)
{
	struct restore *r = ctx;
	char quoted[300];

	(void)bytes;
	if (why)
		bak_store_warn(r->env, "%s: %s", bak_error_quote(path, quoted, sizeof quoted), why);
}

static int unpack(struct restore *r, struct bak_error *err)
{
	const struct bak_extract_conf conf = {
		.only = r->n_only ? r->only : NULL,
		.n_only = r->n_only,
		.owners = true,
		.sync = true,
		.verify = true,
		.progress = told,
		.tick = tick,
		.progress_ctx = r,
	};
	struct bak_extract_result result;

	if (bak_place_make_fresh(r->parent_fd, r->live, r->fresh, &r->fresh_fd, err) < 0)
		return bak_error_wrap(err, "%s", r->parent);
	if (bak_extract(r->from->repo, r->from->snapshot, r->fresh_fd, &conf, &result, err) < 0)
		return -1;
	if (result.damaged)
		return bak_error_set(err, BAK_CORRUPT,
				     "%llu damaged files in the snapshot; restore --to and --only "
				     "give what is left",
				     (unsigned long long)result.damaged);
	if (result.attributes_lost)
		bak_store_warn(r->env,
			       "%llu owners or attributes could not be set here (being root helps)",
			       (unsigned long long)result.attributes_lost);
	return 0;
}

/* --- the exchange --- */

static int note_state(struct restore *r, json_t *state, struct bak_error *err)
{
	json_t *paths = r->n_only ? json_array() : NULL;

	for (size_t i = 0; i < r->n_only; i++)
		json_array_append_new(paths, json_string(r->only[i]));
	if (json_object_set_new(state, "parent", json_string(r->parent)) < 0 ||
	    json_object_set_new(state, "live", json_string(r->live)) < 0 ||
	    json_object_set_new(state, "kept", json_string(r->kept)) < 0 ||
	    (r->n_only &&
	     (json_array_size(paths) != r->n_only || json_object_set(state, "paths", paths) < 0))) {
		json_decref(paths);
		return bak_error_set(err, BAK_REFUSED,
				     "a path that is not UTF-8 cannot be noted for a rollback; "
				     "restore with --to");
	}
	json_decref(paths);
	return 0;
}

/* The new tree takes the kept name first: so at no moment does the old one bear a name that says
 * "new". */
static int exchange_whole(struct restore *r, struct bak_error *err)
{
	int from_dir = r->single ? r->fresh_fd : r->parent_fd;
	const char *from = r->single ? r->file : r->fresh;
	struct bak_error scratch = BAK_ERROR_INIT;

	if (renameat2(from_dir, from, r->parent_fd, r->kept, RENAME_NOREPLACE) < 0)
		return bak_error_sys(err, errno, "renaming %s to %s", from, r->kept);
	if (bak_place_toggle(r->parent_fd, r->live, r->parent_fd, r->kept, err) == 0)
		return 0;
	bak_place_remove(r->parent_fd, r->kept, &scratch);
	return -1;
}

/* Makes one folder; a new one gets owner and mode of the one at path below from_fd, if that is not
 * -1. */
static int make_folder(int dir_fd, const char *name, int from_fd, const char *path,
		       struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int from = -1;
	const char *from_name;
	struct stat st;

	if (mkdirat(dir_fd, name, 0700) < 0)
		return errno == EEXIST ? 0 : bak_error_sys(err, errno, "making %s", path);
	if (from_fd < 0)
		return 0;
	from = bak_open_parent(from_fd, path, O_PATH, &from_name);
	if (from < 0 || fstatat(from, from_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (geteuid() == 0 &&
	     fchownat(dir_fd, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0) ||
	    fchmodat(dir_fd, name, st.st_mode & 07777, 0) < 0)
		return bak_error_sys(err, errno, "making %s", path);
	return 0;
}

/* Makes the folders on the way to path below to_fd, like those below from_fd. */
static int make_way(int to_fd, int from_fd, const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *way = strdup(path);

	if (!way)
		return bak_error_nomem(err);
	for (char *slash = strchr(way, '/'); slash; slash = strchr(slash + 1, '/')) {
		BAK_AUTO(bak_close_fd) int to = -1;
		const char *name;

		*slash = '\0';
		to = bak_open_parent(to_fd, way, O_PATH, &name);
		if (to < 0)
			return bak_error_sys(err, errno, "%s", way);
		if (make_folder(to, name, from_fd, way, err) < 0)
			return -1;
		*slash = '/';
	}
	return 0;
}

/* Descriptors that can be synced, unlike O_PATH ones. */
static int toggle_path(int live_fd, int kept_fd, const char *path, struct bak_error *err)
{
	const char *live_name, *kept_name;
	BAK_AUTO(bak_close_fd) int live = bak_open_parent(live_fd, path, O_RDONLY, &live_name);
	BAK_AUTO(bak_close_fd) int kept = bak_open_parent(kept_fd, path, O_RDONLY, &kept_name);

	if (live < 0 || kept < 0)
		return bak_error_sys(err, errno, "the folder of %s", path);
	return bak_place_toggle(live, live_name, kept, kept_name, err);
}

static int move_in(int from_fd, int to_fd, const char *path, struct bak_error *err)
{
	const char *from_name, *to_name;
	BAK_AUTO(bak_close_fd) int from = bak_open_parent(from_fd, path, O_PATH, &from_name);
	BAK_AUTO(bak_close_fd) int to = bak_open_parent(to_fd, path, O_PATH, &to_name);

	if (from < 0 || to < 0 || renameat2(from, from_name, to, to_name, RENAME_NOREPLACE) < 0)
		return bak_error_sys(err, errno, "moving %s", path);
	return 0;
}

static int exchange_paths(struct restore *r, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd)
	int live = openat(r->parent_fd, r->live, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	BAK_AUTO(bak_close_fd) int kept = -1;
	struct bak_error scratch = BAK_ERROR_INIT;
	size_t done = 0;

	if (live < 0)
		return bak_error_sys(err, errno, "%s", r->files->path);
	if (mkdirat(r->parent_fd, r->kept, 0700) < 0)
		return bak_error_sys(err, errno, "making %s", r->kept);
	kept = openat(r->parent_fd, r->kept, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (kept < 0)
		return bak_error_sys(err, errno, "%s", r->kept);
	for (; done < r->n_only; done++) {
		const char *path = r->only[done];

		if (make_way(live, r->fresh_fd, path, err) < 0 ||
		    make_way(kept, -1, path, err) < 0 ||
		    move_in(r->fresh_fd, kept, path, err) < 0 ||
		    toggle_path(live, kept, path, err) < 0)
			break;
	}
	if (done == r->n_only)
		return 0;
	while (done > 0) {
		if (toggle_path(live, kept, r->only[--done], &scratch) < 0)
			return bak_error_wrap(err, "%s could not be put back (%s)", r->only[done],
					      scratch.msg);
	}
	bak_place_remove(r->parent_fd, r->kept, &scratch);
	return -1;
}

static int prepare(struct restore *r, struct bak_error *err)
{
	if (read_facts(r, err) < 0 || choose_only(r, err) < 0 || find_place(r, err) < 0 ||
	    check_mount(r, err) < 0 || check_repository(r, err) < 0)
		return -1;
	if (r->n_only == 0 && check_mounts_inside(r, err) < 0)
		return -1;
	return check_room(r, err) < 0 || unpack(r, err) < 0 ||
			       bak_place_kept_name(r->parent_fd, r->live, r->kept, err) < 0
		       ? -1
		       : 0;
}

static int put_in_place(struct restore *r, json_t *state, struct bak_error *err)
{
	if (note_state(r, state, err) < 0 || bak_store_no_return(r->env, err) < 0)
		return -1;
	if ((r->n_only ? exchange_paths(r, err) : exchange_whole(r, err)) < 0)
		return -1;
	if (r->live_is_there)
		bak_store_log(r->env, "what was there is kept as %s/%s; remove it when all is well",
			      r->parent, r->kept);
	return 0;
}

int bak_files_restore(struct bak_files *files, const struct bak_restore_from *from, json_t *state,
		      struct bak_error *err)
{
	struct restore r = {
		.files = files, .env = files->env, .from = from, .parent_fd = -1, .fresh_fd = -1};
	struct bak_error scratch = BAK_ERROR_INIT;
	int rc = prepare(&r, err);

	if (rc == 0)
		rc = put_in_place(&r, state, err);
	if (r.fresh_fd >= 0 && bak_place_remove(r.parent_fd, r.fresh, &scratch) < 0)
		bak_store_warn(files->env, "%s/%s is left over: %s", r.parent, r.fresh,
			       scratch.msg);
	release(&r);
	return rc;
}

/* --- and back --- */

static int roll_back_paths(int parent, const char *live, const char *kept, const json_t *paths,
			   struct bak_error *err)
{
	BAK_AUTO(bak_close_fd)
	int live_fd = openat(parent, live, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	BAK_AUTO(bak_close_fd)
	int kept_fd = openat(parent, kept, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (live_fd < 0 || kept_fd < 0)
		return bak_error_sys(err, errno, "%s", live_fd < 0 ? live : kept);
	for (size_t i = json_array_size(paths); i-- > 0;) {
		const char *path = json_string_value(json_array_get(paths, i));

		if (path && toggle_path(live_fd, kept_fd, path, err) < 0)
			return -1;
	}
	return 0;
}

int bak_files_rollback(struct bak_files *files, const json_t *state, struct bak_error *err)
{
	const char *parent = json_string_value(json_object_get(state, "parent"));
	const char *live = json_string_value(json_object_get(state, "live"));
	const char *kept = json_string_value(json_object_get(state, "kept"));
	const json_t *paths = json_object_get(state, "paths");
	BAK_AUTO(bak_close_fd) int fd = -1;

	(void)files;
	if (!parent || !live || !kept)
		return bak_error_set(err, BAK_CORRUPT, "the rollback's state names no folders");
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return bak_error_sys(err, errno, "%s", parent);
	if (json_is_array(paths))
		return roll_back_paths(fd, live, kept, paths, err);
	return bak_place_toggle(fd, live, fd, kept, err);
}
