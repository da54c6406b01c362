/*
 * A repository, opened: backend, keys, index, reading side; and its catalogue: which snapshots and
 * packs there are, brought up to date with what other processes did.
 *
 * Index: <cache dir>/<repository id>/index.sqlite. State (what the repository does not say: highest
 * number seen, jobs, damage found): <state dir>/<repository id>/.
 *   cache dir: $XDG_CACHE_HOME/bakfs, else for root /var/cache/bakfs, else ~/.cache/bakfs
 *   state dir: $XDG_STATE_HOME/bakfs, else for root /var/lib/bakfs, else ~/.local/state/bakfs
 *
 * Threads: a struct bak_repo may be used from several threads.
 */
#ifndef BAK_OPS_REPO_H
#define BAK_OPS_REPO_H

#include "engine/content/writer.h"

struct bak_repo;
struct bak_place_set;

struct bak_repo_conf {
	const char *path; /* of a local directory; or NULL and a backend (borrowed) */
	struct bak_backend *backend;
	const char *cache_dir, *state_dir; /* NULL: as above */
	const char *host;                  /* NULL: the host name */
	size_t cache_bytes;                /* 0: a fourth of memory */
	/* What a backup holds, 0: 128 MiB. A fourth each: decoded segments, the index's pages, the
	 * table that finds what is alike, segments that are compressed and sealed. Given, it also
	 * bounds the threads that do the last. */
	uint64_t memory;
	int scrypt_log_n;     /* 0: BAK_SCRYPT_LOG_N */
	unsigned parity;      /* percent of parity for new packs; 0 none */
	unsigned patience_ms; /* how long a disk of the network may take to answer; 0: for ever */
	bool index_in_memory; /* for tests */
	/* Told while footers are read without an index; may be NULL. */
	void (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total);
	void *progress_ctx;
	void (*damaged)(void *ctx, const struct bak_seg_copy *copy, const char *why);
	/* Such a copy opened after all, made anew from its pack's parity; may be NULL. */
	void (*repaired)(void *ctx, const struct bak_seg_copy *copy);
	void *damaged_ctx;         /* of both */
	int64_t (*now)(void *ctx); /* the time, UTC seconds; NULL: the system's. For tests */
	void *now_ctx;
};

#define BAK_MEMORY_SHARES 4

/* Makes a repository: folders, one slot for secret, bakfs.json last. BAK_EXISTS over an existing
 * one (also half-made: bakfs.json missing but keys there, said so), BAK_REFUSED when the folder
 * holds something else. */
int bak_repo_init(const struct bak_repo_conf *conf, const struct bak_secret *secret,
		  const char *label, struct bak_error *err);
/* BAK_NOT_FOUND "not a repository", BAK_UNSUPPORTED newer format, BAK_CORRUPT half-made or bad MAC,
 * BAK_WRONG_KEY "wrong password" or "wrong key file". Lists snapshots/, forgotten/, tags/ and reads
 * what is new; without an index reads all footers. */
int bak_repo_open(const struct bak_repo_conf *conf, const struct bak_secret *secret,
		  struct bak_repo **out_repo, struct bak_error *err);
void bak_repo_close(struct bak_repo *repo); /* NULL is fine */
/* What can be said without a key: 1 a repository, 0 not, -1 error (newer, half-made). */
int bak_repo_probe(const char *path, struct bak_error *err);

struct bak_backend *bak_repo_backend(struct bak_repo *repo);
const struct bak_keyring *bak_repo_ring(struct bak_repo *repo);
struct bak_index *bak_repo_index(struct bak_repo *repo);
struct bak_source *bak_repo_source(struct bak_repo *repo);
const char *bak_repo_host(struct bak_repo *repo);
int64_t bak_repo_now(struct bak_repo *repo);
const char *bak_repo_path(struct bak_repo *repo);      /* real path, or "memory" */
const char *bak_repo_state_dir(struct bak_repo *repo); /* made, 0700 */
const char *bak_repo_id_hex(struct bak_repo *repo);
const struct bak_chunk_conf *bak_repo_chunk_conf(struct bak_repo *repo);
/* Segments (off is 0) of which the last check found no copy that opens; kept in the state folder.
 * Backups refer to none of them, so they store what lay in them again. */
const struct bak_place_set *bak_repo_lost(struct bak_repo *repo);
void bak_repo_set_lost(struct bak_repo *repo, struct bak_place_set *set); /* takes it over */
uint64_t bak_repo_memory(const struct bak_repo *repo);                    /* as given; 0: not */
unsigned bak_repo_parity(const struct bak_repo *repo); /* percent for new packs; 0 none */

/* Catalogue. Each may be called any time; a listing that fails changes nothing. */
int bak_repo_refresh_snapshots(struct bak_repo *repo, bool *out_changed, struct bak_error *err);
int bak_repo_refresh_packs(struct bak_repo *repo, bool *out_changed, struct bak_error *err);
/* Throws the index away and builds it anew from the repository. out_damaged: packs whose footer was
 * damaged and that were walked. */
int bak_repo_reindex(struct bak_repo *repo, uint64_t *out_packs, uint64_t *out_damaged,
		     struct bak_error *err);
/* Snapshots that should be there and are not (gaps, fewer than were seen before), that were
 * forgotten before this machine's eyes and are there again, or that do not open. *out_text says so
 * in one line, NULL when all is well; the caller's to free. */
int bak_repo_omissions(struct bak_repo *repo, char **out_text, struct bak_error *err);
/* Snapshots that are there and did not open when they were listed last; the caller's to free. */
int bak_repo_unreadable(struct bak_repo *repo, uint64_t **out_numbers, size_t *out_n,
			struct bak_error *err);

/* The number for the next snapshot: behind the highest of snapshots/, forgotten/ (as refreshed
 * last) and what this machine ever saw. */
int bak_repo_next_number(struct bak_repo *repo, uint64_t *out_number, struct bak_error *err);

/* Loads snapshot and root. 1, 0 no such (or forgotten), -1. */
int bak_repo_snapshot(struct bak_repo *repo, uint64_t number, struct bak_snapshot *out,
		      struct bak_error *err);
/* Newest snapshot of a store that counts as latest (type manual, daily, weekly, monthly): 1 and its
 * number, 0 none, -1. */
int bak_repo_latest(struct bak_repo *repo, const char *store, uint64_t *out_number,
		    struct bak_error *err);
bool bak_type_counts_as_latest(const char *type);

/* ID as users write it (number, latest, <store>@latest, <store>@<stamp>, a run's stamp): the
 * snapshots it names, by number; the caller's to free. BAK_NOT_FOUND when it names none. */
int bak_repo_resolve(struct bak_repo *repo, const char *id, uint64_t **out_numbers, size_t *out_n,
		     struct bak_error *err);

/* Key slots. */
int bak_repo_key_add(struct bak_repo *repo, const struct bak_secret *secret, const char *label,
		     char out_id[33], struct bak_error *err);
int bak_repo_key_list(struct bak_repo *repo, struct bak_slot_info **out_slots, size_t *out_n,
		      struct bak_error *err);
/* id: any unambiguous beginning. Refuses the last one. */
int bak_repo_key_remove(struct bak_repo *repo, const char *id, struct bak_error *err);
/* The id of the slot that opened the repository. */
const char *bak_repo_key_used(struct bak_repo *repo);
/* A new master seals from now on, and only the secret in use opens the repository: it gets a slot
 * with the new ring, and the slots in ends go, which must be all there are (BAK_BUSY otherwise).
 * Alone: BAK_BUSY while others are at work. This process itself goes on sealing with the old one.
 * out_id may be filled also when a slot could not be removed. */
int bak_repo_key_rotate(struct bak_repo *repo, const struct bak_slot_info *ends, size_t n,
			char out_id[33], struct bak_error *err);

#endif
