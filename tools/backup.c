/*
 * bakfs backup: one run, store after store. One that fails does not stop the others.
 */
#include "engine/ops/backup.h"
#include "stores/stores.h"
#include "tools/commands.h"
#include "tools/doctor.h"
#include "tools/output.h"
#include "tools/snapshots.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct bak_option bak_options_backup[] = {
	{'t', "type", "TYPE", "manual (the default), daily, weekly or monthly", false},
	{'d', "description", "TEXT", "kept with the snapshots", false},
	{0, "name", "NAME", "name of the one store given as DRIVER:ADDRESS", false},
	{0, "level", "N", "of compression, 1 to 19, instead of the stores' own", false},
	{0, "take-over", NULL, "go on with stores that another host has backed up so far", false},
	{0, NULL, NULL, NULL, false},
};

struct work {
	struct bak_tool *tool;
	struct bak_run *run;
	size_t n;
	struct bak_store_conf const **confs; /* borrowed from the configuration */
	const char **names;
	int level; /* 0: the stores' own */
	json_t *snapshots, *failed;
};

/* One store's share of it: what its driver's callbacks get. */
struct share {
	struct work *work;
	const struct bak_store_conf *conf;
	const struct bak_store_driver *driver;
	json_t *facts, *warnings;
	struct timespec begun;
};

/* ---- which stores ---- */

static int add_conf(struct work *work, const struct bak_store_conf *conf, struct bak_error *err)
{
	size_t i;

	for (i = 0; i < work->n; i++) {
		if (work->confs[i] == conf)
			return bak_error_set(err, BAK_USAGE, "store %s is named twice", conf->name);
	}
	work->names[work->n] = conf->name;
	work->confs[work->n++] = conf;
	return 0;
}

/* Ad hoc stores first: they make the configuration's array grow, and we borrow from it. */
static int add_adhoc(struct bak_tool *tool, size_t *places, struct bak_error *err)
{
	const char *name = bak_args_value(&tool->args, "name");
	size_t i, n = 0;

	for (i = 0; i < tool->args.n_words; i++) {
		if (!strchr(tool->args.words[i], ':'))
			continue;
		if (name && n++)
			return bak_error_set(err, BAK_USAGE, "--name is for one store alone");
		if (bak_config_add_adhoc(&tool->config, tool->args.words[i], name, &places[i],
					 err) < 0)
			return -1;
	}
	if (name && !n)
		return bak_error_set(err, BAK_USAGE,
				     "--name is for a store given as DRIVER:ADDRESS");
	return 0;
}

static int add_words(struct work *work, const size_t *places, struct bak_error *err)
{
	const struct bak_config *config = &work->tool->config;
	const struct bak_args *args = &work->tool->args;
	size_t i;

	for (i = 0; i < args->n_words; i++) {
		const struct bak_config_store *store = strchr(args->words[i], ':')
							       ? &config->stores[places[i]]
							       : bak_config_store(config,
										  args->words[i]);

		if (!store)
			return bak_error_set(err, BAK_USAGE, "no store %s is configured",
					     args->words[i]);
		if (add_conf(work, &store->conf, err) < 0)
			return -1;
	}
	for (i = 0; !args->n_words && i < config->n_stores; i++) {
		if (add_conf(work, &config->stores[i].conf, err) < 0)
			return -1;
	}
	if (!work->n)
		return bak_error_set(err, BAK_USAGE,
				     "nothing to back up: no store is configured and none is "
				     "given, as in files:/etc");
	return 0;
}

static int choose_stores(struct work *work, struct bak_error *err)
{
	struct bak_tool *tool = work->tool;
	size_t room = tool->config.n_stores + tool->args.n_words + 1;
	BAK_AUTO(bak_free_ptr) size_t *places = calloc(room, sizeof(*places));

	work->confs = calloc(room, sizeof(*work->confs));
	work->names = calloc(room, sizeof(*work->names));
	if (!places || !work->confs || !work->names)
		return bak_error_nomem(err);
	if (add_adhoc(tool, places, err) < 0)
		return -1;
	return add_words(work, places, err);
}

/* ---- one store ---- */

static void on_log(void *ctx, const char *line)
{
	struct share *share = ctx;

	bak_tool_detail(share->work->tool, "%s: %s", share->conf->name, line);
}

static void on_warn(void *ctx, const char *line)
{
	struct share *share = ctx;

	json_array_append_new(share->warnings, json_string(line));
	bak_tool_warn(share->work->tool, "%s: %s", share->conf->name, line);
}

static int is_cancelled(void *ctx)
{
	struct share *share = ctx;

	return *share->work->tool->stop != 0;
}

static void on_progress(void *ctx, const struct bak_writer_progress *progress)
{
	struct share *share = ctx;

	bak_progress_bytes(&share->work->tool->progress, progress->files, progress->bytes,
			   progress->path);
}

static double seconds_since(const struct timespec *begun)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - begun->tv_sec) + (double)(now.tv_nsec - begun->tv_nsec) / 1e9;
}

/* The catalogue's row of what was just committed: totals as every other command shows them. */
static int tell_done(struct share *share, struct bak_backup *backup, uint64_t number,
		     struct bak_error *err)
{
	struct bak_tool *tool = share->work->tool;
	const struct bak_writer_result *result = bak_backup_result(backup);
	char bytes[BAK_SIZE_TEXT], added[BAK_SIZE_TEXT], stamp[BAK_STAMP_LEN + 1];
	struct bak_snapshot_row row = {.number = 0};
	double seconds = seconds_since(&share->begun);
	json_t *json;

	if (bak_index_snapshot(bak_repo_index(tool->repo), number, &row, err) <= 0)
		return bak_error_set(err, BAK_BUG, "snapshot %" PRIu64 " is not in the index",
				     number);
	bak_stamp_format(row.stamp, stamp);
	bak_tool_say(tool,
		     "%s: snapshot %" PRIu64 ", %s: %" PRIu64 " file%s, %s, added %s in %.1f s",
		     row.store, number, stamp, row.files, bak_plural(row.files),
		     bak_size_text(row.bytes, bytes), bak_size_text(row.added, added), seconds);
	json = bak_row_json(&row);
	bak_snapshot_row_release(&row);
	if (!json)
		return bak_error_nomem(err);
	json_object_set_new(json, "new_bytes", json_integer((json_int_t)result->new_bytes));
	json_object_set_new(json, "reused_files", json_integer((json_int_t)result->reused_files));
	json_object_set_new(json, "read_files", json_integer((json_int_t)result->read_files));
	json_object_set_new(json, "seconds", json_real(seconds));
	json_object_set(json, "warnings", share->warnings);
	return json_array_append_new(share->work->snapshots, json);
}

/* For the time that is left: what the driver says, else the size of the last snapshot. */
static uint64_t estimate(struct share *share, const struct bak_store_probe *probe)
{
	struct bak_repo *repo = share->work->tool->repo;
	struct bak_snapshot_row row = {.number = 0};
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number, bytes = probe->bytes;

	if (!bytes && bak_repo_latest(repo, share->conf->name, &number, &err) > 0 &&
	    bak_index_snapshot(bak_repo_index(repo), number, &row, &err) > 0)
		bytes = row.bytes;
	bak_snapshot_row_release(&row);
	return bytes;
}

static int run_driver(struct share *share, void *store, struct bak_error *err)
{
	struct work *work = share->work;
	struct bak_backup_conf conf = {
		.store = share->conf->name,
		.driver = share->driver->name,
		.take_over = bak_args_count(&work->tool->args, "take-over") > 0,
		.level = work->level ? work->level
				     : (int)bak_store_get_number(share->conf, "level"),
		.no_alike = !bak_store_get_bool(share->conf, "alike"),
		.no_dedup = !bak_store_get_bool(share->conf, "dedup"),
		.workers = work->tool->config.workers,
		.progress = on_progress,
		.progress_ctx = share,
	};
	struct bak_store_probe probe = {.bytes = 0};
	struct bak_backup *backup = NULL;
	uint64_t number;
	int rc = share->driver->probe(store, &probe, err);

	if (rc < 0)
		return -1;
	bak_tool_detail(work->tool, "%s: %s%s%s", share->conf->name, probe.target,
			*probe.version ? ", " : "", probe.version);
	bak_doctor_store(work->tool, share->conf, store, estimate(share, &probe));
	bak_progress_begin(&work->tool->progress, share->conf->name, estimate(share, &probe));
	if (bak_backup_begin(work->run, &conf, &backup, err) < 0)
		return -1;
	rc = share->driver->backup(store, bak_backup_writer(backup), share->facts, err);
	if (rc == 0)
		rc = bak_backup_commit(backup, share->facts, share->warnings, &number, err);
	bak_progress_clear(&work->tool->progress);
	if (rc == 0)
		rc = tell_done(share, backup, number, err);
	bak_backup_free(backup);
	return rc;
}

static int back_up(struct work *work, const struct bak_store_conf *conf, struct bak_error *err)
{
	struct share share = {
		.work = work,
		.conf = conf,
		.driver = bak_store_driver_find(conf->driver),
		.facts = json_object(),
		.warnings = json_array(),
	};
	const struct bak_store_env env = {
		.ctx = &share,
		.log = on_log,
		.warn = on_warn,
		.cancelled = is_cancelled,
		.repo_path = bak_repo_path(work->tool->repo),
	};
	void *store = NULL;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &share.begun);
	rc = share.driver->open(conf, &env, &store, err);
	if (rc == 0)
		rc = run_driver(&share, store, err);
	bak_progress_clear(&work->tool->progress);
	share.driver->close(store);
	json_decref(share.facts);
	json_decref(share.warnings);
	return rc;
}

/* ---- the run ---- */

static int parse_level(struct work *work, struct bak_error *err)
{
	const char *text = bak_args_value(&work->tool->args, "level");
	char *end;
	long level;

	if (!text)
		return 0;
	level = strtol(text, &end, 10);
	if (!*text || *end || level < 1 || level > 19)
		return bak_error_set(err, BAK_USAGE, "--level goes from 1 to 19");
	work->level = (int)level;
	return 0;
}

static int check_type(const char *type, struct bak_error *err)
{
	if (bak_type_counts_as_latest(type))
		return 0;
	return bak_error_set(err, BAK_USAGE,
			     "--type is manual, daily, weekly or monthly, not \"%s\"", type);
}

static int begin_run(struct work *work, struct bak_error *err)
{
	struct bak_tool *tool = work->tool;
	const char *type = bak_args_value(&tool->args, "type");
	const char *description = bak_args_value(&tool->args, "description");
	json_t *text = json_string(description ? description : "");

	json_decref(text);
	if (!text)
		return bak_error_set(err, BAK_USAGE, "--description must be UTF-8");
	type = type ? type : "manual";
	if (check_type(type, err) < 0 || parse_level(work, err) < 0 ||
	    bak_tool_open(tool, err) < 0 || choose_stores(work, err) < 0)
		return -1;
	bak_doctor_repository(tool);
	return bak_run_begin(tool->repo, type, description ? description : "", work->names, work->n,
			     &work->run, err);
}

static void tell_failed(struct work *work, const char *store, struct bak_error *err)
{
	json_t *entry = json_pack("{s:s, s:s?}", "store", store, "error", NULL);

	bak_json_set_name(entry, "error", err->msg, strlen(err->msg));
	json_array_append_new(work->failed, entry);
	bak_error_wrap(err, "%s", store);
	bak_tool_fail(work->tool, err);
}

static json_t *run_json(const struct work *work)
{
	char stamp[BAK_STAMP_LEN + 1] = "";

	if (json_array_size(work->snapshots))
		bak_stamp_format(bak_run_stamp(work->run), stamp);
	return json_pack("{s:s, s:s, s:O, s:O}", "run", bak_run_id(work->run), "stamp", stamp,
			 "snapshots", work->snapshots, "failed", work->failed);
}

static int run_stores(struct work *work)
{
	struct bak_tool *tool = work->tool;
	size_t i;
	int status;

	for (i = 0; i < work->n && !*tool->stop; i++) {
		struct bak_error err = BAK_ERROR_INIT;

		if (back_up(work, work->confs[i], &err) < 0)
			tell_failed(work, work->names[i], &err);
	}
	if (*tool->stop)
		bak_tool_note(tool, "stopped by a signal, %zu of %zu stores done",
			      json_array_size(work->snapshots), work->n);
	if (json_array_size(work->failed))
		tool->partial = true;
	status = tool->json ? bak_tool_json(tool, run_json(work)) : bak_tool_done(tool);
	return *tool->stop || !json_array_size(work->snapshots) ? BAK_EXIT_FAILED : status;
}

int bak_command_backup(struct bak_tool *tool)
{
	struct work work = {.tool = tool, .snapshots = json_array(), .failed = json_array()};
	struct bak_error err = BAK_ERROR_INIT;
	int status;

	tool->catch_stops();
	if (begin_run(&work, &err) < 0)
		status = bak_tool_fail(tool, &err);
	else
		status = run_stores(&work);
	bak_run_end(work.run);
	free(work.confs);
	free(work.names);
	json_decref(work.snapshots);
	json_decref(work.failed);
	return status;
}
