/*
 * Statements asked by the Query API, in typed JSON: what comes is what the database has, and the
 * server's errors are ours, wherever in the answer they stand.
 */
#include "stores/neo4j/neo4j.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "message (Neo.ClientError...)" of the first one. */
static void first_words(const json_t *errors, char *out, size_t len)
{
	const json_t *first = json_array_get(errors, 0);
	const char *message = json_string_value(json_object_get(first, "message"));
	const char *code = json_string_value(json_object_get(first, "code"));

	if (code && strstr(code, "CredentialsExpired"))
		message = "the initial password must be changed first: ALTER CURRENT USER SET "
			  "PASSWORD";
	if (message && code)
		snprintf(out, len, "%s (%s)", message, code);
}

static void server_words(const json_t *body, char *out, size_t len)
{
	first_words(json_object_get(body, "errors"), out, len);
}

const struct bak_http_server bak_neo4j_server = {.name = "Neo4j", .words = server_words};

/* --- who answers --- */

int bak_neo4j_about(struct bak_neo4j *neo4j, struct bak_neo4j_about *out, struct bak_error *err)
{
	const char *version, *edition;
	json_t *answer;

	*out = (struct bak_neo4j_about){.query_api = false};
	if (bak_http_json(neo4j->http, NULL, "/", NULL, &answer, err) < 0)
		return -1;
	version = json_string_value(json_object_get(answer, "neo4j_version"));
	edition = json_string_value(json_object_get(answer, "neo4j_edition"));
	out->query_api = json_is_string(json_object_get(answer, "query"));
	if (version)
		snprintf(out->version, sizeof out->version, "%s", version);
	snprintf(out->edition, sizeof out->edition, "%s", edition ? edition : "");
	json_decref(answer);
	if (!bak_neo4j_version(out->version))
		return bak_error_set(err, BAK_USAGE, "no Neo4j answers at %s",
				     bak_http_url(neo4j->http));
	return 0;
}

int bak_neo4j_need_query(struct bak_neo4j *neo4j, struct bak_neo4j_about *out,
			 struct bak_error *err)
{
	if (bak_neo4j_about(neo4j, out, err) < 0)
		return -1;
	if (out->query_api)
		return 0;
	return bak_error_set(
		err, BAK_UNSUPPORTED,
		"Neo4j %s at %s has no Query API: it is there from 5.19, with "
		"QUERY_API_ENDPOINTS in server.http_enabled_modules; or set mode = dump",
		out->version, bak_http_url(neo4j->http));
}

/* --- asking --- */

static int take_answer(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	return bak_neo4j_rows_feed(ctx, p, len, err);
}

static enum bak_errc code_of(const char *words)
{
	if (strstr(words, "Neo.TransientError"))
		return BAK_UNAVAILABLE;
	if (strstr(words, "Neo.ClientError.Security"))
		return BAK_REFUSED;
	if (strstr(words, "DatabaseNotFound"))
		return BAK_NOT_FOUND;
	if (strstr(words, "TransactionNotFound"))
		return BAK_NOT_FOUND;
	if (strstr(words, "ConstraintValidationFailed"))
		return BAK_EXISTS;
	return BAK_IO;
}

static int finish(const struct bak_neo4j_statement *statement, struct bak_neo4j_rows *rows,
		  struct bak_error *err)
{
	char words[400] = "";
	json_t *around, *errors;
	int rc = 0;

	if (bak_neo4j_rows_end(rows, &around, err) < 0)
		return -1;
	errors = json_object_get(around, "errors");
	if (json_array_size(errors)) {
		snprintf(words, sizeof words, "an error without words");
		first_words(errors, words, sizeof words);
		words[strcspn(words, "\r\n")] = '\0';
		rc = bak_error_set(err, code_of(words), "Neo4j: %s", words);
	}
	if (statement->around && rc == 0)
		*statement->around = json_incref(around);
	json_decref(around);
	return rc;
}

static int send(struct bak_neo4j *neo4j, const struct bak_neo4j_statement *statement,
		const char *body, struct bak_neo4j_rows *rows, struct bak_error *err)
{
	const char *database = statement->database ? statement->database : neo4j->database;
	BAK_AUTO(bak_free_ptr) char *escaped = bak_http_path("/db/%s/", database);
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	struct bak_http_request request = {.method = "POST",
					   .content_type = BAK_NEO4J_TYPED,
					   .accept = BAK_NEO4J_TYPED,
					   .body = body,
					   .body_len = strlen(body),
					   .take = statement->timeout_ms ? NULL : take_answer,
					   .take_ctx = rows,
					   .again = statement->read && !statement->transaction,
					   .timeout_ms = statement->timeout_ms};

	if (!escaped ||
	    asprintf(&path, "%s%s", escaped,
		     statement->transaction ? statement->transaction : "query/v2") < 0) {
		path = NULL;
		return bak_error_nomem(err);
	}
	request.path = path;
	if (bak_http_send(statement->http ? statement->http : neo4j->http, &request, &answer, err) <
	    0)
		return -1;
	return bak_neo4j_rows_feed(rows, (const char *)answer.body.p, answer.body.len, err);
}

int bak_neo4j_ask(struct bak_neo4j *neo4j, const struct bak_neo4j_statement *statement,
		  bak_neo4j_row *row, void *ctx, struct bak_error *err)
{
	BAK_AUTO(bak_neo4j_rows_release) struct bak_neo4j_rows rows = {.row = row, .ctx = ctx};
	json_t *body = json_pack("{s:s, s:o*, s:s*}", "statement", statement->text, "parameters",
				 statement->parameters, "accessMode",
				 statement->read && !statement->transaction ? "Read" : NULL);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	int rc = text ? 0 : bak_error_nomem(err);

	json_decref(body);
	if (rc == 0)
		rc = send(neo4j, statement, text, &rows, err);
	free(text);
	return rc < 0 ? -1 : finish(statement, &rows, err);
}

static int take_number(void *ctx, const json_t *row, struct bak_error *err)
{
	if (bak_neo4j_integer(json_array_get(row, 0), ctx))
		return 0;
	return bak_error_set(err, BAK_CORRUPT, "Neo4j answers with something that is no number");
}

int bak_neo4j_number(struct bak_neo4j *neo4j, const char *text, int64_t *out, struct bak_error *err)
{
	const struct bak_neo4j_statement statement = {.text = text, .read = true};

	*out = 0;
	return bak_neo4j_ask(neo4j, &statement, take_number, out, err);
}

int bak_neo4j_run(struct bak_neo4j *neo4j, struct bak_error *err, const char *fmt, ...)
{
	struct bak_neo4j_statement statement = {.timeout_ms = 0};
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		return bak_error_nomem(err);
	}
	statement.text = text;
	return bak_neo4j_ask(neo4j, &statement, NULL, NULL, err);
}

/* --- typed values --- */

const json_t *bak_neo4j_value(const json_t *value, const char *type)
{
	const char *is = json_string_value(json_object_get(value, "$type"));

	return is && strcmp(is, type) == 0 ? json_object_get(value, "_value") : NULL;
}

const char *bak_neo4j_text(const json_t *value)
{
	return json_string_value(bak_neo4j_value(value, "String"));
}

bool bak_neo4j_integer(const json_t *value, int64_t *out)
{
	const char *text = json_string_value(bak_neo4j_value(value, "Integer"));
	char *end;

	if (!text || !*text)
		return false;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	*out = n;
	return !errno && !*end;
}

json_t *bak_neo4j_typed(const char *type, json_t *value)
{
	return json_pack("{s:s, s:o}", "$type", type, "_value", value);
}

json_t *bak_neo4j_typed_text(const char *text)
{
	return bak_neo4j_typed("String", json_string(text));
}

int bak_neo4j_quote(struct bak_buf *out, const char *name, struct bak_error *err)
{
	int rc = bak_buf_append(out, "`", 1);

	for (; rc == 0 && *name; name++) {
		if (*name == '`')
			rc = bak_buf_append(out, "`", 1);
		if (rc == 0)
			rc = bak_buf_append(out, name, 1);
	}
	if (rc < 0 || bak_buf_append(out, "`", 1) < 0)
		return bak_error_nomem(err);
	return 0;
}
