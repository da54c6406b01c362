/* Workers that seal segments into packs, and the committer of packs: see sealer.h. */
#include "engine/content/sealer.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_WORKERS 64
/* What one worker holds: its segment raw, transposed, packed and sealed, zstd's tables, and two
 * segments that wait for it. */
#define WORKER_BYTES ((size_t)9 << 20)
/* Full packs that may wait for the committer before workers wait for it. */
#define MAX_FULL 2

struct node {
	struct node *next;
	struct bak_job job;
};

struct hashes {
	struct bak_hash *v;
	size_t n, cap;
};

/* A pack being filled; its lock guards the pack. Slot 0 takes everything, slot 1 the second copies
 * of tree segments, so two copies never share a pack. */
struct slot {
	pthread_mutex_t lock;
	struct bak_pack *pack;
};

struct bak_sealer {
	struct bak_sealer_conf conf;
	struct slot slots[2];
	unsigned n_threads;
	pthread_t threads[MAX_WORKERS], committer;
	bool has_committer;

	pthread_mutex_t lock; /* guards all that follows */
	pthread_cond_t changed;
	struct node *head, **tail;
	size_t queued, busy;
	struct bak_pack *full[MAX_FULL];
	size_t n_full;
	bool committing, stopping, failed;
	struct bak_error error;
	struct hashes done_chunks, done_nodes;
	uint64_t added;
};

void bak_job_release(struct bak_job *job)
{
	bak_buf_release(&job->raw);
	free(job->chunks);
	free(job->nodes);
	*job = (struct bak_job){0};
}

static void fail(struct bak_sealer *s, const struct bak_error *err)
{
	pthread_mutex_lock(&s->lock);
	if (!s->failed) {
		s->failed = true;
		s->error = *err;
	}
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* --- the committer --- */

static int remember(struct hashes *to, const struct bak_hash *hash)
{
	if (bak_grow(&to->v, &to->cap, to->n, sizeof *to->v) < 0)
		return -1;
	to->v[to->n++] = *hash;
	return 0;
}

/* Forgetting to remember costs memory at the submitter, nothing else. */
static void remember_done(struct bak_sealer *s, const struct bak_pack_rows *rows)
{
	pthread_mutex_lock(&s->lock);
	s->added += rows->pack.size;
	for (size_t i = 0; i < rows->n_chunks; i++)
		if (remember(&s->done_chunks, &rows->chunks[i].hash) < 0)
			break;
	for (size_t i = 0; i < rows->n_nodes; i++)
		if (remember(&s->done_nodes, &rows->nodes[i].hash) < 0)
			break;
	pthread_mutex_unlock(&s->lock);
}

static int commit_pack(struct bak_sealer *s, struct bak_pack *pack, struct bak_error *err)
{
	struct bak_pack_rows rows;
	int rc = bak_pack_finish(pack, &rows, err);
	if (rc == 0)
		rc = bak_index_add_pack(s->conf.index, &rows, err);
	if (rc == 0)
		remember_done(s, &rows);
	bak_pack_free(pack);
	return rc;
}

static void *committer_main(void *arg)
{
	struct bak_sealer *s = arg;
	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (s->n_full == 0 && !s->stopping)
			pthread_cond_wait(&s->changed, &s->lock);
		if (s->n_full == 0)
			break;
		struct bak_pack *pack = s->full[0];
		s->full[0] = s->full[1];
		s->n_full--;
		s->committing = true;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
		struct bak_error err = BAK_ERROR_INIT;
		if (commit_pack(s, pack, &err) < 0)
			fail(s, &err);
		pthread_mutex_lock(&s->lock);
		s->committing = false;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Waits for room at the committer. The pack is taken over. */
static void hand_over(struct bak_sealer *s, struct bak_pack *pack)
{
	pthread_mutex_lock(&s->lock);
	while (s->n_full == MAX_FULL && !s->failed)
		pthread_cond_wait(&s->changed, &s->lock);
	bool taken = !s->failed;
	if (taken)
		s->full[s->n_full++] = pack;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	if (!taken)
		bak_pack_free(pack);
}

/* --- workers --- */

static int add_record(struct bak_sealer *s, struct bak_pack *pack, const struct bak_buf *record,
		      const struct bak_seg_header *header, const struct bak_job *job,
		      struct bak_error *err)
{
	uint32_t key = s->conf.ring->masters[s->conf.ring->n_masters - 1].number;
	if (bak_pack_add(pack, record->p, record->len, header, key, NULL, 0, err) < 0)
		return -1;
	for (size_t i = 0; i < job->n_chunks; i++)
		if (bak_pack_add_chunk(pack, &job->chunks[i], err) < 0)
			return -1;
	for (size_t i = 0; i < job->n_nodes; i++)
		if (bak_pack_add_node(pack, &job->nodes[i], err) < 0)
			return -1;
	return 0;
}

static int store_record(struct bak_sealer *s, struct slot *slot, const struct bak_buf *record,
			const struct bak_seg_header *header, const struct bak_job *job,
			struct bak_error *err)
{
	struct bak_pack *full = NULL;
	int rc = 0;
	pthread_mutex_lock(&slot->lock);
	if (!slot->pack)
		rc = bak_pack_new(s->conf.backend, s->conf.ring, s->conf.run, s->conf.run_start,
				  &slot->pack, err);
	if (rc == 0)
		bak_pack_set_parity(slot->pack, s->conf.parity);
	if (rc == 0)
		rc = add_record(s, slot->pack, record, header, job, err);
	if (rc == 0 && bak_pack_len(slot->pack) >= BAK_PACK_SIZE) {
		full = slot->pack;
		slot->pack = NULL;
	}
	pthread_mutex_unlock(&slot->lock);
	if (full)
		hand_over(s, full);
	return rc;
}

static int seal_job(struct bak_sealer *s, struct bak_seg_codec *codec, struct bak_buf *record,
		    const struct bak_job *job, struct bak_error *err)
{
	for (unsigned i = 0; i < job->copies; i++) {
		struct bak_seg_header header;
		record->len = 0;
		if (bak_segment_seal(s->conf.ring, codec, job->type, false, &job->id, job->raw.p,
				     job->raw.len, s->conf.level, record, &header, err) < 0 ||
		    store_record(s, &s->slots[i], record, &header, job, err) < 0)
			return -1;
	}
	return 0;
}

static struct node *take_node(struct bak_sealer *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->head && !s->stopping)
		pthread_cond_wait(&s->changed, &s->lock);
	struct node *node = s->head;
	if (node) {
		s->head = node->next;
		if (!s->head)
			s->tail = &s->head;
		s->queued--;
		s->busy++;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return node;
}

static void *worker_main(void *arg)
{
	struct bak_sealer *s = arg;
	struct bak_seg_codec codec = {0};
	struct bak_buf record = BAK_BUF_INIT;
	struct node *node;
	while ((node = take_node(s))) {
		struct bak_error err = BAK_ERROR_INIT;
		if (seal_job(s, &codec, &record, &node->job, &err) < 0)
			fail(s, &err);
		bak_job_release(&node->job);
		free(node);
		pthread_mutex_lock(&s->lock);
		s->busy--;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
	bak_seg_codec_release(&codec);
	bak_buf_release(&record);
	return NULL;
}

/* --- the submitter's side --- */

static int start_threads(struct bak_sealer *s, struct bak_error *err)
{
	unsigned want = s->conf.workers;
	if (want == 0) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);
		want = cores > 0 ? (unsigned)cores : 1;
	}
	if (s->conf.memory && want > s->conf.memory / WORKER_BYTES)
		want = (unsigned)(s->conf.memory / WORKER_BYTES);
	want = want ? want : 1;
	if (want > MAX_WORKERS)
		want = MAX_WORKERS;
	if (pthread_create(&s->committer, NULL, committer_main, s) != 0)
		return bak_error_set(err, BAK_NO_MEMORY, "no thread to be had");
	s->has_committer = true;
	for (; s->n_threads < want; s->n_threads++)
		if (pthread_create(&s->threads[s->n_threads], NULL, worker_main, s) != 0)
			break;
	if (s->n_threads == 0)
		return bak_error_set(err, BAK_NO_MEMORY, "no thread to be had");
	return 0;
}

int bak_sealer_new(const struct bak_sealer_conf *conf, struct bak_sealer **out_sealer,
		   struct bak_error *err)
{
	struct bak_sealer *s = calloc(1, sizeof *s);
	if (!s)
		return bak_error_nomem(err);
	s->conf = *conf;
	s->tail = &s->head;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	for (int i = 0; i < 2; i++)
		pthread_mutex_init(&s->slots[i].lock, NULL);
	if (start_threads(s, err) < 0) {
		bak_sealer_free(s);
		return -1;
	}
	*out_sealer = s;
	return 0;
}

int bak_sealer_submit(struct bak_sealer *s, struct bak_job *job, struct bak_error *err)
{
	struct node *node = calloc(1, sizeof *node);
	if (!node) {
		bak_job_release(job);
		return bak_error_nomem(err);
	}
	node->job = *job;
	*job = (struct bak_job){0};
	pthread_mutex_lock(&s->lock);
	while (s->queued >= 2 * s->n_threads && !s->failed)
		pthread_cond_wait(&s->changed, &s->lock);
	if (s->failed) {
		*err = s->error;
		pthread_mutex_unlock(&s->lock);
		bak_job_release(&node->job);
		free(node);
		return -1;
	}
	*s->tail = node;
	s->tail = &node->next;
	s->queued++;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void bak_sealer_take_done(struct bak_sealer *s, struct bak_hash **out_chunks, size_t *out_n,
			  struct bak_hash **out_nodes, size_t *out_n_nodes)
{
	pthread_mutex_lock(&s->lock);
	*out_chunks = s->done_chunks.v;
	*out_n = s->done_chunks.n;
	*out_nodes = s->done_nodes.v;
	*out_n_nodes = s->done_nodes.n;
	s->done_chunks = s->done_nodes = (struct hashes){0};
	pthread_mutex_unlock(&s->lock);
}

static int wait_idle(struct bak_sealer *s, struct bak_error *err)
{
	pthread_mutex_lock(&s->lock);
	while (!s->failed && (s->queued > 0 || s->busy > 0 || s->n_full > 0 || s->committing))
		pthread_cond_wait(&s->changed, &s->lock);
	int rc = s->failed ? -1 : 0;
	if (rc < 0)
		*err = s->error;
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int bak_sealer_finish(struct bak_sealer *s, uint64_t *out_added, struct bak_error *err)
{
	if (wait_idle(s, err) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		struct bak_pack *pack = s->slots[i].pack;
		s->slots[i].pack = NULL;
		if (pack)
			hand_over(s, pack);
	}
	if (wait_idle(s, err) < 0)
		return -1;
	*out_added = s->added;
	return 0;
}

static void drop_queue(struct bak_sealer *s)
{
	while (s->head) {
		struct node *node = s->head;
		s->head = node->next;
		bak_job_release(&node->job);
		free(node);
	}
}

void bak_sealer_free(struct bak_sealer *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = s->failed = true;
	drop_queue(s);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < s->n_threads; i++)
		pthread_join(s->threads[i], NULL);
	if (s->has_committer)
		pthread_join(s->committer, NULL);
	for (int i = 0; i < 2; i++) {
		bak_pack_free(s->slots[i].pack);
		pthread_mutex_destroy(&s->slots[i].lock);
	}
	free(s->done_chunks.v);
	free(s->done_nodes.v);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s);
}
