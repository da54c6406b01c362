/*
 * The two ways of bakfs restore: into a folder, and into the live store.
 */
#ifndef BAK_TOOLS_RESTORE_H
#define BAK_TOOLS_RESTORE_H

#include "tools/job.h"
#include "tools/snapshots.h"

/* What of one snapshot is to be restored. */
struct bak_restore_share {
	const struct bak_snapshot *snapshot; /* borrowed from the selection */
	const char **only;                   /* paths in it, borrowed from the arguments */
	size_t n_only;                       /* 0: everything */
};
/* The snapshots of which --only names something, or all, in out_shares; each path is there. The
 * array is to be given to bak_restore_shares_free. */
int bak_restore_shares(struct bak_tool *tool, const struct bak_selection *selection,
		       struct bak_restore_share **out_shares, size_t *out_n, struct bak_error *err);
void bak_restore_shares_free(struct bak_restore_share *shares, size_t n);

/* Both read their options from tool->args, say what they did and return the exit status. several:
 * the ID named more than one snapshot, so folders are made for the stores. */
int bak_restore_to(struct bak_tool *tool, const struct bak_restore_share *shares, size_t n,
		   bool several, const char *to);
int bak_restore_live(struct bak_tool *tool, const struct bak_restore_share *shares, size_t n);

/* The first option given that is a driver's (restore_options), or NULL. */
const char *bak_restore_wish_given(struct bak_tool *tool);

/* Runs one job and tells how it went, with progress. what: "restored from app@...", for the line
 * that says so. result_json gets an object, or NULL. */
int bak_live_job(struct bak_tool *tool, const struct bak_job_request *request, const char *what,
		 json_t **result_json, struct bak_error *err);
/* The configured store, if it may be restored into. */
const struct bak_store_conf *bak_live_store(struct bak_tool *tool, const char *name,
					    struct bak_error *err);
/* 0 go on: --yes, or yes on the terminal; -1 with BAK_REFUSED. */
int bak_live_confirm(struct bak_tool *tool, const char *question, struct bak_error *err);

#endif
