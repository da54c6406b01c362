/*
 * One table or schema of a dump, into the live database, in one transaction: either it is all there
 * at the end, with as many rows as the manifest says, or nothing has changed.
 *
 * In place, a table that is there keeps its definition, and gets the rows of the dump instead of its
 * own, which stay in a schema of their own for a rollback (rows.c); one that is missing is made as
 * it was. Beside, under --to-schema, new tables are made (side.c), and nothing else is touched.
 */
#include "stores/postgresql/part.h"

#include "engine/objects/snapshot.h"
#include "engine/ops/repo.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

bool bak_pg_is_part(const struct bak_restore_from *from)
{
	return bak_restore_wish(from, "table", 0) || bak_restore_wish(from, "schema", 0) ||
	       bak_restore_wish(from, "to-schema", 0);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* --- where it is --- */

static int choose_database(struct bak_pg_part *p, struct bak_error *err)
{
	const json_t *entry;
	size_t i, n = 0;

	p->facts = bak_snapshot_facts(p->from->snapshot);
	if (!p->facts)
		return bak_error_nomem(err);
	if (strcmp(text_of(p->facts, "mode"), "physical") == 0)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "a physical backup has no tables that could be taken out: "
				     "start a server on it, and dump them there");
	json_array_foreach(json_object_get(p->facts, "databases"), i, entry)
	{
		if (!bak_pg_is_chosen(p->from, text_of(entry, "file")))
			continue;
		p->db = entry;
		n++;
	}
	if (n != 1)
		return bak_error_set(err, BAK_USAGE,
				     "--table and --schema are for one database of the snapshot, "
				     "which has %zu: choose one with --only",
				     n);
	p->name = text_of(p->db, "name");
	const char *file = text_of(p->db, "file"), *dot = strrchr(file, '.');
	if (dot && strcmp(dot, ".sql") == 0)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "%s is SQL, which is restored as a whole: format = custom "
				     "makes dumps of which parts can be restored",
				     file);
	struct bak_tree tree = {bak_repo_source(p->from->repo), p->from->snapshot};
	int rc = bak_tree_path(&tree, file, &p->found, err);
	if (rc == 0 || (rc == 1 && p->found.entry.inode.type != BAK_TYPE_FILE))
		return bak_error_set(err, BAK_CORRUPT, "the snapshot has no file %s", file);
	return rc < 0 ? -1 : 0;
}

struct bak_payload_reader bak_pg_part_reader(const struct bak_pg_part *p)
{
	return (struct bak_payload_reader){.env = p->pg->env,
					   .source = bak_repo_source(p->from->repo),
					   .inode = &p->found.entry.inode};
}

static int check_wishes(struct bak_pg_part *p, struct bak_error *err)
{
	if (!bak_restore_wish(p->from, "table", 0) && !bak_restore_wish(p->from, "schema", 0))
		return bak_error_set(err, BAK_USAGE, "--to-schema needs --table or --schema");
	if (bak_restore_wish(p->from, "to-database", 0))
		return bak_error_set(err, BAK_USAGE,
				     "--to-database restores a whole database: give it without "
				     "--table and --schema, or use --to-schema");
	if (p->to_schema && (!*p->to_schema || strlen(p->to_schema) > BAK_PG_NAME_MAX))
		return bak_error_set(err, BAK_USAGE, "--to-schema is a name of up to %d bytes",
				     BAK_PG_NAME_MAX);
	return 0;
}

static int open_part(struct bak_pg_part *p, struct bak_error *err)
{
	json_int_t made_by;
	int version, major;

	if (check_wishes(p, err) < 0 || choose_database(p, err) < 0 ||
	    bak_pg_connect(p->pg, p->name, &p->conn, err) < 0)
		return -1;
	made_by = json_integer_value(json_object_get(p->facts, "tools"));
	version = p->pg->version;
	if (made_by < 1000 && made_by * 10000 > version)
		version = (int)made_by * 10000;
	if (bak_pg_tool(p->pg, "pg_restore", version, &p->tool, &major, err) < 0)
		return -1;
	struct bak_payload_reader reader = bak_pg_part_reader(p);
	int rc = bak_pg_toc_read(bak_payload_give, &reader, &p->toc, err);
	bak_payload_reader_release(&reader);
	p->flags = rc == 0 ? calloc(p->toc.n + 1, 1) : NULL;
	return rc < 0 ? -1 : p->flags ? 0 : bak_error_nomem(err);
}

/* --- what is asked for --- */

static int compile(const char *text, regex_t *out, struct bak_error *err)
{
	return regcomp(out, text, REG_EXTENDED | REG_NOSUB) ? bak_error_nomem(err) : 0;
}

static bool fits(const regex_t *regex, const char *text)
{
	return regexec(regex, text, 0, NULL, 0) == 0;
}

/* Is it meant by --table, or, with its schema, by --schema? */
static bool is_meant(const struct bak_pg_entry *e, bool schemas, const regex_t *schema,
		     const regex_t *name)
{
	if (e->owner != SIZE_MAX)
		return false;
	if (!schemas)
		return bak_pg_is_kind(e, BAK_PG_RELATIONS) && fits(schema, e->schema) &&
		       fits(name, e->tag);
	return *e->schema ? fits(name, e->schema)
			  : bak_pg_is_kind(e, "SCHEMA") && fits(name, e->tag);
}

static int choose_one(struct bak_pg_part *p, const char *wish, const char *pattern,
		      struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf first = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf second = BAK_BUF_INIT;
	bool schemas = strcmp(wish, "schema") == 0, any = false;
	regex_t schema, name;

	if (bak_pg_table_pattern(wish, pattern, &first, &second, err) < 0)
		return -1;
	if (schemas && strcmp((char *)first.p, ".") != 0)
		return bak_error_set(err, BAK_USAGE,
				     "--schema: \"%s\" is not the name of a schema, or a pattern",
				     pattern);
	if (compile((char *)first.p, &schema, err) < 0)
		return -1;
	if (compile((char *)second.p, &name, err) < 0) {
		regfree(&schema);
		return -1;
	}
	for (size_t i = 0; i < p->toc.n; i++) {
		if (!is_meant(&p->toc.v[i], schemas, &schema, &name))
			continue;
		p->flags[i] |= BAK_PG_CHOSEN;
		any = true;
	}
	regfree(&schema);
	regfree(&name);
	return any ? 0
		   : bak_error_set(err, BAK_NOT_FOUND, "the dump has no %s \"%s\"", wish, pattern);
}

/* Every table that the entry depends on has the flag. */
static bool all_tables_have(const struct bak_pg_part *p, const struct bak_pg_entry *e, uint8_t flag)
{
	for (size_t d = 0; d < e->n_deps; d++) {
		size_t at = bak_pg_toc_find(&p->toc, e->deps[d]);

		if (at != SIZE_MAX && bak_pg_is_kind(&p->toc.v[at], "TABLE") &&
		    !(p->flags[at] & flag))
			return false;
	}
	return true;
}

/* Partitions go with what they are partitions of, and theirs with them. */
static bool choose_partitions(struct bak_pg_part *p)
{
	bool more = false;

	for (size_t i = 0; i < p->toc.n; i++) {
		const struct bak_pg_entry *e = &p->toc.v[i];
		uint8_t before;

		if (!bak_pg_is_kind(e, "TABLE ATTACH") || e->owner == SIZE_MAX)
			continue;
		before = p->flags[e->owner];
		p->flags[e->owner] |= BAK_PG_CHOSEN;
		if (!all_tables_have(p, e, BAK_PG_CHOSEN))
			p->flags[e->owner] = before;
		more = more || p->flags[e->owner] != before;
	}
	return more;
}

static int choose(struct bak_pg_part *p, struct bak_error *err)
{
	static const char *const wishes[] = {"table", "schema"};
	const char *pattern;

	for (size_t w = 0; w < 2; w++) {
		for (size_t i = 0; (pattern = bak_restore_wish(p->from, wishes[w], i)); i++) {
			if (choose_one(p, wishes[w], pattern, err) < 0)
				return -1;
		}
	}
	while (choose_partitions(p))
		continue;
	return 0;
}

/* --- what is there --- */

#define ARGUMENTS                                                                            \
	"array_to_string(ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH " \
	"ORDINALITY u(t, o) ORDER BY o), ', ')"

/* $1 its schema, $2 its name. */
static const struct {
	const char *kinds, *sql;
} looks[] = {
	{"SCHEMA", "SELECT FROM pg_namespace WHERE nspname = $2 AND $1::text IS NOT NULL"},
	{BAK_PG_RELATIONS, "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
			   "WHERE n.nspname = $1 AND c.relname = $2"},
	{"TYPE|DOMAIN|SHELL TYPE", "SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = "
				   "t.typnamespace WHERE n.nspname = $1 AND t.typname = $2"},
	{"FUNCTION|PROCEDURE|AGGREGATE",
	 "SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1 "
	 "AND $2 IN (p.proname || '(' || " ARGUMENTS " || ')', p.proname || '(*)')"},
	{"EXTENSION", "SELECT FROM pg_extension WHERE extname = $2 AND $1::text IS NOT NULL"},
	{"COLLATION", "SELECT FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace "
		      "WHERE n.nspname = $1 AND c.collname = $2"},
};

/* 1 there, 0 missing, 2 nobody can tell, -1. */
static int look(const struct bak_pg_part *p, const struct bak_pg_entry *e, struct bak_error *err)
{
	const char *params[] = {e->schema, e->tag};

	for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
		if (!bak_pg_is_kind(e, looks[i].kinds))
			continue;
		BAK_AUTO(bak_pg_clear)
		PGresult *result = bak_pg_query_params(p->pg->env, p->conn, looks[i].sql, params, 2,
						       err);
		return result ? PQntuples(result) > 0 : -1;
	}
	return 2;
}

static void describe_entry(const struct bak_pg_entry *e, char *out, size_t len)
{
	size_t n = (size_t)snprintf(out, len, "%s %s%s%s", e->kind, e->schema,
				    *e->schema ? "." : "", e->tag);

	(void)n;
	for (char *c = out; *c && *c != ' '; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
}

/* What the entry needs, unless it is made too or is there, goes into the list, once. */
static int find_missing(const struct bak_pg_part *p, const struct bak_pg_entry *e,
			struct bak_pg_names *missing, struct bak_error *err)
{
	for (size_t d = 0; d < e->n_deps; d++) {
		size_t at = bak_pg_toc_find(&p->toc, e->deps[d]);
		char text[200];
		int there;

		while (at != SIZE_MAX && !bak_pg_is_kind(&p->toc.v[at], BAK_PG_RELATIONS) &&
		       p->toc.v[at].owner != SIZE_MAX)
			at = p->toc.v[at].owner; /* a key: its table */
		if (at == SIZE_MAX || (p->flags[at] & BAK_PG_MAKE) ||
		    (p->to_schema && bak_pg_is_kind(&p->toc.v[at], "TABLE")))
			continue;
		there = look(p, &p->toc.v[at], err);
		if (there < 0)
			return -1;
		describe_entry(&p->toc.v[at], text, sizeof text);
		for (size_t i = 0; i < missing->n && there == 0; i++)
			there = strcmp(missing->v[i], text) == 0;
		if (there == 0 && bak_pg_names_add(missing, text, err) < 0)
			return -1;
	}
	return 0;
}

static int check_missing(const struct bak_pg_part *p, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	struct bak_pg_names missing = {.n = 0};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < p->toc.n; i++) {
		if (p->flags[i] & BAK_PG_MAKE)
			rc = find_missing(p, &p->toc.v[i], &missing, err);
	}
	for (size_t i = 0; rc == 0 && i < missing.n; i++)
		rc = bak_buf_printf(&text, "%s%s", i ? ", " : "", missing.v[i]) < 0
			     ? bak_error_nomem(err)
			     : 0;
	if (rc == 0 && missing.n)
		rc = bak_error_set(err, BAK_REFUSED,
				   "what is to be restored needs %.*s, which database %s does not "
				   "have: restore that too, or make it first",
				   (int)text.len, (char *)text.p, p->name);
	bak_pg_names_release(&missing);
	return rc;
}

/* --- the plan --- */

static int plan_table(struct bak_pg_part *p, size_t i, struct bak_error *err)
{
	const struct bak_pg_entry *e = &p->toc.v[i];
	struct bak_pg_tables *list = &p->filled;
	int there;

	if (bak_pg_tables_add(list, p->conn, e->schema, e->tag, err) < 0)
		return -1;
	there = bak_pg_table_look(p->pg->env, p->conn, &list->v[list->n - 1], err);
	if (there < 0)
		return -1;
	if (there && !strchr("rp", list->v[list->n - 1].kind))
		return bak_error_set(err, BAK_REFUSED,
				     "%s is a table in the snapshot, and something else in "
				     "database %s: use --to-schema",
				     list->v[list->n - 1].sql, p->name);
	if (there)
		return 0;
	p->flags[i] |= BAK_PG_MAKE;
	/* it goes into the other list */
	if (bak_grow(&p->made.v, &p->made.cap, p->made.n, sizeof *p->made.v) < 0)
		return bak_error_nomem(err);
	p->made.v[p->made.n++] = list->v[--list->n];
	return 0;
}

/* What nobody can look for is only made together with its schema. */
static bool makes_schema(const struct bak_pg_part *p, const char *schema)
{
	for (size_t i = 0; i < p->toc.n; i++) {
		if ((p->flags[i] & BAK_PG_MAKE) && bak_pg_is_kind(&p->toc.v[i], "SCHEMA") &&
		    strcmp(p->toc.v[i].tag, schema) == 0)
			return true;
	}
	return false;
}

static int plan_entry(struct bak_pg_part *p, size_t i, struct bak_error *err)
{
	const struct bak_pg_entry *e = &p->toc.v[i];
	bool of_made = e->owner != SIZE_MAX && (p->flags[e->owner] & BAK_PG_MAKE);
	int there;

	if (bak_pg_is_kind(e, "TABLE DATA")) {
		if (e->owner != SIZE_MAX && (p->flags[e->owner] & BAK_PG_CHOSEN))
			p->flags[i] |= BAK_PG_ROWS;
		return 0;
	}
	if (bak_pg_is_kind(e, "TABLE"))
		return p->flags[i] & BAK_PG_CHOSEN ? plan_table(p, i, err) : 0;
	if (!of_made && !(p->flags[i] & BAK_PG_CHOSEN))
		return 0;
	if (bak_pg_is_kind(e, "TABLE ATTACH") && !all_tables_have(p, e, BAK_PG_MAKE))
		return bak_error_set(err, BAK_REFUSED,
				     "database %s has no partition %s.%s: make it first, or use "
				     "--to-schema",
				     p->name, e->schema, e->tag);
	there = look(p, e, err);
	if (there == 0 || (there == 2 && (of_made || makes_schema(p, e->schema))))
		p->flags[i] |= bak_pg_is_kind(e, "SEQUENCE SET") ? BAK_PG_ROWS : BAK_PG_MAKE;
	return there < 0 ? -1 : 0;
}

/* A table whose rows are not in the dump would be emptied. */
static int check_rows(const struct bak_pg_part *p, struct bak_error *err)
{
	for (size_t t = 0; t < p->filled.n; t++) {
		const struct bak_pg_table *table = &p->filled.v[t];
		bool found = table->kind == 'p';

		for (size_t i = 0; i < p->toc.n && !found; i++)
			found = (p->flags[i] & BAK_PG_ROWS) &&
				strcmp(p->toc.v[i].tag, table->name) == 0 &&
				strcmp(p->toc.v[i].schema, table->schema) == 0;
		if (!found)
			return bak_error_set(err, BAK_REFUSED, "the dump has no rows of %s",
					     table->sql);
	}
	return 0;
}

/* So would a partition that the dump does not have. */
static int check_partitions(const struct bak_pg_part *p, const struct bak_pg_table *t,
			    struct bak_error *err)
{
	static const char sql[] =
		"SELECT n.nspname, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = "
		"i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = "
		"$1::oid";
	const char *params[] = {t->oid};
	BAK_AUTO(bak_pg_clear)
	PGresult *result = bak_pg_query_params(p->pg->env, p->conn, sql, params, 1, err);

	for (int i = 0; i < PQntuples(result); i++) {
		const char *schema = PQgetvalue(result, i, 0), *name = PQgetvalue(result, i, 1);
		bool found = false;

		for (size_t k = 0; k < p->filled.n && !found; k++)
			found = strcmp(p->filled.v[k].schema, schema) == 0 &&
				strcmp(p->filled.v[k].name, name) == 0;
		if (!found)
			return bak_error_set(err, BAK_REFUSED,
					     "%s has a partition %s.%s now, which the dump does "
					     "not have: detach it first, restore the other "
					     "partitions by their names, or use --to-schema",
					     t->sql, schema, name);
	}
	return result ? 0 : -1;
}

static int check_filled(const struct bak_pg_part *p, struct bak_error *err)
{
	for (size_t t = 0; t < p->filled.n; t++) {
		if (p->filled.v[t].kind == 'p' && check_partitions(p, &p->filled.v[t], err) < 0)
			return -1;
	}
	return check_rows(p, err);
}

static int plan_in_place(struct bak_pg_part *p, struct bak_error *err)
{
	for (size_t i = 0; i < p->toc.n; i++) {
		if (plan_entry(p, i, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < p->toc.n; i++) {
		if (p->flags[i] & (BAK_PG_MAKE | BAK_PG_ROWS))
			return check_filled(p, err) < 0 ? -1 : check_missing(p, err);
	}
	return bak_error_set(err, BAK_REFUSED,
			     "everything that is asked for is there, and has no rows in the dump");
}

static int plan_beside(struct bak_pg_part *p, struct bak_error *err)
{
	for (size_t i = 0; i < p->toc.n; i++) {
		const struct bak_pg_entry *e = &p->toc.v[i];
		bool of_made = e->owner != SIZE_MAX && (p->flags[e->owner] & BAK_PG_MAKE);

		if (bak_pg_is_kind(e, "TABLE") && (p->flags[i] & BAK_PG_CHOSEN)) {
			p->flags[i] |= BAK_PG_MAKE;
			if (strstr(e->definition, "\nINHERITS ("))
				return bak_error_set(err, BAK_UNSUPPORTED,
						     "%s.%s inherits from another table, and can "
						     "only be restored in place",
						     e->schema, e->tag);
			if (bak_pg_tables_add(&p->made, p->conn, p->to_schema, e->tag, err) < 0)
				return -1;
		} else if (of_made && bak_pg_is_kind(e, "TABLE DATA")) {
			p->flags[i] |= BAK_PG_ROWS;
		} else if (of_made && (bak_pg_is_kind(e, "CONSTRAINT|INDEX") ||
				       (bak_pg_is_kind(e, "TABLE ATTACH|INDEX ATTACH") &&
					all_tables_have(p, e, BAK_PG_CHOSEN)))) {
			p->flags[i] |= BAK_PG_MAKE;
		}
	}
	if (!p->made.n)
		return bak_error_set(err, BAK_REFUSED,
				     "what is asked for has no tables, and only these go into "
				     "another schema");
	return check_missing(p, err);
}

/* --- the whole --- */

static void release(struct bak_pg_part *p)
{
	bak_pg_close(&p->conn);
	bak_pg_tables_release(&p->filled);
	bak_pg_tables_release(&p->made);
	bak_pg_toc_release(&p->toc);
	bak_found_release(&p->found);
	json_decref(p->facts);
	free(p->flags);
	free(p->tool);
}

int bak_pg_restore_part(struct bak_pg *pg, const struct bak_restore_from *from, json_t *state,
			struct bak_error *err)
{
	struct bak_pg_part p = {.pg = pg,
				.from = from,
				.to_schema = bak_restore_wish(from, "to-schema", 0),
				.found = BAK_FOUND_INIT};
	int rc = open_part(&p, err);

	if (rc == 0)
		rc = choose(&p, err);
	if (rc == 0)
		rc = p.to_schema ? plan_beside(&p, err) : plan_in_place(&p, err);
	if (rc == 0)
		rc = bak_pg_part_run(&p, state, err);
	release(&p);
	return rc;
}
