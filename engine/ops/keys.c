/* Key slots of a repository: see repo.h. */
#include "engine/ops/hold.h"
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

/* 1 read, 0 it is gone. */
static int read_slot(struct bak_backend *backend, const char *id, struct bak_buf *out,
		     struct bak_error *err)
{
	char name[64];
	snprintf(name, sizeof name, "keys/%s.json", id);
	return bak_backend_get(backend, name, 0, SIZE_MAX, out, err);
}

/* --- opening --- */

void bak_keys_tried_release(struct bak_keys_tried *tried)
{
	free(tried->ids);
	*tried = (struct bak_keys_tried){.n = 0};
}

static bool was_tried(const struct bak_keys_tried *tried, const char *id)
{
	for (size_t i = 0; i < tried->n; i++)
		if (strcmp(tried->ids[i], id) == 0)
			return true;
	return false;
}

/* A slot that is to be tried. */
struct candidate {
	char id[33], created[32];
	struct bak_buf json;
};

static int newest_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	return strcmp(y->created, x->created);
}

static void free_candidates(struct candidate *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bak_buf_release(&v[i].json);
	free(v);
}

/* Reads the slots that were not tried, the newest first: after a rotation that was cut off it has
 * the newest ring. One that vanishes meanwhile is passed over. */
static int read_candidates(struct bak_backend *backend, const struct bak_keys_tried *tried,
			   struct candidate **out, size_t *out_n, size_t *out_listed,
			   struct bak_error *err)
{
	struct names names;
	size_t n = 0;
	int rc = list_slots(backend, &names, err);
	if (rc < 0)
		return -1;
	struct candidate *v = calloc(names.n + 1, sizeof *v);
	if (!v)
		rc = bak_error_nomem(err);
	for (size_t i = 0; i < names.n && rc >= 0; i++) {
		struct bak_slot_info info = {.created = ""};
		struct bak_error scratch = BAK_ERROR_INIT;
		if (was_tried(tried, names.ids[i]))
			continue;
		rc = read_slot(backend, names.ids[i], &v[n].json, err);
		if (rc <= 0)
			continue;
		memcpy(v[n].id, names.ids[i], sizeof v[n].id);
		bak_slot_describe(v[n].id, (const char *)v[n].json.p, v[n].json.len, &info,
				  &scratch);
		memcpy(v[n].created, info.created, sizeof v[n].created);
		n++;
	}
	*out_listed = names.n;
	free(names.ids);
	if (rc < 0) {
		free_candidates(v, v ? names.n : 0);
		return -1;
	}
	if (n)
		qsort(v, n, sizeof *v, newest_first);
	*out = v;
	*out_n = n;
	return 0;
}

static int try_slot(const uint8_t repo_id[BAK_REPO_ID_BYTES], const struct candidate *slot,
		    const struct bak_secret *secret, struct bak_keys_tried *tried,
		    struct bak_keyring *out, struct bak_error *err)
{
	void *p = realloc(tried->ids, (tried->n + 1) * sizeof *tried->ids);
	if (!p)
		return bak_error_nomem(err);
	tried->ids = p;
	memcpy(tried->ids[tried->n++], slot->id, sizeof slot->id);
	int rc = bak_slot_open(repo_id, slot->id, (const char *)slot->json.p, slot->json.len,
			       secret, out, err);
	if (rc == 1)
		memcpy(tried->opened, slot->id, sizeof tried->opened);
	return rc < 0 ? bak_error_wrap(err, "keys/%s.json", slot->id) : rc;
}

int bak_keys_open(struct bak_backend *backend, const uint8_t repo_id[BAK_REPO_ID_BYTES],
		  const struct bak_secret *secret, struct bak_keys_tried *tried,
		  struct bak_keyring *out, struct bak_error *err)
{
	struct candidate *v;
	size_t n, listed;
	int rc = 0;
	if (read_candidates(backend, tried, &v, &n, &listed, err) < 0)
		return -1;
	/* A damaged slot is told only if no other one opens. */
	bool damaged = false;
	for (size_t i = 0; i < n && rc != 1; i++) {
		struct bak_error mine = BAK_ERROR_INIT;
		rc = try_slot(repo_id, &v[i], secret, tried, out, &mine);
		if (rc < 0) {
			damaged = true;
			*err = mine;
		}
	}
	free_candidates(v, n);
	if (rc == 1)
		return 1;
	if (listed == 0)
		return bak_error_set(err, BAK_CORRUPT, "the repository has no keys");
	return damaged ? -1 : 0;
}

/* Something did not open: perhaps another process rotated the keys. */
void bak_keys_reload(void *ctx)
{
	struct bak_repo *repo = ctx;
	struct bak_keyring newer;
	struct bak_error scratch = BAK_ERROR_INIT;
	pthread_mutex_lock(&repo->keys_lock);
	while (bak_keys_open(repo->backend, repo->ring.repo_id, &repo->secret, &repo->tried, &newer,
			     &scratch) == 1) {
		bak_keyring_add(&repo->ring, &newer);
		bak_keyring_release(&newer);
	}
	pthread_mutex_unlock(&repo->keys_lock);
}

/* --- changing --- */

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

/* After a rotation that was cut off there are two slots of ours, and which one was opened is not
 * certain when both are of the same second: a new one gets the keys of all. */
int bak_repo_key_add(struct bak_repo *repo, const struct bak_secret *secret, const char *label,
		     char out_id[33], struct bak_error *err)
{
	bak_keys_reload(repo);
	return bak_keys_put(repo->backend, &repo->ring, secret, label, repo->scrypt_log_n, out_id,
			    err);
}

int bak_repo_key_list(struct bak_repo *repo, struct bak_slot_info **out_slots, size_t *out_n,
		      struct bak_error *err)
{
	struct names names;
	if (list_slots(repo->backend, &names, err) < 0)
		return -1;
	size_t n = 0;
	struct bak_slot_info *slots = calloc(names.n + 1, sizeof *slots);
	int rc = slots ? 0 : bak_error_nomem(err);
	for (size_t i = 0; i < names.n && rc == 0; i++) {
		BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
		rc = read_slot(repo->backend, names.ids[i], &json, err);
		if (rc == 1)
			rc = bak_slot_describe(names.ids[i], (const char *)json.p, json.len,
					       &slots[n++], err);
	}
	if (rc < 0) {
		free(slots);
		slots = NULL;
	}
	*out_slots = slots;
	*out_n = n;
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

const char *bak_repo_key_used(struct bak_repo *repo)
{
	return repo->tried.opened;
}

/* The slots are those that were said: one that came since would lose its keys unheard. */
static int same_slots(struct bak_repo *repo, const struct bak_slot_info *ends, size_t n,
		      struct bak_error *err)
{
	struct names names;
	if (list_slots(repo->backend, &names, err) < 0)
		return -1;
	bool same = names.n == n;
	for (size_t i = 0; i < names.n && same; i++) {
		same = false;
		for (size_t k = 0; k < n; k++)
			same |= strcmp(names.ids[i], ends[k].id) == 0;
	}
	free(names.ids);
	return same ? 0
		    : bak_error_set(err, BAK_BUSY,
				    "passwords or key files were added or removed meanwhile: begin "
				    "again");
}

/* With the lease: nobody else writes. */
static int rotate(struct bak_repo *repo, const struct bak_slot_info *ends, size_t n,
		  char out_id[33], struct bak_error *err)
{
	struct bak_keyring newer;
	const char *label = "";
	for (size_t i = 0; i < n; i++)
		if (strcmp(ends[i].id, repo->tried.opened) == 0)
			label = ends[i].label;
	bak_keys_reload(repo); /* as above: no key that any slot of ours has is lost */
	if (same_slots(repo, ends, n, err) < 0 || bak_keyring_rotate(&repo->ring, &newer, err) < 0)
		return -1;
	int rc = bak_keys_put(repo->backend, &newer, &repo->secret, label, repo->scrypt_log_n,
			      out_id, err);
	if (rc == 0)
		bak_keyring_add(&repo->ring, &newer);
	for (size_t i = 0; i < n && rc == 0; i++) {
		char name[64];
		snprintf(name, sizeof name, "keys/%s.json", ends[i].id);
		if (bak_backend_remove(repo->backend, name, err) < 0)
			rc = bak_error_wrap(err, "the new keys are in use, but");
	}
	bak_keyring_release(&newer);
	return rc;
}

int bak_repo_key_rotate(struct bak_repo *repo, const struct bak_slot_info *ends, size_t n,
			char out_id[33], struct bak_error *err)
{
	struct bak_hold *hold;
	if (bak_hold_begin(repo, BAK_HOLD_ALONE, NULL, 0, &hold, err) < 0)
		return -1;
	int rc = rotate(repo, ends, n, out_id, err);
	bak_hold_end(hold);
	return rc;
}
