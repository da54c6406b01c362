/*
 * A collection's snapshot, made by the server and fetched.
 *
 * It is asked for without waiting: a connection that is silent for long is cut by whatever stands
 * between. The server answers 202 before it has looked at anything, so the rights are tried first,
 * and whether it failed is seen by its telemetry, where it has that: no snapshot is being made, and
 * none is there. Then it is asked once more, waiting, to hear why.
 */
#include "stores/qdrant/qdrant.h"
#include "stores/qdrant/tar.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Rounds of bak_http_wait: from 2.5 s on, a snapshot that is not there may have failed. */
#define ROUNDS_PATIENT 6
/* Rounds for a checksum that does not come with the file: a server's own bucket has none. */
#define ROUNDS_CHECKSUM 6
/* How long the one of a backup that fails is waited for, to be deleted. */
#define LINGER_MS 30000

void bak_qdrant_made_release(struct bak_qdrant_made *made)
{
	free(made->name);
	free(made->checksum);
	*made = (struct bak_qdrant_made){.name = NULL};
}

/* --- which one is ours --- */

static int list(struct bak_http *http, const char *collection, json_t **out, struct bak_error *err)
{
	if (bak_qdrant_call(http, "GET", bak_http_path("/collections/%s/snapshots", collection),
			    NULL, true, out, err) < 0)
		return -1;
	if (json_is_array(*out))
		return 0;
	json_decref(*out);
	*out = NULL;
	return bak_error_set(err, BAK_CORRUPT, "Qdrant at %s: its list of snapshots is no list",
			     bak_http_url(http));
}

static const char *name_of(const json_t *entry)
{
	const char *name = json_string_value(json_object_get(entry, "name"));

	return name ? name : "";
}

static bool is_listed(const json_t *before, const char *name)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(before, i, entry)
	{
		if (strcmp(name_of(entry), name) == 0)
			return true;
	}
	return false;
}

static int read_made(const json_t *entry, struct bak_qdrant_made *out, struct bak_error *err)
{
	const char *checksum = json_string_value(json_object_get(entry, "checksum"));

	bak_qdrant_made_release(out);
	out->bytes = json_integer_value(json_object_get(entry, "size"));
	out->name = strdup(name_of(entry));
	if (checksum)
		out->checksum = strdup(checksum);
	return out->name && (!checksum || out->checksum) ? 0 : bak_error_nomem(err);
}

/* Waiting for it. */
struct asked {
	struct bak_qdrant *q;
	const char *collection;
	json_t *before; /* snapshots that were there */
	unsigned round, without_checksum;
	bool sent;   /* it may be made */
	bool others; /* more than one is new */
};

/* 1 and the new one, 0 none, -1. */
static int look(struct asked *a, struct bak_http *http, struct bak_qdrant_made *out,
		struct bak_error *err)
{
	json_t *now = NULL, *entry;
	size_t i, fresh = 0;
	int rc = list(http, a->collection, &now, err);

	json_array_foreach(now, i, entry)
	{
		if (rc < 0 || !*name_of(entry) || is_listed(a->before, name_of(entry)))
			continue;
		fresh++;
		rc = read_made(entry, out, err);
	}
	json_decref(now);
	a->others = fresh > 1;
	if (rc < 0 || fresh == 0)
		return rc;
	if (!out->checksum && a->without_checksum++ < ROUNDS_CHECKSUM)
		return 0;
	return 1;
}

/* --- asking --- */

static char *snapshots_path(const char *collection, const char *wait)
{
	return bak_http_path("/collections/%s/snapshots?wait=%s", collection, wait);
}

/* The right to make one is that to delete one: this name is nobody's. */
static int try_rights(struct bak_qdrant *q, const char *collection, struct bak_error *err)
{
	return bak_qdrant_drop_snapshot(q, collection, "bakfs-may-i", err);
}

/* After a failure: no answer came, or not the whole of a good one. */
static bool may_be_made(const struct bak_http_answer *answer)
{
	return answer->status < 300;
}

/* Where the answer is lost it may be made all the same. */
static int ask(struct asked *a, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = snapshots_path(a->collection, "false");
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	const struct bak_http_request request = {.method = "POST", .path = path};

	if (!path)
		return bak_error_nomem(err);
	if (bak_qdrant_send(a->q->http, &request, &answer, err) == 0) {
		a->sent = true;
		return 0;
	}
	a->sent = may_be_made(&answer);
	if (!a->sent || err->code != BAK_UNAVAILABLE)
		return -1;
	bak_store_log(a->q->env, "%s: it is waited for all the same: %s", a->collection, err->msg);
	*err = (struct bak_error)BAK_ERROR_INIT;
	return 0;
}

/* Once more, to hear why it failed; or it succeeds. */
static int ask_aloud(struct asked *a, struct bak_qdrant_made *out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = snapshots_path(a->collection, "true");
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	struct bak_http_request request = {
		.method = "POST",
		.path = path,
		.timeout_ms = bak_store_get_duration_ms(a->q->conf, "snapshot_timeout")};
	json_t *json, *entry;
	int rc;

	if (!path)
		return bak_error_nomem(err);
	bak_store_log(a->q->env, "%s: no snapshot came of it; asking once more, to hear why",
		      a->collection);
	if (bak_http_send(a->q->http, &request, &answer, err) < 0) {
		/* None is being made, and it says that none will be. */
		a->sent = may_be_made(&answer);
		return -1;
	}
	json = json_loadb((const char *)answer.body.p, answer.body.len, 0, NULL);
	entry = json_object_get(json, "result");
	rc = *name_of(entry)
		     ? read_made(entry, out, err)
		     : bak_error_set(err, BAK_CORRUPT,
				     "Qdrant at %s: it made a snapshot and does not name it",
				     bak_http_url(a->q->http));
	json_decref(json);
	return rc < 0 ? -1 : 1;
}

/* Telemetry first: one that ends between the two looks is then in the list. */
static int look_closely(struct asked *a, struct bak_qdrant_made *out, struct bak_error *err)
{
	int running = bak_qdrant_running(a->q->http, "running_snapshots", a->collection);
	int rc = look(a, a->q->http, out, err);

	if (rc != 0 || running != 0 || out->name)
		return rc;
	return ask_aloud(a, out, err);
}

static int await(struct asked *a, struct bak_qdrant_made *out, struct bak_error *err)
{
	uint64_t limit = bak_store_get_duration_ms(a->q->conf, "snapshot_timeout");
	uint64_t begun = bak_qdrant_now_ms();
	int rc = 0;

	while (rc == 0) {
		if (bak_http_wait(a->q->http, &a->round, err) < 0)
			return -1;
		if (a->round > ROUNDS_PATIENT)
			rc = look_closely(a, out, err);
		else
			rc = look(a, a->q->http, out, err);
		if (rc == 0 && bak_qdrant_now_ms() - begun > limit)
			rc = bak_error_set(err, BAK_UNAVAILABLE,
					   "Qdrant at %s made no snapshot of %s in %" PRIu64
					   " s: its log may say why (snapshot_timeout sets how "
					   "long to wait)",
					   bak_http_url(a->q->http), a->collection, limit / 1000);
	}
	return rc < 0 ? -1 : 0;
}

/* After a failure, or when nobody wants it any more: it still comes, and must not stay. */
static void take_back(struct asked *a, struct bak_qdrant_made *out)
{
	struct bak_error why = BAK_ERROR_INIT;
	uint64_t begun = bak_qdrant_now_ms();
	unsigned round = 0;
	int rc = 0;

	a->without_checksum = ROUNDS_CHECKSUM;
	while (rc == 0 && bak_qdrant_now_ms() - begun < LINGER_MS) {
		rc = look(a, a->q->clean, out, &why);
		if (rc == 0 && round > ROUNDS_PATIENT &&
		    bak_qdrant_running(a->q->clean, "running_snapshots", a->collection) == 0) {
			rc = look(a, a->q->clean, out, &why);
			if (rc == 0)
				rc = 2;
		}
		if (rc == 0)
			rc = bak_http_wait(a->q->clean, &round, &why);
	}
	if (rc == 1 && !a->others)
		rc = bak_qdrant_drop_snapshot(a->q, a->collection, out->name, &why) < 0 ? -1 : 2;
	if (rc != 2)
		bak_store_warn(a->q->env,
			       "a snapshot of %s that was asked for may lie on the server: delete "
			       "it there%s%s",
			       a->collection, *why.msg ? ": " : "", why.msg);
}

int bak_qdrant_make(struct bak_qdrant *q, const char *collection, struct bak_qdrant_made *out,
		    struct bak_error *err)
{
	struct asked a = {.q = q, .collection = collection};
	int rc = try_rights(q, collection, err);

	if (rc == 0)
		rc = list(q->http, collection, &a.before, err);
	if (rc == 0)
		rc = ask(&a, err);
	if (rc == 0)
		rc = await(&a, out, err);
	if (rc < 0 && a.sent)
		take_back(&a, out);
	out->shared = a.others;
	if (rc == 0 && a.others)
		bak_store_warn(q->env,
			       "somebody else had a snapshot of %s made at the same time: %s is "
			       "saved, and none is deleted on the server",
			       collection, out->name);
	json_decref(a.before);
	if (rc < 0)
		bak_qdrant_made_release(out);
	return rc;
}

/* --- fetching --- */

struct fetch {
	struct bak_writer *writer;
	struct bak_qdrant_tar tar;
};

static int take(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct fetch *fetch = ctx;

	if (bak_qdrant_tar_feed(&fetch->tar, p, len, NULL, NULL, err) < 0)
		return -1;
	return bak_writer_data(fetch->writer, p, len, err);
}

int bak_qdrant_fetch(struct bak_qdrant *q, const char *collection,
		     const struct bak_qdrant_made *made, struct bak_writer *writer,
		     struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr)
	char *path = bak_http_path("/collections/%s/snapshots/%s", collection, made->name);
	struct fetch fetch = {.writer = writer};
	char why[BAK_PROOF_WHY_LEN];

	if (!path)
		return bak_error_nomem(err);
	if (bak_http_download(q->http, path, take, &fetch, err) < 0)
		return -1;
	if (bak_qdrant_tar_verdict(&fetch.tar, why) != BAK_VERDICT_WHOLE)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot of %s that came is %s",
				     collection, why);
	return 0;
}
