/*
 * bakfs rollback: undoes the last restore of a store.
 */
#include "tools/commands.h"
#include "tools/restore.h"

#include <string.h>

const struct bak_option bak_options_rollback[] = {
	{'y', "yes", NULL, "do not ask; others' connections may be ended", false},
	{0, "take-over", NULL, "the store may be another host's so far", false},
	{0, NULL, NULL, NULL, false},
};

#define TEXT_MAX 1024

/* The only configured store that has something to roll back. */
static const char *only_store(struct bak_tool *tool, struct bak_error *err)
{
	const struct bak_config *config = &tool->config;
	const char *found = NULL;
	char text[TEXT_MAX];
	size_t i, n = 0;

	for (i = 0; i < config->n_stores; i++) {
		const char *name = config->stores[i].conf.name;
		int rc = bak_job_rollback_text(tool->repo, name, text, sizeof(text), err);

		if (rc < 0)
			return NULL;
		found = rc ? name : found;
		n += rc > 0;
	}
	if (n == 1)
		return found;
	if (n)
		bak_error_set(err, BAK_USAGE, "%zu stores can be rolled back: say which", n);
	else
		bak_error_set(err, BAK_NOT_FOUND,
			      "no store was restored, so there is nothing to "
			      "roll back");
	return NULL;
}

static int roll_back(struct bak_tool *tool, json_t **out_result, struct bak_error *err)
{
	struct bak_job_request request = {
		.description = (char *)"bakfs rollback",
		.from = BAK_JOB_FROM_ROLLBACK,
	};
	char text[TEXT_MAX], question[TEXT_MAX + 128], what[TEXT_MAX + 32];
	const char *store;
	int rc;

	if (bak_tool_open(tool, err) < 0)
		return -1;
	store = tool->args.n_words ? tool->args.words[0] : only_store(tool, err);
	if (!store || !bak_live_store(tool, store, err))
		return -1;
	rc = bak_job_rollback_text(tool->repo, store, text, sizeof(text), err);
	if (rc == 0)
		return bak_error_set(err, BAK_NOT_FOUND,
				     "%s was not restored, so there is nothing to roll back",
				     store);
	if (rc < 0)
		return -1;
	snprintf(question, sizeof(question), "%s: %s\nGo on?", store, text);
	if (bak_live_confirm(tool, question, err) < 0)
		return -1;
	request.store = (char *)store;
	snprintf(what, sizeof(what), "rolled back: %s", text);
	tool->catch_stops();
	return bak_live_job(tool, &request, what, out_result, err);
}

int bak_command_rollback(struct bak_tool *tool)
{
	struct bak_error err = BAK_ERROR_INIT;
	json_t *result = NULL;

	if (tool->args.n_words > 1)
		return bak_tool_usage(tool, "rollback takes one store");
	if (roll_back(tool, &result, &err) < 0)
		return bak_tool_fail(tool, &err);
	if (tool->json)
		return bak_tool_json(tool, result);
	json_decref(result);
	return bak_tool_done(tool);
}
