/*
 * Small records that do not open: written again where the index still knows what they said, else
 * removed, so that their names are free. Damaged slots and snapshots are left alone: nobody else
 * knows them, and they do no harm.
 */
#include "engine/ops/repair.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* {"by":host,"time":"...Z"} as a forget writes it. */
static char *forgotten_text(struct bak_checking *c)
{
	char now[BAK_TIME_LEN + 1];
	bak_time_format(bak_repo_now(c->repo), now);
	json_t *json = json_pack("{s:s, s:s}", "by", bak_repo_host(c->repo), "time", now);
	char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(json);
	return text;
}

/* What forgotten/<name> said: 1 and its text, 0 unknown, -1. */
static int know_forgotten(struct bak_checking *c, const char *name, char **out,
			  struct bak_error *err)
{
	unsigned long long first = 0, last = 0;
	int n = sscanf(name, "forgotten/%llu-%llu", &first, &last);
	if (n < 1)
		return 0;
	int rc = bak_index_has_forgotten(bak_repo_index(c->repo), first, n == 1 ? first : last,
					 err);
	if (rc != 1)
		return rc;
	*out = forgotten_text(c);
	return *out ? 1 : bak_error_nomem(err);
}

/* {"tags":[...]} of the names in a list with commas. */
static char *tags_text(char *tags)
{
	json_t *list = json_array();
	char *rest = tags, *tag;
	while ((tag = strsep(&rest, ",")))
		if (*tag)
			json_array_append_new(list, json_string(tag));
	json_t *json = json_pack("{s:o}", "tags", list);
	char *text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	return text;
}

/* What tags/<name> said, if the index has read just that version: 1 and its text, 0, -1. */
static int know_tags(struct bak_checking *c, const char *name, char **out, struct bak_error *err)
{
	unsigned long long number = 0, version = 0;
	uint64_t known = 0;
	struct bak_snapshot_row row = {0};
	if (sscanf(name, "tags/%llu-%llu", &number, &version) != 2)
		return 0;
	int rc = bak_index_tag_version(bak_repo_index(c->repo), number, &known, err);
	if (rc == 1)
		rc = known == version
			     ? bak_index_snapshot(bak_repo_index(c->repo), number, &row, err)
			     : 0;
	if (rc == 1) {
		*out = tags_text(row.tags);
		rc = *out ? 1 : bak_error_nomem(err);
	}
	bak_snapshot_row_release(&row);
	return rc;
}

/* Whether a higher version of these tags stands: then nothing is lost. */
static bool is_outdated(struct bak_checking *c, const char *name)
{
	unsigned long long number = 0, version = 0;
	uint64_t known = 0;
	struct bak_error scratch = BAK_ERROR_INIT;
	return sscanf(name, "tags/%llu-%llu", &number, &version) == 2 &&
	       bak_index_tag_version(bak_repo_index(c->repo), number, &known, &scratch) == 1 &&
	       known > version;
}

static int repair_object(struct bak_checking *c, const char *name, struct bak_error *err)
{
	struct bak_backend *backend = bak_repo_backend(c->repo);
	BAK_AUTO(bak_free_ptr) char *text = NULL;
	bool forgotten = strncmp(name, "forgotten/", 10) == 0;
	bool tags = strncmp(name, "tags/", 5) == 0;
	int known = forgotten ? know_forgotten(c, name, &text, err)
		    : tags    ? know_tags(c, name, &text, err)
			      : 0;
	if (known < 0 || bak_backend_remove(backend, name, err) < 0)
		return -1;
	c->out->objects_removed += known == 0;
	if (known == 1)
		return bak_record_put(backend, bak_repo_ring(c->repo), name, text, err) < 0 ? -1
											    : 0;
	if (forgotten || (tags && !is_outdated(c, name))) {
		c->out->lost++;
		bak_checking_tell(c, "lost record", name,
				  forgotten ? "its snapshots are no longer forgotten: forget them "
					      "again"
					    : "tag the snapshot again");
	}
	return 0;
}

int bak_repair_objects(struct bak_checking *c, struct bak_error *err)
{
	bool changed;
	for (size_t at = 0; at < c->objects.len; at += strlen((char *)c->objects.p + at) + 1)
		if (repair_object(c, (char *)c->objects.p + at, err) < 0)
			return -1;
	return c->objects.len ? bak_repo_refresh_snapshots(c->repo, &changed, err) : 0;
}
