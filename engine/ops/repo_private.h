/* The inside of an open repository, for the files of ops/ that make it up: repo.c, catalog.c,
 * catalog_*.c, omissions.c, state.c, seen.c, forget.c, tag.c, keys.c, resolve.c. Others use repo.h. */
#ifndef BAK_OPS_REPO_PRIVATE_H
#define BAK_OPS_REPO_PRIVATE_H

#include "engine/base/place_set.h"
#include "engine/ops/repo.h"

#include <pthread.h>

/* Key slots that were tried with the secret, and the last that it opened. */
struct bak_keys_tried {
	char (*ids)[33];
	size_t n;
	char opened[33];
};
void bak_keys_tried_release(struct bak_keys_tried *tried);

struct bak_repo {
	struct bak_backend *backend;
	bool owns_backend;
	struct bak_keyring ring;
	struct bak_index *index;
	struct bak_source *source;
	struct bak_chunk_conf chunk;
	char *path, *cache_dir, *state_dir; /* the two with the repository's id in them */
	char host[256];
	char id_hex[2 * BAK_REPO_ID_BYTES + 1];
	int scrypt_log_n;
	unsigned parity;
	uint64_t memory;
	struct bak_place_set lost; /* see bak_repo_lost; changes only while check runs */
	void (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total);
	void *progress_ctx;
	int64_t (*now)(void *ctx);
	void *now_ctx;

	struct bak_secret secret;  /* for slots that a rotation makes */
	pthread_mutex_t keys_lock; /* guards tried, and additions to the ring */
	struct bak_keys_tried tried;

	pthread_mutex_t lock;     /* one refresh at a time; guards what follows */
	uint64_t highest;         /* ever seen by this machine */
	struct bak_numbers *gone; /* forget records that opened, sorted */
	size_t n_gone;
	struct bak_numbers *seen; /* forgotten as far as this machine ever saw; apart, sorted */
	size_t n_seen;
	uint64_t *unreadable; /* snapshots that are there and do not open, sorted */
	size_t n_unreadable;
};

/* "forgotten/<first>", "forgotten/<first>-<last>" */
#define BAK_FORGOTTEN_NAME_LEN 64
void bak_forgotten_name(const struct bak_numbers *range, char out[BAK_FORGOTTEN_NAME_LEN]);
/* "tags/<number>-<version>" */
#define BAK_TAGS_NAME_LEN 64
void bak_tags_name(const struct bak_tag_version *tag, char out[BAK_TAGS_NAME_LEN]);

/* What this machine has seen of the repository, in <state dir>/highest: the highest number, and a
 * line "<first>-<last>" for each range of forgotten numbers. A state that cannot be read or written
 * is no reason to fail. */
void bak_state_load(struct bak_repo *repo);
/* Adds highest and repo->gone to it; with repo->lock held. */
void bak_state_saw(struct bak_repo *repo, uint64_t highest);

/* The same for <state dir>/lost, of which each line is a segment: 24 hex digits, '-', a number. */
void bak_lost_load(struct bak_repo *repo);

/* The catalogue, with repo->lock held. */
int bak_catalog_refresh_packs(struct bak_repo *repo, bool *changed, struct bak_error *err);
/* Before the index learns of what another process put into a folder: it may have been killed before
 * it could make that durable, and nothing that is built on it must outlive it. *done: already. */
int bak_catalog_sync(struct bak_repo *repo, const char *folder, bool *done, struct bak_error *err);
/* A small sealed record: 1, 0 when it is not there or not sealed by us, -1. */
int bak_catalog_read(struct bak_repo *repo, const char *name, struct bak_buf *out,
		     struct bak_error *err);
/* Whether records that opened cover all of it. */
bool bak_catalog_is_forgotten(const struct bak_repo *repo, const struct bak_numbers *range);
/* A record of this very range was put just now. */
int bak_catalog_forgot(struct bak_repo *repo, const struct bak_numbers *range,
		       struct bak_error *err);
/* Asked before anything is dropped from the index: the storage may just be away (not mounted). */
int bak_catalog_still_there(struct bak_repo *repo, struct bak_error *err);

/* Tries the slots that were not tried yet, the newest first: 1 opened, 0 none fits, -1 error. */
int bak_keys_open(struct bak_backend *backend, const uint8_t repo_id[BAK_REPO_ID_BYTES],
		  const struct bak_secret *secret, struct bak_keys_tried *tried,
		  struct bak_keyring *out, struct bak_error *err);
/* The ring's: ctx is the repository. */
void bak_keys_reload(void *ctx);
/* Writes a new slot. */
int bak_keys_put(struct bak_backend *backend, const struct bak_keyring *ring,
		 const struct bak_secret *secret, const char *label, int scrypt_log_n,
		 char out_id[33], struct bak_error *err);

#endif
