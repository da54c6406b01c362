/*
 * Saving through the server's own snapshots: it writes them into a folder that both see, as much as
 * is new, and the folder is saved. One older snapshot or more stays there, so that the next one is
 * small.
 */
#include "stores/opensearch/opensearch.h"

#include "engine/objects/snapshot.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

struct taking {
	struct bak_os *os;
	struct bak_writer *writer;
	const char *repository, *path;
	struct bak_os_indices indices;
	json_t *before;   /* name -> what was done to it so far, when it began */
	json_t *snapshot; /* the server's words of it */
	json_t *definitions;
	char name[64];
	bool asked, whole; /* it may exist; it does */
};

/* --- the repository --- */

int bak_os_folder(const struct bak_os *os, const char **out_path, const char **out_server_path,
		  struct bak_error *err)
{
	const char *path = bak_store_get(os->conf, "path");
	const char *theirs = bak_store_get(os->conf, "server_path");

	if (!path)
		return bak_error_set(err, BAK_USAGE,
				     "path is not set: a folder that the server's path.repo names "
				     "and that is here too");
	*out_path = path;
	*out_server_path = theirs ? theirs : path;
	return 0;
}

/* The server first notes it, and then looks whether all nodes can write there. */
static int register_new(struct bak_os *os, const char *name, const json_t *body,
			struct bak_error *err)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	if (bak_os_call(os->http, "PUT", bak_http_path("/_snapshot/%s", name), body, NULL, err) ==
	    0)
		return 0;
	bak_os_go_on(os);
	if (bak_os_delete(os->http, bak_http_path("/_snapshot/%s", name), NULL, 0, &scratch) < 0)
		bak_store_warn(os->env, "repository %s may stay registered: %s", name, scratch.msg);
	return -1;
}

int bak_os_repository_put(struct bak_os *os, const char *name, const char *location, bool readonly,
			  struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *there = NULL;
	BAK_AUTO(bak_os_json_free)
	json_t *body = json_pack("{s:s, s:{s:s, s:b}}", "type", "fs", "settings", "location",
				 location, "readonly", readonly);
	int rc = bak_os_ask(os->http, bak_http_path("/_snapshot/%s", name), &there, err);

	if (rc < 0 || !body)
		return rc < 0 ? -1 : bak_error_nomem(err);
	if (rc == 0)
		return register_new(os, name, body, err);
	const json_t *its = json_object_get(there, name);
	const json_t *settings = json_object_get(its, "settings");

	if (strcmp(bak_os_text(its, "type"), "fs") != 0)
		return bak_error_set(err, BAK_REFUSED,
				     "the server's repository %s is of type %s: name another one "
				     "with repository",
				     name, bak_os_text(its, "type"));
	if (strcmp(bak_os_text(settings, "location"), location) != 0)
		return bak_error_set(err, BAK_REFUSED,
				     "the server's repository %s lies in %s: set path and "
				     "server_path to that, or repository to another name",
				     name, bak_os_text(settings, "location"));
	return 0;
}

static int check_idle(struct taking *t, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	const json_t *list;

	if (bak_os_call(t->os->http, "GET", bak_http_path("/_snapshot/%s/_current", t->repository),
			NULL, &answer, err) < 0)
		return -1;
	list = json_object_get(answer, "snapshots");
	if (json_array_size(list) == 0)
		return 0;
	return bak_error_set(err, BAK_BUSY, "snapshot %s runs in repository %s: try later",
			     bak_os_text(json_array_get(list, 0), "snapshot"), t->repository);
}

/* --- what is in it --- */

/* Documents and how many operations there were: where both stay the same, nobody wrote. */
static int look(struct taking *t, json_t *out, struct bak_error *err)
{
	for (size_t i = 0; i < t->indices.n; i++) {
		const struct bak_os_index *index = &t->indices.v[i];
		BAK_AUTO(bak_os_json_free) json_t *stats = NULL;
		const json_t *indexing;
		uint64_t count;

		if (index->closed || index->stream)
			continue;
		if (bak_os_count(t->os, index->concrete, &count, err) < 0 ||
		    bak_os_call(t->os->http, "GET",
				bak_http_path("/%s/_stats/indexing", index->concrete), NULL, &stats,
				err) < 0)
			return -1;
		indexing = bak_os_at(bak_os_at(stats, "_all", "primaries"), "indexing", NULL);
		if (json_object_set_new(
			    out, index->name,
			    json_pack("{s:I, s:I, s:I}", "documents", (json_int_t)count, "written",
				      (json_int_t)bak_os_number(indexing, "index_total"), "deleted",
				      (json_int_t)bak_os_number(indexing, "delete_total"))) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

/* Indices one by one, of streams the streams. */
static json_t *names(const struct taking *t)
{
	struct bak_buf text = BAK_BUF_INIT;
	const json_t *stream;
	json_t *out = NULL;
	size_t i;
	int rc = 0;

	for (i = 0; i < t->indices.n; i++) {
		if (!t->indices.v[i].stream)
			rc |= bak_buf_printf(&text, "%s%s", text.len ? "," : "",
					     t->indices.v[i].concrete);
	}
	json_array_foreach(t->indices.streams, i, stream)
	{
		rc |= bak_buf_printf(&text, "%s%s", text.len ? "," : "", json_string_value(stream));
	}
	if (rc == 0)
		out = json_stringn((const char *)text.p, text.len);
	bak_buf_release(&text);
	return out;
}

/* --- taking it --- */

static int begin(struct taking *t, struct bak_error *err)
{
	char stamp[BAK_STAMP_LEN + 1];
	json_t *list = names(t);
	BAK_AUTO(bak_os_json_free)
	json_t *body = list ? json_pack("{s:o, s:b, s:b, s:b, s:{s:s}}", "indices", list,
					"ignore_unavailable", 0, "include_global_state", 0,
					"partial", 0, "metadata", "bakfs", t->os->conf->name)
			    : NULL;

	if (!body)
		return bak_error_nomem(err);
	bak_stamp_format(time(NULL), stamp);
	for (char *c = stamp; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	snprintf(t->name, sizeof t->name, "bakfs-%s-%08x", stamp,
		 (unsigned)(clock() ^ (long)time(NULL)));
	t->asked = true;
	return bak_os_call(
		t->os->http, "PUT",
		bak_http_path("/_snapshot/%s/%s?wait_for_completion=false", t->repository, t->name),
		body, NULL, err);
}

static int judge(const json_t *snapshot, struct bak_error *err)
{
	const char *state = bak_os_text(snapshot, "state");
	const json_t *shards = json_object_get(snapshot, "shards");
	const json_t *failure = json_array_get(json_object_get(snapshot, "failures"), 0);

	if (strcmp(state, "SUCCESS") == 0 && bak_os_number(shards, "failed") == 0)
		return 0;
	bak_error_set(err, BAK_IO,
		      "the server's snapshot is %s: %" PRIu64 " of %" PRIu64
		      " shards failed%s%.80s%s%.200s",
		      *state ? state : "gone", bak_os_number(shards, "failed"),
		      bak_os_number(shards, "total"), failure ? ", index " : "",
		      bak_os_text(failure, "index"), failure ? ": " : "",
		      failure ? bak_os_text(failure, "reason") : "");
	return bak_os_advise(err);
}

/* It was accepted, and is not there: the server says why in its log alone. */
static int given_up(const struct taking *t, struct bak_error *err)
{
	struct statvfs fs;

	if (statvfs(t->path, &fs) < 0)
		return bak_error_sys(err, errno, "the server gave up its snapshot; %s", t->path);
	return bak_error_set(err, BAK_IO,
			     "the server gave up its snapshot: its log says why; %s has %" PRIu64
			     " bytes free",
			     t->path, (uint64_t)fs.f_bavail * fs.f_frsize);
}

static int wait_done(struct taking *t, struct bak_error *err)
{
	unsigned round = 0;

	for (;;) {
		BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
		json_t *snapshot;

		if (bak_os_call(t->os->http, "GET",
				bak_http_path("/_snapshot/%s/%s", t->repository, t->name), NULL,
				&answer, err) < 0)
			return err->code == BAK_NOT_FOUND ? given_up(t, err) : -1;
		snapshot = json_array_get(json_object_get(answer, "snapshots"), 0);
		if (strcmp(bak_os_text(snapshot, "state"), "IN_PROGRESS") != 0) {
			t->snapshot = json_incref(snapshot);
			return judge(snapshot, err);
		}
		if (bak_http_wait(t->os->http, &round, err) < 0)
			return -1;
	}
}

static int delete_snapshot(struct taking *t, const char *name, struct bak_error *err)
{
	/* it answers when it is done */
	return bak_os_delete(t->os->http, bak_http_path("/_snapshot/%s/%s", t->repository, name),
			     NULL, 3600000, err);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Ours, of this store, but for the newest: their names begin with the time. A failure is told. */
static void delete_old(struct taking *t)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	uint64_t keep = bak_store_get_number(t->os->conf, "keep_snapshots");
	struct bak_error err = BAK_ERROR_INIT;
	const json_t *list, *snapshot;
	size_t i, n = 0;

	if (bak_os_call(t->os->http, "GET", bak_http_path("/_snapshot/%s/_all", t->repository),
			NULL, &answer, &err) < 0) {
		bak_store_warn(t->os->env, "older snapshots stay on the server: %s", err.msg);
		return;
	}
	list = json_object_get(answer, "snapshots");
	BAK_AUTO(bak_free_ptr)
	const char **old = calloc(json_array_size(list) + 1, sizeof *old);
	json_array_foreach(list, i, snapshot)
	{
		const char *ours = bak_os_text(json_object_get(snapshot, "metadata"), "bakfs");

		if (old && strcmp(ours, t->os->conf->name) == 0)
			old[n++] = bak_os_text(snapshot, "snapshot");
	}
	if (n > 1)
		qsort(old, n, sizeof *old, by_text);
	for (i = 0; i + (keep ? keep : 1) < n; i++) {
		if (strcmp(old[i], t->name) != 0 && delete_snapshot(t, old[i], &err) < 0)
			bak_store_warn(t->os->env, "snapshot %s stays on the server: %s", old[i],
				       err.msg);
	}
}

/* --- the folder --- */

static int store_folder(struct taking *t, struct bak_error *err)
{
	struct bak_os_catalogue catalogue = {.json = NULL};
	int rc = bak_os_repository_store(t->os->env, t->path, t->writer, &catalogue, err);

	if (rc < 0 && err->code == BAK_NOT_FOUND)
		bak_error_wrap(err,
			       "the server's snapshot is not in path: is that the folder which "
			       "the server has as server_path?");
	if (rc == 0 && !bak_os_catalogue_find(&catalogue, -1, t->name))
		rc = bak_error_set(err, BAK_NOT_FOUND,
				   "%s is a repository, but not the one that the server writes to: "
				   "snapshot %s is not there",
				   t->path, t->name);
	bak_os_catalogue_release(&catalogue);
	return rc;
}

static int write_all(struct taking *t, struct bak_error *err)
{
	if (bak_os_definitions_get(t->os, &t->definitions, err) < 0 ||
	    bak_os_definitions_write(t->definitions, t->writer, NULL, BAK_OS_REPOSITORY, err) < 0 ||
	    store_folder(t, err) < 0)
		return -1;
	return bak_os_definitions_write(t->definitions, t->writer, BAK_OS_REPOSITORY, NULL, err);
}

/* --- facts --- */

static int add_index(struct taking *t, const struct bak_os_index *index, json_t *list,
		     struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *body = NULL;
	uint64_t bytes;

	if (index->stream)
		return 0;
	if (index->closed)
		return json_array_append_new(list, json_pack("{s:s, s:s}", "name", index->name,
							     "concrete", index->concrete)) < 0
			       ? bak_error_nomem(err)
			       : 0;
	if (bak_os_describe(t->os, index->concrete, &body, &bytes, err) < 0)
		return -1;
	return json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:O*}", "name", index->name,
						     "concrete", index->concrete, "bytes",
						     (json_int_t)bytes, "aliases",
						     bak_os_at(body, "aliases", NULL))) < 0
		       ? bak_error_nomem(err)
		       : 0;
}

/* Of indices to which nobody wrote while the snapshot was taken. */
static int fill_counts(struct taking *t, json_t *counts, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *after = json_object();
	const char *name;
	json_t *was;

	if (!after)
		return bak_error_nomem(err);
	if (look(t, after, err) < 0)
		return -1;
	json_object_foreach(t->before, name, was)
	{
		if (json_equal(was, json_object_get(after, name)))
			json_object_set(counts, name, json_object_get(was, "documents"));
	}
	return 0;
}

static int fill_facts(struct taking *t, json_t *facts, struct bak_error *err)
{
	json_t *list = json_array(), *counts = json_object();
	int rc = json_object_set_new(facts, "indices", list);

	rc |= json_object_set_new(facts, "counts", counts);
	rc |= json_object_set_new(facts, "mode", json_string("snapshot"));
	rc |= json_object_set_new(facts, "version", json_string(t->os->version));
	rc |= json_object_set_new(facts, "cluster", json_string(t->os->cluster));
	rc |= json_object_set_new(facts, "snapshot", json_string(t->name));
	rc |= json_object_set_new(facts, "moment",
				  json_string(bak_os_text(t->snapshot, "start_time")));
	rc |= json_object_set_new(facts, "moment_end",
				  json_string(bak_os_text(t->snapshot, "end_time")));
	if (json_array_size(t->indices.streams))
		rc |= json_object_set(facts, "data_streams", t->indices.streams);
	if (rc < 0)
		return bak_error_nomem(err);
	for (size_t i = 0; i < t->indices.n; i++) {
		if (add_index(t, &t->indices.v[i], list, err) < 0)
			return -1;
	}
	return fill_counts(t, counts, err);
}

/* --- the whole --- */

static int prepare(struct taking *t, struct bak_error *err)
{
	const char *theirs = NULL;

	if (bak_os_folder(t->os, &t->path, &theirs, err) < 0 || bak_os_look(t->os, err) < 0 ||
	    bak_os_indices(t->os, &t->indices, err) < 0)
		return -1;
	if (!t->indices.n)
		return bak_error_set(err, BAK_NOT_FOUND, "the server has no index to save");
	if (bak_os_repository_put(t->os, t->repository, theirs, false, err) < 0 ||
	    check_idle(t, err) < 0)
		return -1;
	t->before = json_object();
	return t->before ? look(t, t->before, err) : bak_error_nomem(err);
}

int bak_os_snapshot(struct bak_os *os, struct bak_writer *writer, json_t *facts,
		    struct bak_error *err)
{
	struct taking t = {
		.os = os, .writer = writer, .repository = bak_store_get(os->conf, "repository")};
	struct bak_error scratch = BAK_ERROR_INIT;
	int rc = prepare(&t, err);

	if (rc == 0)
		rc = begin(&t, err);
	if (rc == 0)
		rc = wait_done(&t, err);
	t.whole = rc == 0;
	if (rc == 0)
		rc = fill_facts(&t, facts, err);
	if (rc == 0) {
		delete_old(&t);
		rc = write_all(&t, err);
	}
	if (rc < 0)
		bak_os_go_on(os);
	/* also one that still runs; a whole one is of use to the next */
	if (rc < 0 && t.asked && !t.whole && delete_snapshot(&t, t.name, &scratch) < 0)
		bak_store_warn(os->env, "snapshot %s may be left on the server: %s", t.name,
			       scratch.msg);
	json_decref(t.before);
	json_decref(t.snapshot);
	json_decref(t.definitions);
	bak_os_indices_release(&t.indices);
	return rc;
}
