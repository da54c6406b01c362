/*
 * bakfs reindex: throws the index away and builds it anew from the repository.
 */
#include "tools/commands.h"
#include "tools/output.h"

#include <inttypes.h>

int bak_command_reindex(struct bak_tool *tool)
{
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t packs, damaged;
	int rc;

	if (tool->args.n_words)
		return bak_tool_usage(tool, "reindex takes no argument");
	if (bak_tool_open(tool, &err) < 0)
		return bak_tool_fail(tool, &err);
	rc = bak_repo_reindex(tool->repo, &packs, &damaged, &err);
	bak_progress_clear(&tool->progress);
	if (rc < 0)
		return bak_tool_fail(tool, &err);
	if (damaged)
		bak_tool_warn(tool,
			      "%" PRIu64 " pack%s had no readable footer and %s read segment by "
			      "segment; bakfs check says more",
			      damaged, bak_plural(damaged), damaged == 1 ? "was" : "were");
	if (tool->json)
		return bak_tool_json(tool, json_pack("{s:I, s:I}", "packs", (json_int_t)packs,
						     "damaged_footers", (json_int_t)damaged));
	bak_tool_say(tool, "index built anew from %" PRIu64 " pack%s", packs, bak_plural(packs));
	return bak_tool_done(tool);
}
