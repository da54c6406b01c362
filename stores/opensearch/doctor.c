/* What is or will be wrong: what it answers, how full it is, what restores left there. */
#include "stores/opensearch/opensearch.h"

#include "stores/checkup.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define LEFT_OVER_ADVICE \
	"delete them when nobody wants to go back: curl -X DELETE URL/NAME, or keep them"

static void look_at_health(struct bak_os *os, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_os_json_free) json_t *health = NULL;
	struct bak_error err = BAK_ERROR_INIT;

	if (bak_os_call(os->http, "GET", bak_http_path("/_cluster/health"), NULL, &health, &err) <
	    0) {
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "give the user the right cluster:monitor/health", "%s", err.msg);
		return;
	}
	if (strcmp(bak_os_text(health, "status"), "red") == 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "see GET /_cluster/allocation/explain",
				 "cluster %s is red: shards are missing", os->cluster);
}

static void look_at_disks(struct bak_os *os, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_os_json_free) json_t *stats = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;
	const char *id;
	json_t *node;

	if (bak_os_call(os->http, "GET", bak_http_path("/_nodes/stats/fs"), NULL, &stats,
			&scratch) < 0)
		return;
	json_object_foreach(json_object_get(stats, "nodes"), id, node)
	{
		const json_t *total = bak_os_at(node, "fs", "total");
		uint64_t room = bak_os_number(total, "available_in_bytes");

		if (room < checkup->bytes)
			bak_checkup_tell(
				checkup, BAK_AILMENT_ADVICE,
				"make room: a restore keeps the old indices beside the new",
				"node %s has %" PRIu64
				" bytes free, and the last snapshot has %" PRIu64,
				bak_os_text(node, "name"), room, checkup->bytes);
	}
}

static void look_for_remains(struct bak_os *os, const struct bak_checkup *checkup)
{
	BAK_AUTO(bak_os_json_free) json_t *answer = NULL;
	struct bak_error scratch = BAK_ERROR_INIT;
	const json_t *index;
	size_t i, n = 0;
	const char *first = "";

	if (bak_os_call(os->http, "GET",
			bak_http_path("/_resolve/index/bakfs-*?expand_wildcards=all"), NULL,
			&answer, &scratch) < 0)
		return;
	json_array_foreach(json_object_get(answer, "indices"), i, index)
	{
		const char *name = bak_os_text(index, "name");

		if (bak_os_own_name(name) && !json_array_size(json_object_get(index, "aliases"))) {
			first = n++ ? first : name;
		}
	}
	if (n)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, LEFT_OVER_ADVICE,
				 "%zu ind%s left by restores, %s first", n,
				 n == 1 ? "ex is" : "ices are", first);
}

/* mode = snapshot: the server must write where we can read. */
static void look_at_folder(struct bak_os *os, const struct bak_checkup *checkup)
{
	const char *path, *theirs, *repository = bak_store_get(os->conf, "repository");
	struct bak_error err = BAK_ERROR_INIT;

	if (bak_os_folder(os, &path, &theirs, &err) < 0) {
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "set path, and server_path where the "
				 "server sees it elsewhere",
				 "%s", err.msg);
		return;
	}
	if (!bak_checkup_readable(checkup, path))
		return;
	if (access(path, W_OK) < 0)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, "let us write there: restores do",
				 "%s: %s", path, strerrordesc_np(errno));
	/* registers it, and has all nodes write there: what a backup does first */
	if (bak_os_repository_put(os, repository, theirs, false, &err) < 0 ||
	    bak_os_call(os->http, "POST", bak_http_path("/_snapshot/%s/_verify", repository), NULL,
			NULL, &err) < 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "set path.repo on all nodes to a folder that they share", "%s",
				 err.msg);
}

int bak_os_doctor(struct bak_os *os, const struct bak_checkup *checkup, struct bak_error *err)
{
	struct bak_os_indices indices = {.n = 0};
	struct bak_error why = BAK_ERROR_INIT;

	if (bak_os_look(os, err) < 0)
		return -1;
	if (bak_os_indices(os, &indices, &why) < 0)
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "correct indices, or the user's rights", "%s", why.msg);
	bak_os_indices_release(&indices);
	if (checkup->quick)
		return 0;
	look_at_health(os, checkup);
	look_at_disks(os, checkup);
	look_for_remains(os, checkup);
	if (strcmp(bak_store_get(os->conf, "mode"), "snapshot") == 0)
		look_at_folder(os, checkup);
	return 0;
}
