/* The files of an export: JSON, a line for each node, relationship, rule of the schema, count. */
#include "stores/neo4j/neo4j.h"

#include <string.h>

#define LINE_MAX_LEN (64u << 20)

const char *const bak_neo4j_part_files[BAK_NEO4J_PARTS] = {
	[BAK_NEO4J_COUNTS] = "counts.ndjson",
	[BAK_NEO4J_NODES] = "nodes.ndjson",
	[BAK_NEO4J_RELATIONSHIPS] = "relationships.ndjson",
	[BAK_NEO4J_SCHEMA] = "schema.ndjson",
};

/* --- what a line must be --- */

static bool has_text(const json_t *line, const char *key)
{
	return json_string_length(json_object_get(line, key)) > 0;
}

static bool are_properties(const json_t *properties)
{
	const char *key;
	json_t *value;

	if (!json_is_object(properties))
		return false;
	json_object_foreach((json_t *)(uintptr_t)properties, key, value)
	{
		if (!has_text(value, "$type") || !json_object_get(value, "_value"))
			return false;
	}
	return true;
}

static bool are_labels(const json_t *labels)
{
	size_t i;
	json_t *label;

	if (!json_is_array(labels))
		return false;
	json_array_foreach((json_t *)(uintptr_t)labels, i, label)
	{
		if (json_string_length(label) == 0)
			return false;
	}
	return true;
}

static bool is_of(enum bak_neo4j_part part, const json_t *line)
{
	switch (part) {
	case BAK_NEO4J_COUNTS:
		return (has_text(line, "count") && json_is_integer(json_object_get(line, "n"))) ||
		       json_is_integer(json_object_get(line, "format"));
	case BAK_NEO4J_NODES:
		return has_text(line, "id") && are_labels(json_object_get(line, "labels")) &&
		       are_properties(json_object_get(line, "properties"));
	case BAK_NEO4J_RELATIONSHIPS:
		return has_text(line, "id") && has_text(line, "type") && has_text(line, "start") &&
		       has_text(line, "end") && are_properties(json_object_get(line, "properties"));
	case BAK_NEO4J_SCHEMA:
		return has_text(line, "kind") && has_text(line, "name") &&
		       has_text(line, "statement");
	case BAK_NEO4J_PARTS:
		break;
	}
	return false;
}

/* --- reading --- */

static int take_line(struct bak_neo4j_lines *lines, struct bak_error *err)
{
	json_error_t why;
	json_t *line = json_loadb((const char *)lines->text.p, lines->text.len, JSON_ALLOW_NUL,
				  &why);
	int rc;

	lines->n++;
	if (!line || !is_of(lines->part, line))
		rc = bak_error_set(err, BAK_CORRUPT, "%s, line %llu: %s",
				   bak_neo4j_part_files[lines->part], (unsigned long long)lines->n,
				   line ? "not what an export has there" : why.text);
	else
		rc = lines->line(lines->ctx, line, lines->text.len, err);
	lines->text.len = 0;
	json_decref(line);
	return rc;
}

int bak_neo4j_lines_feed(struct bak_neo4j_lines *lines, const void *p, size_t len,
			 struct bak_error *err)
{
	const char *at = p;

	while (len) {
		const char *end = memchr(at, '\n', len);
		size_t n = end ? (size_t)(end - at) : len;

		if (n > LINE_MAX_LEN - lines->text.len)
			return bak_error_set(err, BAK_CORRUPT, "%s, line %llu: longer than %u MiB",
					     bak_neo4j_part_files[lines->part],
					     (unsigned long long)lines->n + 1, LINE_MAX_LEN >> 20);
		if (bak_buf_append(&lines->text, at, n) < 0)
			return bak_error_nomem(err);
		if (end && take_line(lines, err) < 0)
			return -1;
		n += end ? 1 : 0;
		at += n;
		len -= n;
	}
	return 0;
}

int bak_neo4j_lines_end(struct bak_neo4j_lines *lines, struct bak_error *err)
{
	if (lines->text.len == 0)
		return 0;
	return bak_error_set(err, BAK_CORRUPT, "%s, line %llu: cut off",
			     bak_neo4j_part_files[lines->part], (unsigned long long)lines->n + 1);
}

void bak_neo4j_lines_release(struct bak_neo4j_lines *lines)
{
	bak_buf_release(&lines->text);
}

/* --- counting --- */

int bak_neo4j_count(json_t *counts, const char *kind, const char *name, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *key = NULL;
	json_t *old;

	if (asprintf(&key, name ? "%s %s" : "%s", kind, name) < 0) {
		key = NULL;
		return bak_error_nomem(err);
	}
	old = json_object_get(counts, key);
	if (old)
		return json_integer_set(old, json_integer_value(old) + 1);
	return json_object_set_new(counts, key, json_integer(1)) < 0 ? bak_error_nomem(err) : 0;
}

int bak_neo4j_count_line(json_t *counts, enum bak_neo4j_part part, const json_t *line,
			 struct bak_error *err)
{
	const json_t *labels = json_object_get(line, "labels");

	if (part == BAK_NEO4J_SCHEMA)
		return bak_neo4j_count(
			counts,
			strcmp(json_string_value(json_object_get(line, "kind")), "constraint") == 0
				? "constraints"
				: "indexes",
			NULL, err);
	if (part == BAK_NEO4J_RELATIONSHIPS)
		return bak_neo4j_count(counts, "relationships", NULL, err) < 0
			       ? -1
			       : bak_neo4j_count(counts, "type",
						 json_string_value(json_object_get(line, "type")),
						 err);
	for (size_t i = 0; i < json_array_size(labels); i++) {
		if (bak_neo4j_count(counts, "label", json_string_value(json_array_get(labels, i)),
				    err) < 0)
			return -1;
	}
	return bak_neo4j_count(counts, "nodes", NULL, err);
}

int bak_neo4j_read_count(json_t *counts, const json_t *line, struct bak_error *err)
{
	const char *name = json_string_value(json_object_get(line, "count"));

	if (!name)
		return 0;
	return json_object_set(counts, name, json_object_get(line, "n")) < 0 ? bak_error_nomem(err)
									     : 0;
}
