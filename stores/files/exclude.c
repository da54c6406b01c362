/* Patterns of paths to leave out: see exclude.h. */
#include "stores/files/exclude.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* --- one name against one part --- */

static const struct {
	const char *name;
	int (*is)(int c);
} classes[] = {
	{"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl},
	{"digit", isdigit}, {"graph", isgraph}, {"lower", islower}, {"print", isprint},
	{"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit},
};

/* p is behind "[:". Moves behind ":]" and answers, or returns false for an unknown class. */
static bool named_class(const char **p, unsigned char c, bool *out_match)
{
	const char *end = strstr(*p, ":]");

	for (size_t i = 0; end && i < sizeof classes / sizeof *classes; i++) {
		size_t len = strlen(classes[i].name);

		if (len == (size_t)(end - *p) && memcmp(*p, classes[i].name, len) == 0) {
			*out_match = classes[i].is(c) != 0;
			*p = end + 2;
			return true;
		}
	}
	return false;
}

/* p is behind '['. The place behind ']', or NULL when there is none or a class is unknown. */
static const char *match_class(const char *p, unsigned char c, bool *out_match)
{
	bool negated = *p == '!' || *p == '^', match = false, first = true;

	for (p += negated; *p && (first || *p != ']'); first = false) {
		bool one = false;

		if (p[0] == '[' && p[1] == ':') {
			p += 2;
			if (!named_class(&p, c, &one))
				return NULL;
			match = match || one;
			continue;
		}
		if (*p == '\\' && p[1])
			p++;
		unsigned char low = (unsigned char)*p++, high = low;
		if (p[0] == '-' && p[1] && p[1] != ']') {
			p += p[1] == '\\' && p[2] ? 2 : 1;
			high = (unsigned char)*p++;
		}
		match = match || (low <= c && c <= high);
	}
	*out_match = match != negated;
	return *p == ']' ? p + 1 : NULL;
}

/* One character of a name against the item of the pattern at p: the place behind the item, or NULL
 * when it does not match. '*' is not for here. */
static const char *match_item(const char *p, unsigned char c)
{
	bool match;

	switch (*p) {
	case '\0':
		return NULL;
	case '?':
		return p + 1;
	case '[':
		p = match_class(p + 1, c, &match);
		return match ? p : NULL;
	case '\\':
		p += p[1] != '\0';
		break;
	default:
		break;
	}
	return (unsigned char)*p == c ? p + 1 : NULL;
}

/* On a mismatch the last '*' takes one character more; earlier ones need no second try. */
static bool match_name(const char *pattern, const char *name, size_t len)
{
	const char *star = NULL, *p = pattern;
	size_t i = 0, star_at = 0;

	while (i < len) {
		const char *next;

		if (*p == '*') {
			star = ++p;
			star_at = i;
		} else if ((next = match_item(p, (unsigned char)name[i])) != NULL) {
			p = next;
			i++;
		} else if (star) {
			p = star;
			i = ++star_at;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return !*p;
}

/* --- a path against a rule --- */

static bool is_deep(const char *part)
{
	return strcmp(part, "**") == 0;
}

static const char *next_name(const char *name)
{
	name += strcspn(name, "/");
	return *name ? name + 1 : name;
}

/* The same idea as in match_name, with names for characters and "**" for '*'. */
static bool match_path(const struct bak_exclude_rule *rule, const char *path)
{
	size_t i = 0, deep = rule->n_parts;
	const char *name = path, *deep_name = NULL;

	while (*name) {
		if (i < rule->n_parts && is_deep(rule->parts[i])) {
			if (i == rule->n_parts - 1)
				return true;
			deep = i++;
			deep_name = name;
		} else if (i < rule->n_parts &&
			   match_name(rule->parts[i], name, strcspn(name, "/"))) {
			i++;
			name = next_name(name);
		} else if (deep < rule->n_parts) {
			deep_name = name = next_name(deep_name);
			i = deep + 1;
		} else {
			return false;
		}
	}
	return i == rule->n_parts;
}

bool bak_exclude_match(const struct bak_exclude *exclude, const char *path, bool is_folder)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	for (size_t i = exclude->n; i-- > 0;) {
		const struct bak_exclude_rule *rule = &exclude->rules[i];

		if (rule->folders_only && !is_folder)
			continue;
		if (rule->anchored ? match_path(rule, path)
				   : match_name(rule->parts[0], name, strlen(name)))
			return !rule->keep;
	}
	return false;
}

/* --- making rules --- */

/* Every '[' has its ']' and knows its classes, and a '\\' has something to quote. */
static bool part_ok(const char *part)
{
	for (const char *p = part; p && *p;) {
		bool match;

		if (*p == '[')
			p = match_class(p + 1, 0, &match);
		else if (*p == '\\' && !p[1])
			return false;
		else
			p += *p == '\\' ? 2 : 1;
		if (!p)
			return false;
	}
	return true;
}

/* Cuts text at its slashes. The slash in "[/]" cuts too, as '/' is in no name. */
static int cut(struct bak_exclude_rule *rule, char *text)
{
	size_t n = 1;

	for (const char *p = text; *p; p++)
		n += *p == '/';
	rule->parts = calloc(n, sizeof *rule->parts);
	if (!rule->parts)
		return -1;
	for (char *p = text; p;) {
		char *slash = strchr(p, '/');

		if (slash)
			*slash++ = '\0';
		if (*p)
			rule->parts[rule->n_parts++] = p;
		p = slash;
	}
	return 0;
}

static void release_rule(struct bak_exclude_rule *rule)
{
	free(rule->parts);
	free(rule->text);
}

static int parse(struct bak_exclude_rule *rule, const char *pattern, struct bak_error *err)
{
	const char *p = pattern + (pattern[0] == '!');
	size_t len = strlen(p);
	bool escaped = len > 1 && p[len - 2] == '\\';

	*rule = (struct bak_exclude_rule){.keep = p != pattern};
	if (len && p[len - 1] == '/' && !escaped) {
		rule->folders_only = true;
		len--;
	}
	rule->anchored = memchr(p, '/', len) != NULL;
	rule->text = strndup(p, len);
	if (!rule->text || cut(rule, rule->text) < 0)
		return bak_error_nomem(err);
	for (size_t i = 0; i < rule->n_parts; i++) {
		if (!part_ok(rule->parts[i]))
			return bak_error_set(err, BAK_USAGE, "exclude: \"%s\": bad [...] or \\",
					     pattern);
	}
	if (rule->n_parts == 0)
		return bak_error_set(err, BAK_USAGE, "exclude: \"%s\" matches nothing", pattern);
	return 0;
}

int bak_exclude_add(struct bak_exclude *exclude, const char *pattern, struct bak_error *err)
{
	struct bak_exclude_rule rule, *rules;

	if (parse(&rule, pattern, err) < 0) {
		release_rule(&rule);
		return -1;
	}
	rules = realloc(exclude->rules, (exclude->n + 1) * sizeof *rules);
	if (!rules) {
		release_rule(&rule);
		return bak_error_nomem(err);
	}
	exclude->rules = rules;
	rules[exclude->n++] = rule;
	return 0;
}

void bak_exclude_release(struct bak_exclude *exclude)
{
	for (size_t i = 0; i < exclude->n; i++)
		release_rule(&exclude->rules[i]);
	free(exclude->rules);
	*exclude = (struct bak_exclude)BAK_EXCLUDE_INIT;
}
