/*
 * Which snapshots of a store stay. Pure: rows and a policy in, reasons out; no repository, no clock.
 *
 * Order is by number, since clocks go back. Hours, days, weeks (from Monday), months and years are
 * those of the stamps, UTC; of each the newest snapshot stands for it.
 * Snapshots that count as good (manual, daily, weekly, monthly) are counted together; those of each
 * other type by themselves, so that safety copies push nothing out.
 * Not thread-bound; nothing is kept between calls.
 */
#ifndef BAK_OPS_POLICY_H
#define BAK_OPS_POLICY_H

#include "engine/storage/index.h"

enum bak_keep_rule {
	BAK_KEEP_HOURLY,
	BAK_KEEP_DAILY,
	BAK_KEEP_WEEKLY,
	BAK_KEEP_MONTHLY,
	BAK_KEEP_YEARLY,
	BAK_KEEP_LAST,
	BAK_KEEP_RULES, /* their number; what follows is not counted */
	BAK_KEEP_WITHIN = BAK_KEEP_RULES,
	BAK_KEEP_TAG,
	BAK_KEEP_OTHER_TYPE, /* not of a type that was asked for */
	BAK_KEEP_LAST_GOOD,  /* no rule keeps it, but no other good one would stay */
	BAK_KEEP_REASONS,
};
/* Reasons are bits, 1 << enum bak_keep_rule; 0: the snapshot goes. */

/* A snapshot with this tag stays, whatever the policy. */
#define BAK_KEEP_ALWAYS_TAG "keep"
#define BAK_KEEP_ALL UINT32_MAX

struct bak_policy {
	uint32_t counts[BAK_KEEP_RULES]; /* so many of each; 0: no such rule */
	int64_t within_s;                /* all not older than this; 0: no such rule */
	const char *const *tags;         /* all that have one of these */
	size_t n_tags;
	const char *const *types; /* others are left alone; n_types 0: none is */
	size_t n_types;
};

/* Whether it says anything of what to keep. */
bool bak_policy_any(const struct bak_policy *policy);
/* rows: the snapshots of one store, by number. out_reasons: one for each. within_s is counted from
 * the newest stamp, or from now if that is earlier: neither an end of backups nor a clock that was
 * ahead makes anything go. */
int bak_policy_apply(const struct bak_policy *policy, const struct bak_snapshot_row *rows, size_t n,
		     int64_t now, unsigned *out_reasons, struct bak_error *err);
/* If good snapshots go and none stays: the place of the newest of them, else n. */
size_t bak_policy_last_good(const struct bak_snapshot_row *rows, size_t n, const bool *goes);
/* Whether the row has the tag. */
bool bak_row_has_tag(const struct bak_snapshot_row *row, const char *tag);

#endif
