/* Tags of snapshots: see tag.h. */
#include "engine/ops/tag.h"

#include "engine/ops/repo_private.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static bool in_list(const char *const *list, size_t n, const char *tag, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(list[i]) == len && memcmp(list[i], tag, len) == 0)
			return true;
	return false;
}

static bool in_set(const json_t *set, const char *tag)
{
	const json_t *item;
	size_t i;
	json_array_foreach(set, i, item)
	{
		if (strcmp(json_string_value(item), tag) == 0)
			return true;
	}
	return false;
}

/* The new set; *out_same when it is the old one. NULL: no memory. */
static json_t *new_set(const char *tags, const struct bak_tag_change *change, bool *out_same)
{
	json_t *set = json_array();
	size_t len;
	*out_same = true;
	for (const char *tag = tags; *tag; tag += len + (tag[len] == ',')) {
		len = strcspn(tag, ",");
		if (in_list(change->remove, change->n_remove, tag, len))
			*out_same = false;
		else if (json_array_append_new(set, json_stringn(tag, len)) < 0)
			goto fail;
	}
	for (size_t i = 0; i < change->n_add; i++) {
		if (in_set(set, change->add[i]))
			continue;
		*out_same = false;
		if (json_array_append_new(set, json_string(change->add[i])) < 0)
			goto fail;
	}
	return set;
fail:
	json_decref(set);
	return NULL;
}

/* 1 put, 0 the name is taken, -1. */
static int put_set(struct bak_repo *repo, const struct bak_tag_version *tag, json_t *set,
		   struct bak_error *err)
{
	char name[BAK_TAGS_NAME_LEN];
	bak_tags_name(tag, name);
	json_t *json = json_pack("{s:O}", "tags", set);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	int rc = text ? bak_record_put(repo->backend, &repo->ring, name, text, err)
		      : bak_error_nomem(err);
	free(text);
	return rc;
}

/* What the new set replaces only takes space; it may stay. */
static void remove_older(struct bak_repo *repo, uint64_t number, uint64_t version)
{
	struct bak_tag_version older = {number, version};
	struct bak_error scratch = BAK_ERROR_INIT;
	char name[BAK_TAGS_NAME_LEN];
	if (version == 0)
		return;
	bak_tags_name(&older, name);
	bak_backend_remove(repo->backend, name, &scratch);
}

/* 1 done, 0 the version was taken, -1. */
static int try_tag(struct bak_repo *repo, uint64_t number, uint64_t skip,
		   const struct bak_tag_change *change, struct bak_error *err)
{
	struct bak_snapshot_row row = {0};
	struct bak_tag_version tag = {.number = number};
	bool same = true;
	int rc = bak_index_snapshot(repo->index, number, &row, err);
	if (rc == 0 || (rc == 1 && row.forgotten))
		rc = bak_error_set(err, BAK_NOT_FOUND, "there is no snapshot %llu",
				   (unsigned long long)number);
	json_t *set = rc == 1 ? new_set(row.tags, change, &same) : NULL;
	if (rc == 1 && !set)
		rc = bak_error_nomem(err);
	if (rc == 1 && !same && bak_index_tag_version(repo->index, number, &tag.version, err) < 0)
		rc = -1;
	if (rc == 1 && !same) {
		uint64_t older = tag.version;
		tag.version += 1 + skip;
		rc = put_set(repo, &tag, set, err);
		if (rc == 1)
			remove_older(repo, number, older);
	}
	json_decref(set);
	bak_snapshot_row_release(&row);
	return rc;
}

/* A version that is taken is another process's, and then the set is read anew; or it does not open,
 * and then it is stepped over. */
int bak_repo_tag(struct bak_repo *repo, uint64_t number, const struct bak_tag_change *change,
		 struct bak_error *err)
{
	uint64_t before = 0, now = 0, skip = 0;
	bool changed;
	for (;;) {
		int rc = try_tag(repo, number, skip, change, err);
		if (rc < 0 || bak_repo_refresh_snapshots(repo, &changed, err) < 0)
			return -1;
		if (rc == 1)
			return 0;
		if (bak_index_tag_version(repo->index, number, &now, err) < 0)
			return -1;
		skip = now == before ? skip + 1 : 0;
		before = now;
	}
}
