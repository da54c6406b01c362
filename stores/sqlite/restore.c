/*
 * A database put in the place of another: in one transaction of the live file where SQLite can open
 * that, so that those who use it just see new content; else, when it is missing or damaged, as a
 * new file, and then nobody may have the old one open.
 */
#include "stores/sqlite/sqlite.h"

#include "stores/files/files.h"
#include "stores/place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

struct restore {
	struct bak_sqlite *s;
	const struct bak_restore_from *from;
	json_t *facts;
	bool raw;
	char *live;   /* real path */
	char *folder; /* of it */
	int folder_fd;
	char fresh[NAME_MAX + 1]; /* the folder that is unpacked into */
	int fresh_fd;
	char name[NAME_MAX + 1]; /* of the database in it */
	char *copy;              /* its path */
	struct stat live_st;
	bool live_is_there;
};

static void release(struct restore *r)
{
	json_decref(r->facts);
	free(r->live);
	free(r->folder);
	free(r->copy);
	bak_close_fd(&r->fresh_fd);
	bak_close_fd(&r->folder_fd);
}

/* --- the copy beside the live file --- */

static int find_place(struct restore *r, struct bak_error *err)
{
	r->live = realpath(r->s->path, NULL);
	r->live_is_there = r->live != NULL;
	if (!r->live && errno != ENOENT)
		return bak_error_sys(err, errno, "%s", r->s->path);
	if (!r->live)
		r->live = strdup(r->s->path);
	r->folder = r->live ? strdup(r->live) : NULL;
	if (!r->folder)
		return bak_error_nomem(err);
	*strrchr(r->folder, '/') = '\0';
	r->folder_fd = open(*r->folder ? r->folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->folder_fd < 0)
		return bak_error_sys(err, errno, "the folder to restore into, %s", r->folder);
	if (r->live_is_there && stat(r->live, &r->live_st) < 0)
		return bak_error_sys(err, errno, "%s", r->live);
	if (r->live_is_there && !S_ISREG(r->live_st.st_mode))
		return bak_error_set(err, BAK_REFUSED, "%s is not a regular file", r->live);
	return 0;
}

static int check_room(struct restore *r, struct bak_error *err)
{
	uint64_t need = r->from->snapshot->root.totals.bytes;
	struct statvfs vfs;

	if (fstatvfs(r->folder_fd, &vfs) < 0)
		return bak_error_sys(err, errno, "%s", r->folder);
	/* The copy, and the journal or WAL of the transaction that replaces the live pages. */
	if (r->live_is_there)
		need += r->from->snapshot->root.totals.bytes;
	uint64_t room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	if (need > room)
		return bak_error_set(err, BAK_NO_SPACE,
				     "%s has %llu bytes free, and the restore needs %llu",
				     r->folder, (unsigned long long)room, (unsigned long long)need);
	return 0;
}

/* The payload's database: its only file, or for a raw one the file without "-wal" or "-journal". */
static int find_payload(struct restore *r, struct bak_error *err)
{
	const struct bak_snapshot *snapshot = r->from->snapshot;
	struct bak_tree tree = {bak_repo_source(r->from->repo), snapshot};
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	uint64_t entries = snapshot->root.totals.entries;

	r->facts = bak_snapshot_facts(snapshot);
	if (!r->facts)
		return bak_error_nomem(err);
	r->raw = json_is_true(json_object_get(r->facts, "raw"));
	/* Sorted by name, the database comes first. */
	if (entries == 0 || (!r->raw && entries != 1) ||
	    bak_folder_at(&tree, &snapshot->root.dir, 1, &found, err) != 1 ||
	    found.entry.inode.type != BAK_TYPE_FILE || found.entry.name_len > NAME_MAX)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot should hold one database");
	memcpy(r->name, found.entry.name, found.entry.name_len);
	r->name[found.entry.name_len] = '\0';
	return 0;
}

static int tick(void *ctx, uint64_t bytes)
{
	struct restore *r = ctx;
	const struct bak_store_env *env = r->s->env;
	uint64_t all = r->from->snapshot->root.totals.bytes;

	/* The second half is putting it in place. */
	if (env->progress)
		env->progress(env->ctx, all ? (int)(bytes * 50 / all) : -1, bytes);
	return env->cancelled && env->cancelled(env->ctx);
}

static int unpack(struct restore *r, struct bak_error *err)
{
	const struct bak_extract_conf conf = {
		.verify = true, .sync = true, .tick = tick, .progress_ctx = r};
	struct bak_extract_result result;

	if (bak_place_make_fresh(r->folder_fd, bak_files_base(r->live), r->fresh, &r->fresh_fd,
				 err) < 0)
		return bak_error_wrap(err, "%s", r->folder);
	if (bak_extract(r->from->repo, r->from->snapshot, r->fresh_fd, &conf, &result, err) < 0)
		return -1;
	if (result.damaged)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot is damaged: %s cannot be read",
				     r->name);
	if (asprintf(&r->copy, "%s/%s/%s", r->folder, r->fresh, r->name) < 0) {
		r->copy = NULL;
		return bak_error_nomem(err);
	}
	/* Not for strangers' eyes while it is worked on; set right at the end. */
	if (fchmod(r->fresh_fd, 0700) < 0 || chmod(r->copy, 0600) < 0)
		return bak_error_sys(err, errno, "%s", r->copy);
	return 0;
}

static int check_counts(struct restore *r, const json_t *have, struct bak_error *err)
{
	const json_t *want = json_object_get(r->facts, "counts");

	if (!want || json_equal(want, have))
		return 0;
	return bak_error_set(err, BAK_CORRUPT,
			     "the copy has other numbers of rows than the manifest says");
}

static int check_copy(struct restore *r, struct bak_error *err)
{
	BAK_AUTO(bak_sqlite_close) sqlite3 *db = NULL;
	json_t *counts;
	int rc;

	if (bak_sqlite_open(r->copy, BAK_SQLITE_IMMUTABLE, NULL, &db, err) < 0 ||
	    (r->s->check && bak_sqlite_check(r->s, db, r->copy, false, err) < 0))
		return -1;
	counts = json_object();
	rc = counts ? bak_sqlite_counts(r->s, db, r->copy, counts, err) : bak_error_nomem(err);
	if (rc == 0)
		rc = check_counts(r, counts, err);
	json_decref(counts);
	return rc;
}

/* --- as a new file --- */

/* "-wal" and the others of path, all at once gone, or all renamed. */
static const char *const side_suffixes[] = {"-wal", "-shm", "-journal"};
#define N_SIDES (sizeof side_suffixes / sizeof *side_suffixes)

static int check_alone(struct restore *r, const char *why, struct bak_error *err)
{
	char holders[256];

	for (size_t i = 0; i <= N_SIDES; i++) {
		BAK_AUTO(bak_free_ptr) char *path = NULL;

		if (asprintf(&path, "%s%s", r->live, i ? side_suffixes[i - 1] : "") < 0) {
			path = NULL;
			return bak_error_nomem(err);
		}
		if (bak_open_holders(path, holders, sizeof holders))
			return bak_error_set(err, BAK_BUSY,
					     "%s %s, so it must be replaced by a new file, and "
					     "%s has it open: stop that first",
					     r->live, why, holders);
	}
	return 0;
}

/* Owner and mode of what it replaces, else of what was saved. */
static int set_owner(struct restore *r, const char *path, struct bak_error *err)
{
	struct bak_tree tree = {bak_repo_source(r->from->repo), r->from->snapshot};
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	uid_t uid = r->live_st.st_uid;
	gid_t gid = r->live_st.st_gid;
	mode_t mode = r->live_st.st_mode & 07777;

	if (!r->live_is_there) {
		if (bak_tree_path(&tree, r->name, &found, err) != 1)
			return -1;
		uid = found.entry.inode.uid;
		gid = found.entry.inode.gid;
		mode = found.entry.inode.mode & 0777;
	}
	if (chown(path, uid, gid) < 0 && geteuid() == 0)
		return bak_error_sys(err, errno, "setting the owner of %s", path);
	if (chmod(path, mode) < 0)
		return bak_error_sys(err, errno, "setting the mode of %s", path);
	return 0;
}

static int set_wal_mode(struct restore *r, struct bak_error *err)
{
	const char *mode = json_string_value(json_object_get(r->facts, "journal_mode"));
	BAK_AUTO(bak_sqlite_close) sqlite3 *db = NULL;

	if (!mode || strcmp(mode, "wal") != 0)
		return 0;
	if (bak_sqlite_open(r->copy, BAK_SQLITE_WRITE, NULL, &db, err) < 0)
		return -1;
	return bak_sqlite_exec(r->s, db, r->copy, "PRAGMA journal_mode = WAL", err);
}

static int sync_file(const char *path, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return bak_error_sys(err, errno, "%s", path);
	return 0;
}

/* One file of the copy to the live name, with suffix. It need not be there. */
static int move_side(struct restore *r, const char *suffix, struct bak_error *err)
{
	char from[NAME_MAX + 32], to[NAME_MAX + 32];

	snprintf(from, sizeof from, "%s%s", r->name, suffix);
	snprintf(to, sizeof to, "%s%s", bak_files_base(r->live), suffix);
	if (renameat(r->fresh_fd, from, r->folder_fd, to) < 0 && (errno != ENOENT || !*suffix))
		return bak_error_sys(err, errno, "renaming %s", to);
	return 0;
}

/* Side files of the old database go before the new one comes: they would be taken for its own. */
static int replace_file(struct restore *r, struct bak_error *err)
{
	for (size_t i = 0; i < N_SIDES; i++) {
		char name[NAME_MAX + 32];

		snprintf(name, sizeof name, "%s%s", bak_files_base(r->live), side_suffixes[i]);
		if (unlinkat(r->folder_fd, name, 0) < 0 && errno != ENOENT)
			return bak_error_sys(err, errno, "removing %s", name);
	}
	if (move_side(r, "", err) < 0)
		return -1;
	if (r->raw && (move_side(r, "-wal", err) < 0 || move_side(r, "-journal", err) < 0))
		return -1;
	if (fsync(r->folder_fd) < 0)
		return bak_error_sys(err, errno, "%s", r->folder);
	return 0;
}

static int offline(struct restore *r, const char *why, struct bak_error *err)
{
	if (r->live_is_there && check_alone(r, why, err) < 0)
		return -1;
	if (!r->raw && set_wal_mode(r, err) < 0)
		return -1;
	if (set_owner(r, r->copy, err) < 0 || sync_file(r->copy, err) < 0 ||
	    replace_file(r, err) < 0)
		return -1;
	bak_store_log(r->s->env, "%s: put in place as a new file", r->live);
	return 0;
}

/* --- in the live file --- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* All pages in one transaction of the live database. SQLite's code, SQLITE_DONE when it is done. */
static int copy_over(struct restore *r, sqlite3 *live, sqlite3 *copy)
{
	const struct bak_store_env *env = r->s->env;
	int64_t until = now_ms() + (int64_t)r->s->busy_ms;
	sqlite3_backup *backup = sqlite3_backup_init(live, "main", copy, "main");
	int rc, end;

	if (!backup)
		return sqlite3_errcode(live);
	do {
		rc = sqlite3_backup_step(backup, 4096);
		int all = sqlite3_backup_pagecount(backup);
		if (env->progress && all)
			env->progress(env->ctx,
				      100 - (int)(50LL * sqlite3_backup_remaining(backup) / all),
				      r->from->snapshot->root.totals.bytes);
	} while (rc == SQLITE_OK || (((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED) &&
				     now_ms() < until));
	end = sqlite3_backup_finish(backup);
	return rc == SQLITE_DONE && end != SQLITE_OK ? end : rc;
}

/* What the manifest says, unless it is so already or somebody keeps us from it. */
static void put_mode_back(struct restore *r, sqlite3 *live)
{
	const char *want = json_string_value(json_object_get(r->facts, "journal_mode"));
	struct bak_error scratch = BAK_ERROR_INIT;
	char have[16], sql[64];

	if (!want || (strcmp(want, "wal") != 0 && strcmp(want, "delete") != 0) ||
	    bak_sqlite_text(live, r->live, "PRAGMA journal_mode", have, sizeof have, &scratch) <
		    0 ||
	    strcmp(want, have) == 0)
		return;
	snprintf(sql, sizeof sql, "PRAGMA journal_mode = %s", want);
	if (bak_sqlite_text(live, r->live, sql, have, sizeof have, &scratch) < 0 ||
	    strcmp(want, have) != 0)
		bak_store_warn(r->s->env, "%s: the journal mode stays %s, not %s as it was saved",
			       r->live, have, want);
}

/* Taken at once, by the connection that wrote: a moment later others may have written more. Where
 * that fails, counts() asks again. */
static void count_restored(struct restore *r, sqlite3 *live)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	json_t *counts = json_object();

	json_decref(r->s->restored_counts);
	r->s->restored_counts = NULL;
	if (counts && bak_sqlite_counts(r->s, live, r->live, counts, &scratch) == 0)
		r->s->restored_counts = counts;
	else
		json_decref(counts);
}

/* A WAL database takes no pages of another size; in rollback mode it does. */
static int leave_wal(struct restore *r, sqlite3 *live, struct bak_error *err)
{
	char mode[16];

	if (bak_sqlite_exec(r->s, live, r->live, "PRAGMA journal_mode = DELETE", err) < 0)
		return -1;
	return bak_sqlite_text(live, r->live, "PRAGMA journal_mode", mode, sizeof mode, err);
}

/* 0 done; 1 the live file is no database that could be written; -1. */
static int online(struct restore *r, struct bak_error *err)
{
	BAK_AUTO(bak_sqlite_close) sqlite3 *live = NULL;
	BAK_AUTO(bak_sqlite_close) sqlite3 *copy = NULL;
	int rc;

	if (bak_sqlite_open(r->copy, BAK_SQLITE_READ, NULL, &copy, err) < 0 ||
	    bak_sqlite_open(r->live, BAK_SQLITE_WRITE, NULL, &live, err) < 0)
		return -1;
	rc = copy_over(r, live, copy);
	if ((rc & 0xff) == SQLITE_READONLY && access(r->live, W_OK) == 0) {
		if (leave_wal(r, live, err) < 0)
			return -1;
		rc = copy_over(r, live, copy);
	}
	if ((rc & 0xff) == SQLITE_NOTADB || (rc & 0xff) == SQLITE_CORRUPT)
		return 1;
	if (rc != SQLITE_DONE)
		return bak_sqlite_error(live, r->live, rc, err);
	count_restored(r, live);
	put_mode_back(r, live);
	return 0;
}

/* --- the whole --- */

static int prepare(struct restore *r, struct bak_error *err)
{
	if (find_payload(r, err) < 0 || find_place(r, err) < 0 || check_room(r, err) < 0 ||
	    unpack(r, err) < 0)
		return -1;
	return r->raw ? 0 : check_copy(r, err);
}

static int put_in_place(struct restore *r, struct bak_error *err)
{
	int rc;

	if (bak_store_no_return(r->s->env, err) < 0)
		return -1;
	if (!r->live_is_there)
		return offline(r, "is not there", err);
	if (r->raw)
		return offline(r, "was saved as it lay there", err);
	rc = online(r, err);
	return rc > 0 ? offline(r, "is damaged", err) : rc;
}

int bak_sqlite_restore(struct bak_sqlite *s, const struct bak_restore_from *from,
		       struct bak_error *err)
{
	struct restore r = {.s = s, .from = from, .folder_fd = -1, .fresh_fd = -1};
	struct bak_error scratch = BAK_ERROR_INIT;
	int rc = prepare(&r, err);

	if (rc == 0)
		rc = put_in_place(&r, err);
	if (r.fresh_fd >= 0 && bak_place_remove(r.folder_fd, r.fresh, &scratch) < 0)
		bak_store_warn(s->env, "%s/%s is left over: %s", r.folder, r.fresh, scratch.msg);
	release(&r);
	return rc;
}
