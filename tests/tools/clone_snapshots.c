/* Makes a repository of many snapshots: clone_snapshots REPO KEYFILE NUMBER COUNT STEP seals COUNT
 * copies of snapshot NUMBER under the next numbers, STEP seconds between their stamps; each is a run
 * of its own. For tests and benches that need thousands. */
#include "engine/ops/repo.h"

#include <stdio.h>
#include <stdlib.h>

/* The manifest says the same stamp. */
static void stamp_manifest(struct bak_snapshot *s, const char *before, const char *after)
{
	for (char *at = s->manifest; (at = strstr(at, before)); at += BAK_STAMP_LEN)
		memcpy(at, after, BAK_STAMP_LEN);
}

static int put_copy(struct bak_repo *repo, struct bak_snapshot *s, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf sealed = BAK_BUF_INIT;
	char name[40];
	snprintf(name, sizeof name, "snapshots/%llu", (unsigned long long)s->number);
	if (bak_snapshot_encode(s, &payload, err) < 0 ||
	    bak_object_seal(bak_repo_ring(repo), name, payload.p, payload.len, &sealed, err) < 0)
		return -1;
	int rc = bak_backend_put(bak_repo_backend(repo), "clone", name, sealed.p, sealed.len, err);
	return rc == 1 ? 0 : bak_error_set(err, BAK_EXISTS, "%s is there", name);
}

static int clone(struct bak_repo *repo, char **argv, struct bak_error *err)
{
	struct bak_snapshot s = {0};
	uint64_t next;
	long count = atol(argv[4]), step = atol(argv[5]);
	int rc = bak_repo_snapshot(repo, strtoull(argv[3], NULL, 10), &s, err);
	if (rc == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "no snapshot %s", argv[3]);
	if (rc == 1)
		rc = bak_repo_next_number(repo, &next, err);
	for (long i = 0; i < count && rc >= 0; i++) {
		char before[BAK_STAMP_LEN + 1], after[BAK_STAMP_LEN + 1], run[17];
		bak_stamp_format(s.stamp, before);
		s.number = next + (uint64_t)i;
		s.stamp += step;
		s.run_stamp += step;
		bak_stamp_format(s.stamp, after);
		stamp_manifest(&s, before, after);
		snprintf(run, sizeof run, "%016llx", (unsigned long long)s.number);
		memcpy(s.run, run, 16);
		rc = put_copy(repo, &s, err);
	}
	bak_snapshot_release(&s);
	return rc < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct bak_secret secret = {.kind = BAK_SECRET_NONE};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_repo *repo = NULL;
	if (argc != 6)
		return 2;
	struct bak_repo_conf conf = {.path = argv[1], .index_in_memory = true};
	int rc = bak_secret_keyfile(&secret, argv[2], &err);
	if (rc == 0)
		rc = bak_repo_open(&conf, &secret, &repo, &err);
	if (rc == 0)
		rc = clone(repo, argv, &err);
	if (rc < 0)
		fprintf(stderr, "%s\n", err.msg);
	bak_repo_close(repo);
	bak_secret_release(&secret);
	return rc < 0;
}
