/*
 * What verify and check find.
 */
#include "tools/findings.h"

#include "tools/output.h"

#include <string.h>

static void on_finding(void *ctx, const char *what, const char *where, const char *why)
{
	struct bak_findings *findings = ctx;
	json_t *entry = json_object();

	(findings->repairing ? bak_tool_note : bak_tool_warn)(findings->tool, "%s%s%s%s%s", what,
							      where ? ": " : "", where ? where : "",
							      why ? ": " : "", why ? why : "");
	bak_json_set_name(entry, "what", what, strlen(what));
	if (where)
		bak_json_set_name(entry, "where", where, strlen(where));
	if (why)
		bak_json_set_name(entry, "why", why, strlen(why));
	json_array_append_new(findings->array, entry);
}

static void on_progress(void *ctx, uint64_t done, uint64_t total, const char *path)
{
	struct bak_findings *findings = ctx;
	struct bak_progress *progress = &findings->tool->progress;

	progress->total = total;
	bak_progress_measure(progress, done, path);
}

void bak_findings_conf(struct bak_findings *findings, struct bak_verify_conf *conf)
{
	*conf = (struct bak_verify_conf){
		.finding = on_finding,
		.progress = on_progress,
		.ctx = findings,
	};
}
