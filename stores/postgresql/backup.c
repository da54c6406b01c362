/*
 * Backing a server's databases up: each as a stream of pg_dump, taken inside a snapshot that is
 * exported by a session of our own, in which the rows are counted meanwhile.
 */
#include "stores/postgresql/postgresql.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* So many databases are pinned before the first one is dumped, so that their moments lie close
 * together; each takes a connection until its dump is done. */
#define PINS_MAX 16

/* A database on its way. */
struct db {
	const char *name;
	char *file;
	PGconn *conn; /* holds the snapshot; NULL: not pinned yet, or done */
	char *snapshot;
	json_t *facts;
	struct bak_pg_names only, but; /* tables */
};

struct work {
	struct bak_pg *pg;
	struct bak_writer *writer;
	bool plain, schema_only, partial;
	char *pg_dump, *pg_dumpall;
	int major;
	struct bak_pg_names names;
	struct db *dbs; /* one for each name */
	json_t *counts, *facts;
};

char *bak_pg_file_name(const char *db, const char *suffix)
{
	char *out = malloc(strlen(db) * 3 + strlen(suffix) + 1), *at = out;

	for (const char *p = db; out && *p; p++) {
		unsigned char c = (unsigned char)*p;
		bool escaped = c < ' ' || c == '/' || c == '%' || c == 0x7f ||
			       (p == db && c == '.');

		/* a database named globals, dumped as SQL */
		if (p == db && strcmp(db, "globals") == 0 && strcmp(suffix, ".sql") == 0)
			escaped = true;
		if (escaped)
			at += snprintf(at, 4, "%%%02X", c);
		else
			*at++ = (char)c;
	}
	if (out)
		memcpy(at, suffix, strlen(suffix) + 1);
	return out;
}

/* --- the snapshot of each database --- */

static void unpin(struct db *db)
{
	bak_pg_close(&db->conn);
	free(db->snapshot);
	db->snapshot = NULL;
}

static int choose_tables(struct work *w, struct db *db, struct bak_error *err)
{
	if (bak_pg_tables(w->pg, db->conn, "include_tables", &db->only, err) < 0 ||
	    bak_pg_tables(w->pg, db->conn, "exclude_tables", &db->but, err) < 0)
		return -1;
	if (bak_store_get(w->pg->conf, "include_tables") && !db->only.n)
		return bak_error_set(err, BAK_NOT_FOUND, "include_tables matches no table");
	return 0;
}

static int pin(struct work *w, struct db *db, struct bak_error *err)
{
	struct bak_pg *pg = w->pg;

	if (db->conn)
		return 0;
	if (bak_pg_connect(pg, db->name, &db->conn, err) < 0 ||
	    bak_pg_exec(pg->env, db->conn, err, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") <
		    0)
		return -1;
	db->snapshot = bak_pg_text(pg->env, db->conn, "SELECT pg_export_snapshot()", err);
	if (!db->snapshot)
		return -1;
	db->facts = json_object();
	if (!db->facts)
		return bak_error_nomem(err);
	if (bak_pg_describe(pg, db->conn, db->name, db->facts, err) < 0)
		return -1;
	return choose_tables(w, db, err);
}

/* --- counting, while pg_dump runs --- */

struct counter {
	struct work *work;
	struct db *db;
	pthread_t thread;
	atomic_bool stop, failed;
	json_t *counts;
	int rc;
	struct bak_error err;
};

static void *count_thread(void *ctx)
{
	struct counter *c = ctx;
	const struct bak_pg_count what = {.label = c->db->name,
					  .only = c->db->only.n ? &c->db->only : NULL,
					  .but = c->db->but.n ? &c->db->but : NULL,
					  .rows = !c->work->schema_only,
					  .stop = &c->stop};

	c->rc = bak_pg_count(NULL, c->db->conn, &what, c->counts, &c->err);
	atomic_store(&c->failed, c->rc < 0);
	return NULL;
}

static int begin_count(struct counter *c, struct bak_error *err)
{
	int rc;

	c->counts = json_object();
	if (!c->counts)
		return bak_error_nomem(err);
	rc = pthread_create(&c->thread, NULL, count_thread, c);
	if (rc) {
		json_decref(c->counts);
		return bak_error_sys(err, rc, "starting a thread");
	}
	return 0;
}

/* rc: how the dump went. A count that failed ended the snapshot, and the dump with it: then that is
 * the reason to tell. */
static int end_count(struct counter *c, int rc, struct bak_error *err)
{
	bool reason = atomic_load(&c->failed);

	if (rc < 0) {
		atomic_store(&c->stop, true);
		bak_pg_cancel(c->db->conn);
	}
	pthread_join(c->thread, NULL);
	if (c->rc < 0 && (rc == 0 || (reason && err->code != BAK_CANCELLED))) {
		*err = c->err;
		rc = -1;
	}
	if (rc == 0 && json_object_update(c->work->counts, c->counts) < 0)
		rc = bak_error_nomem(err);
	json_decref(c->counts);
	return rc;
}

/* --- dumping --- */

struct sink {
	struct bak_writer *writer;
	uint64_t bytes;
};

static int take(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct sink *sink = ctx;

	sink->bytes += len;
	return bak_writer_data(sink->writer, p, len, err);
}

/* What a program writes becomes a file of the snapshot. */
static int write_file(struct work *w, const char *name, const struct bak_pg_args *args,
		      const struct bak_pg_target *target, uint64_t *out_bytes,
		      struct bak_error *err)
{
	const struct bak_process_conf conf = {
		.env = w->pg->env, .argv = (const char *const *)args->v, .vars = target->vars};
	struct sink sink = {.writer = w->writer};
	struct bak_source_inode file;

	bak_payload_inode(&file, BAK_TYPE_FILE, 0600);
	if (bak_writer_file(w->writer, name, &file, BAK_HINT_NONE, err) < 0)
		return -1;
	if (bak_process_read(&conf, take, &sink, err) < 0)
		return bak_pg_advise(err);
	*out_bytes = sink.bytes;
	return bak_writer_file_end(w->writer, NULL, err);
}

static int add_names(struct bak_pg_args *args, const char *option, const struct bak_pg_names *names,
		     struct bak_error *err)
{
	for (size_t i = 0; i < names->n; i++) {
		if (bak_pg_args_add(args, err, "%s=%s", option, names->v[i]) < 0)
			return -1;
	}
	return 0;
}

static int dump_args(struct work *w, const struct db *db, const struct bak_pg_target *target,
		     struct bak_pg_args *args, struct bak_error *err)
{
	uint64_t wait = bak_store_get_duration_ms(w->pg->conf, "lock_timeout");

	if (bak_pg_args_add(args, err, "%s", w->pg_dump) < 0 ||
	    bak_pg_args_add(args, err, "--format=%s", w->plain ? "plain" : "custom") < 0 ||
	    bak_pg_args_add(args, err, "--compress=0") < 0 ||
	    bak_pg_args_add(args, err, "--no-password") < 0 ||
	    bak_pg_args_add(args, err, "--snapshot=%s", db->snapshot) < 0 ||
	    bak_pg_args_add(args, err, "--dbname=%s", target->conninfo) < 0)
		return -1;
	if (wait &&
	    bak_pg_args_add(args, err, "--lock-wait-timeout=%llu", (unsigned long long)wait) < 0)
		return -1;
	if (w->schema_only && bak_pg_args_add(args, err, "--schema-only") < 0)
		return -1;
	if (add_names(args, "--table", &db->only, err) < 0)
		return -1;
	return add_names(args, "--exclude-table", &db->but, err);
}

static int run_dump(struct work *w, struct db *db, uint64_t *out_bytes, struct bak_error *err)
{
	BAK_AUTO(bak_pg_args_release) struct bak_pg_args args = {.n = 0};
	BAK_AUTO(bak_pg_target_release) struct bak_pg_target target = {.conninfo = NULL};
	struct counter counter = {.work = w, .db = db, .err = BAK_ERROR_INIT};
	int rc;

	if (bak_pg_target(db->conn, db->name, &target, err) < 0 ||
	    dump_args(w, db, &target, &args, err) < 0 || begin_count(&counter, err) < 0)
		return -1;
	rc = write_file(w, db->file, &args, &target, out_bytes, err);
	return end_count(&counter, rc, err);
}

static int dump(struct work *w, struct db *db, struct bak_error *err)
{
	uint64_t bytes;

	if (pin(w, db, err) < 0 || run_dump(w, db, &bytes, err) < 0)
		return -1;
	unpin(db);
	if (json_object_set_new(db->facts, "file", json_string(db->file)) < 0 ||
	    json_object_set_new(db->facts, "dumped", json_integer((json_int_t)bytes)) < 0)
		return bak_error_nomem(err);
	return 0;
}

/* --- roles and the like --- */

/* Passwords stand in a table that only superusers read. */
static int may_see_passwords(struct work *w, bool *out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr)
	char *answer = bak_pg_text(w->pg->env, w->pg->main,
				   "SELECT has_table_privilege('pg_authid', 'SELECT')", err);

	if (!answer)
		return -1;
	*out = *answer == 't';
	return 0;
}

static int dump_globals(struct work *w, struct bak_error *err)
{
	bool passwords = strcmp(bak_store_get(w->pg->conf, "globals"), "yes") == 0, may = true;
	BAK_AUTO(bak_pg_args_release) struct bak_pg_args args = {.n = 0};
	BAK_AUTO(bak_pg_target_release) struct bak_pg_target target = {.conninfo = NULL};
	uint64_t bytes;

	if (passwords && may_see_passwords(w, &may, err) < 0)
		return -1;
	if (!may)
		bak_store_log(w->pg->env, "roles are saved without their passwords, which only a "
					  "superuser may read");
	if (bak_pg_target(w->pg->main, PQdb(w->pg->main), &target, err) < 0 ||
	    bak_pg_args_add(&args, err, "%s", w->pg_dumpall) < 0 ||
	    bak_pg_args_add(&args, err, "--globals-only") < 0 ||
	    bak_pg_args_add(&args, err, "--no-password") < 0 ||
	    bak_pg_args_add(&args, err, "--dbname=%s", target.conninfo) < 0 ||
	    bak_pg_args_add(&args, err, "--database=%s", PQdb(w->pg->main)) < 0)
		return -1;
	if (!(passwords && may) && bak_pg_args_add(&args, err, "--no-role-passwords") < 0)
		return -1;
	if (write_file(w, BAK_PG_GLOBALS, &args, &target, &bytes, err) < 0)
		return bak_error_wrap(err, "roles");
	return json_object_set_new(
		       w->facts, "globals",
		       json_string(passwords && may ? "with passwords" : "without passwords")) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

/* --- the whole --- */

static void release(struct work *w)
{
	for (size_t i = 0; w->dbs && i < w->names.n; i++) {
		unpin(&w->dbs[i]);
		free(w->dbs[i].file);
		json_decref(w->dbs[i].facts);
		bak_pg_names_release(&w->dbs[i].only);
		bak_pg_names_release(&w->dbs[i].but);
	}
	free(w->dbs);
	bak_pg_names_release(&w->names);
	free(w->pg_dump);
	free(w->pg_dumpall);
	json_decref(w->counts);
}

static int by_file(const void *a, const void *b)
{
	const struct db *x = a, *y = b;

	return bak_name_cmp(x->file, strlen(x->file), y->file, strlen(y->file));
}

static int prepare(struct work *w, struct bak_error *err)
{
	struct bak_pg *pg = w->pg;

	if (bak_pg_databases(pg, &w->names, err) < 0 ||
	    bak_pg_tool(pg, "pg_dump", pg->version, &w->pg_dump, &w->major, err) < 0 ||
	    bak_pg_tool(pg, "pg_dumpall", pg->version, &w->pg_dumpall, &w->major, err) < 0)
		return -1;
	w->dbs = calloc(w->names.n + 1, sizeof *w->dbs);
	if (!w->dbs)
		return bak_error_nomem(err);
	for (size_t i = 0; i < w->names.n; i++) {
		w->dbs[i].name = w->names.v[i];
		w->dbs[i].file = bak_pg_file_name(w->names.v[i], w->plain ? ".sql" : ".dump");
		if (!w->dbs[i].file)
			return bak_error_nomem(err);
	}
	qsort(w->dbs, w->names.n, sizeof *w->dbs, by_file);
	for (size_t i = 0; i < w->names.n && i < PINS_MAX; i++) {
		if (pin(w, &w->dbs[i], err) < 0)
			return w->names.n > 1 ? bak_error_wrap(err, "%s", w->dbs[i].name) : -1;
	}
	return 0;
}

static int write_all(struct work *w, struct bak_error *err)
{
	bool globals = strcmp(bak_store_get(w->pg->conf, "globals"), "no") != 0;
	struct bak_source_inode root;

	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	if (bak_writer_root(w->writer, &root, err) < 0)
		return -1;
	for (size_t i = 0; i < w->names.n; i++) {
		struct db *db = &w->dbs[i];

		if (globals && bak_name_cmp(db->file, strlen(db->file), BAK_PG_GLOBALS,
					    strlen(BAK_PG_GLOBALS)) > 0) {
			if (dump_globals(w, err) < 0)
				return -1;
			globals = false;
		}
		bak_store_log(w->pg->env, "dumping %s", db->name);
		if (dump(w, db, err) < 0)
			return w->names.n > 1 ? bak_error_wrap(err, "%s", db->name) : -1;
	}
	return globals ? dump_globals(w, err) : 0;
}

static int note_facts(struct work *w, struct bak_error *err)
{
	json_t *dbs = json_array();
	int rc = 0;

	for (size_t i = 0; dbs && i < w->names.n; i++)
		rc |= json_array_append(dbs, w->dbs[i].facts);
	rc |= json_object_set_new(w->facts, "databases", dbs);
	rc |= json_object_set(w->facts, "counts", w->counts);
	rc |= json_object_set_new(w->facts, "server",
				  json_string(PQparameterStatus(w->pg->main, "server_version")));
	rc |= json_object_set_new(w->facts, "version", json_integer(w->pg->version));
	rc |= json_object_set_new(w->facts, "tools", json_integer(w->major));
	rc |= json_object_set_new(w->facts, "mode", json_string("logical"));
	rc |= json_object_set_new(w->facts, "format", json_string(w->plain ? "plain" : "custom"));
	rc |= json_object_set_new(w->facts, "all", json_boolean(bak_pg_means_all(w->pg)));
	rc |= json_object_set_new(w->facts, "partial", json_boolean(w->partial));
	rc |= json_object_set_new(w->facts, "schema_only", json_boolean(w->schema_only));
	return rc ? bak_error_nomem(err) : 0;
}

int bak_pg_backup(struct bak_pg *pg, struct bak_writer *writer, json_t *facts,
		  struct bak_error *err)
{
	struct work w = {.pg = pg,
			 .writer = writer,
			 .facts = facts,
			 .plain = strcmp(bak_store_get(pg->conf, "format"), "plain") == 0,
			 .schema_only = bak_store_get_bool(pg->conf, "schema_only"),
			 .counts = json_object()};
	int rc = w.counts ? 0 : bak_error_nomem(err);

	w.partial = w.schema_only || bak_store_get(pg->conf, "include_tables") ||
		    bak_store_get(pg->conf, "exclude_tables");
	if (rc == 0)
		rc = prepare(&w, err);
	if (rc == 0)
		rc = write_all(&w, err);
	if (rc == 0)
		rc = note_facts(&w, err);
	release(&w);
	return rc;
}
