/*
 * The chroma driver: the collections of a ChromaDB server, through its interface or as the folder
 * that it works on.
 *
 * Consistency: with mode = directory, all of it at one moment. With mode = api, of each collection
 * the rows that it had when it was begun; nothing ties several collections together.
 */
#include "stores/chroma/chroma.h"

#include "stores/drivers.h"

#include <stdlib.h>
#include <string.h>

static const struct bak_store_option chroma_options[] = {
	{.name = "mode",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "api|directory",
	 .fallback = "api",
	 .help = "ask the server for its rows, or copy the folder that it works on"},
	BAK_HTTP_OPTIONS("http://localhost:8000", "password or token, where a proxy asks for one"),
	{.name = "tenant",
	 .kind = BAK_OPTION_LIST,
	 .fallback = "default_tenant",
	 .help = "the tenants to save: a server does not list them"},
	{.name = "database",
	 .kind = BAK_OPTION_LIST,
	 .help = "only databases of this name; all if none is named"},
	{.name = "collection",
	 .kind = BAK_OPTION_LIST,
	 .help = "only collections that match this pattern"},
	{.name = "exclude", .kind = BAK_OPTION_LIST, .help = "pattern of collections to leave out"},
	{.name = "path",
	 .kind = BAK_OPTION_PATH,
	 .help = "the server's folder, for mode = directory"},
	{.name = "busy_timeout",
	 .kind = BAK_OPTION_DURATION,
	 .fallback = "30s",
	 .help = "how long to wait for a lock on the folder's database"},
	{.name = "stop_command",
	 .kind = BAK_OPTION_TEXT,
	 .help = "shell command that stops the server before its folder is restored"},
	{.name = "start_command",
	 .kind = BAK_OPTION_TEXT,
	 .help = "shell command that starts it again and returns"},
	{.name = "server_command",
	 .kind = BAK_OPTION_TEXT,
	 .fallback = "chroma",
	 .help = "Chroma's program, to take one collection out of a saved folder"},
	{.name = NULL},
};

static const struct bak_store_option restore_options[] = {
	{.name = "collection",
	 .kind = BAK_OPTION_LIST,
	 .help = "only collections that match this pattern"},
	{.name = NULL},
};

static void chroma_close(void *store)
{
	struct bak_chroma *chroma = store;

	if (!chroma)
		return;
	bak_http_close(chroma->http);
	json_decref(chroma->restored_counts);
	free(chroma->db_path);
	free(chroma);
}

static int open_directory(struct bak_chroma *chroma, struct bak_error *err)
{
	if (!chroma->path)
		return bak_error_set(err, BAK_USAGE,
				     "store %s: mode = directory needs the option path",
				     chroma->conf->name);
	if (asprintf(&chroma->db_path, "%s/%s", chroma->path, BAK_CHROMA_DB) < 0) {
		chroma->db_path = NULL;
		return bak_error_nomem(err);
	}
	chroma->sqlite = (struct bak_sqlite){
		.conf = chroma->conf,
		.env = chroma->env,
		.path = chroma->db_path,
		.busy_ms = bak_store_get_duration_ms(chroma->conf, "busy_timeout"),
	};
	return 0;
}

static int chroma_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
		       void **out_store, struct bak_error *err)
{
	struct bak_chroma *chroma = calloc(1, sizeof *chroma);

	if (!chroma)
		return bak_error_nomem(err);
	*chroma = (struct bak_chroma){
		.conf = conf, .env = env, .path = bak_store_get(conf, "path")};
	chroma->directory = strcmp(bak_store_get(conf, "mode"), "directory") == 0;
	if ((chroma->directory && open_directory(chroma, err) < 0) ||
	    bak_http_open(conf, env, &bak_chroma_server, &chroma->http, err) < 0) {
		chroma_close(chroma);
		return -1;
	}
	*out_store = chroma;
	return 0;
}

static int probe_directory(struct bak_chroma *chroma, struct bak_store_probe *out,
			   struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = -1;

	snprintf(out->target, sizeof out->target, "%s", chroma->path);
	return bak_chroma_directory_open(chroma->path, &fd, err);
}

static int chroma_probe(void *store, struct bak_store_probe *out, struct bak_error *err)
{
	struct bak_chroma *chroma = store;
	struct bak_chroma_facts facts;

	*out = (struct bak_store_probe){.bytes = 0};
	if (chroma->directory)
		return probe_directory(chroma, out, err);
	snprintf(out->target, sizeof out->target, "%s", bak_http_url(chroma->http));
	if (bak_chroma_ask(chroma->http, &facts, err) < 0)
		return -1;
	snprintf(out->version, sizeof out->version, "Chroma, interface %s", facts.version);
	return 0;
}

static int chroma_doctor(void *store, const struct bak_checkup *checkup, struct bak_error *err)
{
	return bak_chroma_doctor(store, checkup, err);
}

static int chroma_backup(void *store, struct bak_writer *writer, json_t *facts,
			 struct bak_error *err)
{
	struct bak_chroma *chroma = store;

	return chroma->directory ? bak_chroma_directory_backup(chroma, writer, facts, err)
				 : bak_chroma_api_backup(chroma, writer, facts, err);
}

static int live_counts(struct bak_chroma *chroma, json_t *counts, struct bak_error *err)
{
	BAK_AUTO(bak_sqlite_close) sqlite3 *db = NULL;

	if (!chroma->directory)
		return bak_chroma_counts(chroma, counts, err);
	if (bak_sqlite_open(chroma->db_path, BAK_SQLITE_READ, NULL, &db, err) < 0 ||
	    bak_sqlite_pin(&chroma->sqlite, db, chroma->db_path, err) < 0)
		return -1;
	return bak_chroma_directory_counts(chroma, db, chroma->db_path, counts, err);
}

static int chroma_counts(void *store, json_t *counts, struct bak_error *err)
{
	struct bak_chroma *chroma = store;
	int rc;

	if (!chroma->restored_counts)
		return live_counts(chroma, counts, err);
	rc = json_object_update(counts, chroma->restored_counts);
	json_decref(chroma->restored_counts);
	chroma->restored_counts = NULL;
	return rc < 0 ? bak_error_nomem(err) : 0;
}

static int check_mode(struct bak_chroma *chroma, bool directory, struct bak_error *err)
{
	if (directory == chroma->directory)
		return 0;
	return bak_error_set(err, BAK_REFUSED,
			     "it was saved with mode = %s, and the store has mode = %s: change "
			     "that, or restore with --to",
			     directory ? "directory" : "api", directory ? "api" : "directory");
}

static int chroma_restore(void *store, const struct bak_restore_from *from, json_t *state,
			  struct bak_error *err)
{
	struct bak_chroma *chroma = store;
	json_t *facts = bak_snapshot_facts(from->snapshot);
	const char *mode = json_string_value(json_object_get(facts, "mode"));
	bool directory = mode && strcmp(mode, "directory") == 0;

	json_decref(facts);
	if (directory && from->n_wishes)
		return bak_chroma_scratch_restore(chroma, from, state, err);
	if (check_mode(chroma, directory, err) < 0)
		return -1;
	return directory ? bak_chroma_directory_restore(chroma, from, state, err)
			 : bak_chroma_api_restore(chroma, from, state, err);
}

static int chroma_rollback(void *store, const json_t *state, struct bak_error *err)
{
	return json_object_get(state, "parent") ? bak_chroma_directory_rollback(store, state, err)
						: bak_chroma_api_rollback(store, state, err);
}

static int chroma_import(void *store, const char *path, struct bak_writer *writer, json_t *facts,
			 struct bak_error *err)
{
	struct bak_chroma *chroma = store;

	return chroma->directory ? bak_chroma_directory_import(chroma, path, writer, facts, err)
				 : bak_chroma_api_import(chroma, path, writer, facts, err);
}

const struct bak_store_driver bak_store_chroma = {
	.name = "chroma",
	.summary = "the collections of a ChromaDB server",
	.features = BAK_STORE_KEEPS_OLD | BAK_STORE_PARTIAL | BAK_STORE_COUNTS | BAK_STORE_ATOMIC,
	.options = chroma_options,
	.address_option = "url",
	.restore_options = restore_options,
	.open = chroma_open,
	.probe = chroma_probe,
	.doctor = chroma_doctor,
	.backup = chroma_backup,
	.restore = chroma_restore,
	.counts = chroma_counts,
	.rollback = chroma_rollback,
	.import = chroma_import,
	.close = chroma_close,
};
