/* What the driver asks of a Qdrant server: see qdrant.h. */
#include "stores/qdrant/qdrant.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIES_BUSY 4
#define ROUND_BUSY 4 /* of bak_http_wait: 320 ms at first */

/* {"status": {"error": "..."}}; a wrong key is answered in plain text. */
static void words(const json_t *body, char *out, size_t out_len)
{
	const json_t *status = json_object_get(body, "status");
	const char *error = json_string_value(json_object_get(status, "error"));

	if (error)
		snprintf(out, out_len, "%s", error);
}

const struct bak_http_server bak_qdrant_server = {
	.name = "Qdrant",
	.secret_header = "api-key",
	.words = words,
};

uint64_t bak_qdrant_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int not_qdrant(const struct bak_http *http, struct bak_error *err)
{
	return bak_error_set(err, BAK_CORRUPT, "what answers at %s is no Qdrant server",
			     bak_http_url(http));
}

int bak_qdrant_send(struct bak_http *http, const struct bak_http_request *request,
		    struct bak_http_answer *answer, struct bak_error *err)
{
	unsigned round = ROUND_BUSY;
	int rc = bak_http_send(http, request, answer, err);

	for (int i = 1; rc < 0 && !request->again && answer->status == 429 && i < TRIES_BUSY; i++) {
		if (bak_http_wait(http, &round, err) < 0)
			return -1;
		rc = bak_http_send(http, request, answer, err);
	}
	return rc;
}

static int send(struct bak_http *http, const char *method, const char *path, const json_t *body,
		bool again, json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	struct bak_http_request request = {.method = method, .path = path, .again = again};
	json_t *json;

	if (body && !text)
		return bak_error_nomem(err);
	if (text) {
		request.body = text;
		request.body_len = strlen(text);
	}
	if (bak_qdrant_send(http, &request, &answer, err) < 0)
		return -1;
	if (!out)
		return 0;
	json = json_loadb((const char *)answer.body.p, answer.body.len, 0, NULL);
	*out = json_incref(json_object_get(json, "result"));
	json_decref(json);
	return *out ? 0 : not_qdrant(http, err);
}

int bak_qdrant_call(struct bak_http *http, const char *method, char *path, const json_t *body,
		    bool again, json_t **out, struct bak_error *err)
{
	int rc = path ? send(http, method, path, body, again, out, err) : bak_error_nomem(err);

	free(path);
	return rc;
}

/* --- the server --- */

static int read_version(struct bak_qdrant *q, struct bak_error *err)
{
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	const struct bak_http_request request = {.path = "/"};
	const char *version;
	json_t *json;
	int rc;

	if (bak_http_send(q->http, &request, &answer, err) < 0)
		return -1;
	bak_http_is_known(q->clean);
	json = json_loadb((const char *)answer.body.p, answer.body.len, 0, NULL);
	version = json_string_value(json_object_get(json, "version"));
	snprintf(q->version, sizeof q->version, "%s", version ? version : "");
	json_decref(json);
	rc = sscanf(q->version, "%u.%u", &q->major, &q->minor);
	return rc == 2 ? 0 : not_qdrant(q->http, err);
}

/* Who may not ask is told of no cluster. */
static int read_cluster(struct bak_qdrant *q, struct bak_error *err)
{
	struct bak_error why = BAK_ERROR_INIT;
	json_t *result = NULL;

	q->peers = 1;
	if (bak_qdrant_call(q->http, "GET", strdup("/cluster"), NULL, true, &result, &why) < 0) {
		if (why.code == BAK_REFUSED || why.code == BAK_NOT_FOUND)
			return 0;
		*err = why;
		return -1;
	}
	if (json_object_size(json_object_get(result, "peers")) > 1)
		q->peers = (unsigned)json_object_size(json_object_get(result, "peers"));
	json_decref(result);
	return 0;
}

int bak_qdrant_connect(struct bak_qdrant *q, struct bak_error *err)
{
	json_t *names = NULL;

	if (q->connected)
		return 0;
	/* The version is told to everybody, the collections to those with a key. */
	if (read_version(q, err) < 0 || bak_qdrant_collections(q, &names, err) < 0)
		return -1;
	json_decref(names);
	q->connected = read_cluster(q, err) == 0;
	return q->connected ? 0 : -1;
}

int bak_qdrant_running(struct bak_http *http, const char *what, const char *collection)
{
	struct bak_error ignored = BAK_ERROR_INIT;
	json_t *result = NULL, *list, *entry;
	int running = -1;
	size_t i;

	if (bak_qdrant_call(http, "GET", strdup("/telemetry?details_level=2"), NULL, true, &result,
			    &ignored) < 0)
		return -1;
	list = json_object_get(json_object_get(result, "collections"), "snapshots");
	if (json_is_array(list))
		running = 0;
	json_array_foreach(list, i, entry)
	{
		const char *id = json_string_value(json_object_get(entry, "id"));

		if (id && strcmp(id, collection) == 0)
			running = (int)json_integer_value(json_object_get(entry, what));
	}
	json_decref(result);
	return running;
}

/* --- collections --- */

bool bak_qdrant_has(const json_t *names, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(names, i, item)
	{
		if (strcmp(json_string_value(item), name) == 0)
			return true;
	}
	return false;
}

int bak_qdrant_collections(struct bak_qdrant *q, json_t **out, struct bak_error *err)
{
	json_t *result = NULL, *names = json_array(), *entry;
	size_t i;
	int rc = names ? bak_qdrant_call(q->http, "GET", strdup("/collections"), NULL, true,
					 &result, err)
		       : bak_error_nomem(err);

	json_array_foreach(json_object_get(result, "collections"), i, entry)
	{
		json_t *name = json_object_get(entry, "name");

		if (rc == 0 && !json_is_string(name))
			rc = not_qdrant(q->http, err);
		if (rc == 0 && json_array_append(names, name) < 0)
			rc = bak_error_nomem(err);
	}
	json_decref(result);
	if (rc < 0)
		json_decref(names);
	else
		*out = names;
	return rc;
}

int bak_qdrant_aliases(struct bak_http *http, json_t **out, struct bak_error *err)
{
	json_t *result = NULL, *aliases = json_object(), *entry;
	size_t i;
	int rc = aliases ? bak_qdrant_call(http, "GET", strdup("/aliases"), NULL, true, &result,
					   err)
			 : bak_error_nomem(err);

	json_array_foreach(json_object_get(result, "aliases"), i, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "alias_name"));
		json_t *to = json_object_get(entry, "collection_name");

		if (rc == 0 && (!name || !json_is_string(to)))
			rc = not_qdrant(http, err);
		if (rc == 0 && json_object_set(aliases, name, to) < 0)
			rc = bak_error_nomem(err);
	}
	json_decref(result);
	if (rc < 0)
		json_decref(aliases);
	else
		*out = aliases;
	return rc;
}

int bak_qdrant_info(struct bak_http *http, const char *collection, json_t **out,
		    struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	if (bak_qdrant_call(http, "GET", bak_http_path("/collections/%s", collection), NULL, true,
			    out, &scratch) == 0)
		return 1;
	if (scratch.code == BAK_NOT_FOUND)
		return 0;
	*err = scratch;
	return -1;
}

int bak_qdrant_count(struct bak_http *http, const char *collection, const json_t *filter,
		     json_int_t *out, struct bak_error *err)
{
	json_t *body = json_pack("{s:b, s:O*}", "exact", 1, "filter", filter), *result = NULL;
	int rc = body ? bak_qdrant_call(http, "POST",
					bak_http_path("/collections/%s/points/count", collection),
					body, true, &result, err)
		      : bak_error_nomem(err);
	json_t *count = json_object_get(result, "count");

	if (rc == 0 && !json_is_integer(count))
		rc = not_qdrant(http, err);
	*out = json_integer_value(count);
	json_decref(body);
	json_decref(result);
	return rc;
}

/* --- clearing up --- */

static int drop(struct bak_qdrant *q, char *path, struct bak_error *err)
{
	struct bak_error why = BAK_ERROR_INIT;

	if (bak_qdrant_call(q->clean, "DELETE", path, NULL, true, NULL, &why) == 0 ||
	    why.code == BAK_NOT_FOUND)
		return 0;
	*err = why;
	return -1;
}

int bak_qdrant_drop(struct bak_qdrant *q, const char *collection, struct bak_error *err)
{
	return drop(q, bak_http_path("/collections/%s", collection), err);
}

int bak_qdrant_drop_snapshot(struct bak_qdrant *q, const char *collection, const char *name,
			     struct bak_error *err)
{
	return drop(q, bak_http_path("/collections/%s/snapshots/%s", collection, name), err);
}
