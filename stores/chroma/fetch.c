/* Pages of a collection, fetched by threads of their own while the one before is worked on: the
 * server takes longer to write a page than we take to read it, and it writes two at a time. They are
 * handed over in order. See chroma.h. */
#include "stores/chroma/chroma.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Pages of about this many bytes: four lie in memory, and with smaller ones the server spends more
 * on finding where they begin. */
#define PAGE_BYTES ((uint64_t)3 << 20)
#define PAGE_ROWS_MAX 2000
#define IDS_ROWS_MAX 50000
#define WORKERS 2
/* How long the reader sleeps before it looks whether it shall stop. */
#define LOOK_MS 200

struct bak_chroma_fetch {
	struct bak_chroma_fetch_conf conf;
	struct bak_store_env env;      /* the threads' own: it tells nobody anything */
	struct bak_store_conf address; /* of a server that is not the configured one */
	struct bak_store_pair url;
	char *path;
	struct worker {
		struct bak_chroma_fetch *fetch;
		struct bak_http *http;
		pthread_t thread;
		bool started;
	} workers[WORKERS];
	bool has_lock;
	atomic_bool stop;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	uint64_t at, limit;    /* where the next page begins, how many rows it has */
	uint64_t claims, turn; /* pages given out; which of them is to be handed over */
	bool full;             /* body waits to be taken */
	struct bak_buf body;
	bool failed;
	struct bak_error err;

	/* The reader's. */
	struct bak_buf taken;
	struct bak_chroma_page page;
};

static int is_stopped(void *ctx)
{
	struct bak_chroma_fetch *f = ctx;

	return atomic_load(&f->stop);
}

/* --- the threads --- */

static uint64_t first_limit(const struct bak_chroma_fetch *f)
{
	json_int_t dim = json_integer_value(
		json_object_get(f->conf.collection->about, "dimension"));
	/* A float is written with eleven bytes or so. */
	uint64_t row = (dim > 0 && dim < 1000000 ? (uint64_t)dim * 12 : 12000) + 1500;

	if (f->conf.ids_only)
		return IDS_ROWS_MAX;
	return PAGE_BYTES / row ? PAGE_BYTES / row : 1;
}

static uint64_t next_limit(const struct bak_chroma_fetch *f, uint64_t limit, uint64_t bytes)
{
	uint64_t row = bytes / limit + 1, most = PAGE_BYTES / row;

	if (f->conf.ids_only)
		return limit;
	if (most > PAGE_ROWS_MAX)
		most = PAGE_ROWS_MAX;
	return most ? most : 1;
}

static int ask(struct worker *w, uint64_t at, uint64_t limit, struct bak_buf *out,
	       struct bak_error *err)
{
	const struct bak_chroma_fetch *f = w->fetch;
	struct bak_http_answer answer = {.status = 0};
	char body[256];
	int n = snprintf(
		body, sizeof body,
		"{\"limit\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"include\":[%s]}", limit, at,
		f->conf.ids_only ? "" : "\"embeddings\",\"documents\",\"metadatas\",\"uris\"");
	const struct bak_http_request request = {.method = "POST",
						 .path = f->path,
						 .body = body,
						 .body_len = (size_t)n,
						 .again = true};
	int rc = bak_http_send(w->http, &request, &answer, err);

	if (rc == 0) {
		bak_buf_release(out);
		*out = answer.body;
		answer.body = (struct bak_buf)BAK_BUF_INIT;
	}
	bak_http_answer_release(&answer);
	return rc;
}

/* A page, with fewer rows if it would be too large to be taken. */
static int ask_less(struct worker *w, uint64_t at, uint64_t *limit, struct bak_buf *out,
		    struct bak_error *err)
{
	for (;;) {
		if (ask(w, at, *limit, out, err) == 0)
			return 0;
		if (err->code != BAK_UNSUPPORTED || *limit == 1)
			return -1;
		*limit = *limit / 4 ? *limit / 4 : 1;
	}
}

/* The next rows that nobody asks for yet. */
static bool claim(struct bak_chroma_fetch *f, uint64_t *out_at, uint64_t *out_end,
		  uint64_t *out_turn)
{
	bool more;

	pthread_mutex_lock(&f->lock);
	more = !atomic_load(&f->stop) && !f->failed && f->at < f->conf.rows;
	if (more) {
		*out_at = f->at;
		f->at += f->limit < f->conf.rows - f->at ? f->limit : f->conf.rows - f->at;
		*out_end = f->at;
		*out_turn = f->claims++;
	}
	pthread_mutex_unlock(&f->lock);
	return more;
}

/* Until all pages before were taken. With the lock. */
static bool wait_turn(struct bak_chroma_fetch *f, uint64_t turn)
{
	while ((f->turn != turn || f->full) && !f->failed && !atomic_load(&f->stop))
		pthread_cond_wait(&f->changed, &f->lock);
	return !f->failed && !atomic_load(&f->stop);
}

/* asked: rows of the page; last: of what was claimed. */
static bool hand_over(struct bak_chroma_fetch *f, uint64_t turn, struct bak_buf *body,
		      uint64_t asked, bool last)
{
	bool mine;

	pthread_mutex_lock(&f->lock);
	mine = wait_turn(f, turn);
	if (mine) {
		struct bak_buf spare = f->body;

		f->limit = next_limit(f, asked, body->len);
		f->body = *body;
		*body = spare;
		f->full = true;
		f->turn += last;
		pthread_cond_broadcast(&f->changed);
	}
	pthread_mutex_unlock(&f->lock);
	return mine;
}

static void fail(struct bak_chroma_fetch *f, uint64_t turn, const struct bak_error *err)
{
	pthread_mutex_lock(&f->lock);
	if (wait_turn(f, turn)) {
		f->failed = true;
		f->err = *err;
		pthread_cond_broadcast(&f->changed);
	}
	pthread_mutex_unlock(&f->lock);
}

static void *run(void *ctx)
{
	struct worker *w = ctx;
	struct bak_chroma_fetch *f = w->fetch;
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t at, end, turn;

	while (claim(f, &at, &end, &turn)) {
		for (uint64_t asked; at < end; at += asked) {
			asked = end - at;
			if (ask_less(w, at, &asked, &body, &err) < 0) {
				fail(f, turn, &err);
				return NULL;
			}
			if (!hand_over(f, turn, &body, asked, at + asked == end))
				return NULL;
		}
	}
	return NULL;
}

/* --- who reads --- */

static int connect_to(struct bak_chroma_fetch *f, struct bak_http **out, struct bak_error *err)
{
	const struct bak_store_conf *conf = f->conf.chroma->conf;

	if (!f->conf.url)
		return bak_http_beside(f->conf.chroma->http, &f->env, out, err);
	f->url = (struct bak_store_pair){.key = (char *)(uintptr_t) "url",
					 .value = (char *)(uintptr_t)f->conf.url};
	f->address = (struct bak_store_conf){
		.name = conf->name, .driver = conf->driver, .n = 1, .pairs = &f->url};
	return bak_http_open(&f->address, &f->env, &bak_chroma_server, out, err);
}

static int start_worker(struct bak_chroma_fetch *f, struct worker *w, struct bak_error *err)
{
	w->fetch = f;
	if (connect_to(f, &w->http, err) < 0)
		return -1;
	bak_http_is_known(w->http);
	w->started = pthread_create(&w->thread, NULL, run, w) == 0;
	return w->started ? 0 : bak_error_nomem(err);
}

/* A second thread only where there is more than one page. */
static int start(struct bak_chroma_fetch *f, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s/get", f->conf.collection->id);
	size_t n = f->conf.rows > f->limit ? WORKERS : 1;
	pthread_condattr_t attr;

	f->path = behind ? bak_chroma_path(f->conf.collection, behind) : NULL;
	if (!f->path)
		return bak_error_nomem(err);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, &attr);
	pthread_condattr_destroy(&attr);
	f->has_lock = true;
	for (size_t i = 0; i < n; i++) {
		if (start_worker(f, &f->workers[i], err) < 0)
			return -1;
	}
	return 0;
}

int bak_chroma_fetch_new(const struct bak_chroma_fetch_conf *conf, struct bak_chroma_fetch **out,
			 struct bak_error *err)
{
	struct bak_chroma_fetch *f = calloc(1, sizeof *f);

	if (!f)
		return bak_error_nomem(err);
	f->conf = *conf;
	f->env = (struct bak_store_env){.ctx = f, .cancelled = is_stopped};
	f->err = (struct bak_error)BAK_ERROR_INIT;
	f->limit = first_limit(f);
	if (start(f, err) < 0) {
		bak_chroma_fetch_free(f);
		return -1;
	}
	*out = f;
	return 0;
}

static void wait_a_while(struct bak_chroma_fetch *f)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&f->changed, &f->lock, &until);
}

/* Nothing more will come. With the lock. */
static bool has_ended(const struct bak_chroma_fetch *f)
{
	return f->failed || (f->at == f->conf.rows && f->turn == f->claims);
}

/* 1 taken, 0 the end, -1. */
static int take_body(struct bak_chroma_fetch *f, struct bak_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	while (!f->full && !has_ended(f) && rc == 0) {
		wait_a_while(f);
		rc = bak_store_check_cancelled(f->conf.chroma->env, err);
	}
	if (rc == 0 && f->full) {
		struct bak_buf spare = f->taken;

		f->taken = f->body;
		f->body = spare;
		f->full = false;
		pthread_cond_broadcast(&f->changed);
		rc = 1;
	} else if (rc == 0 && f->failed) {
		*err = f->err;
		rc = -1;
	}
	pthread_mutex_unlock(&f->lock);
	return rc;
}

int bak_chroma_fetch_next(struct bak_chroma_fetch *f, const struct bak_chroma_page **out,
			  struct bak_error *err)
{
	int rc;

	bak_chroma_page_release(&f->page);
	rc = take_body(f, err);
	if (rc <= 0)
		return rc;
	if (bak_chroma_page_parse((const char *)f->taken.p, f->taken.len, &f->page, err) < 0)
		return bak_error_wrap(err, "%s", f->conf.collection->name);
	*out = &f->page;
	return 1;
}

static void end_workers(struct bak_chroma_fetch *f)
{
	pthread_mutex_lock(&f->lock);
	atomic_store(&f->stop, true);
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	for (size_t i = 0; i < WORKERS; i++) {
		if (f->workers[i].started)
			pthread_join(f->workers[i].thread, NULL);
		bak_http_close(f->workers[i].http);
	}
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
}

void bak_chroma_fetch_free(struct bak_chroma_fetch *f)
{
	if (!f)
		return;
	if (f->has_lock)
		end_workers(f);
	bak_chroma_page_release(&f->page);
	bak_buf_release(&f->taken);
	bak_buf_release(&f->body);
	free(f->path);
	free(f);
}
