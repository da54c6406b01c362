/* Pages of a collection, fetched by a thread of their own while the one before is worked on: the
 * server takes as long to write a page as we take to read it. See chroma.h. */
#include "stores/chroma/chroma.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Pages of about this many bytes: larger ones win nothing, and three lie in memory. */
#define PAGE_BYTES ((uint64_t)6 << 20)
#define PAGE_ROWS_MAX 2000
#define IDS_ROWS_MAX 50000
/* How long the reader sleeps before it looks whether it shall stop. */
#define LOOK_MS 200

struct bak_chroma_fetch {
	struct bak_chroma_fetch_conf conf;
	struct bak_store_env env;      /* the thread's own: it tells nobody anything */
	struct bak_store_conf address; /* of a server that is not the configured one */
	struct bak_store_pair url;
	struct bak_http *http;
	char *path;
	pthread_t thread;
	bool started;
	atomic_bool stop;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	bool full, ended; /* body waits to be taken; nothing follows it */
	struct bak_buf body;
	struct bak_error err; /* ended with it */

	/* The reader's. */
	struct bak_buf taken;
	struct bak_chroma_page page;
};

static int is_stopped(void *ctx)
{
	struct bak_chroma_fetch *f = ctx;

	return atomic_load(&f->stop);
}

/* --- the thread --- */

static uint64_t first_limit(const struct bak_chroma_fetch *f)
{
	json_int_t dim = json_integer_value(
		json_object_get(f->conf.collection->about, "dimension"));
	/* A float is written with eleven bytes or so. */
	uint64_t row = (dim > 0 && dim < 1000000 ? (uint64_t)dim * 12 : 12000) + 4000;

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

static int ask(struct bak_chroma_fetch *f, uint64_t at, uint64_t limit, struct bak_buf *out,
	       struct bak_error *err)
{
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
	int rc = bak_http_send(f->http, &request, &answer, err);

	if (rc == 0) {
		bak_buf_release(out);
		*out = answer.body;
		answer.body = (struct bak_buf)BAK_BUF_INIT;
	}
	bak_http_answer_release(&answer);
	return rc;
}

/* A page, with fewer rows if it would be too large to be taken. */
static int ask_less(struct bak_chroma_fetch *f, uint64_t at, uint64_t *limit, struct bak_buf *out,
		    struct bak_error *err)
{
	for (;;) {
		if (ask(f, at, *limit, out, err) == 0)
			return 0;
		if (err->code != BAK_UNSUPPORTED || *limit == 1)
			return -1;
		*limit = *limit / 4 ? *limit / 4 : 1;
	}
}

/* Waits until the page before was taken. */
static bool hand_over(struct bak_chroma_fetch *f, struct bak_buf *body)
{
	bool stopped;

	pthread_mutex_lock(&f->lock);
	while (f->full && !atomic_load(&f->stop))
		pthread_cond_wait(&f->changed, &f->lock);
	stopped = atomic_load(&f->stop);
	if (!stopped) {
		struct bak_buf spare = f->body;

		f->body = *body;
		*body = spare;
		f->full = true;
		pthread_cond_broadcast(&f->changed);
	}
	pthread_mutex_unlock(&f->lock);
	return !stopped;
}

static void *run(void *ctx)
{
	struct bak_chroma_fetch *f = ctx;
	BAK_AUTO(bak_buf_release) struct bak_buf body = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	uint64_t limit = first_limit(f);

	for (uint64_t at = 0, asked; at < f->conf.rows; at += asked) {
		uint64_t bytes;

		asked = limit < f->conf.rows - at ? limit : f->conf.rows - at;
		if (ask_less(f, at, &asked, &body, &err) < 0)
			break;
		bytes = body.len;
		if (!hand_over(f, &body))
			break;
		limit = next_limit(f, asked, bytes);
	}
	pthread_mutex_lock(&f->lock);
	f->err = err;
	f->ended = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* --- who reads --- */

static int connect_reader(struct bak_chroma_fetch *f, struct bak_error *err)
{
	const struct bak_store_conf *conf = f->conf.chroma->conf;

	if (f->conf.url) {
		f->url = (struct bak_store_pair){.key = (char *)(uintptr_t) "url",
						 .value = (char *)(uintptr_t)f->conf.url};
		f->address = (struct bak_store_conf){
			.name = conf->name, .driver = conf->driver, .n = 1, .pairs = &f->url};
		conf = &f->address;
	}
	if (bak_http_open(conf, &f->env, &bak_chroma_server, &f->http, err) < 0)
		return -1;
	bak_http_is_known(f->http);
	return 0;
}

static int start(struct bak_chroma_fetch *f, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *behind = bak_http_path("/%s/get", f->conf.collection->id);
	pthread_condattr_t attr;

	f->path = behind ? bak_chroma_path(f->conf.collection, behind) : NULL;
	if (!f->path)
		return bak_error_nomem(err);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&f->thread, NULL, run, f) == 0) {
		f->started = true;
		return 0;
	}
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	return bak_error_nomem(err);
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
	if (connect_reader(f, err) < 0 || start(f, err) < 0) {
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

/* 1 taken, 0 the end, -1. */
static int take_body(struct bak_chroma_fetch *f, struct bak_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	while (!f->full && !f->ended && rc == 0) {
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
	} else if (rc == 0 && f->err.code != BAK_OK) {
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

void bak_chroma_fetch_free(struct bak_chroma_fetch *f)
{
	if (!f)
		return;
	if (f->started) {
		pthread_mutex_lock(&f->lock);
		atomic_store(&f->stop, true);
		pthread_cond_broadcast(&f->changed);
		pthread_mutex_unlock(&f->lock);
		pthread_join(f->thread, NULL);
		pthread_cond_destroy(&f->changed);
		pthread_mutex_destroy(&f->lock);
	}
	bak_http_close(f->http);
	bak_chroma_page_release(&f->page);
	bak_buf_release(&f->taken);
	bak_buf_release(&f->body);
	free(f->path);
	free(f);
}
