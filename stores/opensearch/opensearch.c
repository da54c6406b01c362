/*
 * The opensearch driver: the indices of an OpenSearch cluster, as documents or through the server's
 * own snapshots.
 *
 * Consistency: mode export: each index as of one moment, all of them opened one right after the
 * other; mode snapshot: each shard as of a moment of its own.
 */
#include "stores/opensearch/opensearch.h"

#include "stores/drivers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct bak_store_option opensearch_options[] = {
	BAK_HTTP_OPTIONS("http://localhost:9200", "the user's password"),
	{.name = "mode",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "export|snapshot",
	 .fallback = "export",
	 .help = "export: documents, as the bulk API takes them; snapshot: the server's own"},
	{.name = "indices",
	 .kind = BAK_OPTION_LIST,
	 .help = "name or pattern of indices; default: all that do not begin with a dot"},
	{.name = "exclude",
	 .kind = BAK_OPTION_LIST,
	 .help = "name or pattern of indices to leave out"},
	{.name = "system",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "no",
	 .help = "indices and templates that begin with a dot too, and hidden ones"},
	{.name = "connections",
	 .kind = BAK_OPTION_NUMBER,
	 .fallback = "4",
	 .help = "export and its restore: how many at once, 1 to 16"},
	{.name = "keep_alive",
	 .kind = BAK_OPTION_DURATION,
	 .fallback = "2h",
	 .help = "export: how long an index may wait until its turn, at most 24h"},
	{.name = "path",
	 .kind = BAK_OPTION_PATH,
	 .help = "snapshot: a folder below the server's path.repo, as it is called here"},
	{.name = "server_path",
	 .kind = BAK_OPTION_TEXT,
	 .help = "snapshot: that folder as the server calls it, if that is another name"},
	{.name = "repository",
	 .kind = BAK_OPTION_TEXT,
	 .fallback = "bakfs",
	 .help = "snapshot: what the server calls its repository there; made if need be"},
	{.name = "keep_snapshots",
	 .kind = BAK_OPTION_NUMBER,
	 .fallback = "1",
	 .help = "snapshot: how many of ours stay in that folder, at least one"},
	{.name = NULL},
};

static const struct bak_store_option restore_options[] = {
	{.name = "index", .kind = BAK_OPTION_LIST, .help = "only indices of this name or pattern"},
	{.name = NULL},
};

static void opensearch_close(void *store)
{
	struct bak_os *os = store;

	if (!os)
		return;
	bak_http_close(os->http);
	json_decref(os->restored_counts);
	free(os);
}

static int opensearch_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
			   void **out_store, struct bak_error *err)
{
	struct bak_os *os = calloc(1, sizeof *os);

	if (!os)
		return bak_error_nomem(err);
	*os = (struct bak_os){.conf = conf, .env = env};
	if (bak_http_open(conf, env, &bak_os_server, &os->http, err) < 0) {
		opensearch_close(os);
		return -1;
	}
	*out_store = os;
	return 0;
}

static int opensearch_probe(void *store, struct bak_store_probe *out, struct bak_error *err)
{
	struct bak_os *os = store;
	BAK_AUTO(bak_os_json_free) json_t *stats = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;

	*out = (struct bak_store_probe){.bytes = 0};
	snprintf(out->target, sizeof out->target, "%s", bak_http_url(os->http));
	if (bak_os_look(os, err) < 0)
		return -1;
	snprintf(out->target, sizeof out->target, "%s (cluster %s)", bak_http_url(os->http),
		 os->cluster);
	snprintf(out->version, sizeof out->version, "OpenSearch %s", os->version);
	if (bak_os_call(os->http, "GET", bak_http_path("/_stats/store?level=cluster"), NULL, &stats,
			&scratch) == 0)
		out->bytes = bak_os_number(
			bak_os_at(bak_os_at(stats, "_all", "primaries"), "store", NULL),
			"size_in_bytes");
	return 0;
}

static int opensearch_doctor(void *store, const struct bak_checkup *checkup, struct bak_error *err)
{
	return bak_os_doctor(store, checkup, err);
}

static int opensearch_backup(void *store, struct bak_writer *writer, json_t *facts,
			     struct bak_error *err)
{
	struct bak_os *os = store;

	if (strcmp(bak_store_get(os->conf, "mode"), "snapshot") == 0)
		return bak_os_snapshot(os, writer, facts, err);
	return bak_os_export(os, writer, facts, err);
}

static int opensearch_restore(void *store, const struct bak_restore_from *from, json_t *state,
			      struct bak_error *err)
{
	return bak_os_restore(store, from, state, err);
}

/* After a restore: what was counted before others could write there. */
static int opensearch_counts(void *store, json_t *counts, struct bak_error *err)
{
	struct bak_os *os = store;
	struct bak_os_indices indices = {.n = 0};
	int rc;

	if (os->restored_counts)
		return json_object_update(counts, os->restored_counts) < 0 ? bak_error_nomem(err)
									   : 0;
	if (bak_os_look(os, err) < 0)
		return -1;
	rc = bak_os_indices(os, &indices, err);
	if (rc == 0)
		rc = bak_os_count_all(os, &indices, counts, err);
	bak_os_indices_release(&indices);
	return rc;
}

static int opensearch_rollback(void *store, const json_t *state, struct bak_error *err)
{
	return bak_os_rollback(store, state, err);
}

static int opensearch_import(void *store, const char *path, struct bak_writer *writer,
			     json_t *facts, struct bak_error *err)
{
	return bak_os_import(store, path, writer, facts, err);
}

const struct bak_store_driver bak_store_opensearch = {
	.name = "opensearch",
	.summary = "the indices of an OpenSearch cluster",
	.features = BAK_STORE_KEEPS_OLD | BAK_STORE_PARTIAL | BAK_STORE_COUNTS | BAK_STORE_ATOMIC,
	.options = opensearch_options,
	.address_option = "url",
	.restore_options = restore_options,
	.open = opensearch_open,
	.probe = opensearch_probe,
	.doctor = opensearch_doctor,
	.backup = opensearch_backup,
	.restore = opensearch_restore,
	.counts = opensearch_counts,
	.rollback = opensearch_rollback,
	.import = opensearch_import,
	.close = opensearch_close,
};
