/*
 * What verify and check find: printed as it comes, kept for --json.
 */
#ifndef BAK_TOOLS_FINDINGS_H
#define BAK_TOOLS_FINDINGS_H

#include "engine/ops/verify.h"
#include "tools/tool.h"

struct bak_findings {
	struct bak_tool *tool;
	json_t *array;  /* of objects: what, where, why */
	bool repairing; /* a finding may be put right yet: it is no warning by itself */
};

/* Callbacks that print and collect; conf->ctx is findings. */
void bak_findings_conf(struct bak_findings *findings, struct bak_verify_conf *conf);

#endif
