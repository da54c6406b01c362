/* What this machine has seen of a repository: see repo_private.h. */
#include "engine/ops/numbers.h"
#include "engine/ops/repo_private.h"
#include "engine/ops/state_file.h"

#include <stdlib.h>

#define FILE_NAME "highest"

/* True if something was new. What does not fit into memory is not remembered. */
static bool add_seen(struct bak_repo *repo, const struct bak_numbers *ranges, size_t n)
{
	struct bak_numbers *v = calloc(repo->n_seen + n + 1, sizeof *v);
	if (!v)
		return false;
	if (repo->n_seen)
		memcpy(v, repo->seen, repo->n_seen * sizeof *v);
	if (n)
		memcpy(v + repo->n_seen, ranges, n * sizeof *v);
	size_t joined = bak_numbers_join(v, repo->n_seen + n);
	bool same = joined == repo->n_seen &&
		    (joined == 0 || memcmp(v, repo->seen, joined * sizeof *v) == 0);
	free(repo->seen);
	repo->seen = v;
	repo->n_seen = joined;
	return !same;
}

/* --- the file --- */

/* Digits at *at, which then points behind them. False: none, or more than a snapshot's number. */
static bool take_number(const char **at, uint64_t *out)
{
	const char *p = *at;
	for (*out = 0; *p >= '0' && *p <= '9'; p++) {
		if (*out > (INT64_MAX - 9) / 10)
			return false;
		*out = *out * 10 + (uint64_t)(*p - '0');
	}
	bool some = p > *at;
	*at = p;
	return some;
}

static bool take_char(const char **at, char c)
{
	bool there = **at == c;
	*at += there;
	return there;
}

/* "<highest>\n", then "<first>-<last>\n" of each range of numbers known to be forgotten. */
void bak_state_load(struct bak_repo *repo)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	if (bak_state_read(repo, FILE_NAME, &text) <= 0)
		return;
	const char *at = (const char *)text.p;
	uint64_t highest;
	if (!take_number(&at, &highest) || !take_char(&at, '\n'))
		return;
	if (highest > repo->highest)
		repo->highest = highest;
	struct bak_numbers *ranges = NULL, range;
	size_t n = 0, cap = 0;
	while (take_number(&at, &range.first) && take_char(&at, '-') &&
	       take_number(&at, &range.last) && take_char(&at, '\n') && range.first > 0 &&
	       range.first <= range.last && bak_grow(&ranges, &cap, n, sizeof *ranges) == 0)
		ranges[n++] = range;
	add_seen(repo, ranges, n);
	free(ranges);
}

static void save(const struct bak_repo *repo)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	int bad = bak_buf_printf(&text, "%llu\n", (unsigned long long)repo->highest) < 0;
	for (size_t i = 0; i < repo->n_seen && !bad; i++)
		bad = bak_buf_printf(&text, "%llu-%llu\n", (unsigned long long)repo->seen[i].first,
				     (unsigned long long)repo->seen[i].last) < 0;
	if (!bad)
		bak_state_write(repo, FILE_NAME, &text);
}

void bak_state_saw(struct bak_repo *repo, uint64_t highest)
{
	bool higher = highest > repo->highest;
	if (!add_seen(repo, repo->gone, repo->n_gone) && !higher)
		return;
	if (higher)
		repo->highest = highest;
	/* What other processes wrote meanwhile is not to be lost; but it may be younger than what was
	 * listed here, so nothing is judged by it. */
	BAK_AUTO(bak_close_fd) int lock = bak_state_lock(repo, FILE_NAME);
	if (lock < 0)
		return;
	struct bak_repo all = {.state_dir = repo->state_dir, .highest = repo->highest};
	bak_state_load(&all);
	add_seen(&all, repo->seen, repo->n_seen);
	save(&all);
	free(all.seen);
}
