/* Records of forgotten snapshots: see forget.h. */
#include "engine/ops/forget.h"

#include "engine/ops/repo_private.h"

#include <jansson.h>
#include <stdlib.h>

static int check_range(struct bak_repo *repo, uint64_t first, uint64_t last, struct bak_error *err)
{
	uint64_t next;
	if (bak_repo_next_number(repo, &next, err) < 0)
		return -1;
	if (first == 0 || first > last)
		return bak_error_set(err, BAK_USAGE, "%llu-%llu is no range of snapshots",
				     (unsigned long long)first, (unsigned long long)last);
	if (last >= next)
		return bak_error_set(err, BAK_USAGE, "there never was a snapshot %llu",
				     (unsigned long long)last);
	return 0;
}

static char *record_text(struct bak_repo *repo)
{
	char now[BAK_TIME_LEN + 1];
	bak_time_format(bak_repo_now(repo), now);
	json_t *json = json_pack("{s:s, s:s}", "by", repo->host, "time", now);
	char *text = json ? json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

/* A record of that name that does not open says nothing, so it makes room for one that does. */
static int put_record(struct bak_repo *repo, const struct bak_numbers *range, struct bak_error *err)
{
	char name[BAK_FORGOTTEN_NAME_LEN];
	BAK_AUTO(bak_buf_release) struct bak_buf there = BAK_BUF_INIT;
	BAK_AUTO(bak_free_ptr) char *text = record_text(repo);
	if (!text)
		return bak_error_set(err, BAK_USAGE, "the host's name is not UTF-8");
	bak_forgotten_name(range, name);
	int rc = bak_record_put(repo->backend, &repo->ring, name, text, err);
	if (rc != 0)
		return rc;
	rc = bak_catalog_read(repo, name, &there, err);
	if (rc != 0)
		return rc;
	if (bak_backend_remove(repo->backend, name, err) < 0)
		return -1;
	rc = bak_record_put(repo->backend, &repo->ring, name, text, err);
	return rc == 0 ? bak_error_set(err, BAK_BUSY, "somebody else writes %s", name) : rc;
}

int bak_repo_forget(struct bak_repo *repo, uint64_t first, uint64_t last, struct bak_error *err)
{
	struct bak_numbers range = {first, last};
	if (check_range(repo, first, last, err) < 0)
		return -1;
	pthread_mutex_lock(&repo->lock);
	int rc = 0;
	if (!bak_catalog_is_forgotten(repo, &range))
		rc = put_record(repo, &range, err) < 0 ? -1 : bak_catalog_forgot(repo, &range, err);
	pthread_mutex_unlock(&repo->lock);
	return rc;
}

bool bak_repo_is_forgotten(struct bak_repo *repo, uint64_t first, uint64_t last)
{
	struct bak_numbers range = {first, last};
	pthread_mutex_lock(&repo->lock);
	bool forgotten = bak_catalog_is_forgotten(repo, &range);
	pthread_mutex_unlock(&repo->lock);
	return forgotten;
}
