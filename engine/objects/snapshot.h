/*
 * Snapshots and the small sealed records. Each is a sealed object (seal.h) under its own name.
 *
 * snapshots/<number>, payload: u32 length of what follows unpacked, one zstd frame of
 *   u8 version = 1
 *   varint number
 *   strings (varint length, bytes): store, driver, host, run (16 hex), run type, description
 *   zigzag stamp, zigzag run stamp (UTC seconds)
 *   varint added: bytes that this snapshot added to the repository
 *   varint n; n strings: the stores that its run set out to do
 *   varint length, root inode with its run table (tree.h)
 *   varint links, varint bytes of the linked regular files, run table, reference of the link
 *     table's top page (only if links > 0), varint next link number
 *   string: manifest, the JSON text that the mount shows
 * Numbers: 1, 2, 3 ... over the whole repository, decimal without leading zeros.
 *
 * Records, payload JSON:
 *   forgotten/<number> or forgotten/<first>-<last>   {"by":host,"time":"...Z"}
 *   tags/<number>-<n>         {"tags":["a","b"]}: the whole set; the highest n wins
 *   condemned/<32 hex>        see condemned.h
 *   running/<run, 16 hex>-<n> {"boot":...,"host":...,"kind":"backup"|"prune"|"alone","pid":n,
 *                             "pid_ns":n,"pid_start":n (optional),"run":...,"start":"...Z",
 *                             "stores":[...],"time":"...Z"}
 */
#ifndef BAK_OBJECTS_SNAPSHOT_H
#define BAK_OBJECTS_SNAPSHOT_H

#include "engine/objects/seal.h"
#include "engine/objects/tree.h"
#include "engine/storage/backend.h"

#define BAK_STORE_NAME_MAX 64

/* Owned strings. root's pointers borrow from `raw`, which the struct owns. */
struct bak_snapshot {
	uint64_t number;
	char *store, *driver, *host, *run, *type, *description;
	int64_t stamp, run_stamp;
	uint64_t added;
	char **stores;
	size_t n_stores;
	struct bak_inode root; /* type folder */
	uint64_t links, link_bytes, next_link;
	struct bak_ref link_table;
	char *manifest; /* terminated */
	size_t manifest_len;
	struct bak_buf raw;
};
void bak_snapshot_release(struct bak_snapshot *snapshot);
/* The payload, before sealing. */
int bak_snapshot_encode(const struct bak_snapshot *snapshot, struct bak_buf *out,
			struct bak_error *err);
int bak_snapshot_decode(const void *payload, size_t len, struct bak_snapshot *out,
			struct bak_error *err);
/* Reads and opens snapshots/<number>. 1, 0 not there, -1. Binds the number inside to the name. */
int bak_snapshot_load(struct bak_backend *backend, const struct bak_keyring *ring, uint64_t number,
		      struct bak_snapshot *out, struct bak_error *err);

/* Letters, digits, '_' and '-', 1 to 64. */
bool bak_store_name_ok(const char *name);

/* Stamps: "20261121T140212Z" in a 17 byte buffer. */
#define BAK_STAMP_LEN 16
void bak_stamp_format(int64_t utc, char out[BAK_STAMP_LEN + 1]);
bool bak_stamp_parse(const char *text, int64_t *out_utc);
/* "2026-11-21T14:02:12Z" */
#define BAK_TIME_LEN 20
void bak_time_format(int64_t utc, char out[BAK_TIME_LEN + 1]);
bool bak_time_parse(const char *text, int64_t *out_utc);

/* A lease: see above. Owned strings. */
struct bak_lease {
	char run[17], kind[16], boot[40];
	char host[256];
	int64_t pid, pid_ns, start, time;
	int64_t pid_start; /* when the process began, in ticks since boot; 0 unknown */
	char **stores;
	size_t n_stores;
};
/* Fills host-independent fields (boot id, pid, pid namespace) of the calling process. */
int bak_lease_self(struct bak_lease *lease, const char *kind, const char *run, const char *host,
		   int64_t now, struct bak_error *err);
void bak_lease_release(struct bak_lease *lease);
/* Writes running/<run>-<n>; the caller removes it or the one before. */
int bak_lease_put(struct bak_backend *backend, const struct bak_keyring *ring,
		  const struct bak_lease *lease, unsigned n, struct bak_error *err);
int bak_lease_remove(struct bak_backend *backend, const char *run, unsigned n,
		     struct bak_error *err);
/* All leases; name is "running/<run>-<n>". fn's non-zero ends it and is returned. A lease that does
 * not open is passed over. */
typedef int bak_lease_fn(void *ctx, const char *name, const struct bak_lease *lease);
int bak_lease_each(struct bak_backend *backend, const struct bak_keyring *ring, bak_lease_fn *fn,
		   void *ctx, struct bak_error *err);
/* Dead: 24 h after its time, or its process (same boot and pid namespace) is gone, also when
 * another process has its number now. */
bool bak_lease_dead(const struct bak_lease *lease, int64_t now);

/* Reads a sealed JSON record (forgotten, tags, condemned): 1 and text in out, 0 not there, -1. */
int bak_record_get(struct bak_backend *backend, const struct bak_keyring *ring, const char *name,
		   struct bak_buf *out_json, struct bak_error *err);
/* 1 put, 0 name taken, -1. */
int bak_record_put(struct bak_backend *backend, const struct bak_keyring *ring, const char *name,
		   const char *json, struct bak_error *err);

#endif
