/*
 * From raw segments to durable packs: workers compress and seal whole segments, a committer
 * finishes full packs and gives their rows to the index. Tree segments are sealed twice, into
 * different packs.
 *
 * Threads: one thread submits; workers and the committer are the sealer's own.
 * Errors: the first of any thread comes out of a later submit or of finish; then only free is
 * allowed.
 */
#ifndef BAK_CONTENT_SEALER_H
#define BAK_CONTENT_SEALER_H

#include "engine/objects/pack.h"

struct bak_sealer;

struct bak_sealer_conf {
	struct bak_backend *backend; /* borrowed, as are all */
	const struct bak_keyring *ring;
	struct bak_index *index;
	uint8_t run[8];
	int64_t run_start;
	int level;
	unsigned workers; /* 0: as many as cores */
	size_t memory;    /* fewer workers when theirs would take more than this; 0: no bound */
	unsigned parity;  /* percent for each pack; 0 none */
};

/* A raw segment with what lies in it. submit takes the buffers over. */
struct bak_job {
	enum bak_seg_type type;
	unsigned copies; /* 1 or 2, in different packs */
	struct bak_seg_id id;
	struct bak_buf raw;
	struct bak_chunk_row *chunks;
	size_t n_chunks, cap_chunks;
	struct bak_node_row *nodes;
	size_t n_nodes, cap_nodes;
};
void bak_job_release(struct bak_job *job);

int bak_sealer_new(const struct bak_sealer_conf *conf, struct bak_sealer **out_sealer,
		   struct bak_error *err);
/* Waits while the queue is full. job is empty afterwards, whatever the answer. */
int bak_sealer_submit(struct bak_sealer *sealer, struct bak_job *job, struct bak_error *err);
/* Rows that are durable and in the index since the last call, so that the submitter may forget
 * them: the hashes of chunks, then of nodes. The caller frees both. */
void bak_sealer_take_done(struct bak_sealer *sealer, struct bak_hash **out_chunks, size_t *out_n,
			  struct bak_hash **out_nodes, size_t *out_n_nodes);
/* Seals what is left, makes all packs durable. *out_added: bytes of all packs. */
int bak_sealer_finish(struct bak_sealer *sealer, uint64_t *out_added, struct bak_error *err);
void bak_sealer_free(struct bak_sealer *sealer); /* stops at once; NULL is fine */

#endif
