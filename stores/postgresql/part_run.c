/* Tables and schemas of a dump on their way into the live database, and back: see part.c. */
#include "stores/postgresql/dump.h"
#include "stores/postgresql/part.h"

#include "engine/objects/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* --- pg_restore --- */

/* The ids of all entries with the flag, as pg_restore -L reads them. */
static int make_list(const struct bak_pg_part *p, uint8_t flag, int *out_fd, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = memfd_create("bakfs-list", MFD_CLOEXEC);

	if (fd < 0)
		return bak_error_sys(err, errno, "memfd_create");
	for (size_t i = 0; i < p->toc.n; i++) {
		if ((p->flags[i] & flag) && dprintf(fd, "%" PRId64 ";\n", p->toc.v[i].id) < 0)
			return bak_error_sys(err, errno, "a list of what is restored");
	}
	*out_fd = fd;
	fd = -1;
	return 0;
}

/* Definitions stand in the first bytes of the dump, and it need not read more. */
struct input {
	struct bak_payload_reader reader;
	uint64_t most;
};

static int give(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err)
{
	struct input *in = ctx;

	return in->reader.at >= in->most ? 0 : bak_payload_give(&in->reader, out_p, out_len, err);
}

struct output {
	bak_process_take *take;
	void *ctx;
	bool failed;
};

static int take(void *ctx, const void *piece, size_t len, struct bak_error *err)
{
	struct output *out = ctx;

	out->failed = out->take(out->ctx, piece, len, err) < 0;
	return out->failed ? -1 : 0;
}

/* What it prints of those entries, in one section ("pre-data", "data", "post-data"), goes to take. */
static int print(const struct bak_pg_part *p, uint8_t flag, const char *section,
		 bak_process_take *to, void *ctx, struct bak_error *err)
{
	BAK_AUTO(bak_pg_args_release) struct bak_pg_args args = {.n = 0};
	BAK_AUTO(bak_close_fd) int list = -1;
	static const char *const vars[] = {"LC_ALL=C.UTF-8", NULL};
	struct output out = {.take = to, .ctx = ctx};
	struct input in = {.reader = bak_pg_part_reader(p),
			   .most = strcmp(section, "data") == 0 ? UINT64_MAX : p->toc.len};

	if (make_list(p, flag, &list, err) < 0 || bak_pg_args_add(&args, err, "%s", p->tool) < 0 ||
	    bak_pg_args_add(&args, err, "--section=%s", section) < 0 ||
	    bak_pg_args_add(&args, err, "--use-list=/proc/self/fd/3") < 0 ||
	    bak_pg_args_add(&args, err, "--file=-") < 0)
		return -1;
	const struct bak_process_conf conf = {.env = p->pg->env,
					      .argv = (const char *const *)args.v,
					      .vars = vars,
					      .file = list,
					      .take = take,
					      .take_ctx = &out,
					      .may_stop = true};
	int rc = bak_process_write(&conf, give, &in, err);
	bak_payload_reader_release(&in.reader);
	if (rc < 0 && !out.failed && err->code != BAK_CORRUPT)
		return bak_pg_advise(err);
	return rc;
}

/* --- definitions --- */

static int take_sql(void *ctx, const void *piece, size_t len, struct bak_error *err)
{
	return bak_buf_append(ctx, piece, len) < 0 ? bak_error_nomem(err) : 0;
}

/* Two lines of it are meant for psql: they become comments. */
static void drop_fence(struct bak_buf *sql)
{
	struct bak_pg_sql walk = {.at = 0};
	uint8_t *p = sql->p, *end = p ? p + sql->len : p;

	while (p < end) {
		uint8_t *newline = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((newline ? newline + 1 : end) - p);

		bak_pg_sql_feed(&walk, p, len);
		if (walk.command_at != UINT64_MAX && len > 2)
			memcpy(p, "--", 2);
		p += len;
	}
}

static bool has_flag(const struct bak_pg_part *p, uint8_t flag)
{
	for (size_t i = 0; i < p->toc.n; i++) {
		if (p->flags[i] & flag)
			return true;
	}
	return false;
}

/* Under their own names, as pg_restore does it: with owners, grants, comments. */
static int define(const struct bak_pg_part *p, const char *section, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;

	if (!has_flag(p, BAK_PG_MAKE))
		return 0;
	if (print(p, BAK_PG_MAKE, section, take_sql, &sql, err) < 0)
		return -1;
	drop_fence(&sql);
	if (bak_buf_append(&sql, "", 1) < 0)
		return bak_error_nomem(err);
	return bak_pg_exec(p->pg->env, p->conn, err, "%s", (char *)sql.p);
}

/* In another schema. One statement at a time can be in no way more than one. */
static int define_moved(const struct bak_pg_part *p, const char *kinds, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;

	for (size_t i = 0; i < p->toc.n; i++) {
		int rc;

		if (!(p->flags[i] & BAK_PG_MAKE) || !bak_pg_is_kind(&p->toc.v[i], kinds))
			continue;
		rc = bak_pg_moved(p->conn, &p->toc.v[i], p->to_schema, &sql, err);
		if (rc < 0 || (rc > 0 && bak_pg_exec(p->pg->env, p->conn, err, "%s",
						     (const char *)sql.p) < 0))
			return rc < 0 ? -1
				      : bak_error_wrap(err, "%s.%s", p->toc.v[i].schema,
						       p->toc.v[i].tag);
	}
	return 0;
}

/* --- rows --- */

static int copy_rows(const struct bak_pg_part *p, struct bak_error *err)
{
	struct bak_pg_copy copy = {.pg = p->pg, .conn = p->conn, .to_schema = p->to_schema};

	if (!has_flag(p, BAK_PG_ROWS))
		return 0;
	int rc = print(p, BAK_PG_ROWS, "data", bak_pg_copy_take, &copy, err);
	return bak_pg_copy_end(&copy, rc, err);
}

/* As many as the manifest says, if it says it. */
static int check_count(const struct bak_pg_part *p, const struct bak_pg_entry *e,
		       struct bak_error *err)
{
	const char *schema = p->to_schema ? p->to_schema : e->schema,
		   *params[] = {e->schema, e->tag};
	struct bak_pg_tables one = {.n = 0};
	BAK_AUTO(bak_buf_release) struct bak_buf key = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;
	BAK_AUTO(bak_pg_clear)
	PGresult *name = bak_pg_query_params(
		p->pg->env, p->conn, "SELECT format('%I.%I', $1::text, $2::text)", params, 2, err);

	if (!name)
		return -1;
	if (bak_buf_printf(&key, "%s: %s", p->name, PQgetvalue(name, 0, 0)) < 0 ||
	    bak_buf_append(&key, "", 1) < 0)
		return bak_error_nomem(err);
	const json_t *want = json_object_get(json_object_get(p->facts, "counts"), (char *)key.p);
	if (!want)
		return 0;
	int rc = bak_pg_tables_add(&one, p->conn, schema, e->tag, err);
	if (rc == 0 && (bak_buf_printf(&sql, "SELECT count(*) FROM ONLY %s", one.v[0].sql) < 0 ||
			bak_buf_append(&sql, "", 1) < 0))
		rc = bak_error_nomem(err);
	BAK_AUTO(bak_free_ptr)
	char *n = rc == 0 ? bak_pg_text(p->pg->env, p->conn, (char *)sql.p, err) : NULL;
	bak_pg_tables_release(&one);
	if (!n)
		return -1;
	if (strtoll(n, NULL, 10) != json_integer_value(want))
		return bak_error_set(err, BAK_CORRUPT,
				     "%s has %s rows now, and had %" JSON_INTEGER_FORMAT
				     " in the snapshot",
				     PQgetvalue(name, 0, 0), n, json_integer_value(want));
	return 0;
}

static int check_counts(const struct bak_pg_part *p, struct bak_error *err)
{
	for (size_t i = 0; i < p->toc.n; i++) {
		if ((p->flags[i] & BAK_PG_ROWS) && bak_pg_is_kind(&p->toc.v[i], "TABLE DATA") &&
		    check_count(p, &p->toc.v[i], err) < 0)
			return -1;
	}
	return 0;
}

static int analyze(const struct bak_pg_part *p, const struct bak_pg_tables *tables,
		   struct bak_error *err)
{
	for (size_t i = 0; i < tables->n; i++) {
		if (bak_pg_exec(p->pg->env, p->conn, err, "ANALYZE %s", tables->v[i].sql) < 0)
			return -1;
	}
	return 0;
}

/* --- what stood there --- */

static int choose_kept(struct bak_pg_part *p, struct bak_error *err)
{
	static const char sql[] = "SELECT FROM pg_namespace WHERE nspname = $1";
	int taken = 1;

	for (int64_t when = time(NULL); taken > 0; when++) {
		char stamp[BAK_STAMP_LEN + 1];
		const char *params[] = {p->kept};

		bak_stamp_format(when, stamp);
		/* in small letters, so that nobody has to quote it */
		for (char *c = stamp; *c; c++)
			*c = *c == 'T' ? 't' : *c == 'Z' ? 'z' : *c;
		snprintf(p->kept, sizeof p->kept, BAK_PG_KEPT "%s", stamp);
		BAK_AUTO(bak_pg_clear)
		PGresult *result = bak_pg_query_params(p->pg->env, p->conn, sql, params, 1, err);
		taken = result ? PQntuples(result) : -1;
	}
	return taken;
}

/* Two tables of one name, in two schemas, need another one. */
static int kept_name(const struct bak_pg_tables *tables, size_t i, char out[BAK_PG_NAME_MAX + 1])
{
	bool taken = false;

	for (size_t k = 0; k < i; k++)
		taken = taken || strcmp(tables->v[k].name, tables->v[i].name) == 0;
	return taken ? snprintf(out, BAK_PG_NAME_MAX + 1, "%zu_%.50s", i, tables->v[i].name)
		     : snprintf(out, BAK_PG_NAME_MAX + 1, "%s", tables->v[i].name);
}

static int note(json_t *list, const struct bak_pg_table *t, const char *kept)
{
	return json_array_append_new(list, json_pack("{s:s, s:s, s:s?}", "schema", t->schema,
						     "name", t->name, "kept", kept));
}

static int keep_all(struct bak_pg_part *p, json_t *list, struct bak_error *err)
{
	char name[BAK_PG_NAME_MAX + 1];

	if (choose_kept(p, err) < 0)
		return -1;
	if (p->filled.n &&
	    bak_pg_exec(p->pg->env, p->conn, err, "CREATE SCHEMA \"%s\"", p->kept) < 0)
		return -1;
	for (size_t i = 0; i < p->filled.n; i++) {
		const struct bak_pg_table *t = &p->filled.v[i];

		if (bak_pg_table_is_within(&p->filled, t))
			continue;
		kept_name(&p->filled, i, name);
		if (bak_pg_rows_keep(p->pg->env, p->conn, t, p->kept, name, err) < 0)
			return -1;
		if (note(list, t, name) < 0)
			return bak_error_nomem(err);
	}
	for (size_t i = 0; i < p->made.n; i++) {
		if (note(list, &p->made.v[i], NULL) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

static int note_state(const struct bak_pg_part *p, json_t *state, json_t *list,
		      struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	const json_t *t;
	size_t i;
	int rc = bak_buf_printf(&text, "table%s ", json_array_size(list) > 1 ? "s" : "");

	json_array_foreach(list, i, t)
	{
		if (i < 3 && rc == 0)
			rc = bak_buf_printf(&text, "%s%s.%s", i ? ", " : "",
					    json_string_value(json_object_get(t, "schema")),
					    json_string_value(json_object_get(t, "name")));
	}
	rc |= bak_buf_printf(&text, "%s of database %s (now in schema %s)", i > 3 ? ", ..." : "",
			     p->name, p->kept);
	rc |= json_object_set(state, "tables", list);
	rc |= json_object_set_new(state, "database", json_string(p->name));
	rc |= json_object_set_new(state, "kept_schema", json_string(p->kept));
	rc |= json_object_set_new(state, "text", json_stringn((char *)text.p, text.len));
	return rc ? bak_error_nomem(err) : 0;
}

/* --- the transaction --- */

static int begin(struct bak_pg *pg, PGconn *conn, struct bak_error *err)
{
	uint64_t wait = bak_store_get_duration_ms(pg->conf, "lock_timeout");

	return bak_pg_exec(pg->env, conn, err, "BEGIN; SET LOCAL lock_timeout = %" PRIu64,
			   wait < INT32_MAX ? wait : 0);
}

static int run_in_place(struct bak_pg_part *p, json_t *list, struct bak_error *err)
{
	struct bak_pg_names later = {.n = 0};
	int rc = bak_pg_rows_begin(p->pg->env, p->conn, &p->filled, &later, err);

	if (rc == 0)
		rc = keep_all(p, list, err);
	if (rc == 0)
		rc = bak_pg_rows_empty(p->pg->env, p->conn, &p->filled, err);
	if (rc == 0)
		rc = define(p, "pre-data", err);
	if (rc == 0)
		rc = copy_rows(p, err);
	if (rc == 0)
		rc = define(p, "post-data", err);
	if (rc == 0)
		rc = bak_pg_rows_sequences(p->pg->env, p->conn, &p->filled, err);
	if (rc == 0)
		rc = bak_pg_rows_end(p->pg->env, p->conn, &later, err);
	bak_pg_names_release(&later);
	return rc == 0 ? analyze(p, &p->filled, err) : -1;
}

static int run_beside(struct bak_pg_part *p, struct bak_error *err)
{
	BAK_AUTO(bak_pg_free) char *schema = bak_pg_ident(p->conn, p->to_schema);

	if (!schema)
		return bak_error_nomem(err);
	if (bak_pg_exec(p->pg->env, p->conn, err, "CREATE SCHEMA %s", schema) < 0 ||
	    define_moved(p, "TABLE", err) < 0 || define_moved(p, "TABLE ATTACH", err) < 0 ||
	    copy_rows(p, err) < 0)
		return -1;
	return define_moved(p, "CONSTRAINT|INDEX|INDEX ATTACH", err);
}

static void tell(const struct bak_pg_part *p, const json_t *list)
{
	const struct bak_store_env *env = p->pg->env;
	size_t n = p->to_schema ? p->made.n : json_array_size(list);
	const char *s = n == 1 ? "" : "s";

	if (p->to_schema)
		bak_store_log(env, "%zu table%s made in schema %s of database %s", n, s,
			      p->to_schema, p->name);
	else
		bak_store_log(env, "%zu table%s of database %s restored; old rows are in schema %s",
			      n, s, p->name, p->kept);
}

int bak_pg_part_run(struct bak_pg_part *p, json_t *state, struct bak_error *err)
{
	json_t *list = json_array();
	int rc = list ? begin(p->pg, p->conn, err) : bak_error_nomem(err);

	if (rc == 0)
		rc = p->to_schema ? run_beside(p, err) : run_in_place(p, list, err);
	if (rc == 0)
		rc = analyze(p, &p->made, err);
	if (rc == 0)
		rc = check_counts(p, err);
	if (rc == 0 && p->to_schema && json_object_set_new(state, "beside", json_true()) < 0)
		rc = bak_error_nomem(err);
	if (rc == 0 && !p->to_schema)
		rc = note_state(p, state, list, err);
	if (rc == 0)
		rc = bak_store_no_return(p->pg->env, err);
	if (rc == 0)
		rc = bak_pg_exec(NULL, p->conn, err, "COMMIT");
	/* without it the server ends the transaction with the connection, and changes nothing */
	if (rc == 0)
		tell(p, list);
	if (rc == 0 && !p->to_schema)
		bak_pg_drop_kept_schemas(p->pg, p->conn);
	json_decref(list);
	return rc;
}

/* --- undoing --- */

/* One that was made goes into the schema of what is kept, or comes back from there. */
static int toggle_made(struct bak_pg *pg, PGconn *conn, struct bak_pg_table *t, const char *kept,
		       struct bak_error *err)
{
	struct bak_pg_tables other = {.n = 0};
	BAK_AUTO(bak_pg_free) char *schema = bak_pg_ident(conn, t->schema);
	BAK_AUTO(bak_pg_free) char *away = bak_pg_ident(conn, kept);
	int rc = schema && away ? 0 : bak_error_nomem(err);

	if (rc == 0 && t->kind) {
		rc = bak_pg_exec(pg->env, conn, err,
				 "CREATE SCHEMA IF NOT EXISTS %s; ALTER TABLE %s SET SCHEMA %s",
				 away, t->sql, away);
	} else if (rc == 0) {
		rc = bak_pg_tables_add(&other, conn, kept, t->name, err);
		if (rc == 0)
			rc = bak_pg_exec(pg->env, conn, err, "ALTER TABLE %s SET SCHEMA %s",
					 other.v[0].sql, schema);
	}
	bak_pg_tables_release(&other);
	return rc;
}

static int find_tables(struct bak_pg *pg, PGconn *conn, const json_t *list, bool kept,
		       struct bak_pg_tables *out, struct bak_error *err)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		const char *schema = json_string_value(json_object_get(entry, "schema"));
		const char *name = json_string_value(json_object_get(entry, "name"));
		int there;

		if (json_is_string(json_object_get(entry, "kept")) != kept)
			continue;
		if (!schema || !name)
			return bak_error_set(err, BAK_CORRUPT,
					     "the record of the last restore names no tables");
		if (bak_pg_tables_add(out, conn, schema, name, err) < 0)
			return -1;
		there = bak_pg_table_look(pg->env, conn, &out->v[out->n - 1], err);
		if (there < 0)
			return -1;
		if (kept && !strchr("rp", there ? out->v[out->n - 1].kind : 'x'))
			return bak_error_set(
				err, BAK_NOT_FOUND,
				"table %s is not there any more, so nothing can be put "
				"back into it",
				out->v[out->n - 1].sql);
	}
	return 0;
}

static int exchange_all(struct bak_pg *pg, PGconn *conn, const struct bak_pg_tables *tables,
			const json_t *list, const char *kept, struct bak_error *err)
{
	const json_t *entry;
	size_t i, t = 0;

	json_array_foreach(list, i, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "kept"));

		if (name &&
		    bak_pg_rows_exchange(pg->env, conn, &tables->v[t++], kept, name, err) < 0)
			return -1;
	}
	return 0;
}

static int undo(struct bak_pg *pg, PGconn *conn, const json_t *list, const char *kept,
		struct bak_error *err)
{
	struct bak_pg_tables filled = {.n = 0}, made = {.n = 0};
	struct bak_pg_names later = {.n = 0};
	int rc = find_tables(pg, conn, list, true, &filled, err);

	if (rc == 0)
		rc = find_tables(pg, conn, list, false, &made, err);
	if (rc == 0)
		rc = bak_pg_rows_begin(pg->env, conn, &filled, &later, err);
	if (rc == 0)
		rc = exchange_all(pg, conn, &filled, list, kept, err);
	for (size_t i = 0; rc == 0 && i < made.n; i++)
		rc = toggle_made(pg, conn, &made.v[i], kept, err);
	if (rc == 0)
		rc = bak_pg_rows_sequences(pg->env, conn, &filled, err);
	if (rc == 0)
		rc = bak_pg_rows_end(pg->env, conn, &later, err);
	bak_pg_names_release(&later);
	bak_pg_tables_release(&filled);
	bak_pg_tables_release(&made);
	return rc;
}

int bak_pg_rollback_part(struct bak_pg *pg, const json_t *state, struct bak_error *err)
{
	const char *db = json_string_value(json_object_get(state, "database"));
	const char *kept = json_string_value(json_object_get(state, "kept_schema"));
	BAK_AUTO(bak_pg_close) PGconn *conn = NULL;

	if (!db || !kept)
		return bak_error_set(err, BAK_CORRUPT,
				     "the record of the last restore names no database");
	if (bak_pg_connect(pg, db, &conn, err) < 0 || begin(pg, conn, err) < 0 ||
	    undo(pg, conn, json_object_get(state, "tables"), kept, err) < 0)
		return -1;
	return bak_pg_exec(NULL, conn, err, "COMMIT");
}
