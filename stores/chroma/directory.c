/*
 * The folder of a server, saved while that runs: its database and the folders of its indexes.
 *
 * What was executed: the server writes rows into the database, and now and then whole indexes into
 * their files, in place; only then it forgets the rows' vectors in the database. So the database
 * must never be newer than the indexes. BEGIN IMMEDIATE keeps the server from writing to the
 * database (it waits, readers go on); then the database is copied first, then the files; and if any
 * of these has changed since the lock was taken, all is done again.
 */
#include "stores/chroma/chroma.h"

#include "engine/objects/tree.h"
#include "stores/files/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* So often all is copied anew when an index was written meanwhile. */
#define TRIES 8

/* One file below the folder of an index. */
struct index_file {
	char *path; /* "<index>/<file>" */
	struct statx st;
	bool known; /* the predecessor has it */
	struct bak_inode saved;
};

struct copy {
	struct bak_chroma *chroma;
	const char *path; /* of the folder */
	char *db_path;
	int fd;
	struct bak_writer *writer;
	json_t *facts;
	sqlite3 *lock;                   /* holds the server off */
	struct bak_sqlite_source source; /* reads beside it */

	/* Sorted as a tree sorts them. */
	struct index_folder {
		char name[40]; /* a UUID */
		bool persisted;
		struct statx st;
		struct index_file *files;
		size_t n, cap;
	} * folders;
	size_t n_folders, cap_folders;
	struct bak_inode db;
	bool db_known;
	struct bak_source_inode db_source;
};

static void release_folders(struct copy *c)
{
	for (size_t i = 0; i < c->n_folders; i++) {
		for (size_t j = 0; j < c->folders[i].n; j++)
			free(c->folders[i].files[j].path);
		free(c->folders[i].files);
	}
	free(c->folders);
	c->folders = NULL;
	c->n_folders = c->cap_folders = 0;
}

/* Ends the lock; for the next try, or at the end. */
static void let_go(struct copy *c)
{
	bak_sqlite_source_close(&c->source);
	bak_sqlite_close(&c->lock);
	release_folders(c);
}

/* --- what there is --- */

static bool is_uuid(const char *text)
{
	return strlen(text) == 36 && strspn(text, "0123456789abcdefABCDEF-") == 36;
}

static int add_folder(struct copy *c, sqlite3_stmt *stmt, struct bak_error *err)
{
	const char *name = (const char *)sqlite3_column_text(stmt, 0);
	struct index_folder *folder;

	if (!name || !is_uuid(name))
		return bak_error_set(err, BAK_CORRUPT, "%s: the name of an index is no UUID",
				     c->db_path);
	if (bak_grow(&c->folders, &c->cap_folders, c->n_folders, sizeof *c->folders) < 0)
		return bak_error_nomem(err);
	folder = &c->folders[c->n_folders++];
	*folder = (struct index_folder){.persisted = sqlite3_column_int(stmt, 1) != 0};
	snprintf(folder->name, sizeof folder->name, "%s", name);
	return 0;
}

static int list_folders(struct copy *c, struct bak_error *err)
{
	static const char sql[] =
		"SELECT s.id, EXISTS (SELECT 1 FROM max_seq_id m WHERE m.segment_id = s.id) FROM "
		"segments s WHERE s.scope = 'VECTOR' ORDER BY s.id";
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(c->source.db, sql, -1, &stmt, NULL), failed = 0;

	while (!failed && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW)
			failed = add_folder(c, stmt, err) < 0;
	}
	if (!failed && rc == SQLITE_ERROR)
		failed = bak_error_set(err, BAK_UNSUPPORTED,
				       "%s is no database of Chroma 0.4 or newer: %s", c->db_path,
				       sqlite3_errmsg(c->source.db)) < 0;
	else if (!failed && rc != SQLITE_DONE)
		failed = bak_sqlite_error(c->source.db, c->db_path, rc, err) < 0;
	sqlite3_finalize(stmt);
	return failed ? -1 : 0;
}

static int look(struct copy *c, const char *path, struct statx *out, struct bak_error *err)
{
	if (statx(c->fd, path, AT_SYMLINK_NOFOLLOW, BAK_FILES_STATX, out) == 0)
		return 0;
	return bak_error_sys(err, errno, "%s/%s", c->path, path);
}

static int add_file(struct copy *c, struct index_folder *folder, const char *name,
		    struct bak_error *err)
{
	struct index_file *file;

	if (bak_grow(&folder->files, &folder->cap, folder->n, sizeof *folder->files) < 0)
		return bak_error_nomem(err);
	file = &folder->files[folder->n];
	*file = (struct index_file){.path = NULL};
	if (asprintf(&file->path, "%s/%s", folder->name, name) < 0) {
		file->path = NULL;
		return bak_error_nomem(err);
	}
	folder->n++;
	if (look(c, file->path, &file->st, err) < 0)
		return -1;
	return S_ISREG(file->st.stx_mode)
		       ? 0
		       : bak_error_set(err, BAK_REFUSED, "%s/%s is not a regular file", c->path,
				       file->path);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return bak_name_cmp((*a)->d_name, strlen((*a)->d_name), (*b)->d_name, strlen((*b)->d_name));
}

static int is_name(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* An index that was never written has no folder yet: its vectors are in the database. */
static int list_files(struct copy *c, struct index_folder *folder, struct bak_error *err)
{
	struct dirent **names = NULL;
	int n, rc = 0;

	/* Before its names are read: what comes or goes after that shows in its times. */
	if (look(c, folder->name, &folder->st, err) < 0 && err->code != BAK_NOT_FOUND)
		return -1;
	n = scandirat(c->fd, folder->name, &names, is_name, by_name);
	if (n < 0 && errno == ENOENT) {
		*err = (struct bak_error)BAK_ERROR_INIT;
		if (folder->persisted)
			bak_store_warn(c->chroma->env,
				       "%s/%s is gone: it is the index of a collection, whose "
				       "vectors are lost",
				       c->path, folder->name);
		return 0;
	}
	if (n < 0)
		return bak_error_sys(err, errno, "%s/%s", c->path, folder->name);
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = add_file(c, folder, names[i]->d_name, err);
		free(names[i]);
	}
	free(names);
	return rc;
}

/* Folders without files are none. */
static int survey(struct copy *c, struct bak_error *err)
{
	size_t kept = 0;

	if (list_folders(c, err) < 0)
		return -1;
	for (size_t i = 0; i < c->n_folders; i++) {
		if (list_files(c, &c->folders[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < c->n_folders; i++) {
		if (c->folders[i].n)
			c->folders[kept++] = c->folders[i];
	}
	c->n_folders = kept;
	return 0;
}

/* --- copying --- */

static int to_writer(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	return bak_writer_data(ctx, p, len, err);
}

/* In rollback mode all of it is in the one file, and that one's times tell of changes. */
static int copy_db(struct copy *c, struct bak_error *err)
{
	int64_t pages, page_len;
	struct statx st;
	char mode[16];

	if (bak_sqlite_int(c->source.db, c->db_path, "PRAGMA page_count", &pages, err) < 0 ||
	    bak_sqlite_int(c->source.db, c->db_path, "PRAGMA page_size", &page_len, err) < 0 ||
	    bak_sqlite_text(c->source.db, c->db_path, "PRAGMA journal_mode", mode, sizeof mode,
			    err) < 0 ||
	    look(c, BAK_CHROMA_DB, &st, err) < 0)
		return -1;
	json_object_set_new(c->facts, "journal_mode", json_string(mode));
	bak_files_inode(&st, &c->db_source);
	c->db_source.nlink = 1;
	c->db_source.inode.size = (uint64_t)pages * (uint64_t)page_len;
	int known = strcmp(mode, "wal") == 0
			    ? 0
			    : bak_writer_would_reuse(c->writer, BAK_CHROMA_DB, &c->db_source, err);
	c->db_known = known == 1;
	if (known != 0)
		return known < 0 ? -1 : 0;
	if (bak_writer_loose(c->writer, BAK_CHROMA_DB, &c->db_source, BAK_HINT_RANDOM, err) < 0 ||
	    bak_sqlite_stream(&c->chroma->sqlite, &c->source, to_writer, c->writer, err) < 0)
		return -1;
	return bak_writer_loose_end(c->writer, &c->db, err);
}

static int copy_file(struct copy *c, struct index_file *file, uint8_t *buffer,
		     struct bak_error *err)
{
	const struct bak_files_reader reader = {c->chroma->env, c->writer, buffer};
	BAK_AUTO(bak_close_fd) int fd = -1;
	struct bak_source_inode in;
	uint64_t done;
	int rc;

	bak_files_inode(&file->st, &in);
	in.nlink = 1;
	rc = bak_writer_would_reuse(c->writer, file->path, &in, err);
	file->known = rc == 1;
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	fd = openat(c->fd, file->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return bak_error_sys(err, errno, "%s/%s", c->path, file->path);
	if (bak_writer_loose(c->writer, file->path, &in, BAK_HINT_NONE, err) < 0)
		return -1;
	rc = bak_files_read(&reader, fd, &file->st, &done, err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return bak_error_sys(err, errno, "reading %s/%s", c->path, file->path);
	return bak_writer_loose_end(c->writer, &file->saved, err);
}

static int copy_files(struct copy *c, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(BAK_FILES_READ_LEN);

	if (!buffer)
		return bak_error_nomem(err);
	for (size_t i = 0; i < c->n_folders; i++) {
		for (size_t j = 0; j < c->folders[i].n; j++) {
			if (copy_file(c, &c->folders[i].files[j], buffer, err) < 0)
				return -1;
		}
	}
	return 0;
}

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same(const struct statx *a, const struct statx *b)
{
	return a->stx_ino == b->stx_ino && a->stx_size == b->stx_size &&
	       same_time(&a->stx_mtime, &b->stx_mtime) && same_time(&a->stx_ctime, &b->stx_ctime);
}

/* Whether the files are still what they were when the lock was taken. A folder's own times tell of
 * files that came or went. */
static bool is_unchanged(struct copy *c)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	struct statx now;

	for (size_t i = 0; i < c->n_folders; i++) {
		struct index_folder *folder = &c->folders[i];

		if (look(c, folder->name, &now, &scratch) < 0 || !same(&folder->st, &now))
			return false;
		for (size_t j = 0; j < folder->n; j++) {
			if (look(c, folder->files[j].path, &now, &scratch) < 0 ||
			    !same(&folder->files[j].st, &now))
				return false;
		}
	}
	return true;
}

/* --- the tree --- */

static int reuse(struct copy *c, const char *name, const struct bak_source_inode *in,
		 struct bak_error *err)
{
	int rc = bak_writer_reuse(c->writer, name, in, err);

	return rc == 0  ? bak_error_set(err, BAK_BUG, "%s: was known, and is no more", name)
	       : rc < 0 ? -1
			: 0;
}

static int place_folder(struct copy *c, struct index_folder *folder, struct bak_error *err)
{
	struct bak_source_inode in;

	bak_files_inode(&folder->st, &in);
	if (bak_writer_enter(c->writer, folder->name, &in, err) < 0)
		return -1;
	for (size_t i = 0; i < folder->n; i++) {
		struct index_file *file = &folder->files[i];
		const char *name = strchr(file->path, '/') + 1;

		bak_files_inode(&file->st, &in);
		in.nlink = 1;
		if ((file->known ? reuse(c, name, &in, err)
				 : bak_writer_place(c->writer, name, &file->saved, err)) < 0)
			return -1;
	}
	return bak_writer_leave(c->writer, err);
}

static int place(struct copy *c, struct bak_error *err)
{
	const size_t len = strlen(BAK_CHROMA_DB);
	struct bak_source_inode root;
	bool placed = false;
	struct statx st;

	if (look(c, ".", &st, err) < 0)
		return -1;
	bak_files_inode(&st, &root);
	if (bak_writer_root(c->writer, &root, err) < 0)
		return -1;
	for (size_t i = 0; i <= c->n_folders; i++) {
		const char *name = i < c->n_folders ? c->folders[i].name : NULL;

		if (!placed &&
		    (!name || bak_name_cmp(BAK_CHROMA_DB, len, name, strlen(name)) < 0)) {
			placed = true;
			if ((c->db_known
				     ? reuse(c, BAK_CHROMA_DB, &c->db_source, err)
				     : bak_writer_place(c->writer, BAK_CHROMA_DB, &c->db, err)) < 0)
				return -1;
		}
		if (name && place_folder(c, &c->folders[i], err) < 0)
			return -1;
	}
	return 0;
}

/* --- facts --- */

int bak_chroma_directory_counts(struct bak_chroma *chroma, sqlite3 *db, const char *db_path,
				json_t *counts, struct bak_error *err)
{
	static const char sql[] =
		"SELECT d.tenant_id || '/' || d.name || '/' || c.name, (SELECT count(*) FROM "
		"embeddings e WHERE e.segment_id = s.id) FROM collections c JOIN databases d ON "
		"d.id = c.database_id JOIN segments s ON s.collection = c.id AND s.scope = "
		"'METADATA'";
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), failed = 0;

	while (!failed && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		const char *name = (const char *)sqlite3_column_text(stmt, 0);
		failed = bak_store_check_cancelled(chroma->env, err) < 0;
		if (!failed && json_object_set_new(counts, name ? name : "",
						   json_integer(sqlite3_column_int64(stmt, 1))) < 0)
			failed = bak_error_set(err, BAK_CORRUPT,
					       "%s: the name of a collection is not UTF-8",
					       db_path) < 0;
	}
	if (!failed && rc != SQLITE_DONE)
		failed = bak_sqlite_error(db, db_path, rc, err) < 0;
	sqlite3_finalize(stmt);
	return failed ? -1 : 0;
}

static int add_facts(struct copy *c, int64_t began, struct bak_error *err)
{
	json_t *counts = json_object();
	int64_t migration;
	int rc = counts && json_object_set(c->facts, "counts", counts) == 0 ? 0
									    : bak_error_nomem(err);

	if (rc == 0)
		rc = bak_chroma_directory_counts(c->chroma, c->source.db, c->db_path, counts, err);
	if (rc == 0)
		rc = bak_sqlite_int(c->source.db, c->db_path,
				    "SELECT coalesce(sum(version), 0) FROM migrations", &migration,
				    err);
	json_decref(counts);
	if (rc < 0)
		return -1;
	json_t *more = json_pack("{s:s, s:I, s:I, s:I, s:I}", "mode", "directory", "migrations",
				 (json_int_t)migration, "indexes", (json_int_t)c->n_folders,
				 "began", (json_int_t)began, "ended", (json_int_t)time(NULL));
	rc = more && json_object_update(c->facts, more) == 0 ? 0 : bak_error_nomem(err);
	json_decref(more);
	return rc;
}

/* --- the whole --- */

int bak_chroma_directory_open(const char *path, int *out_fd, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (fstatat(fd, BAK_CHROMA_DB, &st, 0) < 0) {
		if (errno != ENOENT)
			return bak_error_sys(err, errno, "%s/%s", path, BAK_CHROMA_DB);
		return bak_error_set(err, BAK_NOT_FOUND,
				     "%s holds no Chroma data: there is no %s in it", path,
				     BAK_CHROMA_DB);
	}
	if (faccessat(fd, BAK_CHROMA_DB, R_OK, AT_EACCESS) < 0)
		return bak_error_sys(err, errno, "%s/%s cannot be read: run as its owner (user %u)",
				     path, BAK_CHROMA_DB, (unsigned)st.st_uid);
	*out_fd = fd;
	fd = -1;
	return 0;
}

/* locked: a server may run on it. */
static int take_lock(struct copy *c, bool locked, struct bak_error *err)
{
	const struct bak_sqlite *s = &c->chroma->sqlite;

	if (locked && faccessat(c->fd, BAK_CHROMA_DB, W_OK, AT_EACCESS) < 0)
		return bak_error_sys(err, errno,
				     "%s: the server is held off by a lock, which takes the right "
				     "to write: run as its owner",
				     c->db_path);
	if (locked && (bak_sqlite_open(c->db_path, BAK_SQLITE_WRITE, NULL, &c->lock, err) < 0 ||
		       bak_sqlite_exec(s, c->lock, c->db_path, "BEGIN IMMEDIATE", err) < 0))
		return -1;
	if (bak_sqlite_source_open(c->db_path, locked ? BAK_SQLITE_READ : BAK_SQLITE_IMMUTABLE,
				   &c->source, err) < 0)
		return -1;
	return bak_sqlite_pin(s, c->source.db, c->db_path, err);
}

/* 1 saved, 0 an index was written meanwhile, -1. */
static int try_copy(struct copy *c, bool locked, struct bak_error *err)
{
	if (take_lock(c, locked, err) < 0 || survey(c, err) < 0 || copy_db(c, err) < 0 ||
	    copy_files(c, err) < 0)
		return -1;
	return is_unchanged(c);
}

static int copy_folder(struct copy *c, bool locked, struct bak_error *err)
{
	int64_t began = 0;
	int rc = 0;

	if (bak_chroma_directory_open(c->path, &c->fd, err) < 0)
		return -1;
	for (int i = 0; i < TRIES && rc == 0; i++) {
		if (i > 0)
			bak_store_log(c->chroma->env,
				      "an index was written while it was copied, it is copied "
				      "again");
		let_go(c);
		began = time(NULL);
		rc = try_copy(c, locked, err);
	}
	if (rc == 0)
		return bak_error_set(err, BAK_BUSY,
				     "%s: indexes were written each of the %d times that they were "
				     "copied; back up when less is written",
				     c->path, TRIES);
	if (rc < 0)
		return -1;
	return add_facts(c, began, err) < 0 || place(c, err) < 0 ? -1 : 0;
}

static int copy_path(struct bak_chroma *chroma, const char *path, bool locked,
		     struct bak_writer *writer, json_t *facts, struct bak_error *err)
{
	struct copy c = {
		.chroma = chroma, .path = path, .fd = -1, .writer = writer, .facts = facts};
	int rc;

	if (asprintf(&c.db_path, "%s/%s", path, BAK_CHROMA_DB) < 0)
		return bak_error_nomem(err);
	rc = copy_folder(&c, locked, err);
	let_go(&c);
	bak_close_fd(&c.fd);
	free(c.db_path);
	return rc;
}

int bak_chroma_directory_backup(struct bak_chroma *chroma, struct bak_writer *writer, json_t *facts,
				struct bak_error *err)
{
	return copy_path(chroma, chroma->path, true, writer, facts, err);
}

/* Nobody works on an upload: no lock, but it must be sound. A journal or WAL beside it would say
 * that it was copied from under a server. */
static int check_upload(struct bak_chroma *chroma, const char *path, struct bak_error *err)
{
	static const char *const suffixes[] = {"-journal", "-wal"};
	BAK_AUTO(bak_sqlite_close) sqlite3 *db = NULL;
	BAK_AUTO(bak_free_ptr) char *db_path = NULL;
	struct stat st;

	if (asprintf(&db_path, "%s/%s", path, BAK_CHROMA_DB) < 0) {
		db_path = NULL;
		return bak_error_nomem(err);
	}
	if (stat(path, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (!S_ISDIR(st.st_mode) || stat(db_path, &st) < 0)
		return bak_error_set(err, BAK_REFUSED,
				     "%s holds no Chroma data: there is no %s in it", path,
				     BAK_CHROMA_DB);
	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		BAK_AUTO(bak_free_ptr) char *side = NULL;

		if (asprintf(&side, "%s%s", db_path, suffixes[i]) < 0) {
			side = NULL;
			return bak_error_nomem(err);
		}
		if (stat(side, &st) == 0 && st.st_size > 0)
			return bak_error_set(err, BAK_REFUSED,
					     "%s lies beside it: that copy was made while a server "
					     "was writing",
					     side);
	}
	if (bak_sqlite_open(db_path, BAK_SQLITE_IMMUTABLE, NULL, &db, err) < 0)
		return -1;
	return bak_sqlite_check(&chroma->sqlite, db, db_path, false, err);
}

int bak_chroma_directory_import(struct bak_chroma *chroma, const char *path,
				struct bak_writer *writer, json_t *facts, struct bak_error *err)
{
	if (check_upload(chroma, path, err) == 0 &&
	    copy_path(chroma, path, false, writer, facts, err) == 0)
		return 0;
	if (err->code == BAK_CORRUPT || err->code == BAK_NOT_FOUND || err->code == BAK_UNSUPPORTED)
		err->code = BAK_REFUSED;
	return -1;
}
