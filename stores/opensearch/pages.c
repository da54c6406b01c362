/*
 * Documents of many shards, read with several connections at once and given in one order.
 *
 * A shard numbers what is written to it (_seq_no); at a point in time each document has one number,
 * and no two the same. So a shard is cut into ranges of numbers that do not depend on each other:
 * workers take one after another, and the caller gets them in turn. The order is that of writing,
 * however the server has merged its segments since, and the same on each copy of a shard: the next
 * export has what did not change in the same place.
 *
 * A range that is ready before its turn waits in memory, at most TASK_MAX of it, and no worker is
 * further ahead than the ring is long: that bounds it all.
 */
#include "stores/opensearch/opensearch.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LANES_MAX = 16, RING = 2 * LANES_MAX };
#define TASK_WANT (1u << 20) /* bytes that a range is meant to have */
#define TASK_MAX (4u << 20)  /* and in memory, before its turn */
#define PAGE_MAX (8u << 20)  /* an answer is left off there and asked for again from there on */
/* A server reads documents that lie side by side four times as fast as others, which a page is where it
 * does not cross from one run of them to the next: so pages are short. Below 500 requests cost more. */
#define PAGE_DOCUMENTS 1000u
#define GUESS 1024u /* bytes of a document, before any was seen */

struct task {
	size_t slice;
	uint64_t from, to; /* numbers, half-open */
	struct bak_buf out;
	bool done;
};

struct pages {
	struct bak_os_slice *slices;
	size_t n;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct task ring[RING];
	uint64_t next, head; /* the next to be begun, the one whose turn it is */
	size_t ahead;        /* tasks between the two, at most */
	size_t slice;        /* where the next one lies */
	uint64_t from;
	uint64_t documents, bytes; /* so far */
	bool stop;
	struct bak_error err; /* of the first that failed */
};

struct lane {
	struct pages *pages;
	struct bak_http *http;
	pthread_t thread;
	bool runs;
	/* the page that is being read */
	struct bak_buf out;
	uint64_t hits, last, floor;
	bool enough;
};

/* --- tasks --- */

/* How many documents make a range, by what was seen so far. */
static uint64_t documents_wanted(const struct pages *p)
{
	uint64_t each = p->documents ? p->bytes / p->documents + 1 : GUESS;
	uint64_t n = TASK_WANT / each;

	return n < 1 ? 1 : n > PAGE_DOCUMENTS ? PAGE_DOCUMENTS : n;
}

/* To where the next range begins. */
static void skip_done(struct pages *p)
{
	while (p->slice < p->n &&
	       (p->slices[p->slice].documents == 0 || p->from > p->slices[p->slice].last)) {
		p->slice++;
		p->from = 0;
	}
}

/* 1 and the next range, 0 there is none, or not now. The lock is held. */
static int next_task(struct pages *p, struct task **out, uint64_t *out_size)
{
	if (p->slice == p->n || p->next - p->head >= p->ahead)
		return 0;
	const struct bak_os_slice *slice = &p->slices[p->slice];
	uint64_t want = documents_wanted(p);
	/* numbers of documents that are no more are gone */
	double width = (double)want * ((double)slice->last + 1) / (double)slice->documents;
	struct task *task = &p->ring[p->next % RING];

	task->slice = p->slice;
	task->from = p->from;
	task->to = (double)(slice->last - p->from) < width ? slice->last + 1
							   : p->from + (uint64_t)width;
	task->done = false;
	p->from = task->to;
	p->next++;
	skip_done(p);
	*out = task;
	/* those of which more came than expected need no second page */
	*out_size = want + want / 4 + 1;
	if (*out_size > slice->page_max)
		*out_size = slice->page_max;
	return 1;
}

/* --- a page --- */

static int take_hit(void *ctx, const struct bak_os_document *document, struct bak_error *err)
{
	struct lane *lane = ctx;
	const char *p = document->sort.p;
	char *end;
	uint64_t number = p && *p == '[' ? strtoull(p + 1, &end, 10) : 0;

	if (!p || *p != '[' || end == p + 1 || *end != ']' || number < lane->floor)
		return bak_error_set(err, BAK_CORRUPT,
				     "the server gives documents in another order than it was "
				     "asked for");
	if (bak_os_document_write(document, &lane->out) < 0)
		return bak_error_nomem(err);
	lane->last = number;
	lane->floor = number + 1;
	lane->hits++;
	lane->enough = lane->out.len > PAGE_MAX;
	return lane->enough ? bak_error_set(err, BAK_CANCELLED, "enough for one page") : 0;
}

static int feed(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	return bak_os_hits_feed(ctx, p, len, err);
}

static json_t *query(const struct bak_os_slice *slice, uint64_t from, uint64_t to, uint64_t size)
{
	json_t *body = json_pack("{s:I, s:{s:s, s:s}, s:[{s:s}], s:b, s:{s:{s:{s:I, s:I}}}}",
				 "size", (json_int_t)size, "pit", "id", slice->pit, "keep_alive",
				 slice->keep_alive, "sort", "_seq_no", "asc", "track_total_hits", 0,
				 "query", "range", "_seq_no", "gte", (json_int_t)from, "lt",
				 (json_int_t)to);

	if (body && slice->n_shards > 1 &&
	    json_object_set_new(body, "slice",
				json_pack("{s:i, s:i}", "id", (int)slice->shard, "max",
					  (int)slice->n_shards)) < 0) {
		json_decref(body);
		return NULL;
	}
	return body;
}

static int check_envelope(const struct bak_os_hits *hits, struct bak_error *err)
{
	const struct bak_buf *text = bak_os_hits_end(hits);
	BAK_AUTO(bak_os_json_free)
	json_t *answer = json_loadb((const char *)text->p, text->len, 0, NULL);

	if (!answer)
		return bak_error_set(err, BAK_CORRUPT, "the answer to a search is no JSON");
	return bak_os_check_answer(answer, err);
}

/* 1 the answer was left off or cut behind some documents, 0 it is whole, -1. */
static int ask_page(struct lane *lane, const char *text, struct bak_error *err)
{
	struct bak_os_hits hits = {.take = take_hit, .ctx = lane};
	const struct bak_http_request request = {.method = "POST",
						 .path = "/_search",
						 .body = text,
						 .body_len = strlen(text),
						 .take = feed,
						 .take_ctx = &hits,
						 .again = true};
	int rc = bak_http_send(lane->http, &request, NULL, err);

	if (rc == 0)
		rc = check_envelope(&hits, err);
	else if (lane->enough || (err->code == BAK_UNAVAILABLE && lane->hits))
		rc = 1;
	else
		bak_os_advise(err);
	bak_os_hits_release(&hits);
	return rc;
}

/* 1 and documents from `from` on, 0 these were all, -1. A connection that is cut costs nothing but
 * what is asked for again. */
static int read_page(struct lane *lane, const struct bak_os_slice *slice, uint64_t from,
		     uint64_t to, uint64_t size, struct bak_error *err)
{
	BAK_AUTO(bak_os_json_free) json_t *body = query(slice, from, to, size);
	BAK_AUTO(bak_free_ptr) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct bak_error why = BAK_ERROR_INIT;
	int rc;

	if (!text)
		return bak_error_nomem(err);
	lane->hits = 0;
	lane->floor = from;
	lane->enough = false;
	lane->out.len = 0;
	rc = ask_page(lane, text, &why);
	if (rc >= 0)
		return rc > 0 || lane->hits == size;
	*err = why;
	return bak_error_wrap(err, "index %s", slice->index);
}

/* --- workers --- */

static void fail(struct pages *p, const struct bak_error *err)
{
	pthread_mutex_lock(&p->lock);
	if (!p->stop)
		p->err = *err;
	p->stop = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

/* -1: there was not enough memory. False stop is seen by the caller. */
static int hand_over(struct lane *lane, struct task *task)
{
	struct pages *p = lane->pages;
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	while (!p->stop && task->out.len > TASK_MAX)
		pthread_cond_wait(&p->changed, &p->lock);
	if (!p->stop)
		rc = bak_buf_append(&task->out, lane->out.p, lane->out.len);
	p->documents += lane->hits;
	p->bytes += lane->out.len;
	p->slices[task->slice].read += lane->hits;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static bool is_stopped(struct pages *p)
{
	bool stopped;

	pthread_mutex_lock(&p->lock);
	stopped = p->stop;
	pthread_mutex_unlock(&p->lock);
	return stopped;
}

static int do_task(struct lane *lane, struct task *task, uint64_t size, struct bak_error *err)
{
	const struct bak_os_slice *slice = &lane->pages->slices[task->slice];
	uint64_t from = task->from;
	int rc = 1;

	while (rc > 0 && from < task->to && !is_stopped(lane->pages)) {
		rc = read_page(lane, slice, from, task->to, size, err);
		if (rc < 0)
			return -1;
		if (hand_over(lane, task) < 0)
			return bak_error_nomem(err);
		from = lane->last + 1;
	}
	return 0;
}

static void *work(void *ctx)
{
	struct lane *lane = ctx;
	struct pages *p = lane->pages;
	struct bak_error err = BAK_ERROR_INIT;
	struct task *task;
	uint64_t size;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		if (next_task(p, &task, &size) == 0) {
			if (p->slice == p->n)
				break;
			pthread_cond_wait(&p->changed, &p->lock);
			continue;
		}
		pthread_mutex_unlock(&p->lock);
		if (do_task(lane, task, size, &err) < 0)
			fail(p, &err);
		pthread_mutex_lock(&p->lock);
		task->done = true;
		pthread_cond_broadcast(&p->changed);
	}
	pthread_mutex_unlock(&p->lock);
	bak_buf_release(&lane->out);
	return NULL;
}

/* --- in order --- */

/* 1 and bytes of the task whose turn it is, 0 the end, -1 err. */
static int next_bytes(struct pages *p, size_t *out_slice, struct bak_buf *out,
		      struct bak_error *err)
{
	int rc = 0;

	out->len = 0;
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		struct task *task = &p->ring[p->head % RING];

		if (p->head < p->next && task->out.len) {
			struct bak_buf swap = task->out;

			task->out = *out;
			*out = swap;
			*out_slice = task->slice;
			rc = 1;
			break;
		}
		if (p->head < p->next && task->done)
			p->head++;
		else if (p->head == p->next && p->slice == p->n)
			break;
		else
			pthread_cond_wait(&p->changed, &p->lock);
	}
	if (p->stop) {
		*err = p->err;
		rc = -1;
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static int start(struct bak_os *os, struct pages *p, struct lane *lanes, size_t n,
		 struct bak_error *err)
{
	for (size_t i = 0; i < n; i++) {
		lanes[i].pages = p;
		if (bak_http_again(os->http, &lanes[i].http, err) < 0)
			return -1;
		bak_http_is_known(lanes[i].http);
		if (pthread_create(&lanes[i].thread, NULL, work, &lanes[i]) != 0)
			return bak_error_set(err, BAK_NO_MEMORY, "no thread to be had");
		lanes[i].runs = true;
	}
	return 0;
}

static void end(struct pages *p, struct lane *lanes, size_t n)
{
	const struct bak_error none = BAK_ERROR_INIT;

	fail(p, &none);
	for (size_t i = 0; i < n; i++) {
		if (lanes[i].runs)
			pthread_join(lanes[i].thread, NULL);
		bak_http_close(lanes[i].http);
	}
	for (size_t i = 0; i < RING; i++)
		bak_buf_release(&p->ring[i].out);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
}

int bak_os_pages_read(struct bak_os *os, struct bak_os_slice *slices, size_t n,
		      bak_os_take_slice *take, void *ctx, struct bak_error *err)
{
	uint64_t wanted = bak_store_get_number(os->conf, "connections");
	size_t n_lanes = wanted < 1 ? 1 : wanted > LANES_MAX ? LANES_MAX : (size_t)wanted;
	struct lane lanes[LANES_MAX] = {{.pages = NULL}};
	BAK_AUTO(bak_free_ptr) struct pages *p = calloc(1, sizeof *p);
	BAK_AUTO(bak_buf_release) struct bak_buf bytes = BAK_BUF_INIT;
	size_t slice = 0;

	if (!p)
		return bak_error_nomem(err);
	p->slices = slices;
	p->n = n;
	skip_done(p);
	p->ahead = 2 * n_lanes;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	int rc = start(os, p, lanes, n_lanes, err);

	while (rc == 0 && (rc = next_bytes(p, &slice, &bytes, err)) > 0) {
		rc = bak_store_check_cancelled(os->env, err);
		if (rc == 0)
			rc = take(ctx, slice, bytes.p, bytes.len, err);
	}
	end(p, lanes, n_lanes);
	return rc;
}
