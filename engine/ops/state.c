/* Segments that are lost, as the last check on this machine found: a file in the state folder. See
 * repo_private.h. */
#include "engine/ops/repo_private.h"
#include "engine/ops/state_file.h"

#include <stdlib.h>

#define FILE_NAME "lost"

const struct bak_place_set *bak_repo_lost(struct bak_repo *repo)
{
	return &repo->lost;
}

/* Lines that make no sense are passed over: at worst something is not stored again. */
void bak_lost_load(struct bak_repo *repo)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	if (bak_state_read(repo, FILE_NAME, &text) <= 0)
		return;
	char *rest = (char *)text.p, *line;
	while ((line = strsep(&rest, "\n"))) {
		struct bak_place place = {.off = 0};
		char *dash = strchr(line, '-'), *end;
		if (!dash)
			continue;
		*dash = '\0';
		unsigned long n = strtoul(dash + 1, &end, 10);
		if (*end || n > UINT32_MAX || !bak_unhex(place.seg.run, BAK_RUN_BYTES, line))
			continue;
		place.seg.n = (uint32_t)n;
		if (bak_place_set_add(&repo->lost, &place) < 0)
			break;
	}
}

static int put_all(struct bak_buf *text, const struct bak_place_set *set)
{
	int bad = 0;
	for (size_t i = 0; i < set->cap && !bad; i++) {
		char run[2 * BAK_RUN_BYTES + 1];
		if (!set->used[i])
			continue;
		bak_hex(run, set->v[i].seg.run, BAK_RUN_BYTES);
		bad = bak_buf_printf(text, "%s-%u\n", run, set->v[i].seg.n) < 0;
	}
	return bad ? -1 : 0;
}

void bak_repo_set_lost(struct bak_repo *repo, struct bak_place_set *set)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	bak_place_set_release(&repo->lost);
	repo->lost = *set;
	*set = (struct bak_place_set){.n = 0};
	BAK_AUTO(bak_close_fd) int lock = bak_state_lock(repo, FILE_NAME);
	if (lock >= 0 && put_all(&text, &repo->lost) == 0)
		bak_state_write(repo, FILE_NAME, &text);
}
