/*
 * bakfs restore --to: payloads into a folder. Everything that can be refused is refused before the
 * first folder is made.
 */
#include "tools/restore.h"

#include "engine/content/folder.h"
#include "engine/ops/extract.h"
#include "tools/output.h"
#include "tools/place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One snapshot's share: where to, and which of its paths. */
struct share {
	const struct bak_snapshot *snapshot;
	char *dir;
	const char **only; /* NULL-terminated */
	size_t n_only;
	bool wanted;
};

struct plan {
	struct bak_tool *tool;
	const struct bak_selection *selection;
	bool overwrite;
	struct share *shares; /* as many as the selection has snapshots */
	json_t *results;
	uint64_t bytes; /* of the finished files of the share under way */
	uint64_t files;
};

/* ---- what ---- */

/* Each --only goes to the snapshot it is of; without any, all is wanted. */
static int share_out(struct plan *plan, struct bak_error *err)
{
	const struct bak_args *args = &plan->tool->args;
	size_t n = bak_args_count(args, "only"), i, s;

	for (s = 0; s < plan->selection->n; s++) {
		plan->shares[s].only = calloc(n + 1, sizeof(*plan->shares[s].only));
		if (!plan->shares[s].only)
			return bak_error_nomem(err);
		plan->shares[s].snapshot = &plan->selection->snapshots[s];
		plan->shares[s].wanted = !n;
	}
	for (i = 0; i < n; i++) {
		const char *whole = bak_args_nth(args, "only", i), *path;
		struct share *share;

		if (bak_selection_path(plan->selection, whole, &s, &path, err) < 0)
			return -1;
		share = &plan->shares[s];
		share->wanted = true;
		share->only[share->n_only++] = path;
	}
	return 0;
}

/* Are the paths there? One that is the root means everything. */
static int check_only(struct plan *plan, struct share *share, struct bak_error *err)
{
	struct bak_tree tree = {bak_repo_source(plan->tool->repo), share->snapshot};
	bool all = false;
	size_t i;

	for (i = 0; i < share->n_only; i++) {
		BAK_AUTO(bak_found_release) struct bak_found found = BAK_FOUND_INIT;
		int rc = bak_tree_path(&tree, share->only[i], &found, err);

		if (rc == 0)
			return bak_error_set(err, BAK_NOT_FOUND, "no %s in snapshot %" PRIu64,
					     share->only[i], share->snapshot->number);
		if (rc < 0)
			return -1;
		all = all || !share->only[i][strspn(share->only[i], "./")];
	}
	if (all)
		share->n_only = 0;
	return 0;
}

/* ---- where to ---- */

static int check_place(struct plan *plan, const char *dir, struct bak_error *err)
{
	int rc;

	if (bak_place_refuse_mount(dir, err) < 0)
		return -1;
	if (bak_place_is_below(dir, bak_repo_path(plan->tool->repo)))
		return bak_error_set(err, BAK_REFUSED, "%s: inside the repository", dir);
	if (plan->overwrite)
		return 0;
	rc = bak_place_is_empty(dir, err);
	if (rc == 0)
		return bak_error_set(err, BAK_REFUSED,
				     "%s: not empty; --overwrite replaces what has the same names",
				     dir);
	return rc < 0 ? -1 : 0;
}

/* DIR itself for one snapshot, DIR/<store> for each of several. */
static int choose_places(struct plan *plan, const char *to, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *dir = bak_place_real(to, err);
	size_t s;

	if (!dir || check_place(plan, dir, err) < 0)
		return -1;
	for (s = 0; s < plan->selection->n; s++) {
		struct share *share = &plan->shares[s];
		bool several = plan->selection->n > 1;

		if (asprintf(&share->dir, "%s%s%s", dir, several ? "/" : "",
			     several ? share->snapshot->store : "") < 0) {
			share->dir = NULL;
			return bak_error_nomem(err);
		}
		if (share->wanted && several && check_place(plan, share->dir, err) < 0)
			return -1;
		if (check_only(plan, share, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- doing it ---- */

static void on_file(void *ctx, const char *path, uint64_t bytes, const char *why)
{
	struct plan *plan = ctx;

	if (why) {
		BAK_AUTO(bak_free_ptr) char *name = bak_name_text(path, strlen(path));

		bak_tool_warn(plan->tool, "%s: %s", name ? name : "?", why);
		return;
	}
	plan->files++;
	plan->bytes += bytes;
	bak_progress_bytes(&plan->tool->progress, plan->files, plan->bytes, path);
}

static int tell(struct plan *plan, const struct share *share,
		const struct bak_extract_result *result)
{
	struct bak_tool *tool = plan->tool;
	char name[BAK_SNAPSHOT_NAME], bytes[BAK_SIZE_TEXT];
	json_t *json;

	bak_snapshot_name(share->snapshot->store, share->snapshot->stamp, name);
	if (result->damaged)
		bak_tool_warn(tool, "%s: %" PRIu64 " damaged file%s left out", name,
			      result->damaged, bak_plural(result->damaged));
	if (result->attributes_lost)
		bak_tool_warn(tool,
			      "%s: %" PRIu64 " owner%s, devices or attributes could not be "
			      "set",
			      name, result->attributes_lost, bak_plural(result->attributes_lost));
	bak_tool_say(tool, "%s: restored %" PRIu64 " file%s, %s, to %s", name, result->files,
		     bak_plural(result->files), bak_size_text(result->bytes, bytes), share->dir);
	json = json_pack("{s:I, s:s, s:I, s:I, s:I, s:I}", "number",
			 (json_int_t)share->snapshot->number, "store", share->snapshot->store,
			 "files", (json_int_t)result->files, "bytes", (json_int_t)result->bytes,
			 "damaged", (json_int_t)result->damaged, "attributes_lost",
			 (json_int_t)result->attributes_lost);
	bak_json_set_name(json, "to", share->dir, strlen(share->dir));
	return json_array_append_new(plan->results, json);
}

static int extract(struct plan *plan, const struct share *share, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = -1;
	struct bak_extract_result result = {.files = 0};
	struct bak_extract_conf conf = {
		.only = share->n_only ? share->only : NULL,
		.n_only = share->n_only,
		.overwrite = plan->overwrite,
		.owners = geteuid() == 0,
		.sync = true,
		.verify = true,
		.progress = on_file,
		.progress_ctx = plan,
	};
	const struct bak_inode *root = &share->snapshot->root;

	if (bak_place_make(share->dir, err) < 0)
		return -1;
	fd = open(share->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return bak_error_sys(err, errno, "%s", share->dir);
	plan->files = plan->bytes = 0;
	bak_progress_begin(&plan->tool->progress, share->snapshot->store,
			   share->n_only ? 0 : root->totals.bytes + share->snapshot->link_bytes);
	if (bak_extract(plan->tool->repo, share->snapshot, fd, &conf, &result, err) < 0)
		return bak_error_wrap(err, "%s", share->dir);
	bak_progress_clear(&plan->tool->progress);
	return tell(plan, share, &result) < 0 ? bak_error_nomem(err) : 0;
}

static int run(struct plan *plan, const char *to, struct bak_error *err)
{
	size_t s;

	if (share_out(plan, err) < 0 || choose_places(plan, to, err) < 0)
		return -1;
	for (s = 0; s < plan->selection->n; s++) {
		if (plan->shares[s].wanted && extract(plan, &plan->shares[s], err) < 0)
			return -1;
	}
	return 0;
}

int bak_restore_to(struct bak_tool *tool, const struct bak_selection *selection, const char *to)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct plan plan = {
		.tool = tool,
		.selection = selection,
		.overwrite = bak_args_count(&tool->args, "overwrite") > 0,
		.shares = calloc(selection->n, sizeof(*plan.shares)),
		.results = json_array(),
	};
	int rc = plan.shares ? run(&plan, to, &err) : bak_error_nomem(&err);
	size_t s;

	bak_progress_clear(&tool->progress);
	for (s = 0; plan.shares && s < selection->n; s++) {
		free(plan.shares[s].dir);
		free(plan.shares[s].only);
	}
	free(plan.shares);
	if (rc == 0 && tool->json)
		return bak_tool_json(tool, json_pack("{s:o}", "restored", plan.results));
	json_decref(plan.results);
	return rc < 0 ? bak_tool_fail(tool, &err) : bak_tool_done(tool);
}
