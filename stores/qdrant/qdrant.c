/*
 * The qdrant driver: collections of a Qdrant server, through its REST interface.
 *
 * Consistency: each collection at one moment, that of its snapshot; where points are read one by one
 * there is no such moment.
 */
#include "stores/qdrant/qdrant.h"
#include "stores/drivers.h"
#include "stores/qdrant/tar.h"

#include <stdlib.h>
#include <string.h>

static const struct bak_store_option qdrant_options[] = {
	BAK_HTTP_OPTIONS("http://localhost:6333", "the API key, or a token"),
	{.name = "collection",
	 .kind = BAK_OPTION_LIST,
	 .help = "names, aliases or patterns (* and ?); default: all collections"},
	{.name = "exclude",
	 .kind = BAK_OPTION_LIST,
	 .help = "names or patterns of collections to leave out"},
	{.name = "mode",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "auto|snapshot|export",
	 .fallback = "auto",
	 .help = "the server's own snapshots, else point by point; or one of them alone"},
	{.name = "filter",
	 .kind = BAK_OPTION_TEXT,
	 .help = "save only points that this filter, JSON, lets through; point by point"},
	{.name = "snapshot_timeout",
	 .kind = BAK_OPTION_DURATION,
	 .fallback = "1h",
	 .help = "how long the server may take to make a snapshot"},
	{.name = "any_version",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "no",
	 .help = "try to restore into servers more than one minor version newer"},
	{.name = NULL},
};

static const struct bak_store_option restore_options[] = {
	{.name = "to-collection",
	 .kind = BAK_OPTION_TEXT,
	 .help = "restore one collection under this new name"},
	{.name = NULL},
};

static void qdrant_close(void *store)
{
	struct bak_qdrant *q = store;

	if (!q)
		return;
	bak_http_close(q->http);
	bak_http_close(q->clean);
	json_decref(q->replaced);
	json_decref(q->restored_counts);
	free(q);
}

static int qdrant_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
		       void **out_store, struct bak_error *err)
{
	struct bak_qdrant *q = calloc(1, sizeof *q);

	if (!q)
		return bak_error_nomem(err);
	*q = (struct bak_qdrant){.conf = conf, .env = env, .replaced = json_array()};
	if (!q->replaced) {
		free(q);
		return bak_error_nomem(err);
	}
	if (bak_http_open(conf, env, &bak_qdrant_server, &q->http, err) < 0 ||
	    bak_http_undoing(q->http, &q->clean, err) < 0) {
		qdrant_close(q);
		return -1;
	}
	*out_store = q;
	return 0;
}

static int qdrant_probe(void *store, struct bak_store_probe *out, struct bak_error *err)
{
	struct bak_qdrant *q = store;

	*out = (struct bak_store_probe){.bytes = 0};
	snprintf(out->target, sizeof out->target, "Qdrant at %s", bak_http_url(q->http));
	if (bak_qdrant_connect(q, err) < 0)
		return -1;
	snprintf(out->version, sizeof out->version, "Qdrant %s%s", q->version,
		 q->peers > 1 ? ", a cluster" : "");
	return 0;
}

static int qdrant_doctor(void *store, const struct bak_checkup *checkup, struct bak_error *err)
{
	return bak_qdrant_doctor(store, checkup, err);
}

static int qdrant_backup(void *store, struct bak_writer *writer, json_t *facts,
			 struct bak_error *err)
{
	return bak_qdrant_backup(store, writer, facts, err);
}

static int qdrant_restore(void *store, const struct bak_restore_from *from, json_t *state,
			  struct bak_error *err)
{
	return bak_qdrant_restore(store, from, state, err);
}

static int count_all(struct bak_qdrant *q, const json_t *names, const json_t *aliases,
		     json_t *counts, struct bak_error *err)
{
	char key[BAK_QDRANT_NAME_MAX + 16];
	json_t *name;
	size_t i;

	json_array_foreach(names, i, name)
	{
		const char *text = json_string_value(name);
		json_int_t n;

		if (!bak_qdrant_chosen(q, text, aliases) || bak_qdrant_is_kept(text, aliases))
			continue;
		snprintf(key, sizeof key, "%s points", text);
		if (bak_qdrant_count(q->http, text, NULL, &n, err) < 0)
			return -1;
		if (json_object_set_new(counts, key, json_integer(n)) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

static int qdrant_counts(void *store, json_t *counts, struct bak_error *err)
{
	struct bak_qdrant *q = store;
	json_t *names = NULL, *aliases = NULL;
	int rc;

	if (q->restored_counts) {
		rc = json_object_update(counts, q->restored_counts);
		json_decref(q->restored_counts);
		q->restored_counts = NULL;
		return rc < 0 ? bak_error_nomem(err) : 0;
	}
	if (bak_qdrant_connect(q, err) < 0 || bak_qdrant_collections(q, &names, err) < 0)
		return -1;
	rc = bak_qdrant_aliases(q->http, &aliases, err);
	if (rc == 0)
		rc = count_all(q, names, aliases, counts, err);
	json_decref(names);
	json_decref(aliases);
	return rc;
}

static int qdrant_keeps_old(void *store, const struct bak_restore_from *from, struct bak_error *err)
{
	return bak_qdrant_keeps_old(store, from, err);
}

static int qdrant_rollback(void *store, const json_t *state, struct bak_error *err)
{
	return bak_qdrant_rollback(store, state, err);
}

static int qdrant_import(void *store, const char *path, struct bak_writer *writer, json_t *facts,
			 struct bak_error *err)
{
	return bak_qdrant_import(store, path, writer, facts, err);
}

const struct bak_store_driver bak_store_qdrant = {
	.name = "qdrant",
	.summary = "collections of a Qdrant server",
	.features = BAK_STORE_KEEPS_OLD | BAK_STORE_PARTIAL | BAK_STORE_COUNTS,
	.options = qdrant_options,
	.address_option = "url",
	.restore_options = restore_options,
	.proof = &bak_qdrant_proof,
	.open = qdrant_open,
	.probe = qdrant_probe,
	.doctor = qdrant_doctor,
	.backup = qdrant_backup,
	.restore = qdrant_restore,
	.counts = qdrant_counts,
	.keeps_old = qdrant_keeps_old,
	.rollback = qdrant_rollback,
	.import = qdrant_import,
	.close = qdrant_close,
};
