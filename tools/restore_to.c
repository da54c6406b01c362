/*
 * bakfs restore --to: payloads into a folder. Everything that can be refused is refused before the
 * first folder is made.
 */
#include "tools/restore.h"

#include "engine/ops/extract.h"
#include "tools/destination.h"
#include "tools/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct plan {
	struct bak_tool *tool;
	const struct bak_restore_share *shares;
	size_t n;
	bool several, overwrite;
	char **dirs; /* one a share */
	json_t *results;
	uint64_t bytes; /* of the finished files of the share under way */
	uint64_t files;
};

/* ---- where to ---- */

static int check_place(struct plan *plan, const char *dir, struct bak_error *err)
{
	int rc;

	if (bak_destination_refuse_mount(dir, err) < 0)
		return -1;
	if (bak_destination_is_below(dir, bak_repo_path(plan->tool->repo)))
		return bak_error_set(err, BAK_REFUSED, "%s: inside the repository", dir);
	if (plan->overwrite)
		return 0;
	rc = bak_destination_is_empty(dir, err);
	if (rc == 0)
		return bak_error_set(err, BAK_REFUSED,
				     "%s: not empty; --overwrite replaces what has the same names",
				     dir);
	return rc < 0 ? -1 : 0;
}

/* DIR itself for one snapshot, DIR/<store> for each of several. */
static int choose_places(struct plan *plan, const char *to, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *dir = bak_destination_real(to, err);
	size_t i;

	if (!dir || check_place(plan, dir, err) < 0)
		return -1;
	for (i = 0; i < plan->n; i++) {
		if (asprintf(&plan->dirs[i], "%s%s%s", dir, plan->several ? "/" : "",
			     plan->several ? plan->shares[i].snapshot->store : "") < 0) {
			plan->dirs[i] = NULL;
			return bak_error_nomem(err);
		}
		if (plan->several && check_place(plan, plan->dirs[i], err) < 0)
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

static int tell(struct plan *plan, size_t i, const struct bak_extract_result *result)
{
	struct bak_tool *tool = plan->tool;
	const struct bak_snapshot *snapshot = plan->shares[i].snapshot;
	char name[BAK_SNAPSHOT_NAME], bytes[BAK_SIZE_TEXT];
	json_t *json;

	bak_snapshot_name(snapshot->store, snapshot->stamp, name);
	if (result->damaged)
		bak_tool_warn(tool, "%s: %" PRIu64 " damaged file%s left out", name,
			      result->damaged, bak_plural(result->damaged));
	if (result->attributes_lost)
		bak_tool_warn(tool,
			      "%s: %" PRIu64 " owner%s, devices or attributes could not be "
			      "set",
			      name, result->attributes_lost, bak_plural(result->attributes_lost));
	bak_tool_say(tool, "%s: restored %" PRIu64 " file%s, %s, to %s", name, result->files,
		     bak_plural(result->files), bak_size_text(result->bytes, bytes), plan->dirs[i]);
	json = json_pack("{s:I, s:s, s:I, s:I, s:I, s:I}", "number", (json_int_t)snapshot->number,
			 "store", snapshot->store, "files", (json_int_t)result->files, "bytes",
			 (json_int_t)result->bytes, "damaged", (json_int_t)result->damaged,
			 "attributes_lost", (json_int_t)result->attributes_lost);
	bak_json_set_name(json, "to", plan->dirs[i], strlen(plan->dirs[i]));
	return json_array_append_new(plan->results, json);
}

static int extract(struct plan *plan, size_t i, struct bak_error *err)
{
	BAK_AUTO(bak_close_fd) int fd = -1;
	const struct bak_restore_share *share = &plan->shares[i];
	const struct bak_snapshot *snapshot = share->snapshot;
	struct bak_extract_result result = {.files = 0};
	struct bak_extract_conf conf = {
		.only = share->n_only ? share->only : NULL,
		.n_only = share->n_only,
		.overwrite = plan->overwrite,
		.owners = geteuid() == 0,
		.verify = true,
		.progress = on_file,
		.progress_ctx = plan,
	};

	if (bak_destination_make(plan->dirs[i], err) < 0)
		return -1;
	fd = open(plan->dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return bak_error_sys(err, errno, "%s", plan->dirs[i]);
	plan->files = plan->bytes = 0;
	bak_progress_begin(&plan->tool->progress, snapshot->store,
			   share->n_only ? 0 : snapshot->root.totals.bytes + snapshot->link_bytes);
	if (bak_extract(plan->tool->repo, snapshot, fd, &conf, &result, err) < 0)
		return bak_error_wrap(err, "%s", plan->dirs[i]);
	bak_progress_clear(&plan->tool->progress);
	return tell(plan, i, &result) < 0 ? bak_error_nomem(err) : 0;
}

static int run(struct plan *plan, const char *to, struct bak_error *err)
{
	size_t i;

	if (choose_places(plan, to, err) < 0)
		return -1;
	for (i = 0; i < plan->n; i++) {
		if (extract(plan, i, err) < 0)
			return -1;
	}
	return 0;
}

int bak_restore_to(struct bak_tool *tool, const struct bak_restore_share *shares, size_t n,
		   bool several, const char *to)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct plan plan = {
		.tool = tool,
		.shares = shares,
		.n = n,
		.several = several,
		.overwrite = bak_args_count(&tool->args, "overwrite") > 0,
		.dirs = calloc(n + 1, sizeof(*plan.dirs)),
		.results = json_array(),
	};
	int rc = plan.dirs ? run(&plan, to, &err) : bak_error_nomem(&err);
	size_t i;

	bak_progress_clear(&tool->progress);
	for (i = 0; plan.dirs && i < n; i++)
		free(plan.dirs[i]);
	free(plan.dirs);
	if (rc == 0 && tool->json)
		return bak_tool_json(tool, json_pack("{s:o}", "restored", plan.results));
	json_decref(plan.results);
	return rc < 0 ? bak_tool_fail(tool, &err) : bak_tool_done(tool);
}
