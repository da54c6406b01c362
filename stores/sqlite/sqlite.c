/*
 * The sqlite driver: one SQLite database, while others use it.
 *
 * Consistency: one moment. A read transaction pins it; in WAL mode writers go on meanwhile, in
 * rollback mode they wait for its end.
 */
#include "stores/sqlite/sqlite.h"
#include "stores/checkup.h"
#include "stores/drivers.h"

#include "stores/files/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct bak_store_option sqlite_options[] = {
	{.name = "path", .kind = BAK_OPTION_PATH, .required = true, .help = "the database file"},
	{.name = "busy_timeout",
	 .kind = BAK_OPTION_DURATION,
	 .fallback = "30s",
	 .help = "how long to wait for a lock"},
	{.name = "check",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "yes",
	 .help = "check the database: quickly at a backup, in full before a restore"},
	{.name = NULL},
};

static int sqlite_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
		       void **out_store, struct bak_error *err)
{
	struct bak_sqlite *s = calloc(1, sizeof *s);

	if (!s)
		return bak_error_nomem(err);
	*s = (struct bak_sqlite){
		.conf = conf,
		.env = env,
		.path = bak_store_get(conf, "path"),
		.busy_ms = bak_store_get_duration_ms(conf, "busy_timeout"),
		.check = bak_store_get_bool(conf, "check"),
	};
	*out_store = s;
	return 0;
}

static void sqlite_close_store(void *store)
{
	struct bak_sqlite *s = store;

	if (!s)
		return;
	json_decref(s->restored_counts);
	free(s);
}

static int sqlite_probe(void *store, struct bak_store_probe *out, struct bak_error *err)
{
	struct bak_sqlite *s = store;
	struct stat st;

	*out = (struct bak_store_probe){.bytes = 0};
	snprintf(out->target, sizeof out->target, "%s", s->path);
	snprintf(out->version, sizeof out->version, "SQLite %s", sqlite3_libversion());
	if (stat(s->path, &st) < 0)
		return bak_error_sys(err, errno, "%s", s->path);
	out->bytes = (uint64_t)st.st_size;
	return 0;
}

/* It opens, is a database, and nobody holds it for long. */
static void check_opens(struct bak_sqlite *s, const struct bak_checkup *checkup)
{
	struct bak_error why = BAK_ERROR_INIT;
	sqlite3 *db = NULL;
	int64_t pages;

	if (bak_sqlite_open(s->path, BAK_SQLITE_READ, NULL, &db, &why) == 0 &&
	    bak_sqlite_int(db, s->path, "PRAGMA page_count", &pages, &why) == 0 &&
	    bak_sqlite_int(db, s->path, "SELECT count(*) FROM sqlite_master", &pages, &why) == 0)
		;
	else if (why.code == BAK_BUSY)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "a backup waits for busy_timeout; end what holds the lock", "%s",
				 why.msg);
	else
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "correct the path, or restore the database", "%s", why.msg);
	bak_sqlite_close(&db);
}

static int sqlite_doctor(void *store, const struct bak_checkup *checkup, struct bak_error *err)
{
	struct bak_sqlite *s = store;

	(void)err;
	if (!bak_checkup_readable(checkup, s->path) || checkup->quick)
		return 0;
	check_opens(s, checkup);
	bak_checkup_restorable(checkup, s->path);
	return 0;
}

/* --- has anything changed --- */

/* What tells whether database and WAL are what they were: in the facts of the last backup, compared
 * with now. Null when there is no such file. Times are nanoseconds. The WAL's change time says
 * nothing: SQLite, run by root, sets the owner whenever it opens one. */
static json_t *stat_json(const char *path, bool change_time)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return json_null();
	const struct timespec *last = change_time ? &st.st_ctim : &st.st_mtim;
	return json_pack("{s:I, s:I, s:I}", "ino", (json_int_t)st.st_ino, "size",
			 (json_int_t)st.st_size, "last",
			 (json_int_t)last->tv_sec * 1000000000 + last->tv_nsec);
}

static json_t *source_json(const struct bak_sqlite *s)
{
	BAK_AUTO(bak_free_ptr) char *wal = NULL;

	if (asprintf(&wal, "%s-wal", s->path) < 0) {
		wal = NULL;
		return NULL;
	}
	return json_pack("{s:o, s:o, s:I}", "file", stat_json(s->path, true), "wal",
			 stat_json(wal, false), "looked", (json_int_t)time(NULL));
}

static json_int_t number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* The same by what stat says, and written last before the second in which it was looked at: what
 * came later in that second might not show. */
static bool same_source(const json_t *then, const json_t *now)
{
	static const char *const parts[] = {"file", "wal"};

	for (size_t i = 0; i < 2; i++) {
		const json_t *old = json_object_get(then, parts[i]);

		if (!old || !json_equal(old, json_object_get(now, parts[i])) ||
		    number_of(old, "last") / 1000000000 >= number_of(then, "looked"))
			return false;
	}
	return true;
}

/* 1 taken from the predecessor with all facts, 0 it must be read, -1. */
static int reuse(struct bak_sqlite *s, struct bak_writer *writer, const char *name,
		 const struct bak_source_inode *in, const json_t *source, json_t *facts,
		 struct bak_error *err)
{
	const struct bak_snapshot *previous = bak_writer_previous(writer);
	json_t *old = previous ? bak_snapshot_facts(previous) : NULL;
	int rc = 0;

	if (old && !json_object_get(old, "raw") &&
	    same_source(json_object_get(old, "source"), source))
		rc = bak_writer_reuse(writer, name, in, err);
	if (rc == 1) {
		bak_store_log(s->env, "%s: unchanged", s->path);
		rc = json_object_update(facts, old) < 0 ? bak_error_nomem(err) : 1;
	}
	json_decref(old);
	return rc;
}

/* --- facts --- */

static int add_number(sqlite3 *db, const char *path, const char *name, json_t *facts,
		      struct bak_error *err)
{
	char sql[64];
	int64_t n;

	snprintf(sql, sizeof sql, "PRAGMA %s", name);
	if (bak_sqlite_int(db, path, sql, &n, err) < 0)
		return -1;
	return json_object_set_new(facts, name, json_integer(n)) < 0 ? bak_error_nomem(err) : 0;
}

static int add_text(sqlite3 *db, const char *path, const char *name, json_t *facts,
		    struct bak_error *err)
{
	char sql[64], text[64];

	snprintf(sql, sizeof sql, "PRAGMA %s", name);
	if (bak_sqlite_text(db, path, sql, text, sizeof text, err) < 0)
		return -1;
	return json_object_set_new(facts, name, json_string(text)) < 0 ? bak_error_nomem(err) : 0;
}

static int gather_facts(struct bak_sqlite *s, sqlite3 *db, const char *path, json_t *facts,
			struct bak_error *err)
{
	static const char *const numbers[] = {"page_size", "page_count", "user_version",
					      "application_id", "auto_vacuum"};
	json_t *counts = json_object();

	if (!counts || json_object_set_new(facts, "counts", counts) < 0 ||
	    json_object_set_new(facts, "sqlite", json_string(sqlite3_libversion())) < 0)
		return bak_error_nomem(err);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		if (add_number(db, path, numbers[i], facts, err) < 0)
			return -1;
	}
	if (add_text(db, path, "encoding", facts, err) < 0 ||
	    add_text(db, path, "journal_mode", facts, err) < 0 ||
	    bak_sqlite_counts(s, db, path, counts, err) < 0)
		return -1;
	if (s->check && bak_sqlite_check(s, db, path, true, err) < 0)
		return -1;
	return json_object_set_new(facts, "integrity",
				   json_string(s->check ? "ok" : "not checked")) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

/* --- backup --- */

/* Inode of the payload and of the folder around it. */
static int describe(const char *path, struct bak_source_inode *out, struct bak_writer *writer,
		    struct bak_error *err)
{
	struct bak_source_inode root;
	struct statx st;

	if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	bak_files_inode(&st, out);
	out->nlink = 1;
	root = *out;
	root.inode.type = BAK_TYPE_DIR;
	root.inode.mode = 0755;
	root.inode.size = 0;
	return bak_writer_root(writer, &root, err);
}

static int to_writer(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	return bak_writer_data(ctx, p, len, err);
}

static int stream_to_writer(struct bak_sqlite *s, struct bak_sqlite_source *source,
			    struct bak_writer *writer, const char *name,
			    const struct bak_source_inode *in, struct bak_error *err)
{
	if (bak_writer_file(writer, name, in, BAK_HINT_RANDOM, err) < 0 ||
	    bak_sqlite_stream(s, source, to_writer, writer, err) < 0)
		return -1;
	return bak_writer_file_end(writer, in, err);
}

static int back_up(struct bak_sqlite *s, struct bak_sqlite_source *source,
		   struct bak_writer *writer, json_t *facts, struct bak_error *err)
{
	const char *name = bak_files_base(s->path);
	struct bak_source_inode in;
	int64_t pages, page_len;

	if (bak_sqlite_pin(s, source->db, s->path, err) < 0 ||
	    bak_sqlite_int(source->db, s->path, "PRAGMA page_count", &pages, err) < 0 ||
	    bak_sqlite_int(source->db, s->path, "PRAGMA page_size", &page_len, err) < 0 ||
	    describe(s->path, &in, writer, err) < 0)
		return -1;
	in.inode.size = (uint64_t)pages * (uint64_t)page_len;

	json_t *now = source_json(s);
	if (!now)
		return bak_error_nomem(err);
	int rc = reuse(s, writer, name, &in, now, facts, err);
	if (rc == 0 && (gather_facts(s, source->db, s->path, facts, err) < 0 ||
			stream_to_writer(s, source, writer, name, &in, err) < 0))
		rc = -1;
	if (rc == 0 && json_object_set(facts, "source", now) < 0)
		rc = bak_error_nomem(err);
	json_decref(now);
	return rc < 0 ? -1 : 0;
}

/* --- as it lies there --- */

static int copy_file(struct bak_sqlite *s, const char *path, struct bak_writer *writer,
		     struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(1 << 20);
	struct bak_source_inode in;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : bak_error_sys(err, errno, "%s", path);
	if (!buffer)
		return bak_error_nomem(err);
	if (describe(path, &in, writer, err) < 0 ||
	    bak_writer_file(writer, bak_files_base(path), &in, BAK_HINT_RANDOM, err) < 0)
		return -1;
	while ((n = read(fd, buffer, 1 << 20)) > 0) {
		if (bak_store_check_cancelled(s->env, err) < 0 ||
		    bak_writer_data(writer, buffer, (size_t)n, err) < 0)
			return -1;
	}
	if (n < 0)
		return bak_error_sys(err, errno, "%s", path);
	return bak_writer_file_end(writer, &in, err);
}

/* A database that SQLite cannot read, with its side files: so that a restore over it can be undone.
 */
static int back_up_raw(struct bak_sqlite *s, struct bak_writer *writer, json_t *facts,
		       struct bak_error *err)
{
	static const char *const suffixes[] = {"", "-journal", "-wal"};

	bak_store_log(s->env, "%s; it is saved as it lies there", err->msg);
	*err = (struct bak_error)BAK_ERROR_INIT;
	json_object_clear(facts);
	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		BAK_AUTO(bak_free_ptr) char *path = NULL;

		if (asprintf(&path, "%s%s", s->path, suffixes[i]) < 0) {
			path = NULL;
			return bak_error_nomem(err);
		}
		if (copy_file(s, path, writer, err) < 0)
			return -1;
	}
	return json_object_set_new(facts, "raw", json_true()) < 0 ? bak_error_nomem(err) : 0;
}

static int sqlite_backup(void *store, struct bak_writer *writer, json_t *facts,
			 struct bak_error *err)
{
	struct bak_sqlite *s = store;
	struct bak_sqlite_source source = {.db = NULL};
	int rc;

	if (access(s->path, R_OK) < 0)
		return bak_error_sys(err, errno, "%s", s->path);
	rc = bak_sqlite_source_open(s->path, BAK_SQLITE_READ, &source, err);
	if (rc == 0)
		rc = back_up(s, &source, writer, facts, err);
	bak_sqlite_source_close(&source);
	if (rc < 0 && err->code == BAK_CORRUPT && s->env->raw_ok)
		rc = back_up_raw(s, writer, facts, err);
	return rc;
}

/* --- counts --- */

static int sqlite_counts(void *store, json_t *counts, struct bak_error *err)
{
	struct bak_sqlite *s = store;
	BAK_AUTO(bak_sqlite_close) sqlite3 *db = NULL;

	if (s->restored_counts) {
		int rc = json_object_update(counts, s->restored_counts);

		json_decref(s->restored_counts);
		s->restored_counts = NULL;
		return rc < 0 ? bak_error_nomem(err) : 0;
	}
	if (access(s->path, R_OK) < 0)
		return bak_error_sys(err, errno, "%s", s->path);
	if (bak_sqlite_open(s->path, BAK_SQLITE_READ, NULL, &db, err) < 0 ||
	    bak_sqlite_pin(s, db, s->path, err) < 0)
		return -1;
	return bak_sqlite_counts(s, db, s->path, counts, err);
}

/* --- import --- */

/* The database that an upload is: itself, or the only file of a folder (its manifest may lie beside
 * it in the snapshot's folder, but not in it). *out is the caller's. */
static int find_upload(const char *path, char **out, struct bak_error *err)
{
	struct bak_buf name = BAK_BUF_INIT;
	struct dirent **names = NULL;
	struct stat st;
	int n, files = 0;

	*out = NULL;
	if (stat(path, &st) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (S_ISREG(st.st_mode)) {
		*out = strdup(path);
		return *out ? 0 : bak_error_nomem(err);
	}
	n = scandir(path, &names, NULL, alphasort);
	if (n < 0)
		return bak_error_sys(err, errno, "%s", path);
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.' && files++ == 0)
			bak_buf_printf(&name, "%s/%s", path, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	if (files == 1 && name.p && stat((char *)name.p, &st) == 0 && S_ISREG(st.st_mode)) {
		*out = (char *)name.p;
		return 0;
	}
	bak_buf_release(&name);
	return bak_error_set(err, BAK_REFUSED,
			     "%s: a folder must hold one SQLite database and nothing else", path);
}

/* Another application's database does not belong here; and the mode is the live one's. */
static int compare_live(struct bak_sqlite *s, json_t *facts, struct bak_error *err)
{
	BAK_AUTO(bak_sqlite_close) sqlite3 *db = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;
	int64_t theirs = number_of(facts, "application_id"), ours;
	char mode[16];

	if (access(s->path, F_OK) < 0 ||
	    bak_sqlite_open(s->path, BAK_SQLITE_READ, NULL, &db, &scratch) < 0 ||
	    bak_sqlite_int(db, s->path, "PRAGMA application_id", &ours, &scratch) < 0 ||
	    bak_sqlite_text(db, s->path, "PRAGMA journal_mode", mode, sizeof mode, &scratch) < 0)
		return 0; /* not there, or damaged: nothing to compare with */
	if (json_object_set_new(facts, "journal_mode", json_string(mode)) < 0)
		return bak_error_nomem(err);
	if (!ours || ours == theirs || bak_store_get_bool(s->conf, "accept_foreign"))
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     "this is another application's database (application_id %" PRId64
			     ", and here it is %" PRId64 "); accept_foreign = yes takes it",
			     theirs, ours);
}

static int import_file(struct bak_sqlite *s, const char *path, struct bak_writer *writer,
		       json_t *facts, struct bak_error *err)
{
	struct bak_sqlite_source source = {.db = NULL};
	BAK_AUTO(bak_free_ptr) char *wal = NULL;
	struct bak_source_inode in;
	struct stat st;
	int rc;

	if (asprintf(&wal, "%s-wal", path) < 0) {
		wal = NULL;
		return bak_error_nomem(err);
	}
	/* Without a WAL nobody writes there, and an upload's file system may know no locks. */
	bool alone = stat(wal, &st) < 0 || st.st_size == 0;
	rc = bak_sqlite_source_open(path, alone ? BAK_SQLITE_IMMUTABLE : BAK_SQLITE_READ, &source,
				    err);
	if (rc == 0 &&
	    (bak_sqlite_pin(s, source.db, path, err) < 0 ||
	     bak_sqlite_check(s, source.db, path, false, err) < 0 ||
	     gather_facts(s, source.db, path, facts, err) < 0 || compare_live(s, facts, err) < 0 ||
	     describe(path, &in, writer, err) < 0 ||
	     stream_to_writer(s, &source, writer, bak_files_base(s->path), &in, err) < 0))
		rc = -1;
	bak_sqlite_source_close(&source);
	return rc;
}

static int sqlite_import(void *store, const char *path, struct bak_writer *writer, json_t *facts,
			 struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *file = NULL;

	if (find_upload(path, &file, err) < 0)
		return -1;
	if (import_file(store, file, writer, facts, err) == 0)
		return 0;
	if (err->code == BAK_CORRUPT)
		err->code = BAK_REFUSED;
	return -1;
}

static int sqlite_restore(void *store, const struct bak_restore_from *from, json_t *state,
			  struct bak_error *err)
{
	(void)state;
	return bak_sqlite_restore(store, from, err);
}

const struct bak_store_driver bak_store_sqlite = {
	.name = "sqlite",
	.summary = "a SQLite database, while others use it",
	.features = BAK_STORE_COUNTS | BAK_STORE_ATOMIC,
	.options = sqlite_options,
	.address_option = "path",
	.proof = &bak_sqlite_proof,
	.open = sqlite_open,
	.probe = sqlite_probe,
	.doctor = sqlite_doctor,
	.backup = sqlite_backup,
	.restore = sqlite_restore,
	.counts = sqlite_counts,
	.import = sqlite_import,
	.close = sqlite_close_store,
};
