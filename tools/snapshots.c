/*
 * Snapshots as users name and see them.
 */
#include "tools/snapshots.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *bak_snapshot_name(const char *store, int64_t stamp, char out[BAK_SNAPSHOT_NAME])
{
	char text[BAK_STAMP_LEN + 1];

	bak_stamp_format(stamp, text);
	snprintf(out, BAK_SNAPSHOT_NAME, "%.*s@%s", BAK_STORE_NAME_MAX, store, text);
	return out;
}

/* "a,b" as an array. */
static json_t *tags_json(const char *tags)
{
	json_t *array = json_array();

	while (tags && *tags) {
		size_t len = strcspn(tags, ",");

		json_array_append_new(array, json_stringn(tags, len));
		tags += len + (tags[len] == ',');
	}
	return array;
}

json_t *bak_row_json(const struct bak_snapshot_row *row)
{
	char stamp[BAK_STAMP_LEN + 1], time[BAK_TIME_LEN + 1], run_stamp[BAK_STAMP_LEN + 1];

	bak_stamp_format(row->stamp, stamp);
	bak_time_format(row->stamp, time);
	bak_stamp_format(row->run_stamp, run_stamp);
	return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, "
			 "s:o}",
			 "number", (json_int_t)row->number, "store", row->store, "driver",
			 row->driver, "stamp", stamp, "time", time, "type", row->type, "host",
			 row->host, "run", row->run, "run_stamp", run_stamp, "description",
			 row->description ? row->description : "", "entries",
			 (json_int_t)row->entries, "files", (json_int_t)row->files, "bytes",
			 (json_int_t)row->bytes, "added", (json_int_t)row->added, "tags",
			 tags_json(row->tags));
}

int bak_tell_omissions(struct bak_tool *tool, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = NULL;

	if (bak_repo_omissions(tool->repo, &text, err) < 0)
		return -1;
	if (!text)
		return 0;
	bak_tool_warn(tool, "%s", text);
	return 1;
}

/* ---- selections ---- */

int bak_select(struct bak_tool *tool, const char *id, struct bak_selection *out,
	       struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint64_t *numbers = NULL;
	size_t n, i;
	int rc;

	*out = (struct bak_selection)BAK_SELECTION_INIT;
	if (bak_repo_resolve(tool->repo, id, &numbers, &n, err) < 0) {
		tool->hint = "bakfs list shows what there is";
		return -1;
	}
	out->snapshots = calloc(n, sizeof(*out->snapshots));
	if (!out->snapshots)
		return bak_error_nomem(err);
	for (i = 0; i < n; i++) {
		rc = bak_repo_snapshot(tool->repo, numbers[i], &out->snapshots[i], err);
		if (rc == 0)
			rc = bak_error_set(err, BAK_NOT_FOUND, "there is no snapshot %" PRIu64,
					   numbers[i]);
		if (rc < 0) {
			bak_selection_release(out);
			return -1;
		}
		out->n++;
	}
	return 0;
}

int bak_select_one(struct bak_tool *tool, const char *id, struct bak_selection *out,
		   struct bak_error *err)
{
	size_t n;

	if (bak_select(tool, id, out, err) < 0)
		return -1;
	n = out->n;
	if (n == 1)
		return 0;
	bak_selection_release(out);
	return bak_error_set(err, BAK_USAGE, "%s names %zu snapshots; give a number or STORE@STAMP",
			     id, n);
}

int bak_selection_keep(struct bak_selection *selection, const char *const *stores, size_t n,
		       struct bak_error *err)
{
	size_t i, s, kept = 0;

	for (s = 0; s < n; s++) {
		for (i = 0; i < selection->n; i++) {
			if (!strcmp(selection->snapshots[i].store, stores[s]))
				break;
		}
		if (i == selection->n)
			return bak_error_set(err, BAK_NOT_FOUND, "no snapshot of a store %s there",
					     stores[s]);
	}
	for (i = 0; n && i < selection->n; i++) {
		for (s = 0; s < n && strcmp(selection->snapshots[i].store, stores[s]); s++)
			;
		if (s == n)
			bak_snapshot_release(&selection->snapshots[i]);
		else
			selection->snapshots[kept++] = selection->snapshots[i];
	}
	if (n)
		selection->n = kept;
	return 0;
}

void bak_selection_release(struct bak_selection *selection)
{
	size_t i;

	for (i = 0; i < selection->n; i++)
		bak_snapshot_release(&selection->snapshots[i]);
	free(selection->snapshots);
	*selection = (struct bak_selection)BAK_SELECTION_INIT;
}

int bak_selection_path(const struct bak_selection *selection, const char *path, size_t *out_index,
		       const char **out_path, struct bak_error *err)
{
	size_t len, i;

	path += strspn(path, "/");
	*out_index = 0;
	*out_path = path;
	if (selection->n == 1)
		return 0;
	len = strcspn(path, "/");
	for (i = 0; i < selection->n; i++) {
		if (strlen(selection->snapshots[i].store) == len &&
		    !memcmp(selection->snapshots[i].store, path, len)) {
			*out_index = i;
			*out_path = path + len + strspn(path + len, "/");
			return 0;
		}
	}
	return bak_error_set(err, BAK_USAGE,
			     "%zu stores are meant: begin the path with one of them, as in %s/%s",
			     selection->n, selection->snapshots[0].store, path);
}
