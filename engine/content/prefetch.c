/* Reading ahead of readers whose reads come one by one: see prefetch.h. */
#include "engine/content/prefetch.h"

#include "engine/content/reader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_MAX 4u
#define STREAMS 64u
/* What waits for a worker: many readers at once get less each, and less memory is taken. */
#define TASKS 16u
/* One worker's portion: about a segment. */
#define PORTION (1u << 20)
/* A kernel sends several reads at once, which arrive in any order: so far off is still in order. */
#define SLACK (4u << 20)
/* Reads in order before anything is read ahead, so that looking at a file's head costs nothing. */
#define HITS_MIN 2
/* Jumps in a file before the rest of it is decoded. */
#define JUMPS_MIN 16
/* Segments of small files: so many before their reader, and so far apart may be those that he meets
 * (segments of other kinds lie in between). */
#define RUN_AHEAD 3u
#define RUN_STEP 3u

/* Who reads. Slots are found by the key; another file's reader takes a slot over. */
struct stream {
	uint64_t key;
	uint64_t next;  /* where its next read is expected */
	uint64_t ahead; /* up to here all is decoded or in the queue */
	unsigned hits, jumps;
	uint64_t filled; /* who jumps: up to here all is decoded or in the queue */
};

/* Who reads small files in the order in which they were saved. */
struct follower {
	struct bak_seg_id at; /* the segment met last */
	uint32_t ahead;       /* up to this number of its run all are decoded or in the queue */
};

struct task {
	uint64_t key;
	struct bak_seg_id seg; /* without content */
	struct bak_content content;
	uint64_t size, off, len;
	bool anywhere; /* its reader jumps, and may come yet */
};

struct bak_prefetch {
	struct bak_source *source;
	size_t window;
	uint64_t whole;
	pthread_t threads[WORKERS_MAX];
	unsigned n_threads;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	bool stopping;
	struct stream streams[STREAMS];
	struct follower follower;
	struct task tasks[TASKS]; /* a ring */
	size_t first_task, n_tasks;
	uint64_t bytes;
};

/* --- workers --- */

/* The segments that a walk met last: a scattered span names the same ones again and again. */
struct warming {
	struct bak_source *source;
	struct bak_seg_id seen[BAK_SPAN_MAX_SEGMENTS];
	size_t n_seen;
};

static bool seen_before(struct warming *w, const struct bak_seg_id *id)
{
	size_t n = w->n_seen < BAK_SPAN_MAX_SEGMENTS ? w->n_seen : BAK_SPAN_MAX_SEGMENTS;
	for (size_t i = 0; i < n; i++)
		if (bak_seg_id_equal(&w->seen[i], id))
			return true;
	w->seen[w->n_seen++ % BAK_SPAN_MAX_SEGMENTS] = *id;
	return false;
}

static int warm(void *ctx, uint64_t off, const struct bak_extent *extent, struct bak_error *err)
{
	struct warming *w = ctx;
	(void)off;
	if (extent->kind != BAK_EXTENT_BYTES || seen_before(w, &extent->seg))
		return 0;
	return bak_source_warm(w->source, &extent->seg, extent->off, (uint32_t)extent->len, err);
}

/* With the lock held. The reader was faster, has been there, and what it has left behind may be gone
 * from the cache: decoded once more it would stay for nothing. */
static bool is_late(const struct bak_prefetch *p, const struct task *task)
{
	const struct stream *s = &p->streams[task->key % STREAMS];
	const struct follower *f = &p->follower;
	if (task->anywhere)
		return false;
	if (task->content.kind == BAK_CONTENT_NONE)
		return f->at.n > task->seg.n + RUN_AHEAD;
	return s->key == task->key && s->next > task->off + task->len + SLACK;
}

static int do_task(struct bak_prefetch *prefetch, const struct task *task)
{
	struct warming w = {.source = prefetch->source};
	struct bak_error scratch = BAK_ERROR_INIT;
	if (task->content.kind == BAK_CONTENT_NONE)
		return bak_source_warm_any(prefetch->source, &task->seg, &scratch);
	return bak_each_extent_in(prefetch->source, &task->content, task->size, task->off,
				  task->len, warm, &w, &scratch);
}

static void *worker_main(void *arg)
{
	struct bak_prefetch *p = arg;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->stopping && p->n_tasks == 0)
			pthread_cond_wait(&p->changed, &p->lock);
		if (p->stopping)
			break;
		struct task task = p->tasks[p->first_task];
		p->first_task = (p->first_task + 1) % TASKS;
		p->n_tasks--;
		if (is_late(p, &task))
			continue;
		pthread_mutex_unlock(&p->lock);
		int rc = do_task(p, &task);
		pthread_mutex_lock(&p->lock);
		struct stream *s = &p->streams[task.key % STREAMS];
		if (rc < 0 && s->key == task.key)
			s->hits = 0; /* its reader will meet the error: no further ahead of it */
		else
			p->bytes += task.len;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* --- readers --- */

static bool in_order(const struct stream *s, uint64_t off)
{
	return off <= s->next + SLACK && off + SLACK >= s->next;
}

/* Puts the portion at off into the queue. */
static void push_portion(struct bak_prefetch *p, const struct stream *s,
			 const struct bak_content *content, uint64_t size, uint64_t off,
			 bool anywhere)
{
	size_t at = (p->first_task + p->n_tasks++) % TASKS;
	p->tasks[at] = (struct task){.key = s->key,
				     .content = *content,
				     .size = size,
				     .off = off,
				     .len = size - off < PORTION ? size - off : PORTION,
				     .anywhere = anywhere};
	pthread_cond_signal(&p->changed);
}

/* The next portion of a file that is read here and there, if no worker has better to do: where its
 * reader has been, it is there already and costs nothing. */
static void fill(struct bak_prefetch *p, struct stream *s, const struct bak_content *content,
		 uint64_t size)
{
	if (s->jumps < JUMPS_MIN || size > p->whole || s->filled >= size || p->n_tasks > 0)
		return;
	push_portion(p, s, content, size, s->filled, true);
	s->filled += PORTION;
}

static void push_tasks(struct bak_prefetch *p, struct stream *s, const struct bak_content *content,
		       uint64_t size)
{
	uint64_t until = s->next + p->window;
	if (s->ahead < s->next)
		s->ahead = s->next - s->next % PORTION;
	while (s->ahead < until && s->ahead < size && p->n_tasks < TASKS) {
		push_portion(p, s, content, size, s->ahead, false);
		s->ahead += PORTION;
	}
}

bool bak_prefetch_read(struct bak_prefetch *p, uint64_t key, const struct bak_content *content,
		       uint64_t size, uint64_t off, size_t len)
{
	if (p->window == 0 || size <= PORTION || len >= size || off > size - len)
		return false;
	pthread_mutex_lock(&p->lock);
	struct stream *s = &p->streams[key % STREAMS];
	if (s->key != key)
		*s = (struct stream){.key = key, .next = off};
	else if (!in_order(s, off))
		*s = (struct stream){
			.key = key, .next = off, .jumps = s->jumps + 1, .filled = s->filled};
	s->hits++;
	if (off + len > s->next)
		s->next = off + len;
	bool follows = s->hits > HITS_MIN;
	if (follows)
		push_tasks(p, s, content, size);
	else
		fill(p, s, content, size);
	pthread_mutex_unlock(&p->lock);
	return follows;
}

void bak_prefetch_follow(struct bak_prefetch *p, const struct bak_seg_id *seg)
{
	if (p->window == 0)
		return;
	pthread_mutex_lock(&p->lock);
	struct follower *f = &p->follower;
	uint32_t step = seg->n - f->at.n;
	if (memcmp(f->at.run, seg->run, sizeof seg->run) != 0 || step > RUN_STEP) {
		*f = (struct follower){*seg, seg->n};
	} else if (step > 0) {
		f->at = *seg;
		if (f->ahead - seg->n > RUN_AHEAD)
			f->ahead = seg->n;
		while (f->ahead - seg->n < RUN_AHEAD && p->n_tasks < TASKS) {
			struct bak_seg_id next = *seg;
			next.n = ++f->ahead;
			p->tasks[(p->first_task + p->n_tasks++) % TASKS] = (struct task){
				.key = UINT64_MAX, .content.kind = BAK_CONTENT_NONE, .seg = next};
			pthread_cond_signal(&p->changed);
		}
	}
	pthread_mutex_unlock(&p->lock);
}

uint64_t bak_prefetch_bytes(struct bak_prefetch *p)
{
	pthread_mutex_lock(&p->lock);
	uint64_t bytes = p->bytes;
	pthread_mutex_unlock(&p->lock);
	return bytes;
}

/* --- life --- */

static unsigned workers_for_machine(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	return cores < 1 ? 1 : cores > (long)WORKERS_MAX ? WORKERS_MAX : (unsigned)cores;
}

int bak_prefetch_new(struct bak_source *source, unsigned workers, size_t window, uint64_t whole,
		     struct bak_prefetch **out_prefetch, struct bak_error *err)
{
	struct bak_prefetch *p = calloc(1, sizeof *p);
	if (!p)
		return bak_error_nomem(err);
	p->source = source;
	p->window = window;
	p->whole = whole;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	unsigned n = workers ? workers : workers_for_machine();
	for (; window && p->n_threads < n && p->n_threads < WORKERS_MAX; p->n_threads++) {
		if (pthread_create(&p->threads[p->n_threads], NULL, worker_main, p) == 0)
			continue;
		bak_prefetch_free(p);
		return bak_error_set(err, BAK_NO_MEMORY, "no thread to be had");
	}
	*out_prefetch = p;
	return 0;
}

void bak_prefetch_free(struct bak_prefetch *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p);
}
