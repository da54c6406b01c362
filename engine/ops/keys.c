/* Key slots of a repository: see repo.h. */
#include "engine/ops/repo_private.h"

#include "engine/base/hash.h"

#include <stdio.h>
#include <stdlib.h>

struct names {
	char (*ids)[33];
	size_t n;
};

static int add_slot(void *ctx, const char *name, uint64_t size)
{
	struct names *names = ctx;
	const char *file = name + strlen("keys/");
	uint8_t raw[16];
	char id[33];
	(void)size;
	if (strlen(file) != 32 + strlen(".json") || strcmp(file + 32, ".json") != 0)
		return 0;
	snprintf(id, sizeof id, "%.32s", file);
	if (!bak_unhex(raw, sizeof raw, id))
		return 0;
	void *p = realloc(names->ids, (names->n + 1) * sizeof *names->ids);
	if (!p)
		return 1;
	names->ids = p;
	memcpy(names->ids[names->n++], id, sizeof id);
	return 0;
}

static int list_slots(struct bak_backend *backend, struct names *out, struct bak_error *err)
{
	*out = (struct names){0};
	int rc = bak_backend_list(backend, "keys", add_slot, out, err);
	if (rc == 0)
		return 0;
	free(out->ids);
	return rc > 0 ? bak_error_nomem(err) : -1;
}

static int read_slot(struct bak_backend *backend, const char *id, struct bak_buf *out,
		     struct bak_error *err)
{
	char name[64];
	snprintf(name, sizeof name, "keys/%s.json", id);
	int rc = bak_backend_get(backend, name, 0, SIZE_MAX, out, err);
	if (rc == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "%s is gone", name);
	return rc < 0 ? -1 : 0;
}

int bak_keys_open(struct bak_backend *backend, const uint8_t repo_id[BAK_REPO_ID_BYTES],
		  const struct bak_secret *secret, struct bak_keyring *out, struct bak_error *err)
{
	struct names names;
	int rc = 0;
	if (list_slots(backend, &names, err) < 0)
		return -1;
	if (names.n == 0)
		rc = bak_error_set(err, BAK_CORRUPT, "the repository has no keys");
	/* A damaged slot is told only if no other one opens. */
	bool damaged = rc < 0;
	for (size_t i = 0; i < names.n && rc != 1; i++) {
		BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
		struct bak_error mine = BAK_ERROR_INIT;
		rc = read_slot(backend, names.ids[i], &json, &mine);
		if (rc == 0)
			rc = bak_slot_open(repo_id, names.ids[i], (const char *)json.p, json.len,
					   secret, out, &mine);
		if (rc < 0) {
			damaged = true;
			*err = mine;
			bak_error_wrap(err, "keys/%s.json", names.ids[i]);
		}
	}
	free(names.ids);
	if (rc == 1)
		return 1;
	return damaged ? -1 : 0;
}

int bak_keys_put(struct bak_backend *backend, const struct bak_keyring *ring,
		 const struct bak_secret *secret, const char *label, int scrypt_log_n,
		 char out_id[33], struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	uint8_t raw[16];
	char name[64];
	if (bak_random(raw, sizeof raw, err) < 0)
		return -1;
	bak_hex(out_id, raw, sizeof raw);
	snprintf(name, sizeof name, "keys/%s.json", out_id);
	if (bak_slot_seal(ring, out_id, secret, label, scrypt_log_n, &json, err) < 0)
		return -1;
	int rc = bak_backend_put(backend, "key", name, json.p, json.len, err);
	if (rc == 0)
		return bak_error_set(err, BAK_EXISTS, "%s is there already", name);
	return rc < 0 ? -1 : 0;
}

int bak_repo_key_add(struct bak_repo *repo, const struct bak_secret *secret, const char *label,
		     char out_id[33], struct bak_error *err)
{
	return bak_keys_put(repo->backend, &repo->ring, secret, label, repo->scrypt_log_n, out_id,
			    err);
}

int bak_repo_key_list(struct bak_repo *repo, struct bak_slot_info **out_slots, size_t *out_n,
		      struct bak_error *err)
{
	struct names names;
	if (list_slots(repo->backend, &names, err) < 0)
		return -1;
	struct bak_slot_info *slots = calloc(names.n + 1, sizeof *slots);
	int rc = slots ? 0 : bak_error_nomem(err);
	for (size_t i = 0; i < names.n && rc == 0; i++) {
		BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
		rc = read_slot(repo->backend, names.ids[i], &json, err);
		if (rc == 0)
			rc = bak_slot_describe(names.ids[i], (const char *)json.p, json.len,
					       &slots[i], err);
	}
	if (rc < 0) {
		free(slots);
		slots = NULL;
	}
	*out_slots = slots;
	*out_n = names.n;
	free(names.ids);
	return rc;
}

int bak_repo_key_remove(struct bak_repo *repo, const char *id, struct bak_error *err)
{
	struct names names;
	const char *found = NULL;
	size_t matches = 0;
	if (list_slots(repo->backend, &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++)
		if (id[0] && strncmp(names.ids[i], id, strlen(id)) == 0) {
			found = names.ids[i];
			matches++;
		}
	int rc = -1;
	if (matches == 0)
		bak_error_set(err, BAK_NOT_FOUND, "no key %s", id);
	else if (matches > 1)
		bak_error_set(err, BAK_USAGE, "%zu keys begin with %s", matches, id);
	else if (names.n == 1)
		bak_error_set(err, BAK_REFUSED,
			      "this is the last key: without it nobody can open the repository");
	else {
		char name[64];
		snprintf(name, sizeof name, "keys/%s.json", found);
		rc = bak_backend_remove(repo->backend, name, err) < 0 ? -1 : 0;
	}
	free(names.ids);
	return rc;
}
