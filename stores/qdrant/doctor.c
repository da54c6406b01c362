/* What is or will be wrong with a Qdrant server. */
#include "stores/qdrant/qdrant.h"

#include <string.h>

#define OLDEST_MINOR 8

static void check_server(struct bak_qdrant *q, const struct bak_checkup *checkup)
{
	if (q->major == 1 && q->minor < OLDEST_MINOR)
		bak_checkup_tell(
			checkup, BAK_AILMENT_ADVICE, "upgrade it",
			"Qdrant %s gives no checksums with snapshots, so it is saved point "
			"by point",
			q->version);
	if (q->peers > 1)
		bak_checkup_tell(
			checkup, BAK_AILMENT_ADVICE,
			"have snapshots of each node made and kept by its own means",
			"it is one of a cluster of %u, so it is saved point by point, not as "
			"of one moment",
			q->peers);
}

/* An empty list of changes is refused to those who may make none. */
static void check_rights(struct bak_qdrant *q, const struct bak_checkup *checkup)
{
	json_t *body = json_pack("{s:[]}", "actions");
	struct bak_error why = BAK_ERROR_INIT;

	if (body &&
	    bak_qdrant_call(q->http, "POST", strdup("/collections/aliases"), body, true, NULL,
			    &why) < 0 &&
	    why.code == BAK_REFUSED)
		bak_checkup_tell(
			checkup, BAK_AILMENT_ADVICE, "give it the key that may manage collections",
			"this key may not restore, and not have snapshots made: it is saved "
			"point by point");
	json_decref(body);
}

static void check_health(struct bak_qdrant *q, const char *name, const struct bak_checkup *checkup)
{
	struct bak_error why = BAK_ERROR_INIT;
	json_t *info = NULL;
	const char *status;

	if (bak_qdrant_info(q->http, name, &info, &why) < 0) {
		bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
				 "see the server's log; one that a failed restore left is deleted",
				 "collection %s does not answer: %s", name, why.msg);
		return;
	}
	status = json_string_value(json_object_get(info, "status"));
	if (status && strcmp(status, "red") == 0)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, "see the server's log",
				 "the status of collection %s is red", name);
	json_decref(info);
}

static size_t count_snapshots(struct bak_qdrant *q, const char *name)
{
	struct bak_error ignored = BAK_ERROR_INIT;
	json_t *list = NULL;
	size_t n = 0;

	if (bak_qdrant_call(q->http, "GET", bak_http_path("/collections/%s/snapshots", name), NULL,
			    true, &list, &ignored) == 0)
		n = json_array_size(list);
	json_decref(list);
	return n;
}

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

static void check_collections(struct bak_qdrant *q, const json_t *names, const json_t *aliases,
			      const struct bak_checkup *checkup)
{
	size_t i, snapshots = 0, bare = 0, left = 0;
	json_t *item;

	json_array_foreach(names, i, item)
	{
		const char *name = json_string_value(item);

		left += bak_qdrant_is_kept(name, aliases);
		if (!bak_qdrant_chosen(q, name, aliases))
			continue;
		check_health(q, name, checkup);
		snapshots += count_snapshots(q, name);
		bare += !bak_qdrant_is_led_to(aliases, name) && !bak_qdrant_is_kept(name, aliases);
	}
	if (snapshots)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
				 "delete those that nobody needs: DELETE "
				 "/collections/NAME/snapshots/FILE",
				 "%zu snapshot%s of its collections on the server's disk",
				 snapshots, plural(snapshots));
	if (left)
		bak_checkup_tell(checkup, BAK_AILMENT_ADVICE, "delete those that no rollback needs",
				 "%zu collection%s made by restores and led to by no alias", left,
				 plural(left));
	if (bare)
		bak_checkup_tell(
			checkup, BAK_AILMENT_ADVICE,
			"give them aliases, and have clients use those",
			"%zu collection%s without an alias: a restore replaces such in place, "
			"and only with --yes or restore = force",
			bare, plural(bare));
}

int bak_qdrant_doctor(struct bak_qdrant *q, const struct bak_checkup *checkup,
		      struct bak_error *err)
{
	json_t *names = NULL, *aliases = NULL;
	int rc;

	/* A probe has connected before; a backup does so anyway. */
	if (bak_qdrant_connect(q, err) < 0)
		return -1;
	check_server(q, checkup);
	if (checkup->quick)
		return 0;
	check_rights(q, checkup);
	rc = bak_qdrant_collections(q, &names, err);
	if (rc == 0)
		rc = bak_qdrant_aliases(q->http, &aliases, err);
	if (rc == 0)
		check_collections(q, names, aliases, checkup);
	json_decref(names);
	json_decref(aliases);
	return rc;
}
