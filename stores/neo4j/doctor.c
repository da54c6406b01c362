/* What is or will be wrong with a Neo4j server. */
#include "stores/neo4j/neo4j.h"

#include "stores/checkup.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- mode = dump --- */

static void check_service(struct bak_neo4j *neo4j, const struct bak_neo4j_places *places,
			  const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_neo4j_service_release)
	struct bak_neo4j_service service = {.neo4j = neo4j, .places = places, .mark_fd = -1};
	struct bak_error why = BAK_ERROR_INIT;
	int rc = bak_neo4j_take_over(&service, &why);

	if (rc > 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "start it; with restart = yes the next backup does",
				 "a backup or restore that was killed has left the server stopped");
	else if (rc < 0 && why.code != BAK_BUSY)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN, "do that before anything else", "%s",
				 why.msg);
	if (rc < 0)
		return;

	if (bak_neo4j_may_stop(&service, &why) < 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "stop it before each backup, set stop_command, start_command and "
				 "restart = yes, or set mode = export",
				 "%s", why.msg);
	for (size_t i = 0; i < 2; i++) {
		const char *option = i ? "start_command" : "stop_command";
		const char *command = bak_store_get(neo4j->conf, option);

		if (command)
			bak_checkup_command(checkup, option, command);
	}
}

static int check_dumps(struct bak_neo4j *neo4j, const struct bak_checkup *checkup,
		       struct bak_error *err)
{
	BAK_AUTO(bak_neo4j_places_release) struct bak_neo4j_places places = {.data = NULL};
	BAK_AUTO(bak_free_ptr) char *database = NULL;
	struct bak_error why = BAK_ERROR_INIT;

	if (bak_neo4j_places(neo4j, &places, err) < 0)
		return -1;
	if (asprintf(&database, "%s/%s", places.databases, neo4j->database) < 0) {
		database = NULL;
		return bak_error_nomem(err);
	}
	if (!bak_checkup_readable(checkup, places.data) || !bak_checkup_readable(checkup, database))
		return 0;
	check_service(neo4j, &places, checkup);
	if (checkup->quick)
		return 0;
	if (bak_neo4j_admin_version(neo4j, &places, &why) < 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "install the server's own neo4j-admin and its Java, or set "
				 "neo4j_admin",
				 "%s", why.msg);
	bak_checkup_restorable(checkup, places.databases);
	return 0;
}

/* --- mode = export --- */

static void check_leftovers(struct bak_neo4j *neo4j, const struct bak_checkup *checkup)
{
	struct bak_error scratch = BAK_ERROR_INIT;
	int64_t n;

	if (bak_neo4j_number(neo4j, "MATCH (n:`" BAK_NEO4J_LABEL "`) RETURN count(n)", &n,
			     &scratch) == 0 &&
	    n > 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "restore again; if the old data is all there, delete them: MATCH "
				 "(n:" BAK_NEO4J_LABEL ") DETACH DELETE n",
				 "%lld nodes are left of a restore that was cut off", (long long)n);
}

static int check_export(struct bak_neo4j *neo4j, const struct bak_checkup *checkup,
			struct bak_error *err)
{
	struct bak_neo4j_about about;

	if (bak_neo4j_need_query(neo4j, &about, err) < 0)
		return -1;
	check_leftovers(neo4j, checkup);
	if (checkup->quick)
		return 0;
	if (bak_neo4j_version(about.version) < 5026)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "backups are fine; an export is restored into 5.26 or later",
				 "the server is Neo4j %s", about.version);
	if (!bak_store_get_bool(neo4j->conf, "freeze"))
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "set freeze = yes, stop writers meanwhile, or set mode = dump",
				 "an export without freeze is not one instant, if somebody writes "
				 "meanwhile");
	return 0;
}

int bak_neo4j_doctor(struct bak_neo4j *neo4j, const struct bak_checkup *checkup,
		     struct bak_error *err)
{
	return neo4j->dumps ? check_dumps(neo4j, checkup, err) : check_export(neo4j, checkup, err);
}
