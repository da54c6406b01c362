/*
 * The neo4j driver: a database of a Neo4j server, 5 and later, as a dump of its own program or as an
 * export over HTTP.
 *
 * Consistency: a dump is of a server that is stopped. An export is one instant with freeze = yes
 * alone, and says so in its facts.
 */
#include "stores/neo4j/neo4j.h"
#include "stores/drivers.h"

#include <stdlib.h>
#include <string.h>

static const struct bak_store_option neo4j_options[] = {
	{.name = "mode",
	 .kind = BAK_OPTION_CHOICE,
	 .choices = "dump|export",
	 .fallback = "export",
	 .help = "dump: neo4j-admin's, of a stopped server; export: over HTTP, online"},
	{.name = "database",
	 .kind = BAK_OPTION_TEXT,
	 .fallback = "neo4j",
	 .help = "the database's name"},
	{.name = "freeze",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "no",
	 .help = "export: let writers wait, so that it is one instant"},
	BAK_HTTP_OPTIONS("http://localhost:7474", "password of the user"),
	{.name = "home",
	 .kind = BAK_OPTION_PATH,
	 .fallback = "/var/lib/neo4j",
	 .help = "dump: the server's home folder, NEO4J_HOME"},
	{.name = "conf",
	 .kind = BAK_OPTION_PATH,
	 .help = "dump: the folder of its neo4j.conf, if it is neither in home nor /etc/neo4j"},
	{.name = "neo4j_admin",
	 .kind = BAK_OPTION_PATH,
	 .help = "dump: the program, if it is neither in home nor in PATH"},
	{.name = "system",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "yes",
	 .help = "dump: the database system too, with users and roles"},
	{.name = "restart",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "no",
	 .help = "dump: the server may be stopped and started, by the next two"},
	{.name = "stop_command",
	 .kind = BAK_OPTION_TEXT,
	 .help = "shell command that stops the server"},
	{.name = "start_command",
	 .kind = BAK_OPTION_TEXT,
	 .help = "shell command that starts the server"},
	{.name = "check",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "yes",
	 .help = "dump: have neo4j-admin check what is restored before it is put in place"},
	{.name = NULL},
};

static const struct bak_store_option restore_options[] = {
	{.name = "label",
	 .kind = BAK_OPTION_LIST,
	 .help = "only nodes with this label, beside what is there"},
	{.name = "relationship",
	 .kind = BAK_OPTION_LIST,
	 .help = "of the relationships between them only those of this type"},
	{.name = NULL},
};

static void neo4j_close(void *store)
{
	struct bak_neo4j *neo4j = store;

	if (!neo4j)
		return;
	bak_http_close(neo4j->http);
	json_decref(neo4j->restored_counts);
	free(neo4j);
}

static int check_options(const struct bak_store_conf *conf, struct bak_error *err)
{
	const char *database = bak_store_get(conf, "database");
	bool secret = bak_store_get(conf, "password") || bak_store_get(conf, "password_file") ||
		      bak_store_get(conf, "password_command");

	if (!*database || strchr(".-_", *database) || strchr(database, '/') ||
	    strlen(database) > 65)
		return bak_error_set(err, BAK_USAGE, "database: \"%s\" is no name of one",
				     database);
	if (secret && !bak_store_get(conf, "user"))
		return bak_error_set(err, BAK_USAGE,
				     "there is a password but no user: user = neo4j is the first "
				     "one that a server has");
	return 0;
}

static int neo4j_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
		      void **out_store, struct bak_error *err)
{
	struct bak_neo4j *neo4j;

	if (check_options(conf, err) < 0)
		return -1;
	neo4j = calloc(1, sizeof *neo4j);
	if (!neo4j)
		return bak_error_nomem(err);
	*neo4j = (struct bak_neo4j){.conf = conf,
				    .env = env,
				    .database = bak_store_get(conf, "database"),
				    .dumps = strcmp(bak_store_get(conf, "mode"), "dump") == 0,
				    .timeout_ms = bak_store_get_duration_ms(conf, "timeout")};
	if (bak_http_open(conf, env, &bak_neo4j_server, &neo4j->http, err) < 0) {
		neo4j_close(neo4j);
		return -1;
	}
	*out_store = neo4j;
	return 0;
}

static int probe_dumps(struct bak_neo4j *neo4j, struct bak_store_probe *out, struct bak_error *err)
{
	BAK_AUTO(bak_neo4j_places_release) struct bak_neo4j_places places = {.data = NULL};

	if (bak_neo4j_places(neo4j, &places, err) < 0)
		return -1;
	snprintf(out->target, sizeof out->target, "%s/%s", places.databases, neo4j->database);
	if (bak_neo4j_admin_version(neo4j, &places, err) < 0)
		return -1;
	snprintf(out->version, sizeof out->version, "Neo4j %s", neo4j->admin_version);
	return 0;
}

static int neo4j_probe(void *store, struct bak_store_probe *out, struct bak_error *err)
{
	struct bak_neo4j *neo4j = store;
	struct bak_neo4j_about about;
	int64_t nodes;

	*out = (struct bak_store_probe){.bytes = 0};
	if (neo4j->dumps)
		return probe_dumps(neo4j, out, err);
	snprintf(out->target, sizeof out->target, "%s, database %s", bak_http_url(neo4j->http),
		 neo4j->database);
	if (bak_neo4j_need_query(neo4j, &about, err) < 0 ||
	    bak_neo4j_number(neo4j, "MATCH (n) RETURN count(n)", &nodes, err) < 0)
		return -1;
	snprintf(out->version, sizeof out->version, "Neo4j %s, %s", about.version, about.edition);
	return 0;
}

static int neo4j_doctor(void *store, const struct bak_checkup *checkup, struct bak_error *err)
{
	return bak_neo4j_doctor(store, checkup, err);
}

static int neo4j_backup(void *store, struct bak_writer *writer, json_t *facts,
			struct bak_error *err)
{
	struct bak_neo4j *neo4j = store;

	return neo4j->dumps ? bak_neo4j_dump_backup(neo4j, writer, facts, err)
			    : bak_neo4j_export_backup(neo4j, writer, facts, err);
}

static int neo4j_restore(void *store, const struct bak_restore_from *from, json_t *state,
			 struct bak_error *err)
{
	struct bak_neo4j *neo4j = store;

	if (neo4j->dumps && from->n_wishes)
		return bak_error_set(
			err, BAK_USAGE,
			"a dump is restored as a whole: --label and --relationship are for "
			"exports");
	return neo4j->dumps ? bak_neo4j_dump_restore(neo4j, from, state, err)
			    : bak_neo4j_export_restore(neo4j, from, state, err);
}

static int neo4j_keeps_old(void *store, const struct bak_restore_from *from, struct bak_error *err)
{
	const struct bak_neo4j *neo4j = store;

	(void)from;
	(void)err;
	return neo4j->dumps;
}

static int neo4j_rollback(void *store, const json_t *state, struct bak_error *err)
{
	struct bak_neo4j *neo4j = store;

	if (!neo4j->dumps)
		return bak_error_set(err, BAK_REFUSED,
				     "what was kept are folders, and the store has mode = export: "
				     "set mode = dump");
	return bak_neo4j_dump_rollback(neo4j, state, err);
}

static int neo4j_counts(void *store, json_t *counts, struct bak_error *err)
{
	struct bak_neo4j *neo4j = store;

	if (!neo4j->restored_counts)
		return bak_neo4j_counts(neo4j, counts, err);
	return json_object_update(counts, neo4j->restored_counts) < 0 ? bak_error_nomem(err) : 0;
}

static int neo4j_import(void *store, const char *path, struct bak_writer *writer, json_t *facts,
			struct bak_error *err)
{
	struct bak_neo4j *neo4j = store;

	return neo4j->dumps ? bak_neo4j_dump_import(neo4j, path, writer, facts, err)
			    : bak_neo4j_export_import(neo4j, path, writer, facts, err);
}

const struct bak_store_driver bak_store_neo4j = {
	.name = "neo4j",
	.summary = "a Neo4j database, as a dump or as an export",
	.features = BAK_STORE_KEEPS_OLD | BAK_STORE_PARTIAL | BAK_STORE_COUNTS,
	.options = neo4j_options,
	.address_option = "url",
	.restore_options = restore_options,
	.proof = &bak_neo4j_proof,
	.open = neo4j_open,
	.probe = neo4j_probe,
	.doctor = neo4j_doctor,
	.backup = neo4j_backup,
	.restore = neo4j_restore,
	.counts = neo4j_counts,
	.keeps_old = neo4j_keeps_old,
	.rollback = neo4j_rollback,
	.import = neo4j_import,
	.close = neo4j_close,
};
