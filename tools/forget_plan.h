/*
 * Which snapshots bakfs forget puts away, and why the others stay: planned as a whole before
 * anything is done. By ID when the command has words, else by policy.
 */
#ifndef BAK_TOOLS_FORGET_PLAN_H
#define BAK_TOOLS_FORGET_PLAN_H

#include "tools/keep.h"
#include "tools/tool.h"

/* A reason beside those of policy.h. */
#define BAK_FORGET_NO_POLICY (1u << BAK_KEEP_REASONS)

struct bak_forget_range {
	uint64_t first, last;
};

struct bak_forget_plan {
	struct bak_tool *tool;
	bool by_policy;
	size_t n;
	struct bak_snapshot_row *rows; /* by store, then by number */
	struct bak_fate {
		bool looked_at;   /* else it is none of the plan's business */
		unsigned reasons; /* of staying */
		bool goes, named; /* by its number */
	} * fates;
	struct bak_keep keep; /* of the options */
	size_t n_ranges, cap_ranges;
	struct bak_forget_range *ranges; /* the records to write: numbers without snapshots, too */
};
/* plan->tool is set and open; nothing else is. */
int bak_forget_plan(struct bak_forget_plan *plan, struct bak_error *err);
/* Writes the records. */
int bak_forget_plan_do(struct bak_forget_plan *plan, struct bak_error *err);
void bak_forget_plan_release(struct bak_forget_plan *plan);

#endif
