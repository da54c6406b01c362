/*
 * bakfs restore without --to: jobs, one store after another. One that fails does not stop the
 * others.
 */
#include "tools/restore.h"

#include "tools/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- one job ---- */

static void on_log(void *ctx, const char *line)
{
	bak_tool_detail(ctx, "%s", line);
}

static void on_warn(void *ctx, const char *line)
{
	bak_tool_warn(ctx, "%s", line);
}

static void on_progress(void *ctx, const char *state, int percent, uint64_t bytes)
{
	struct bak_tool *tool = ctx;

	bak_progress_state(&tool->progress, state, percent, bytes);
}

static int is_cancelled(void *ctx)
{
	struct bak_tool *tool = ctx;

	return *tool->stop != 0;
}

const struct bak_store_conf *bak_live_store(struct bak_tool *tool, const char *name,
					    struct bak_error *err)
{
	const struct bak_config_store *store = bak_config_store(&tool->config, name);
	const char *restore = store ? bak_store_get(&store->conf, "restore") : NULL;

	if (!store)
		bak_error_set(err, BAK_REFUSED,
			      "store %s is not configured, so there is nothing to restore into; "
			      "--to DIR writes files",
			      name);
	else if (restore && !strcmp(restore, "no"))
		bak_error_set(err, BAK_REFUSED, "store %s has restore = no", name);
	else
		return &store->conf;
	return NULL;
}

int bak_live_confirm(struct bak_tool *tool, const char *question, struct bak_error *err)
{
	int rc;

	if (bak_args_count(&tool->args, "yes"))
		return 0;
	rc = bak_tool_ask(tool, "%s", question);
	if (rc > 0)
		return 0;
	return bak_error_set(err, BAK_REFUSED, "%s",
			     rc < 0 ? "this changes a live store: give --yes, as there is no "
				      "terminal to ask on"
				    : "nothing was changed");
}

int bak_live_job(struct bak_tool *tool, const struct bak_job_request *request, const char *what,
		 json_t **result_json, struct bak_error *err)
{
	struct bak_job_result result = {.restored = 0};
	char undo[512];
	struct bak_job job = {
		.request = request,
		.repo = tool->repo,
		.store = bak_live_store(tool, request->store, err),
		.no_safety = request->from != BAK_JOB_FROM_ROLLBACK &&
			     bak_args_count(&tool->args, "no-safety") > 0,
		.force = bak_args_count(&tool->args, "yes") > 0,
		.take_over = bak_args_count(&tool->args, "take-over") > 0,
		.workers = tool->config.workers,
		.ctx = tool,
		.log = on_log,
		.warn = on_warn,
		.progress = on_progress,
		.cancelled = is_cancelled,
	};

	if (!job.store)
		return -1;
	bak_progress_begin(&tool->progress, request->store, 0);
	if (bak_job_run(&job, &result, err) < 0) {
		bak_progress_clear(&tool->progress);
		return -1;
	}
	bak_tool_say(tool, "%s: %s", request->store, what);
	if (request->from != BAK_JOB_FROM_ROLLBACK && !result.beside &&
	    bak_job_rollback_text(tool->repo, request->store, undo, sizeof(undo), err) > 0)
		bak_tool_say(tool, "%s: bakfs rollback %s undoes it", request->store,
			     request->store);
	if (result.safety)
		bak_tool_say(tool, "%s: what was there before is snapshot %" PRIu64, request->store,
			     result.safety);
	*result_json = json_pack("{s:s, s:s, s:I, s:I}", "store", request->store, "job", result.id,
				 "restored", (json_int_t)result.restored, "safety",
				 (json_int_t)result.safety);
	return *result_json ? 0 : bak_error_nomem(err);
}

/* ---- the command ---- */

/* "put app@... back into the live store app (/var/lib/app.db)", for all of them. */
static int confirm(struct bak_tool *tool, const struct bak_restore_share *shares, size_t n,
		   struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct bak_snapshot *snapshot = shares[i].snapshot;
		const struct bak_store_conf *conf = bak_live_store(tool, snapshot->store, err);
		const char *path = conf ? bak_store_get(conf, "path") : NULL;
		char name[BAK_SNAPSHOT_NAME];

		if (!conf)
			return -1;
		bak_snapshot_name(snapshot->store, snapshot->stamp, name);
		if (bak_buf_printf(&text, "%s%s%s goes into the live store %s%s%s%s.\n",
				   shares[i].n_only ? "A part of " : "", name, "", snapshot->store,
				   path ? " (" : "", path ? path : "", path ? ")" : "") < 0)
			return bak_error_nomem(err);
	}
	if (bak_buf_append(&text, "Go on?", 7) < 0)
		return bak_error_nomem(err);
	return bak_live_confirm(tool, (const char *)text.p, err);
}

/* ---- options of drivers ---- */

static bool is_wish_of(const struct bak_store_driver *driver, const char *name)
{
	const struct bak_store_option *option = driver->restore_options;

	while (option && option->name && strcmp(option->name, name))
		option++;
	return option && option->name;
}

const char *bak_restore_wish_given(struct bak_tool *tool)
{
	for (size_t d = 0; bak_store_drivers[d]; d++) {
		const struct bak_store_option *option = bak_store_drivers[d]->restore_options;

		for (; option && option->name; option++) {
			if (bak_args_count(&tool->args, option->name))
				return option->name;
		}
	}
	return NULL;
}

/* As pairs, borrowed but for *out itself. One that is another driver's is bad usage. */
static int gather_wishes(struct bak_tool *tool, const struct bak_store_conf *conf,
			 struct bak_store_pair **out, size_t *out_n, struct bak_error *err)
{
	const struct bak_store_driver *driver = bak_store_driver_find(conf->driver);
	size_t n = 0;

	*out = calloc(tool->args.n_given + 1, sizeof(**out));
	if (!*out)
		return bak_error_nomem(err);
	for (size_t d = 0; bak_store_drivers[d]; d++) {
		const struct bak_store_option *option = bak_store_drivers[d]->restore_options;

		for (; option && option->name; option++) {
			size_t given = bak_args_count(&tool->args, option->name);

			/* Two drivers may know one name: it is taken once, as this one's. */
			if (given && !is_wish_of(driver, option->name))
				return bak_error_set(err, BAK_USAGE,
						     "--%s is not for a store of type %s",
						     option->name, driver->name);
			for (size_t i = 0; bak_store_drivers[d] == driver && i < given; i++)
				(*out)[n++] = (struct bak_store_pair){
					.key = (char *)option->name,
					.value = (char *)bak_args_nth(&tool->args, option->name, i),
				};
		}
	}
	*out_n = n;
	return 0;
}

static int restore_one(struct bak_tool *tool, const struct bak_restore_share *share,
		       json_t *results, struct bak_error *err)
{
	const struct bak_snapshot *snapshot = share->snapshot;
	struct bak_job_request request = {
		.store = snapshot->store,
		.description = (char *)"bakfs restore",
		.from = BAK_JOB_FROM_SNAPSHOT,
		.snapshot = snapshot->number,
		.only = (char **)share->only, /* borrowed: this request is not released */
		.n_only = share->n_only,
	};
	const struct bak_store_conf *conf = bak_live_store(tool, snapshot->store, err);
	BAK_AUTO(bak_free_ptr) struct bak_store_pair *wishes = NULL;
	char name[BAK_SNAPSHOT_NAME], what[BAK_SNAPSHOT_NAME + 32];
	json_t *result;

	if (!conf || gather_wishes(tool, conf, &wishes, &request.n_wishes, err) < 0)
		return -1;
	request.wishes = wishes;
	bak_snapshot_name(snapshot->store, snapshot->stamp, name);
	snprintf(what, sizeof(what), "restored from %s", name);
	if (bak_live_job(tool, &request, what, &result, err) < 0)
		return -1;
	return json_array_append_new(results, result) < 0 ? bak_error_nomem(err) : 0;
}

int bak_restore_live(struct bak_tool *tool, const struct bak_restore_share *shares, size_t n)
{
	struct bak_error err = BAK_ERROR_INIT;
	json_t *results = json_array();
	size_t i, failed = 0;
	int status;

	if (confirm(tool, shares, n, &err) < 0) {
		json_decref(results);
		return bak_tool_fail(tool, &err);
	}
	tool->catch_stops();
	for (i = 0; i < n && !*tool->stop; i++) {
		struct bak_error one = BAK_ERROR_INIT;

		if (restore_one(tool, &shares[i], results, &one) == 0)
			continue;
		failed++;
		bak_error_wrap(&one, "%s", shares[i].snapshot->store);
		bak_tool_fail(tool, &one);
	}
	tool->partial = tool->partial || failed;
	status = bak_tool_done(tool);
	if (tool->json)
		status = bak_tool_json(tool, json_pack("{s:O}", "restored", results));
	json_decref(results);
	return failed == n || *tool->stop ? BAK_EXIT_FAILED : status;
}
