/*
 * What to keep, as a configuration or options say it.
 */
#include "tools/keep.h"

#include "engine/base/buf.h"
#include "stores/stores.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	enum bak_keep_rule rule;
} rules[] = {
	{"last", BAK_KEEP_LAST},     {"within", BAK_KEEP_WITHIN}, {"hourly", BAK_KEEP_HOURLY},
	{"daily", BAK_KEEP_DAILY},   {"weekly", BAK_KEEP_WEEKLY}, {"monthly", BAK_KEEP_MONTHLY},
	{"yearly", BAK_KEEP_YEARLY}, {"tag", BAK_KEEP_TAG},
};
#define N_RULES (sizeof(rules) / sizeof(rules[0]))

const char *bak_keep_rule_name(size_t i)
{
	return i < N_RULES ? rules[i].name : NULL;
}

void bak_keep_release(struct bak_keep *keep)
{
	size_t i;

	for (i = 0; i < keep->n_tags; i++)
		free(keep->tags[i]);
	free(keep->tags);
	*keep = (struct bak_keep){.given = 0};
}

bool bak_tag_ok(const char *tag)
{
	size_t len = 0;

	while (isalnum((unsigned char)tag[len]) || (tag[len] && strchr("_-.:+", tag[len])))
		len++;
	return len > 0 && len <= BAK_TAG_MAX && !tag[len] && tag[0] != '-';
}

static int set_count(uint32_t *out, const char *value, struct bak_error *err)
{
	char *end;
	unsigned long long n;

	if (!strcmp(value, "all")) {
		*out = BAK_KEEP_ALL;
		return 0;
	}
	errno = 0;
	n = isdigit((unsigned char)value[0]) ? strtoull(value, &end, 10) : 0;
	if (!isdigit((unsigned char)value[0]) || errno || *end || n > BAK_KEEP_ALL)
		return bak_error_set(err, BAK_USAGE, "\"%s\" is neither a number nor \"all\"",
				     value);
	*out = (uint32_t)n;
	return 0;
}

static int set_within(int64_t *out, const char *value, struct bak_error *err)
{
	uint64_t ms;

	if (!bak_duration_parse(value, &ms))
		return bak_error_set(err, BAK_USAGE, "\"%s\" is no time such as 12h or 30d", value);
	*out = (int64_t)(ms / 1000);
	return 0;
}

static int add_tag(struct bak_keep *keep, const char *text, size_t len, struct bak_error *err)
{
	char **tags = realloc(keep->tags, (keep->n_tags + 1) * sizeof(*tags));
	char *tag = strndup(text, len);

	if (tags)
		keep->tags = tags;
	if (!tags || !tag) {
		free(tag);
		return bak_error_nomem(err);
	}
	tags[keep->n_tags++] = tag;
	if (!bak_tag_ok(tag))
		return bak_error_set(err, BAK_USAGE, "\"%s\" is no tag", tag);
	return 0;
}

static int add_tags(struct bak_keep *keep, const char *value, struct bak_error *err)
{
	size_t len;

	if (!value[strspn(value, ", \t")])
		return bak_error_set(err, BAK_USAGE, "a tag is missing");
	for (value += strspn(value, ", \t"); *value; value += strspn(value, ", \t")) {
		len = strcspn(value, ", \t");
		if (add_tag(keep, value, len, err) < 0)
			return -1;
		value += len;
	}
	return 0;
}

int bak_keep_set(struct bak_keep *keep, size_t rule, const char *value, struct bak_error *err)
{
	enum bak_keep_rule which = rules[rule].rule;

	keep->given |= 1u << which;
	if (which == BAK_KEEP_TAG)
		return add_tags(keep, value, err);
	if (which == BAK_KEEP_WITHIN)
		return set_within(&keep->policy.within_s, value, err);
	return set_count(&keep->policy.counts[which], value, err);
}

struct bak_policy bak_keep_policy(const struct bak_keep *keep)
{
	struct bak_policy policy = keep->policy;

	policy.tags = (const char *const *)keep->tags;
	policy.n_tags = keep->n_tags;
	return policy;
}
