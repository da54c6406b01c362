/*
 * bakfs doctor: what is wrong, and what to do about it. One finding is one sentence and one way on.
 */
#include "tools/doctor.h"

#include "engine/storage/backend.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/snapshots.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* A repository with less than this part of its disk left is told of. */
#define LOW_SPACE_PART 20
/* Clocks of two hosts of one repository may differ by this much. */
#define CLOCK_SLACK_S 120

/* Findings about one subject: a store's name, or "repository". */
struct subject {
	struct bak_tool *tool;
	const char *name;
	json_t *findings; /* NULL: as notes on standard error */
	size_t n, broken;
};

static void on_finding(void *ctx, enum bak_ailment ailment, const char *what, const char *todo)
{
	struct subject *s = ctx;
	bool broken = ailment == BAK_AILMENT_BROKEN;
	json_t *entry;

	s->n++;
	s->broken += broken;
	if (!s->findings) {
		bak_tool_note(s->tool, "%s: %s; %s", s->name, what, todo);
		return;
	}
	entry = json_pack("{s:s, s:s}", "severity", broken ? "broken" : "advice", "todo", todo);
	bak_json_set_name(entry, "what", what, strlen(what));
	json_array_append_new(s->findings, entry);
	bak_tool_say(s->tool, "%s: %s: %s", s->name, broken ? "broken" : "advice", what);
	bak_tool_say(s->tool, "    to do: %s", todo);
}

static struct bak_checkup checkup_of(struct subject *s, bool quick, uint64_t bytes)
{
	return (struct bak_checkup){
		.quick = quick, .bytes = bytes, .ctx = s, .finding = on_finding};
}

/* ---- the repository and the clock ---- */

static void check_space(struct bak_tool *tool, const struct bak_checkup *checkup)
{
	struct bak_backend *be = bak_repo_backend(tool->repo);
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t left, total;
	char text[BAK_SIZE_TEXT];

	if (be->ops->space(be, &left, &total, &err) < 0 || !total || left >= total / LOW_SPACE_PART)
		return;
	bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
			 "make room there before backups fail: remove snapshots, or move it",
			 "%s is left on its disk, less than a twentieth",
			 bak_size_text(left, text));
}

struct newest {
	int64_t stamp;
};

static int note_newest(void *ctx, const struct bak_snapshot_row *row)
{
	struct newest *newest = ctx;

	if (row->stamp > newest->stamp)
		newest->stamp = row->stamp;
	return 0;
}

static void check_clock(struct bak_tool *tool, const struct bak_checkup *checkup)
{
	struct newest newest = {.stamp = 0};
	struct bak_error err = BAK_ERROR_INIT;
	char stamp[BAK_STAMP_LEN + 1];

	if (bak_index_each_snapshot(bak_repo_index(tool->repo), NULL, note_newest, &newest, &err) <
		    0 ||
	    newest.stamp <= time(NULL) + CLOCK_SLACK_S)
		return;
	bak_stamp_format(newest.stamp, stamp);
	bak_checkup_tell(checkup, BAK_AILMENT_ADVICE,
			 "correct the clock of this host, or of the one that made it",
			 "the newest snapshot is of %s, and that is in the future", stamp);
}

static void check_repository(struct subject *s, bool quick)
{
	struct bak_checkup checkup = checkup_of(s, quick, 0);

	check_space(s->tool, &checkup);
	check_clock(s->tool, &checkup);
}

void bak_doctor_repository(struct bak_tool *tool)
{
	struct subject s = {.tool = tool, .name = "repository"};

	check_repository(&s, true);
}

/* ---- a store ---- */

/* Could not even look: what the driver says is the finding. */
static void tell_failed(const struct bak_checkup *checkup, const struct bak_error *err)
{
	bak_checkup_tell(checkup, BAK_AILMENT_BROKEN,
			 err->code == BAK_USAGE ? "correct the store's configuration"
						: "see to that first, then ask again",
			 "%s", err->msg);
}

void bak_doctor_store(struct bak_tool *tool, const struct bak_store_conf *conf, void *store,
		      uint64_t bytes)
{
	const struct bak_store_driver *driver = bak_store_driver_find(conf->driver);
	struct subject s = {.tool = tool, .name = conf->name};
	struct bak_checkup checkup = checkup_of(&s, true, bytes);
	struct bak_error err = BAK_ERROR_INIT;

	/* What it cannot look at, the backup will stumble over and say better. */
	if (driver->doctor)
		driver->doctor(store, &checkup, &err);
}

static uint64_t last_bytes(struct bak_tool *tool, const char *name)
{
	struct bak_snapshot_row row = {.number = 0};
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t number, bytes = 0;

	if (tool->repo && bak_repo_latest(tool->repo, name, &number, &err) > 0 &&
	    bak_index_snapshot(bak_repo_index(tool->repo), number, &row, &err) > 0)
		bytes = row.bytes;
	bak_snapshot_row_release(&row);
	return bytes;
}

static void examine(struct subject *s, const struct bak_store_conf *conf,
		    struct bak_store_probe *probe)
{
	const struct bak_store_driver *driver = bak_store_driver_find(conf->driver);
	const struct bak_store_env env = {.repo_path = s->tool->repo ? bak_repo_path(s->tool->repo)
								     : NULL};
	struct bak_checkup checkup = checkup_of(s, false, last_bytes(s->tool, conf->name));
	struct bak_error err = BAK_ERROR_INIT;
	void *store = NULL;

	if (driver->open(conf, &env, &store, &err) < 0) {
		tell_failed(&checkup, &err);
		return;
	}
	/* A doctor knows better words than a probe that fails. */
	int rc = driver->probe(store, probe, &err);
	if (driver->doctor) {
		struct bak_error second = BAK_ERROR_INIT;

		if (driver->doctor(store, &checkup, &second) < 0)
			tell_failed(&checkup, &second);
		else if (rc < 0 && !s->broken)
			tell_failed(&checkup, &err);
	} else if (rc < 0) {
		tell_failed(&checkup, &err);
	}
	driver->close(store);
}

static json_t *report(struct subject *s, const struct bak_store_probe *probe, const char *driver)
{
	json_t *json = json_pack("{s:s, s:O}", "name", s->name, "findings", s->findings);

	if (driver)
		json_object_set_new(json, "driver", json_string(driver));
	if (driver && *probe->version)
		json_object_set_new(json, "version", json_string(probe->version));
	if (driver && *probe->target)
		bak_json_set_name(json, "target", probe->target, strlen(probe->target));
	if (!s->n)
		bak_tool_say(s->tool, "%s: well%s%s%s%s", s->name, *probe->target ? ": " : "",
			     probe->target, *probe->version ? ", " : "", probe->version);
	json_decref(s->findings);
	return json;
}

static json_t *look_at_store(struct bak_tool *tool, const struct bak_store_conf *conf,
			     size_t *broken, size_t *n)
{
	struct subject s = {.tool = tool, .name = conf->name, .findings = json_array()};
	struct bak_store_probe probe = {.bytes = 0};

	examine(&s, conf, &probe);
	*broken += s.broken;
	*n += s.n;
	return report(&s, &probe, conf->driver);
}

static json_t *look_at_repository(struct bak_tool *tool, size_t *broken, size_t *n)
{
	struct subject s = {.tool = tool, .name = "repository", .findings = json_array()};
	struct bak_checkup checkup = checkup_of(&s, false, 0);
	struct bak_store_probe probe = {.bytes = 0};
	struct bak_error err = BAK_ERROR_INIT;

	if (bak_tool_open(tool, &err) < 0)
		tell_failed(&checkup, &err);
	else
		check_repository(&s, false);
	snprintf(probe.target, sizeof(probe.target), "%s",
		 tool->config.path ? tool->config.path : "");
	*broken += s.broken;
	*n += s.n;
	return report(&s, &probe, NULL);
}

/* ---- which stores ---- */

/* "DRIVER:ADDRESS" words become stores first: that moves the others in memory. */
static int add_adhoc(struct bak_tool *tool, struct bak_error *err)
{
	size_t i, place;

	for (i = 0; i < tool->args.n_words; i++) {
		if (strchr(tool->args.words[i], ':') &&
		    bak_config_add_adhoc(&tool->config, tool->args.words[i], NULL, &place, err) < 0)
			return -1;
	}
	return 0;
}

static int check_names(struct bak_tool *tool, struct bak_error *err)
{
	size_t i;

	for (i = 0; i < tool->args.n_words; i++) {
		if (!strchr(tool->args.words[i], ':') &&
		    !bak_config_store(&tool->config, tool->args.words[i]))
			return bak_error_set(err, BAK_USAGE, "no store %s is configured",
					     tool->args.words[i]);
	}
	return 0;
}

/* All stores, or those that are named; ad hoc ones are always. */
static bool is_asked_for(const struct bak_tool *tool, const struct bak_config_store *store)
{
	size_t i;

	if (!tool->args.n_words || !store->line)
		return true;
	for (i = 0; i < tool->args.n_words; i++) {
		if (!strcmp(tool->args.words[i], store->conf.name))
			return true;
	}
	return false;
}

static int tell(struct bak_tool *tool, json_t *stores, struct bak_error *err)
{
	size_t broken = 0, n = 0, i;
	json_t *repository;

	if (bak_tool_read_config(tool, err) < 0 || check_names(tool, err) < 0)
		return -1;
	/* Opening the repository reads the configuration once more. */
	bak_config_release(&tool->config);
	bak_config_init(&tool->config);
	repository = look_at_repository(tool, &broken, &n);
	if (add_adhoc(tool, err) < 0) {
		json_decref(repository);
		return -1;
	}
	for (i = 0; i < tool->config.n_stores; i++) {
		if (is_asked_for(tool, &tool->config.stores[i]))
			json_array_append_new(
				stores,
				look_at_store(tool, &tool->config.stores[i].conf, &broken, &n));
	}
	tool->partial = n > 0;
	if (tool->json)
		bak_tool_json(tool,
			      json_pack("{s:o, s:O}", "repository", repository, "stores", stores));
	else
		json_decref(repository);
	return broken ? BAK_EXIT_FAILED : bak_tool_done(tool);
}

int bak_command_doctor(struct bak_tool *tool)
{
	struct bak_error err = BAK_ERROR_INIT;
	json_t *stores = json_array();
	int rc = tell(tool, stores, &err);

	json_decref(stores);
	return rc < 0 ? bak_tool_fail(tool, &err) : rc;
}
