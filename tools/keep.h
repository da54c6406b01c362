/*
 * What to keep, as a configuration or the options of bakfs forget say it: one table of rules, each
 * "keep_daily" there and "--keep-daily" here.
 *
 * Ownership: the struct owns its tags.
 * Errors: BAK_USAGE, text without file and line.
 */
#ifndef BAK_TOOLS_KEEP_H
#define BAK_TOOLS_KEEP_H

#include "engine/ops/policy.h"

struct bak_keep {
	unsigned given;           /* rules that were said, as bits: also "0" is an answer */
	struct bak_policy policy; /* but for its tags: bak_keep_policy */
	char **tags;
	size_t n_tags;
};
void bak_keep_release(struct bak_keep *keep);

/* The rules' names without "keep_": "last", "within", ... "tag"; NULL past the last. */
const char *bak_keep_rule_name(size_t i);
/* Sets one rule. Counts are a number or "all", within is a duration, tag is names with blanks or
 * commas between them. */
int bak_keep_set(struct bak_keep *keep, size_t rule, const char *value, struct bak_error *err);
/* The whole of it; borrows from keep. */
struct bak_policy bak_keep_policy(const struct bak_keep *keep);

/* Tags are 1 to 64 letters, digits, '_', '-', '.', ':' and '+', no '-' first. */
#define BAK_TAG_MAX 64
bool bak_tag_ok(const char *tag);

#endif
