/* The server: who it is, requests with JSON, what its refusals mean. */
#include "stores/opensearch/opensearch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The oldest that knows points in time. */
#define MAJOR_MIN 2u
#define MINOR_MIN 4u

/* --- JSON --- */

const char *bak_os_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

uint64_t bak_os_number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	json_int_t n = json_integer_value(value);

	if (json_is_string(value))
		return strtoull(json_string_value(value), NULL, 10);
	return n > 0 ? (uint64_t)n : 0;
}

json_t *bak_os_at(const json_t *object, const char *a, const char *b)
{
	json_t *value = json_object_get(object, a);

	return b ? json_object_get(value, b) : value;
}

void bak_os_json_free(json_t **json)
{
	json_decref(*json);
}

/* --- its words --- */

/* {"error": {"root_cause": [{"type", "reason"}], "type", "reason", "caused_by": {...}}} */
static void error_words(const json_t *body, char *out, size_t out_len)
{
	const json_t *error = json_object_get(body, "error"), *cause = error;
	const json_t *root = json_array_get(json_object_get(error, "root_cause"), 0);
	const char *deeper;

	if (json_is_string(error)) {
		snprintf(out, out_len, "%s", json_string_value(error));
		return;
	}
	if (!json_is_object(error))
		return;
	if (json_is_object(root))
		error = root;
	while (json_is_object(json_object_get(cause, "caused_by")))
		cause = json_object_get(cause, "caused_by");
	deeper = bak_os_text(cause, "reason");
	if (strcmp(deeper, bak_os_text(error, "reason")) == 0)
		deeper = "";
	snprintf(out, out_len, "%s: %s%s%s", bak_os_text(error, "type"),
		 bak_os_text(error, "reason"), *deeper ? ": " : "", deeper);
}

const struct bak_http_server bak_os_server = {.name = "OpenSearch", .words = error_words};

int bak_os_advise(struct bak_error *err)
{
	static const struct {
		const char *words, *todo;
	} known[] = {
		{"path.repo", "set path.repo in opensearch.yml on every node, and restart it"},
		{"is not accessible on the node",
		 "the folder must be writable for the server, and the same on all nodes"},
		{"store is not shared", "all nodes must see the same folder"},
		{"flood-stage", "the server's data disk is full: make room there"},
		{"No search context found", "the point in time is gone: the server was restarted, "
					    "or keep_alive is too short"},
		{"search_context_missing", "the point in time is gone: the server was restarted, "
					   "or keep_alive is too short"},
		{"too many Point In Time", "raise search.max_open_pit_context on the server"},
		{"this action would add", "raise cluster.max_shards_per_node, or delete indices"},
		{"No space left on device", "make room on the server's disk"},
		{"concurrent_snapshot_execution", "another snapshot or delete runs: try later"},
	};
	char old[sizeof err->msg];
	enum bak_errc code = err->code;

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (!strstr(err->msg, known[i].words) || strstr(err->msg, known[i].todo))
			continue;
		snprintf(old, sizeof old, "%s", err->msg);
		if (strcmp(known[i].words, "flood-stage") == 0 ||
		    strcmp(known[i].words, "No space left on device") == 0)
			code = BAK_NO_SPACE;
		/* the server's words may be long, and what to do must not be lost */
		return bak_error_set(err, code, "%.*s (%s)",
				     (int)(sizeof err->msg - strlen(known[i].todo) - 4), old,
				     known[i].todo);
	}
	return -1;
}

void bak_os_go_on(struct bak_os *os)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	struct bak_http *other;

	if (bak_http_undoing(os->http, &other, &scratch) < 0)
		return;
	bak_http_close(os->http);
	os->http = other;
}

int bak_os_call(struct bak_http *http, const char *method, char *path, const json_t *body,
		json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *owned = path;

	if (!path)
		return bak_error_nomem(err);
	if (bak_http_json(http, method, owned, body, out, err) < 0)
		return bak_os_advise(err);
	return 0;
}

int bak_os_delete(struct bak_http *http, char *path, const json_t *body, uint64_t timeout_ms,
		  struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *owned = path;
	BAK_AUTO(bak_free_ptr) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	const struct bak_http_request request = {.method = "DELETE",
						 .path = owned,
						 .body = text,
						 .body_len = text ? strlen(text) : 0,
						 .again = true,
						 .timeout_ms = timeout_ms};

	if (!owned || (body && !text))
		return bak_error_nomem(err);
	if (bak_http_send(http, &request, NULL, err) == 0 || err->code == BAK_NOT_FOUND)
		return 0;
	return bak_os_advise(err);
}

int bak_os_search(struct bak_http *http, const json_t *body, json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	const struct bak_http_request request = {.method = "POST",
						 .path = "/_search",
						 .body = text,
						 .body_len = text ? strlen(text) : 0,
						 .again = true};

	if (!text)
		return bak_error_nomem(err);
	if (bak_http_send(http, &request, &answer, err) < 0)
		return bak_os_advise(err);
	*out = json_loadb((const char *)answer.body.p, answer.body.len, 0, NULL);
	if (!*out)
		return bak_error_set(err, BAK_CORRUPT, "the answer to a search is no JSON");
	return bak_os_check_answer(*out, err);
}

int bak_os_check_answer(const json_t *answer, struct bak_error *err)
{
	if (json_is_true(json_object_get(answer, "timed_out")))
		return bak_error_set(err, BAK_UNAVAILABLE, "a search took the server too long");
	return bak_os_check_shards(answer, err);
}

int bak_os_ask(struct bak_http *http, char *path, json_t **out, struct bak_error *err)
{
	if (bak_os_call(http, "GET", path, NULL, out, err) == 0)
		return 1;
	return err->code == BAK_NOT_FOUND ? 0 : -1;
}

/* --- who it is --- */

static int check_version(struct bak_os *os, const json_t *answer, struct bak_error *err)
{
	const json_t *version = json_object_get(answer, "version");
	const char *product = bak_os_text(version, "distribution");

	snprintf(os->version, sizeof os->version, "%s", bak_os_text(version, "number"));
	snprintf(os->cluster, sizeof os->cluster, "%s", bak_os_text(answer, "cluster_name"));
	if (strcmp(product, "opensearch") != 0)
		return bak_error_set(err, BAK_UNSUPPORTED, "%s is not OpenSearch%s%s",
				     bak_http_url(os->http), *os->version ? " but version " : "",
				     os->version);
	if (sscanf(os->version, "%u.%u", &os->major, &os->minor) != 2)
		return bak_error_set(err, BAK_UNSUPPORTED, "%s: version \"%s\" makes no sense",
				     bak_http_url(os->http), os->version);
	/* 7.10 is what compatibility.override_main_response_version has it say. */
	if (os->major < MAJOR_MIN || (os->major == MAJOR_MIN && os->minor < MINOR_MIN))
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "%s: OpenSearch %s is too old, it takes %u.%u",
				     bak_http_url(os->http), os->version, MAJOR_MIN, MINOR_MIN);
	os->looked = true;
	return 0;
}

int bak_os_look(struct bak_os *os, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;

	if (os->looked)
		return 0;
	if (bak_os_call(os->http, "GET", bak_http_path("/"), NULL, &answer, err) < 0)
		return -1;
	return check_version(os, answer, err);
}

/* --- indices that are there for good --- */

int bak_os_check_shards(const json_t *answer, struct bak_error *err)
{
	const json_t *shards = json_object_get(answer, "_shards");
	const json_t *failure = json_array_get(json_object_get(shards, "failures"), 0);
	const json_t *reason = json_object_get(failure, "reason");

	if (!json_is_object(shards))
		return bak_error_set(err, BAK_CORRUPT,
				     "the server does not say how many shards "
				     "answered");
	if (bak_os_number(shards, "failed") == 0 &&
	    bak_os_number(shards, "successful") == bak_os_number(shards, "total"))
		return 0;
	return bak_error_set(err, BAK_UNAVAILABLE,
			     "only %" PRIu64 " of %" PRIu64 " shards answered%s%.100s%s%.200s",
			     bak_os_number(shards, "successful"), bak_os_number(shards, "total"),
			     failure ? ": " : "", bak_os_text(reason, "type"), failure ? ": " : "",
			     bak_os_text(reason, "reason"));
}

/* 1 all of them, 0 not yet, -1. */
static int is_active(struct bak_os *os, const char *index, uint64_t *out_active,
		     uint64_t *out_shards, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *health = NULL;
	const json_t *one;

	if (bak_os_call(os->http, "GET",
			bak_http_path("/_cluster/health/%s?level=indices&timeout=1s", index), NULL,
			&health, err) < 0)
		return -1;
	one = bak_os_at(health, "indices", index);
	*out_shards = bak_os_number(one, "number_of_shards");
	*out_active = bak_os_number(one, "active_primary_shards");
	return *out_shards && *out_active == *out_shards;
}

/* Why a shard has no place, as the server explains it. */
static void explain(struct bak_os *os, const char *index, char *out, size_t len)
{
	BAK_AUTO(bak_os_json_free)
	json_t *body = json_pack("{s:s, s:i, s:b}", "index", index, "shard", 0, "primary", 1);
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;
	const json_t *info;

	*out = '\0';
	if (!body || bak_os_call(os->http, "POST", bak_http_path("/_cluster/allocation/explain"),
				 body, &answer, &scratch) < 0)
		return;
	info = json_object_get(answer, "unassigned_info");
	snprintf(out, len, ": %.300s",
		 *bak_os_text(info, "details") ? bak_os_text(info, "details")
					       : bak_os_text(answer, "allocate_explanation"));
}

/* Bytes that its shards have got so far: of a large one that takes its time. */
static int recovered(struct bak_os *os, const char *index, uint64_t *out, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	const json_t *shard;
	size_t i;

	*out = 0;
	if (bak_os_call(os->http, "GET", bak_http_path("/%s/_recovery", index), NULL, &answer,
			err) < 0)
		return -1;
	json_array_foreach(bak_os_at(answer, index, "shards"), i, shard)
	{
		*out += bak_os_number(bak_os_at(shard, "index", "size"), "recovered_in_bytes");
	}
	return 0;
}

int bak_os_wait_active(struct bak_os *os, const char *index, struct bak_error *err)
{
	uint64_t active = 0, shards = 0, limit = bak_store_get_duration_ms(os->conf, "timeout");
	uint64_t waited = 0, before = 0, now = 0;
	unsigned round = 0;
	char why[320];
	int rc;

	while ((rc = is_active(os, index, &active, &shards, err)) == 0) {
		if (recovered(os, index, &now, err) < 0)
			return -1;
		waited = now == before ? waited : 0;
		before = now;
		if (waited > limit) {
			explain(os, index, why, sizeof why);
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "index %s: only %" PRIu64 " of %" PRIu64
					     " shards are there%s",
					     index, active, shards, why);
		}
		waited += round < 7 ? 20u << round : 2000;
		if (bak_http_wait(os->http, &round, err) < 0)
			return -1;
	}
	return rc < 0 ? -1 : 0;
}

int bak_os_count(struct bak_os *os, const char *index, uint64_t *out, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *refreshed = NULL;
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;

	if (bak_os_call(os->http, "POST", bak_http_path("/%s/_refresh", index), NULL, &refreshed,
			err) < 0 ||
	    bak_os_call(os->http, "GET", bak_http_path("/%s/_count", index), NULL, &answer, err) <
		    0)
		return -1;
	if (bak_os_check_shards(answer, err) < 0)
		return bak_error_wrap(err, "counting %s", index);
	*out = bak_os_number(answer, "count");
	return 0;
}
