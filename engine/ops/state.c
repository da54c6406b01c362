/* Segments that are lost, as the last check on this machine found: a file in the state folder. See
 * repo_private.h. */
#include "engine/ops/repo_private.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int path_of(const struct bak_repo *repo, const char *suffix, char out[PATH_MAX])
{
	if (!repo->state_dir)
		return -1;
	return snprintf(out, PATH_MAX, "%s/lost%s", repo->state_dir, suffix) < PATH_MAX ? 0 : -1;
}

const struct bak_place_set *bak_repo_lost(struct bak_repo *repo)
{
	return &repo->lost;
}

/* Lines that make no sense are passed over: at worst something is not stored again. */
void bak_lost_load(struct bak_repo *repo)
{
	char path[PATH_MAX], line[128];
	FILE *f = path_of(repo, "", path) == 0 ? fopen(path, "re") : NULL;
	if (!f)
		return;
	while (fgets(line, sizeof line, f)) {
		struct bak_place place = {.off = 0};
		char *dash = strchr(line, '-'), *end;
		if (!dash)
			continue;
		*dash = '\0';
		unsigned long n = strtoul(dash + 1, &end, 10);
		if (*end != '\n' || n > UINT32_MAX ||
		    !bak_unhex(place.seg.run, BAK_RUN_BYTES, line))
			continue;
		place.seg.n = (uint32_t)n;
		if (bak_place_set_add(&repo->lost, &place) < 0)
			break;
	}
	fclose(f);
}

static bool write_all(FILE *f, const struct bak_place_set *set)
{
	bool good = true;
	for (size_t i = 0; i < set->cap; i++) {
		char run[2 * BAK_RUN_BYTES + 1];
		if (!set->used[i])
			continue;
		bak_hex(run, set->v[i].seg.run, BAK_RUN_BYTES);
		good = fprintf(f, "%s-%u\n", run, set->v[i].seg.n) > 0 && good;
	}
	return good;
}

void bak_repo_set_lost(struct bak_repo *repo, struct bak_place_set *set)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	bak_place_set_release(&repo->lost);
	repo->lost = *set;
	*set = (struct bak_place_set){.n = 0};
	if (path_of(repo, "", path) < 0 || path_of(repo, ".new", tmp) < 0)
		return;
	if (repo->lost.n == 0) {
		unlink(path);
		return;
	}
	FILE *f = fopen(tmp, "we");
	if (!f)
		return;
	bool good = write_all(f, &repo->lost);
	good = fflush(f) == 0 && fsync(fileno(f)) == 0 && good;
	good = fclose(f) == 0 && good;
	if (!good || rename(tmp, path) < 0)
		unlink(tmp);
}
