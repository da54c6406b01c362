/*
 * The graph saved over HTTP: each node, relationship and rule of the schema as a line of JSON, in
 * the order in which the server keeps them.
 *
 * Each statement sees what is committed while it runs, so without a freeze nothing ties the lines to
 * one instant: what hangs in the air then, a relationship of which an end came later than the nodes
 * were read, is left out.
 */
#include "stores/neo4j/neo4j.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLUSH_LEN (128u << 10)
/* Nodes with higher numbers are not looked for: 64 MiB of bits. */
#define NODES_SEEN_MAX (512u << 20)

struct export
{
	struct bak_neo4j *neo4j;
	struct bak_writer *writer;
	struct bak_neo4j_freeze *freeze; /* NULL: none */
	struct bak_neo4j_about about;
	json_t *counts;
	enum bak_neo4j_part part;
	struct bak_buf lines; /* on their way to the writer */
	struct bak_buf seen;  /* a bit for each node that was written, by its number */
	uint64_t hanging;     /* relationships left out */
	struct bak_inode inodes[BAK_NEO4J_PARTS];
};

/* --- lines --- */

static int append(const char *p, size_t len, void *ctx)
{
	return bak_buf_append(ctx, p, len);
}

static int flush(struct export *x, size_t most, struct bak_error *err)
{
	if (x->lines.len <= most)
		return 0;
	if (bak_writer_data(x->writer, x->lines.p, x->lines.len, err) < 0)
		return -1;
	x->lines.len = 0;
	return 0;
}

/* line is stolen. */
static int put(struct export *x, json_t *line, struct bak_error *err)
{
	int rc = line ? 0 : bak_error_nomem(err);

	if (rc == 0 && x->part != BAK_NEO4J_COUNTS)
		rc = bak_neo4j_count_line(x->counts, x->part, line, err);
	if (rc == 0 && (json_dump_callback(line, append, &x->lines, JSON_COMPACT) < 0 ||
			bak_buf_append(&x->lines, "\n", 1) < 0))
		rc = bak_error_nomem(err);
	json_decref(line);
	if (rc == 0)
		rc = flush(x, FLUSH_LEN, err);
	if (rc == 0 && x->freeze)
		rc = bak_neo4j_freeze_ping(x->freeze, err);
	return rc;
}

static int strange(const char *what, struct bak_error *err)
{
	return bak_error_set(err, BAK_CORRUPT, "Neo4j answers with %s of another shape", what);
}

/* --- which nodes are there --- */

/* The number at the end of "4:<uuid>:<number>". */
static bool number_of(const char *id, uint64_t *out)
{
	const char *colon = strrchr(id, ':');
	char *end;

	if (!colon || colon[1] < '0' || colon[1] > '9')
		return false;
	*out = strtoull(colon + 1, &end, 10);
	return !*end && *out < NODES_SEEN_MAX;
}

static int note_node(struct export *x, const char *id, struct bak_error *err)
{
	uint64_t n;

	if (!number_of(id, &n))
		return 0;
	if (n / 8 >= x->seen.len && bak_buf_resize(&x->seen, (size_t)n / 8 + 4096) < 0)
		return bak_error_nomem(err);
	x->seen.p[n / 8] |= (uint8_t)(1u << n % 8);
	return 0;
}

static bool is_there(const struct export *x, const char *id)
{
	uint64_t n;

	if (!number_of(id, &n))
		return true;
	return n / 8 < x->seen.len && x->seen.p[n / 8] >> n % 8 & 1;
}

/* --- rows to lines --- */

/* A list of typed texts as plain ones; a new reference, NULL when it is something else. */
static json_t *plain_texts(const json_t *value)
{
	const json_t *list = bak_neo4j_value(value, "List");
	json_t *out = json_is_array(list) ? json_array() : NULL;

	for (size_t i = 0; out && i < json_array_size(list); i++) {
		const char *text = bak_neo4j_text(json_array_get(list, i));

		if (text && json_array_append_new(out, json_string(text)) == 0)
			continue;
		json_decref(out);
		out = NULL;
	}
	return out;
}

static int take_node(void *ctx, const json_t *row, struct bak_error *err)
{
	struct export *x = ctx;
	const char *id = bak_neo4j_text(json_array_get(row, 0));
	json_t *labels = plain_texts(json_array_get(row, 1));
	const json_t *properties = bak_neo4j_value(json_array_get(row, 2), "Map");

	if (!id || !labels || !json_is_object(properties)) {
		json_decref(labels);
		return strange("a node", err);
	}
	if (note_node(x, id, err) < 0) {
		json_decref(labels);
		return -1;
	}
	return put(
		x,
		json_pack("{s:s, s:o, s:O}", "id", id, "labels", labels, "properties", properties),
		err);
}

static int take_relationship(void *ctx, const json_t *row, struct bak_error *err)
{
	struct export *x = ctx;
	const char *texts[4];
	const json_t *properties = bak_neo4j_value(json_array_get(row, 4), "Map");

	for (size_t i = 0; i < 4; i++) {
		texts[i] = bak_neo4j_text(json_array_get(row, i));
		if (!texts[i])
			return strange("a relationship", err);
	}
	if (!json_is_object(properties))
		return strange("a relationship", err);
	if (!is_there(x, texts[2]) || !is_there(x, texts[3])) {
		x->hanging++;
		return 0;
	}
	return put(x,
		   json_pack("{s:s, s:s, s:s, s:s, s:O}", "id", texts[0], "type", texts[1], "start",
			     texts[2], "end", texts[3], "properties", properties),
		   err);
}

static int take_rule(struct export *x, const char *kind, const json_t *row, struct bak_error *err)
{
	const char *texts[3];

	for (size_t i = 0; i < 3; i++) {
		texts[i] = bak_neo4j_text(json_array_get(row, i));
		if (!texts[i])
			return strange("the schema", err);
	}
	return put(x,
		   json_pack("{s:s, s:s, s:s, s:s}", "kind", kind, "name", texts[0], "type",
			     texts[1], "statement", texts[2]),
		   err);
}

static int take_constraint(void *ctx, const json_t *row, struct bak_error *err)
{
	return take_rule(ctx, "constraint", row, err);
}

static int take_index(void *ctx, const json_t *row, struct bak_error *err)
{
	return take_rule(ctx, "index", row, err);
}

/* --- the files --- */

static int ask(struct export *x, const char *text, bak_neo4j_row *row, struct bak_error *err)
{
	const struct bak_neo4j_statement statement = {.text = text, .read = true};

	return bak_neo4j_ask(x->neo4j, &statement, row, x, err);
}

static int write_nodes(struct export *x, struct bak_error *err)
{
	return ask(x, "MATCH (n) RETURN elementId(n), labels(n), properties(n)", take_node, err);
}

static int write_relationships(struct export *x, struct bak_error *err)
{
	return ask(x,
		   "MATCH (a)-[r]->(b) RETURN elementId(r), type(r), elementId(a), elementId(b), "
		   "properties(r)",
		   take_relationship, err);
}

static int write_schema(struct export *x, struct bak_error *err)
{
	if (ask(x,
		"SHOW CONSTRAINTS YIELD name, type, createStatement RETURN name, type, "
		"createStatement ORDER BY name",
		take_constraint, err) < 0)
		return -1;
	return ask(x,
		   "SHOW INDEXES YIELD name, type, createStatement, owningConstraint WHERE "
		   "owningConstraint IS NULL AND type <> 'LOOKUP' RETURN name, type, "
		   "createStatement ORDER BY name",
		   take_index, err);
}

static int write_counts(struct export *x, struct bak_error *err)
{
	const char *name;
	json_t *n;

	if (put(x,
		json_pack("{s:i, s:s, s:s, s:s}", "format", 1, "version", x->about.version,
			  "edition", x->about.edition, "database", x->neo4j->database),
		err) < 0)
		return -1;
	json_object_foreach(x->counts, name, n)
	{
		if (put(x, json_pack("{s:s, s:O}", "count", name, "n", n), err) < 0)
			return -1;
	}
	return 0;
}

static int write_part(struct export *x, enum bak_neo4j_part part, struct bak_error *err)
{
	static int (*const writes[BAK_NEO4J_PARTS])(struct export *, struct bak_error *) = {
		[BAK_NEO4J_COUNTS] = write_counts,
		[BAK_NEO4J_NODES] = write_nodes,
		[BAK_NEO4J_RELATIONSHIPS] = write_relationships,
		[BAK_NEO4J_SCHEMA] = write_schema,
	};
	const char *name = bak_neo4j_part_files[part];
	struct bak_source_inode file;

	x->part = part;
	bak_payload_inode(&file, BAK_TYPE_FILE, 0600);
	if (bak_writer_loose(x->writer, name, &file, BAK_HINT_NONE, err) < 0 ||
	    writes[part](x, err) < 0 || flush(x, 0, err) < 0)
		return bak_error_wrap(err, "%s", name);
	return bak_writer_loose_end(x->writer, &x->inodes[part], err);
}

static int write_all(struct export *x, struct bak_error *err)
{
	/* The nodes before what hangs on them, the counts when all is counted. */
	static const enum bak_neo4j_part order[] = {BAK_NEO4J_NODES, BAK_NEO4J_RELATIONSHIPS,
						    BAK_NEO4J_SCHEMA, BAK_NEO4J_COUNTS};
	static const char *const always[] = {"nodes", "relationships", "constraints", "indexes"};
	struct bak_source_inode root;

	for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
		if (json_object_set_new(x->counts, always[i], json_integer(0)) < 0)
			return bak_error_nomem(err);
	}
	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	if (bak_writer_root(x->writer, &root, err) < 0)
		return -1;
	for (size_t i = 0; i < BAK_NEO4J_PARTS; i++) {
		if (write_part(x, order[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < BAK_NEO4J_PARTS; i++) {
		if (bak_writer_place(x->writer, bak_neo4j_part_files[i], &x->inodes[i], err) < 0)
			return -1;
	}
	return 0;
}

/* --- whether it is what it should be --- */

/* What the server counts under the freeze must be what was read. */
static int check_frozen(struct export *x, struct bak_error *err)
{
	static const struct {
		const char *name, *text;
	} checks[] = {{"nodes", "MATCH (n) RETURN count(n)"},
		      {"relationships", "MATCH ()-[r]->() RETURN count(r)"}};

	for (size_t i = 0; i < 2; i++) {
		json_int_t read = json_integer_value(json_object_get(x->counts, checks[i].name));
		int64_t now;

		if (bak_neo4j_number(x->neo4j, checks[i].text, &now, err) < 0)
			return -1;
		if (now != read || x->hanging)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "%lld %s were read and there are %lld: something that "
					     "the freeze does not hold was written, such as nodes "
					     "without labels; try again",
					     (long long)read, checks[i].name, (long long)now);
	}
	return 0;
}

static int thaw(struct export *x, struct bak_error *err)
{
	struct bak_neo4j_freeze *freeze = x->freeze;

	if (!freeze)
		return 0;
	if (check_frozen(x, err) < 0)
		return -1;
	x->freeze = NULL;
	return bak_neo4j_thaw(freeze, err);
}

/* What a restore that was cut off has left. */
static int check_leftovers(struct bak_neo4j *neo4j, json_t *facts, struct bak_error *err)
{
	int64_t n;

	if (bak_neo4j_number(neo4j, "MATCH (n:`" BAK_NEO4J_LABEL "`) RETURN count(n)", &n, err) < 0)
		return -1;
	if (n == 0)
		return 0;
	if (neo4j->env->raw_ok)
		return json_object_set_new(facts, "raw", json_true());
	return bak_error_set(err, BAK_REFUSED,
			     "%lld nodes have the label " BAK_NEO4J_LABEL ": a restore is under "
			     "way, or was cut off; restore again, or, if it never came to an end, "
			     "delete them",
			     (long long)n);
}

static int note_times(json_t *facts, const char *key, struct bak_error *err)
{
	char text[BAK_TIME_LEN + 1];

	bak_time_format(time(NULL), text);
	return json_object_set_new(facts, key, json_string(text)) < 0 ? bak_error_nomem(err) : 0;
}

static int note_facts(struct export *x, bool frozen, json_t *facts, struct bak_error *err)
{
	json_t *more = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:O}", "mode", "export",
				 "database", x->neo4j->database, "version", x->about.version,
				 "edition", x->about.edition, "consistency",
				 frozen ? "one instant" : "not one instant", "frozen", frozen,
				 "counts", x->counts);
	int rc = more ? json_object_update(facts, more) : -1;

	json_decref(more);
	if (rc == 0 && x->hanging)
		rc = json_object_set_new(facts, "left_out", json_integer((json_int_t)x->hanging));
	return rc < 0 ? bak_error_nomem(err) : 0;
}

static int run(struct export *x, json_t *facts, struct bak_error *err)
{
	bool frozen = bak_store_get_bool(x->neo4j->conf, "freeze");

	if (bak_neo4j_need_query(x->neo4j, &x->about, err) < 0 ||
	    check_leftovers(x->neo4j, facts, err) < 0 || note_times(facts, "from", err) < 0)
		return -1;
	if (frozen && bak_neo4j_freeze(x->neo4j, &x->freeze, err) < 0)
		return bak_error_wrap(err, "freeze");
	if (write_all(x, err) < 0 || thaw(x, err) < 0 || note_times(facts, "to", err) < 0)
		return -1;
	if (x->hanging)
		bak_store_warn(x->neo4j->env,
			       "%llu relationships were left out, as they lead to nodes that came "
			       "while it was read: freeze = yes reads one instant",
			       (unsigned long long)x->hanging);
	return note_facts(x, frozen, facts, err);
}

int bak_neo4j_export_backup(struct bak_neo4j *neo4j, struct bak_writer *writer, json_t *facts,
			    struct bak_error *err)
{
	struct export x = {.neo4j = neo4j, .writer = writer, .counts = json_object()};
	int rc = x.counts ? run(&x, facts, err) : bak_error_nomem(err);

	bak_neo4j_freeze_drop(x.freeze);
	json_decref(x.counts);
	bak_buf_release(&x.lines);
	bak_buf_release(&x.seen);
	return rc;
}

/* --- counts of the live graph --- */

struct counting {
	struct bak_neo4j *neo4j;
	json_t *counts, *names;
};

static int take_count_name(void *ctx, const json_t *row, struct bak_error *err)
{
	struct counting *c = ctx;
	const char *name = bak_neo4j_text(json_array_get(row, 0));

	if (!name)
		return strange("a name", err);
	return json_array_append_new(c->names, json_string(name)) < 0 ? bak_error_nomem(err) : 0;
}

/* From the count store: at once, however many there are. */
static int count_one(struct counting *c, const char *kind, const char *before, const char *name,
		     const char *behind, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf key = BAK_BUF_INIT;
	int64_t n;

	if (bak_buf_append(&text, before, strlen(before)) < 0 ||
	    bak_buf_printf(&key, "%s %s", kind, name) < 0 || bak_buf_append(&key, "", 1) < 0)
		return bak_error_nomem(err);
	if (bak_neo4j_quote(&text, name, err) < 0)
		return -1;
	if (bak_buf_append(&text, behind, strlen(behind) + 1) < 0)
		return bak_error_nomem(err);
	if (bak_neo4j_number(c->neo4j, (const char *)text.p, &n, err) < 0)
		return -1;
	if (n && json_object_set_new(c->counts, (const char *)key.p, json_integer(n)) < 0)
		return bak_error_nomem(err);
	return 0;
}

static int count_each(struct counting *c, const char *kind, const char *list, const char *before,
		      const char *behind, struct bak_error *err)
{
	const struct bak_neo4j_statement statement = {.text = list, .read = true};
	size_t i;
	json_t *name;
	int rc;

	c->names = json_array();
	rc = c->names ? bak_neo4j_ask(c->neo4j, &statement, take_count_name, c, err)
		      : bak_error_nomem(err);
	json_array_foreach(c->names, i, name)
	{
		if (rc == 0)
			rc = count_one(c, kind, before, json_string_value(name), behind, err);
	}
	json_decref(c->names);
	return rc;
}

int bak_neo4j_counts(struct bak_neo4j *neo4j, json_t *counts, struct bak_error *err)
{
	static const struct {
		const char *name, *text;
	} whole[] = {
		{"nodes", "MATCH (n) RETURN count(n)"},
		{"relationships", "MATCH ()-[r]->() RETURN count(r)"},
		{"constraints", "SHOW CONSTRAINTS YIELD name RETURN count(name)"},
		{"indexes", "SHOW INDEXES YIELD type, owningConstraint WHERE owningConstraint IS "
			    "NULL AND type <> 'LOOKUP' RETURN count(type)"},
	};
	struct counting c = {.neo4j = neo4j, .counts = counts};

	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
		int64_t n;

		if (bak_neo4j_number(neo4j, whole[i].text, &n, err) < 0)
			return -1;
		if (json_object_set_new(counts, whole[i].name, json_integer(n)) < 0)
			return bak_error_nomem(err);
	}
	if (count_each(&c, "label", "CALL db.labels() YIELD label RETURN label",
		       "MATCH (n:", ") RETURN count(n)", err) < 0)
		return -1;
	return count_each(&c, "type",
			  "CALL db.relationshipTypes() YIELD relationshipType AS t RETURN t",
			  "MATCH ()-[r:", "]->() RETURN count(r)", err);
}
