/*
 * Restoring databases: each into a new one beside the live one, filled and validated there, and
 * then all of them exchanged in one step (swap.c). Until then nobody sees anything of it; a
 * failure drops the new ones.
 */
#include "stores/postgresql/postgresql.h"

#include "engine/base/hash.h"
#include "engine/objects/snapshot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#define GLOBALS_MAX (64u << 20)

/* A database on its way back. */
struct target {
	const json_t *facts;       /* the manifest's of it; without file all else may be missing */
	const char *source, *file; /* its name then, and in the snapshot */
	const char *name;          /* what it shall be called */
	bool exists;
	json_t *live; /* properties of what is there, for facts that know none */
	char fresh[BAK_PG_NAME_MAX + 1], kept[BAK_PG_NAME_MAX + 1];
	bool made;     /* fresh is there */
	PGconn *guard; /* in fresh: what nobody is in counts as left over */
	struct bak_found found;
};

struct restore {
	struct bak_pg *pg;
	const struct bak_restore_from *from;
	struct bak_tree tree;
	json_t *facts;
	struct target *targets;
	size_t n;
	bool whole; /* every database of the snapshot, and its roles */
	const char *to_database;
	PGconn *admin;
	struct bak_pg_role_work roles;
	struct bak_pg_names wanted_roles;
	uint64_t bytes, done; /* of the dumps */
	char *loader[2];      /* pg_restore, psql */
};

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* --- what is to be restored --- */

bool bak_pg_is_chosen(const struct bak_restore_from *from, const char *file)
{
	for (size_t i = 0; i < from->n_only; i++) {
		const char *path = from->only[i];

		path += strspn(path, "./");
		if (strncmp(path, file, strlen(file)) == 0 && !path[strlen(file)])
			return true;
	}
	return from->n_only == 0;
}

static int choose_target(struct restore *r, const json_t *facts, struct bak_error *err)
{
	struct target *t = &r->targets[r->n];

	*t = (struct target){.facts = facts,
			     .source = text_of(facts, "name"),
			     .file = text_of(facts, "file"),
			     .found = BAK_FOUND_INIT};
	if (!t->source || !t->file || strlen(t->source) > BAK_PG_NAME_MAX)
		return bak_error_set(err, BAK_CORRUPT, "the manifest names no databases");
	if (!bak_pg_is_chosen(r->from, t->file))
		return 0;
	r->n++;
	t->name = r->to_database ? r->to_database : t->source;
	int rc = bak_tree_path(&r->tree, t->file, &t->found, err);
	if (rc == 0 || (rc == 1 && t->found.entry.inode.type != BAK_TYPE_FILE))
		return bak_error_set(err, BAK_CORRUPT, "the snapshot has no file %s", t->file);
	if (rc == 1)
		r->bytes += t->found.entry.inode.size;
	return rc < 0 ? -1 : 0;
}

static int choose(struct restore *r, struct bak_error *err)
{
	const json_t *dbs, *facts;
	size_t i;

	r->facts = bak_snapshot_facts(r->from->snapshot);
	dbs = json_object_get(r->facts, "databases");
	if (!r->facts)
		return bak_error_nomem(err);
	if (strcmp(text_of(r->facts, "mode") ? text_of(r->facts, "mode") : "", "physical") == 0)
		return bak_error_set(err, BAK_REFUSED,
				     "a physical backup is a data directory: restore it with --to, "
				     "and start a server on it");
	r->targets = calloc(json_array_size(dbs) + 1, sizeof *r->targets);
	if (!r->targets)
		return bak_error_nomem(err);
	json_array_foreach(dbs, i, facts)
	{
		if (choose_target(r, facts, err) < 0)
			return -1;
	}
	r->whole = !r->to_database && r->n == json_array_size(dbs) && r->from->n_only == 0;
	if (!r->n)
		return bak_error_set(err, BAK_NOT_FOUND, "no database of the snapshot is chosen");
	if (r->to_database && (r->n != 1 || strlen(r->to_database) > BAK_PG_NAME_MAX))
		return bak_error_set(err, BAK_USAGE,
				     "--to-database is for one database, its name up to %d bytes: "
				     "choose one with --only",
				     BAK_PG_NAME_MAX);
	return 0;
}

/* --- before anything is done --- */

static int connect_admin(struct restore *r, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) const char **names = calloc(r->n, sizeof *names);

	if (!names)
		return bak_error_nomem(err);
	for (size_t i = 0; i < r->n; i++)
		names[i] = r->targets[i].name;
	return bak_pg_connect_beside(r->pg, names, r->n, &r->admin, err);
}

static int check_target(struct restore *r, struct target *t, struct bak_error *err)
{
	int there = bak_pg_database_exists(r->pg, r->admin, t->name, err);

	if (there < 0)
		return -1;
	t->exists = there;
	if (!there)
		return 0;
	if (r->to_database)
		return bak_error_set(err, BAK_EXISTS, "there is a database %s already", t->name);
	if (json_is_true(json_object_get(r->facts, "partial")))
		return bak_error_set(err, BAK_REFUSED,
				     "the snapshot has only a part of database %s, and would take "
				     "the rest away: restore it with --to-database NAME",
				     t->name);
	t->live = json_object();
	if (!t->live)
		return bak_error_nomem(err);
	if (bak_pg_describe(r->pg, r->admin, t->name, t->live, err) < 0)
		return -1;
	return bak_pg_check_alone(r->pg, r->admin, t->name, err);
}

/* What a dump needs and does not bring. */
static int check_extensions(struct restore *r, const struct target *t, struct bak_error *err)
{
	json_t *extensions = json_object_get(t->facts, "extensions"), *version;
	const char *name;

	json_object_foreach(extensions, name, version)
	{
		const char *params[] = {name};
		BAK_AUTO(bak_pg_clear)
		PGresult *result = bak_pg_query_params(
			r->pg->env, r->admin, "SELECT FROM pg_available_extensions WHERE name = $1",
			params, 1, err);

		if (!result)
			return -1;
		if (!PQntuples(result))
			return bak_error_set(
				err, BAK_REFUSED,
				"database %s needs the extension %s %s, which the "
				"server does not have: install its package there first",
				t->source, name, json_string_value(version));
	}
	return 0;
}

/* Only of a server on this machine, and as far as it tells us. */
static int check_room(struct restore *r, struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	uint64_t need = 0;
	struct statvfs fs;

	if (!PQhost(r->admin) || PQhost(r->admin)[0] != '/')
		return 0;
	BAK_AUTO(bak_free_ptr)
	char *dir = bak_pg_text(r->pg->env, r->admin, "SHOW data_directory", &scratch);
	if (!dir || statvfs(dir, &fs) < 0)
		return bak_store_check_cancelled(r->pg->env, err);
	for (size_t i = 0; i < r->n; i++) {
		json_int_t size = json_integer_value(json_object_get(r->targets[i].facts, "bytes"));

		need += size > 0 ? (uint64_t)size : r->targets[i].found.entry.inode.size;
	}
	uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (need <= room)
		return 0;
	return bak_error_set(err, BAK_NO_SPACE,
			     "%s has %" PRIu64 " bytes free, and the restore needs %" PRIu64
			     " beside what is there",
			     dir, room, need);
}

static bool is_plain(const struct target *t)
{
	size_t len = strlen(t->file);

	return len > 4 && strcmp(t->file + len - 4, ".sql") == 0;
}

static int find_tools(struct restore *r, struct bak_error *err)
{
	static const char *const names[] = {"pg_restore", "psql"};
	json_int_t made_by = json_integer_value(json_object_get(r->facts, "tools"));
	int version = r->pg->version, major;

	if (made_by < 1000 && made_by * 10000 > version)
		version = (int)made_by * 10000;
	for (size_t i = 0; i < r->n; i++) {
		bool plain = is_plain(&r->targets[i]);

		if (!r->loader[plain] &&
		    bak_pg_tool(r->pg, names[plain], version, &r->loader[plain], &major, err) < 0)
			return -1;
	}
	return 0;
}

static int prepare(struct restore *r, struct bak_error *err)
{
	if (choose(r, err) < 0 || connect_admin(r, err) < 0 || find_tools(r, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n; i++) {
		if (check_target(r, &r->targets[i], err) < 0 ||
		    check_extensions(r, &r->targets[i], err) < 0)
			return -1;
	}
	if (check_room(r, err) < 0)
		return -1;
	return bak_pg_drop_leftovers(r->pg, r->admin, err);
}

/* --- roles --- */

static int want_roles(struct restore *r, struct bak_error *err)
{
	for (size_t i = 0; i < r->n; i++) {
		const json_t *roles = json_object_get(r->targets[i].facts, "roles"), *role;
		size_t k;

		json_array_foreach(roles, k, role)
		{
			if (json_string_value(role) &&
			    bak_pg_names_add(&r->wanted_roles, json_string_value(role), err) < 0)
				return -1;
		}
	}
	/* All of a server's databases: then all of its roles. */
	if (!r->whole || !json_is_true(json_object_get(r->facts, "all")))
		r->roles.wanted = &r->wanted_roles;
	return 0;
}

static int read_globals(struct restore *r, struct bak_buf *out, struct bak_error *err)
{
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	int rc = bak_tree_path(&r->tree, BAK_PG_GLOBALS, &found, err);
	BAK_AUTO(bak_payload_reader_release)
	struct bak_payload_reader reader = {
		.env = r->pg->env, .source = r->tree.source, .inode = &found.entry.inode};
	const void *p;
	size_t len;

	if (rc <= 0)
		return rc;
	if (found.entry.inode.type != BAK_TYPE_FILE || found.entry.inode.size > GLOBALS_MAX)
		return bak_error_set(err, BAK_CORRUPT, BAK_PG_GLOBALS " is no list of roles");
	while ((rc = bak_payload_give(&reader, &p, &len, err)) > 0) {
		if (bak_buf_append(out, p, len) < 0)
			return bak_error_nomem(err);
	}
	return rc;
}

static int make_roles(struct restore *r, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sql = BAK_BUF_INIT;

	if (want_roles(r, err) < 0 || read_globals(r, &sql, err) < 0)
		return -1;
	if (!sql.len)
		return 0;
	return bak_pg_make_roles(r->pg, r->admin, (char *)sql.p, sql.len, &r->roles, err);
}

/* --- filling a new database --- */

static int load(struct restore *r, struct target *t, struct bak_error *err)
{
	bool plain = is_plain(t);
	const struct bak_pg_load what = {.repo = r->from->repo,
					 .inode = &t->found.entry.inode,
					 .plain = plain,
					 .tool = r->loader[plain],
					 .conn = t->guard,
					 .db = t->fresh,
					 .before = r->done,
					 .all = r->bytes};

	r->done += t->found.entry.inode.size;
	return bak_pg_load(r->pg, &what, err);
}

static int random_name(struct target *t, struct bak_error *err)
{
	uint8_t bytes[8];
	char hex[17];

	if (bak_random(bytes, sizeof bytes, err) < 0)
		return -1;
	bak_hex(hex, bytes, sizeof bytes);
	snprintf(t->fresh, sizeof t->fresh, BAK_PG_FRESH "%s", hex);
	return 0;
}

/* What the dump's own manifest says of the database, else what the live one is. */
static const json_t *properties(const struct target *t)
{
	return text_of(t->facts, "encoding") || !t->live ? t->facts : t->live;
}

static int fill(struct restore *r, struct target *t, struct bak_error *err)
{
	if (random_name(t, err) < 0 ||
	    bak_pg_create(r->pg, r->admin, t->fresh, properties(t), err) < 0)
		return -1;
	t->made = true;
	bak_store_log(r->pg->env, "restoring %s into %s", t->file, t->fresh);
	if (bak_pg_connect(r->pg, t->fresh, &t->guard, err) < 0 || load(r, t, err) < 0)
		return -1;
	if (bak_pg_exec(r->pg->env, t->guard, err, "ANALYZE") < 0)
		return bak_error_wrap(err, "ANALYZE");
	return bak_pg_validate(r->pg, t->guard, t->facts, r->facts, err);
}

/* --- the exchange --- */

/* "<name>_before_<stamp>", cut to what fits, at a whole character. */
static void kept_name(struct target *t, const char *stamp)
{
	size_t room = BAK_PG_NAME_MAX - strlen("_before_") - strlen(stamp), len = strlen(t->name);

	if (len > room)
		len = room;
	while (len && len < strlen(t->name) && ((unsigned char)t->name[len] & 0xc0) == 0x80)
		len--;
	snprintf(t->kept, sizeof t->kept, "%.*s_before_%s", (int)len, t->name, stamp);
}

/* A name that is free: a restore in the same second takes the next one. */
static int choose_kept(struct restore *r, struct target *t, int64_t when, struct bak_error *err)
{
	int taken = 1;

	for (; taken > 0; when++) {
		char stamp[BAK_STAMP_LEN + 1];

		bak_stamp_format(when, stamp);
		kept_name(t, stamp);
		taken = bak_pg_database_exists(r->pg, r->admin, t->kept, err);
	}
	return taken;
}

static int note_state(struct restore *r, json_t *state, struct bak_error *err)
{
	json_t *list = json_array();
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	int rc = json_object_set_new(state, "databases", list);

	if (r->to_database && json_object_set_new(state, "beside", json_true()) < 0)
		return bak_error_nomem(err);

	for (size_t i = 0; rc == 0 && i < r->n; i++) {
		const struct target *t = &r->targets[i];

		rc = json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "name", t->name,
							   "kept", t->kept, "replaced", t->exists));
		if (rc == 0)
			rc = bak_buf_printf(&text, "%sdatabase %s (now %s)", i ? ", " : "", t->name,
					    t->kept);
	}
	if (rc == 0)
		rc = json_object_set_new(state, "text", json_stringn((char *)text.p, text.len));
	return rc ? bak_error_nomem(err) : 0;
}

static int put_in_place(struct restore *r, json_t *state, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) struct bak_pg_swap *swaps = calloc(r->n, sizeof *swaps);
	int64_t now = time(NULL);

	if (!swaps)
		return bak_error_nomem(err);
	for (size_t i = 0; i < r->n; i++) {
		struct target *t = &r->targets[i];

		if (choose_kept(r, t, now, err) < 0)
			return -1;
		swaps[i] = (struct bak_pg_swap){.live = t->name,
						.kept = t->kept,
						.other = t->fresh,
						.live_is_there = t->exists,
						.other_is_there = true};
		if (bak_pg_apply_properties(r->pg, r->admin, t->fresh, properties(t), err) < 0 ||
		    (t->exists && bak_pg_check_alone(r->pg, r->admin, t->name, err) < 0))
			return -1;
	}
	if (note_state(r, state, err) < 0 || bak_store_no_return(r->pg->env, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n; i++)
		bak_pg_close(&r->targets[i].guard);
	/* ours may be in a database that is renamed */
	bak_pg_close(&r->pg->main);
	if (bak_pg_swap(r->pg, r->admin, swaps, r->n, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n; i++) {
		struct target *t = &r->targets[i];

		t->made = false;
		if (t->exists)
			bak_store_log(r->pg->env, "%s is restored; the old one is %s", t->name,
				      t->kept);
		else
			bak_store_log(r->pg->env, "%s is restored", t->name);
	}
	for (size_t i = 0; i < r->n; i++)
		bak_pg_drop_kept_databases(r->pg, r->admin, r->targets[i].kept);
	return 0;
}

/* --- the whole --- */

static void drop_fresh(struct restore *r, struct target *t)
{
	struct bak_error why = BAK_ERROR_INIT;

	bak_pg_close(&t->guard);
	if (t->made && r->admin &&
	    bak_pg_exec(NULL, r->admin, &why, "DROP DATABASE IF EXISTS %s WITH (FORCE)", t->fresh) <
		    0)
		bak_store_warn(r->pg->env, "database %s is left over, until the next restore: %s", t->fresh, why.msg);
}

static void release(struct restore *r, int rc)
{
	for (size_t i = 0; i < r->n; i++) {
		drop_fresh(r, &r->targets[i]);
		bak_found_release(&r->targets[i].found);
		json_decref(r->targets[i].live);
	}
	if (rc < 0 && r->admin)
		bak_pg_drop_roles(r->pg, r->admin, &r->roles);
	free(r->targets);
	bak_pg_role_work_release(&r->roles);
	bak_pg_names_release(&r->wanted_roles);
	bak_pg_close(&r->admin);
	json_decref(r->facts);
	free(r->loader[0]);
	free(r->loader[1]);
}

int bak_pg_restore(struct bak_pg *pg, const struct bak_restore_from *from, json_t *state,
		   struct bak_error *err)
{
	struct restore r = {.pg = pg,
			    .from = from,
			    .tree = {bak_repo_source(from->repo), from->snapshot},
			    .to_database = bak_restore_wish(from, "to-database", 0)};
	int rc;

	if (bak_pg_is_part(from))
		return bak_pg_restore_part(pg, from, state, err);
	rc = prepare(&r, err);

	if (rc == 0)
		rc = make_roles(&r, err);
	for (size_t i = 0; rc == 0 && i < r.n; i++)
		rc = fill(&r, &r.targets[i], err);
	if (rc == 0)
		rc = put_in_place(&r, state, err);
	/* They were compared before anybody else could write. */
	if (rc == 0 && r.whole) {
		json_decref(pg->restored_counts);
		pg->restored_counts = json_incref(json_object_get(r.facts, "counts"));
	}
	release(&r, rc);
	return rc;
}
