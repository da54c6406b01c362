/* What this machine has seen of a repository: see repo_private.h. */
#include "engine/ops/numbers.h"
#include "engine/ops/repo_private.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int state_path(const struct bak_repo *repo, const char *suffix, char out[PATH_MAX])
{
	if (!repo->state_dir)
		return -1;
	return snprintf(out, PATH_MAX, "%s/highest%s", repo->state_dir, suffix) < PATH_MAX ? 0 : -1;
}

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

void bak_state_load(struct bak_repo *repo)
{
	char path[PATH_MAX];
	unsigned long long first, last;
	FILE *f = state_path(repo, "", path) == 0 ? fopen(path, "re") : NULL;
	if (!f)
		return;
	if (fscanf(f, "%llu", &first) == 1 && first <= INT64_MAX && first > repo->highest)
		repo->highest = first;
	struct bak_numbers *ranges = NULL;
	size_t n = 0, cap = 0;
	while (fscanf(f, " %llu-%llu", &first, &last) == 2 && first > 0 && first <= last &&
	       last <= INT64_MAX && bak_grow(&ranges, &cap, n, sizeof *ranges) == 0)
		ranges[n++] = (struct bak_numbers){first, last};
	add_seen(repo, ranges, n);
	free(ranges);
	fclose(f);
}

static void save(const struct bak_repo *repo)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	if (state_path(repo, "", path) < 0 || state_path(repo, ".new", tmp) < 0)
		return;
	FILE *f = fopen(tmp, "we");
	if (!f)
		return;
	bool good = fprintf(f, "%llu\n", (unsigned long long)repo->highest) > 0;
	for (size_t i = 0; i < repo->n_seen && good; i++)
		good = fprintf(f, "%llu-%llu\n", (unsigned long long)repo->seen[i].first,
			       (unsigned long long)repo->seen[i].last) > 0;
	good = fclose(f) == 0 && good;
	if (!good || rename(tmp, path) < 0)
		unlink(tmp);
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
	struct bak_repo all = {.state_dir = repo->state_dir, .highest = repo->highest};
	bak_state_load(&all);
	add_seen(&all, repo->seen, repo->n_seen);
	save(&all);
	free(all.seen);
}
