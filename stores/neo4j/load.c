/*
 * An export put back into the live graph: everything new comes in under a label of its own, without
 * labels that rules or queries would see, and is counted. Until then a failure ends with the new
 * nodes deleted, and the graph is what it was. Then the old schema and graph go, the new nodes get
 * their labels, and the schema comes last.
 */
#include "stores/neo4j/neo4j.h"

#include "engine/content/folder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What goes in one transaction. */
#define BATCH_ROWS 5000
#define BATCH_LEN (1u << 20)
/* What one request deletes or labels, in transactions of TRANSACTION_ROWS. */
#define SWEEP_ROWS 100000
#define TRANSACTION_ROWS 2000
#define SWEEP_TIMEOUT_MS 3600000

/* From here on labels and types may be computed. */
#define DYNAMIC_LABELS 5026

#define CONSTRAINT "_bakfs"
#define NEW_NODES "MATCH (n:`" BAK_NEO4J_LABEL "`) "
#define OLD_NODES "MATCH (n) WHERE NOT n:`" BAK_NEO4J_LABEL "` "

struct load {
	struct bak_neo4j *neo4j;
	const struct bak_restore_from *from;
	struct bak_tree tree;
	json_t *facts, *counts; /* counts: of what is being loaded */
	struct bak_neo4j_about about;
	json_t *dropped; /* rules of the live schema that stood in the way, as statements */
	json_t *rules;   /* statements of the snapshot's schema */
	enum bak_neo4j_part part;
	json_t *batch; /* rows */
	size_t batch_len;
	uint64_t all, done; /* bytes of the snapshot */
	uint64_t nodes, relationships;
	bool partial;
	bool destroyed; /* the old graph is going */
};

/* --- what is wanted of it --- */

static bool matches(const struct load *l, const char *wish, const char *name)
{
	const char *want;

	for (size_t i = 0; (want = bak_restore_wish(l->from, wish, i)); i++) {
		if (name && strcmp(want, name) == 0)
			return true;
	}
	return false;
}

static bool is_wanted(const struct load *l, const json_t *line)
{
	const json_t *labels = json_object_get(line, "labels");

	if (!l->partial)
		return true;
	if (l->part == BAK_NEO4J_RELATIONSHIPS)
		return !bak_restore_wish(l->from, "relationship", 0) ||
		       matches(l, "relationship", json_string_value(json_object_get(line, "type")));
	for (size_t i = 0; i < json_array_size(labels); i++) {
		if (matches(l, "label", json_string_value(json_array_get(labels, i))))
			return true;
	}
	return false;
}

/* --- batches --- */

static int take_number(void *ctx, const json_t *row, struct bak_error *err)
{
	if (bak_neo4j_integer(json_array_get(row, 0), ctx))
		return 0;
	return bak_error_set(err, BAK_CORRUPT, "Neo4j answers with something that is no number");
}

static int flush(struct load *l, struct bak_error *err)
{
	static const char nodes[] = "UNWIND $rows AS r CREATE (n:`" BAK_NEO4J_LABEL
				    "`) SET n = r.p SET "
				    "n.`" BAK_NEO4J_ID "` = r.i, n.`" BAK_NEO4J_LABELS
				    "` = r.l RETURN count(n)";
	static const char relationships[] =
		"UNWIND $rows AS r MATCH (a:`" BAK_NEO4J_LABEL "` {`" BAK_NEO4J_ID "`: r.s}) "
		"MATCH (b:`" BAK_NEO4J_LABEL "` {`" BAK_NEO4J_ID "`: r.e}) "
		"CREATE (a)-[x:$(r.t)]->(b) SET x = r.p RETURN count(x)";
	size_t n = json_array_size(l->batch);
	bool is_nodes = l->part == BAK_NEO4J_NODES;
	struct bak_neo4j_statement statement = {.text = is_nodes ? nodes : relationships};
	int64_t made = 0;

	if (n == 0)
		return 0;
	statement.parameters = json_pack("{s:o}", "rows", bak_neo4j_typed("List", l->batch));
	l->batch = json_array();
	l->batch_len = 0;
	if (!statement.parameters || !l->batch)
		return bak_error_nomem(err);
	if (bak_neo4j_ask(l->neo4j, &statement, take_number, &made, err) < 0)
		return -1;
	if (made != (int64_t)n && (is_nodes || !l->partial))
		return bak_error_set(err, BAK_CORRUPT,
				     "%zu %s were sent and %" PRId64
				     " made: the snapshot lacks nodes that others lead to",
				     n, is_nodes ? "nodes" : "relationships", made);
	*(is_nodes ? &l->nodes : &l->relationships) += (uint64_t)made;
	return 0;
}

static json_t *typed_labels(const json_t *labels)
{
	json_t *list = json_array();

	for (size_t i = 0; i < json_array_size(labels); i++) {
		if (json_array_append_new(
			    list, bak_neo4j_typed("String",
						  json_incref(json_array_get(labels, i)))) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return bak_neo4j_typed("List", list);
}

static json_t *typed(const json_t *line, const char *key, const char *type)
{
	return bak_neo4j_typed(type, json_incref(json_object_get(line, key)));
}

static int add_row(struct load *l, const json_t *line, size_t len, struct bak_error *err)
{
	json_t *row;

	if (l->part == BAK_NEO4J_NODES)
		row = json_pack("{s:o, s:o, s:o}", "i", typed(line, "id", "String"), "l",
				typed_labels(json_object_get(line, "labels")), "p",
				typed(line, "properties", "Map"));
	else
		row = json_pack("{s:o, s:o, s:o, s:o}", "s", typed(line, "start", "String"), "e",
				typed(line, "end", "String"), "t", typed(line, "type", "String"),
				"p", typed(line, "properties", "Map"));
	row = row ? bak_neo4j_typed("Map", row) : NULL;
	if (!row || json_array_append_new(l->batch, row) < 0)
		return bak_error_nomem(err);
	l->batch_len += len;
	if (json_array_size(l->batch) < BATCH_ROWS && l->batch_len < BATCH_LEN)
		return 0;
	return flush(l, err);
}

/* --- the snapshot's files --- */

typedef int pass_fn(struct load *l, json_t *line, size_t len, struct bak_error *err);
struct reading {
	struct load *load;
	pass_fn *pass;
};

static int pass_line(void *ctx, json_t *line, size_t len, struct bak_error *err)
{
	struct reading *reading = ctx;

	return reading->pass(reading->load, line, len, err);
}

/* Each line of a part. */
static int each_line(struct load *l, enum bak_neo4j_part part, pass_fn *pass, bool progress,
		     struct bak_error *err)
{
	struct reading reading = {l, pass};
	BAK_AUTO(bak_neo4j_lines_release)
	struct bak_neo4j_lines lines = {.part = part, .line = pass_line, .ctx = &reading};
	BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
	const struct bak_store_env quiet = {.ctx = l->neo4j->env->ctx,
					    .cancelled = l->neo4j->env->cancelled};
	BAK_AUTO(bak_payload_reader_release)
	struct bak_payload_reader in = {.env = progress ? l->neo4j->env : &quiet,
					.source = l->tree.source,
					.inode = &found.entry.inode,
					.before = l->done,
					.all = l->all};
	const void *p;
	size_t len;
	int rc;

	l->part = part;
	if (bak_tree_path(&l->tree, bak_neo4j_part_files[part], &found, err) != 1)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot has no %s",
				     bak_neo4j_part_files[part]);
	while ((rc = bak_payload_give(&in, &p, &len, err)) > 0) {
		if (bak_store_check_cancelled(l->neo4j->env, err) < 0 ||
		    bak_neo4j_lines_feed(&lines, p, len, err) < 0)
			return -1;
	}
	if (progress)
		l->done += found.entry.inode.size;
	return rc < 0 ? -1 : bak_neo4j_lines_end(&lines, err);
}

static int count_pass(struct load *l, json_t *line, size_t len, struct bak_error *err)
{
	(void)len;
	return bak_neo4j_count_line(l->counts, l->part, line, err);
}

static int rule_pass(struct load *l, json_t *line, size_t len, struct bak_error *err)
{
	const char *type = json_string_value(json_object_get(line, "type"));
	bool constraint = strcmp(json_string_value(json_object_get(line, "kind")), "constraint") ==
			  0;

	(void)len;
	if (constraint && strcmp(l->about.edition, "community") == 0 && type &&
	    !strstr(type, "UNIQUENESS"))
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the snapshot's constraint %s is of the kind %s, which the "
				     "target, a community edition, does not have",
				     json_string_value(json_object_get(line, "name")), type);
	if (json_array_append(l->rules, json_object_get(line, "statement")) < 0)
		return bak_error_nomem(err);
	return bak_neo4j_count_line(l->counts, l->part, line, err);
}

static int row_pass(struct load *l, json_t *line, size_t len, struct bak_error *err)
{
	return is_wanted(l, line) ? add_row(l, line, len, err) : 0;
}

/* Everything is read and counted before anything is changed. */
static int check_snapshot(struct load *l, struct bak_error *err)
{
	const json_t *want = json_object_get(l->facts, "counts");
	const char *name;
	json_t *n;

	if (each_line(l, BAK_NEO4J_NODES, count_pass, false, err) < 0 ||
	    each_line(l, BAK_NEO4J_RELATIONSHIPS, count_pass, false, err) < 0 ||
	    each_line(l, BAK_NEO4J_SCHEMA, rule_pass, false, err) < 0)
		return -1;
	json_object_foreach((json_t *)(uintptr_t)want, name, n)
	{
		if (json_integer_value(n) != json_integer_value(json_object_get(l->counts, name)))
			return bak_error_set(err, BAK_CORRUPT,
					     "%.100s: the snapshot has others than its manifest "
					     "says",
					     name);
	}
	return 0;
}

/* --- sweeping through the graph, batch by batch --- */

/* `statement` takes SWEEP_ROWS nodes at most and returns how many; until there are none. */
static int sweep(struct load *l, const char *statement, struct bak_error *err)
{
	int64_t n = 1;

	while (n > 0) {
		const struct bak_neo4j_statement s = {.text = statement,
						      .timeout_ms = SWEEP_TIMEOUT_MS};

		n = 0;
		if (bak_neo4j_ask(l->neo4j, &s, take_number, &n, err) < 0)
			return -1;
	}
	return 0;
}

#define TEXT_OF(n) TEXT_OF_(n)
#define TEXT_OF_(n) #n
#define ROWS_AT_ONCE "WITH n LIMIT " TEXT_OF(SWEEP_ROWS) " "
#define IN_TRANSACTIONS " } IN TRANSACTIONS OF " TEXT_OF(TRANSACTION_ROWS) " ROWS RETURN count(n)"

static int delete_new(struct load *l, struct bak_error *err)
{
	if (sweep(l, NEW_NODES ROWS_AT_ONCE "CALL (n) { DETACH DELETE n" IN_TRANSACTIONS, err) < 0)
		return -1;
	return bak_neo4j_run(l->neo4j, err, "DROP CONSTRAINT `" CONSTRAINT "` IF EXISTS");
}

static int delete_old(struct load *l, struct bak_error *err)
{
	return sweep(l, OLD_NODES ROWS_AT_ONCE "CALL (n) { DETACH DELETE n" IN_TRANSACTIONS, err);
}

#define SET_LABELS                                                                           \
	"WITH n, n.`" BAK_NEO4J_LABELS "` AS l SET n:$(l) REMOVE n.`" BAK_NEO4J_LABELS "`, " \
	"n.`" BAK_NEO4J_ID "`, n:`" BAK_NEO4J_LABEL "`"

static int label_new(struct load *l, struct bak_error *err)
{
	return sweep(l, NEW_NODES ROWS_AT_ONCE "CALL (n) { " SET_LABELS IN_TRANSACTIONS, err);
}

/* --- the schema --- */

struct rules {
	json_t *names, *statements;
};

static int take_rule(void *ctx, const json_t *row, struct bak_error *err)
{
	struct rules *rules = ctx;
	const char *name = bak_neo4j_text(json_array_get(row, 0));
	const char *statement = bak_neo4j_text(json_array_get(row, 1));

	if (!name || !statement)
		return bak_error_set(err, BAK_CORRUPT, "Neo4j answers with a schema without names");
	if (json_array_append_new(rules->names, json_string(name)) < 0 ||
	    json_array_append_new(rules->statements, json_string(statement)) < 0)
		return bak_error_nomem(err);
	return 0;
}

/* Those that `list` finds, and notes how to make them again. */
static int drop_rules(struct load *l, const char *kind, const char *list, struct bak_error *err)
{
	struct rules rules = {json_array(), json_array()};
	const struct bak_neo4j_statement statement = {.text = list, .read = true};
	int rc = rules.names && rules.statements ? 0 : bak_error_nomem(err);

	if (rc == 0)
		rc = bak_neo4j_ask(l->neo4j, &statement, take_rule, &rules, err);
	for (size_t i = 0; rc == 0 && i < json_array_size(rules.names); i++) {
		BAK_AUTO(bak_buf_release) struct bak_buf name = BAK_BUF_INIT;

		rc = bak_neo4j_quote(&name, json_string_value(json_array_get(rules.names, i)), err);
		if (rc == 0 &&
		    json_array_append(l->dropped, json_array_get(rules.statements, i)) < 0)
			rc = bak_error_nomem(err);
		if (rc == 0)
			rc = bak_neo4j_run(l->neo4j, err, "DROP %s %.*s", kind, (int)name.len,
					   (char *)name.p);
	}
	json_decref(rules.names);
	json_decref(rules.statements);
	return rc;
}

static int drop_constraints(struct load *l, const char *of, struct bak_error *err)
{
	char list[300];

	snprintf(list, sizeof list,
		 "SHOW CONSTRAINTS YIELD name, createStatement, entityType WHERE name <> "
		 "'" CONSTRAINT "'%s RETURN name, createStatement ORDER BY name",
		 of);
	return drop_rules(l, "CONSTRAINT", list, err);
}

static int drop_schema(struct load *l, struct bak_error *err)
{
	if (drop_constraints(l, "", err) < 0)
		return -1;
	return drop_rules(l, "INDEX",
			  "SHOW INDEXES YIELD name, createStatement, owningConstraint, type WHERE "
			  "owningConstraint IS NULL AND type <> 'LOOKUP' RETURN name, "
			  "createStatement ORDER BY name",
			  err);
}

static int make_rules(struct load *l, const json_t *statements, struct bak_error *err)
{
	for (size_t i = 0; i < json_array_size(statements); i++) {
		const char *statement = json_string_value(json_array_get(statements, i));
		const struct bak_neo4j_statement s = {.text = statement,
						      .timeout_ms = SWEEP_TIMEOUT_MS};

		if (bak_neo4j_ask(l->neo4j, &s, NULL, NULL, err) < 0)
			return bak_error_wrap(err, "%.200s", statement);
	}
	return 0;
}

struct waiting {
	unsigned populating;
	char failed[200];
};

static int take_state(void *ctx, const json_t *row, struct bak_error *err)
{
	struct waiting *w = ctx;
	const char *name = bak_neo4j_text(json_array_get(row, 0));
	const char *state = bak_neo4j_text(json_array_get(row, 1));

	(void)err;
	if (state && strcmp(state, "FAILED") == 0)
		snprintf(w->failed, sizeof w->failed, "%s", name ? name : "");
	w->populating += !state || strcmp(state, "ONLINE") != 0;
	return 0;
}

static int await_indexes(struct load *l, struct bak_error *err)
{
	const struct bak_neo4j_statement s = {.text = "SHOW INDEXES YIELD name, state",
					      .read = true};
	unsigned round = 0;

	for (;;) {
		struct waiting w = {.populating = 0};

		if (bak_neo4j_ask(l->neo4j, &s, take_state, &w, err) < 0)
			return -1;
		if (*w.failed)
			return bak_error_set(err, BAK_IO, "index %s could not be filled", w.failed);
		if (!w.populating)
			return 0;
		if (bak_http_wait(l->neo4j->http, &round, err) < 0)
			return -1;
	}
}

/* --- the steps --- */

static int check_target(struct load *l, struct bak_error *err)
{
	if (bak_neo4j_need_query(l->neo4j, &l->about, err) < 0)
		return -1;
	if (bak_neo4j_version(l->about.version) < DYNAMIC_LABELS)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the target is Neo4j %s, and an export is restored into 5.26 "
				     "or later",
				     l->about.version);
	return 0;
}

static int check_request(struct load *l, struct bak_error *err)
{
	const char *mode;

	l->facts = bak_snapshot_facts(l->from->snapshot);
	if (!l->facts)
		return bak_error_nomem(err);
	mode = json_string_value(json_object_get(l->facts, "mode"));
	if (!mode || strcmp(mode, "export") != 0)
		return bak_error_set(err, BAK_REFUSED,
				     "the snapshot is a dump, and the store has mode = export: set "
				     "mode = dump to restore it");
	if (l->from->n_only)
		return bak_error_set(
			err, BAK_USAGE,
			"a part of an export is restored with --label and --relationship");
	l->partial = l->from->n_wishes > 0;
	if (l->partial && !bak_restore_wish(l->from, "label", 0))
		return bak_error_set(
			err, BAK_USAGE,
			"--relationship goes with --label: a relationship needs its nodes");
	return 0;
}

static int import_rows(struct load *l, struct bak_error *err)
{
	if (bak_neo4j_run(l->neo4j, err,
			  "CREATE CONSTRAINT `" CONSTRAINT "` FOR (n:`" BAK_NEO4J_LABEL
			  "`) REQUIRE n.`" BAK_NEO4J_ID "` IS UNIQUE") < 0)
		return -1;
	if (each_line(l, BAK_NEO4J_NODES, row_pass, true, err) < 0 || flush(l, err) < 0 ||
	    each_line(l, BAK_NEO4J_RELATIONSHIPS, row_pass, true, err) < 0 || flush(l, err) < 0)
		return -1;
	return 0;
}

/* What was made must be there, whoever else has written meanwhile. */
static int check_new(struct load *l, struct bak_error *err)
{
	int64_t nodes, relationships;

	if (bak_neo4j_number(l->neo4j, NEW_NODES "RETURN count(n)", &nodes, err) < 0 ||
	    bak_neo4j_number(l->neo4j,
			     "MATCH (:`" BAK_NEO4J_LABEL "`)-[r]->(:`" BAK_NEO4J_LABEL
			     "`) RETURN count(r)",
			     &relationships, err) < 0)
		return -1;
	if ((uint64_t)nodes == l->nodes && (uint64_t)relationships == l->relationships)
		return 0;
	return bak_error_set(err, BAK_CORRUPT,
			     "validation: %" PRIu64 " nodes and %" PRIu64
			     " relationships were made, and there are %" PRId64 " and %" PRId64,
			     l->nodes, l->relationships, nodes, relationships);
}

/* One transaction: either all of them are there, with their labels, or none. */
static int add_part(struct load *l, struct bak_error *err)
{
	const struct bak_neo4j_statement s = {.text = NEW_NODES SET_LABELS,
					      .timeout_ms = SWEEP_TIMEOUT_MS};

	if (bak_neo4j_ask(l->neo4j, &s, NULL, NULL, err) < 0)
		return -1;
	bak_store_log(l->neo4j->env,
		      "%" PRIu64 " nodes and %" PRIu64
		      " relationships are there again, as new ones",
		      l->nodes, l->relationships);
	return bak_neo4j_run(l->neo4j, err, "DROP CONSTRAINT `" CONSTRAINT "`");
}

static int replace_all(struct load *l, struct bak_error *err)
{
	if (drop_schema(l, err) < 0)
		return -1;
	l->destroyed = true;
	bak_store_log(l->neo4j->env, "all of the new graph is there; the old one goes");
	if (delete_old(l, err) < 0 || label_new(l, err) < 0 ||
	    bak_neo4j_run(l->neo4j, err, "DROP CONSTRAINT `" CONSTRAINT "`") < 0 ||
	    make_rules(l, l->rules, err) < 0 || await_indexes(l, err) < 0)
		return -1;
	/* At once: a moment later others may have written. Where it fails, counts() asks again. */
	struct bak_error scratch = BAK_ERROR_INIT;
	json_t *counts = json_object();
	json_decref(l->neo4j->restored_counts);
	l->neo4j->restored_counts = NULL;
	if (counts && bak_neo4j_counts(l->neo4j, counts, &scratch) == 0)
		l->neo4j->restored_counts = json_incref(counts);
	json_decref(counts);
	return 0;
}

/* Behind the point of no return. */
static int change(struct load *l, struct bak_error *err)
{
	/* What an earlier restore left, that was cut off. */
	if (delete_new(l, err) < 0)
		return -1;
	/* Nodes come without labels, relationships with their types: their rules would hold. */
	if (!l->partial && drop_constraints(l, " AND entityType = 'RELATIONSHIP'", err) < 0)
		return -1;
	if (import_rows(l, err) < 0 || check_new(l, err) < 0)
		return -1;
	return l->partial ? add_part(l, err) : replace_all(l, err);
}

/* After a failure: the new nodes go, and what was dropped of the schema comes back. */
static void undo(struct load *l, json_t *state)
{
	struct bak_error second = BAK_ERROR_INIT;

	if (l->destroyed)
		return;
	if (delete_new(l, &second) == 0 && make_rules(l, l->dropped, &second) == 0 &&
	    await_indexes(l, &second) == 0)
		json_object_set_new(state, "unchanged", json_true());
	else
		bak_store_warn(l->neo4j->env,
			       "nodes with the label " BAK_NEO4J_LABEL " are left over, which the "
			       "next restore deletes: %s",
			       second.msg);
}

static int run(struct load *l, json_t *state, struct bak_error *err)
{
	int rc;

	if (check_request(l, err) < 0 || check_target(l, err) < 0 || check_snapshot(l, err) < 0)
		return -1;
	bak_store_log(l->neo4j->env, "nodes and relationships get new element ids");
	if (bak_store_no_return(l->neo4j->env, err) < 0)
		return -1;
	rc = change(l, err);
	if (rc < 0)
		undo(l, state);
	return rc;
}

int bak_neo4j_export_restore(struct bak_neo4j *neo4j, const struct bak_restore_from *from,
			     json_t *state, struct bak_error *err)
{
	struct load l = {.neo4j = neo4j,
			 .from = from,
			 .tree = {bak_repo_source(from->repo), from->snapshot},
			 .counts = json_object(),
			 .dropped = json_array(),
			 .rules = json_array(),
			 .batch = json_array(),
			 .all = from->snapshot->root.totals.bytes};
	int rc = l.counts && l.dropped && l.rules && l.batch ? run(&l, state, err)
							     : bak_error_nomem(err);

	json_decref(l.facts);
	json_decref(l.counts);
	json_decref(l.dropped);
	json_decref(l.rules);
	json_decref(l.batch);
	return rc;
}
