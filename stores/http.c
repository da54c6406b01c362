/* A store's handle to its HTTP server, and requests as drivers want them: sent again where that
 * does no harm, as JSON, as whole files. See http.h. */
#include "stores/http.h"

#include "engine/base/hash.h"
#include "stores/http_private.h"
#include "stores/password.h"

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 6, FIRST_PAUSE_MS = 100, PAUSE_MAX_MS = 30000, SLICE_MS = 50 };
enum { FIRST_WAIT_MS = 20, WAIT_MAX_MS = 2000 };

/* --- the handle --- */

static int check_url(const char *url, struct bak_error *err)
{
	const char *host = strstr(url, "://");
	size_t scheme = host ? (size_t)(host - url) : 0;

	if (!(scheme == 4 && strncmp(url, "http", 4) == 0) &&
	    !(scheme == 5 && strncmp(url, "https", 5) == 0))
		return bak_error_set(err, BAK_USAGE,
				     "url %s: begins neither with http:// nor with "
				     "https://",
				     url);
	host += 3;
	if (memchr(host, '@', strcspn(host, "/")))
		return bak_error_set(err, BAK_USAGE,
				     "url: user and password belong into options of their own");
	if (host[strcspn(host, "?#")])
		return bak_error_set(err, BAK_USAGE, "url %s: ends behind the path", url);
	return 0;
}

static int make(const struct bak_http *like, const char *secret, struct bak_http **out,
		struct bak_error *err)
{
	const char *url = bak_store_get(like->conf, "url");
	struct bak_http *http = calloc(1, sizeof *http);
	size_t len = strlen(url);

	if (!http)
		return bak_error_nomem(err);
	http->conf = like->conf;
	http->env = like->env;
	http->server = like->server;
	http->timeout_ms = bak_store_get_duration_ms(like->conf, "timeout");
	while (len > 0 && url[len - 1] == '/')
		len--;
	http->url = strndup(url, len);
	http->secret = secret ? strdup(secret) : NULL;
	http->curl = curl_easy_init();
	if (!http->url || (secret && !http->secret) || !http->curl) {
		bak_http_close(http);
		return bak_error_nomem(err);
	}
	*out = http;
	return 0;
}

int bak_http_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
		  const struct bak_http_server *server, struct bak_http **out,
		  struct bak_error *err)
{
	const struct bak_http like = {.conf = conf, .env = env, .server = server};
	BAK_AUTO(bak_store_password_free) char *secret = NULL;

	if (check_url(bak_store_get(conf, "url"), err) < 0 ||
	    bak_store_password(conf, env, &secret, err) < 0)
		return -1;
	return make(&like, secret, out, err);
}

int bak_http_again(const struct bak_http *http, struct bak_http **out, struct bak_error *err)
{
	return make(http, http->secret, out, err);
}

int bak_http_beside(const struct bak_http *http, const struct bak_store_env *env,
		    struct bak_http **out, struct bak_error *err)
{
	if (bak_http_again(http, out, err) < 0)
		return -1;
	(*out)->env = env;
	return 0;
}

void bak_http_is_known(struct bak_http *http)
{
	http->reached = true;
}

int bak_http_undoing(const struct bak_http *http, struct bak_http **out, struct bak_error *err)
{
	static const struct bak_store_env nobody = {.ctx = NULL};

	if (bak_http_beside(http, &nobody, out, err) < 0)
		return -1;
	(*out)->reached = http->reached;
	return 0;
}

void bak_http_close(struct bak_http *http)
{
	if (!http)
		return;
	curl_easy_cleanup(http->curl);
	bak_store_password_free(&http->secret);
	free(http->url);
	free(http);
}

const char *bak_http_url(const struct bak_http *http)
{
	return http->url;
}

/* --- paths --- */

static int append_escaped(struct bak_buf *out, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~";

	for (; *text; text++) {
		int rc = strchr(plain, *text)
				 ? bak_buf_append(out, text, 1)
				 : bak_buf_printf(out, "%%%02X", (unsigned)(unsigned char)*text);

		if (rc < 0)
			return -1;
	}
	return 0;
}

char *bak_http_path(const char *fmt, ...)
{
	struct bak_buf out = BAK_BUF_INIT;
	int rc = 0;
	va_list args;

	va_start(args, fmt);
	while (*fmt && rc == 0) {
		size_t plain = strcspn(fmt, "%");

		rc = bak_buf_append(&out, fmt, plain);
		fmt += plain;
		if (rc == 0 && *fmt) {
			rc = append_escaped(&out, va_arg(args, const char *));
			fmt += 2; /* "%s" */
		}
	}
	va_end(args);
	if (rc == 0)
		rc = bak_buf_append(&out, "", 1);
	if (rc < 0) {
		bak_buf_release(&out);
		return NULL;
	}
	return (char *)out.p;
}

/* --- pauses --- */

/* In slices, so that who wants to stop is heard. */
static int pause_for(const struct bak_http *http, uint64_t ms, struct bak_error *err)
{
	while (ms > 0) {
		int slice = ms < SLICE_MS ? (int)ms : SLICE_MS;

		if (bak_store_check_cancelled(http->env, err) < 0)
			return -1;
		poll(NULL, 0, slice);
		ms -= (uint64_t)slice;
	}
	return bak_store_check_cancelled(http->env, err);
}

int bak_http_wait(struct bak_http *http, unsigned *round, struct bak_error *err)
{
	uint64_t ms = *round < 7 ? (uint64_t)FIRST_WAIT_MS << *round : WAIT_MAX_MS;

	++*round;
	return pause_for(http, ms < WAIT_MAX_MS ? ms : WAIT_MAX_MS, err);
}

/* --- requests --- */

/* The pauses of a request so far. */
struct patience {
	int tries;
	uint64_t paused_ms;
};

bool bak_http_is_harmless(const struct bak_http_request *request)
{
	if (request->give)
		return false;
	return request->again || !request->method || strcmp(request->method, "GET") == 0 ||
	       strcmp(request->method, "HEAD") == 0;
}

static bool is_passing(const struct bak_http *http, const struct bak_http_exchange *x)
{
	if (x->lost)
		return http->reached;
	return x->status == 429 || x->status == 502 || x->status == 503 || x->status == 504;
}

/* 0: enough of it. */
static uint64_t pause_before(const struct bak_http *http, const struct bak_http_exchange *x,
			     struct patience *p)
{
	uint64_t ms = (uint64_t)FIRST_PAUSE_MS << p->tries;

	if (x->retry_after > 0)
		ms = (uint64_t)x->retry_after * 1000;
	if (ms > PAUSE_MAX_MS)
		ms = PAUSE_MAX_MS;
	p->paused_ms += ms;
	return ++p->tries < TRIES && p->paused_ms <= http->timeout_ms ? ms : 0;
}

int bak_http_send(struct bak_http *http, const struct bak_http_request *request,
		  struct bak_http_answer *answer, struct bak_error *err)
{
	struct patience patience = {.tries = 0};
	struct bak_http_exchange x;
	uint64_t pause;
	int rc;

	for (;;) {
		x = (struct bak_http_exchange){.request = request};
		rc = bak_http_exchange(http, &x, err);
		if (rc == 0 || x.taken > 0 || !bak_http_is_harmless(request) ||
		    !is_passing(http, &x) || !(pause = pause_before(http, &x, &patience)))
			break;
		bak_buf_release(&x.body);
		*err = (struct bak_error)BAK_ERROR_INIT;
		if (pause_for(http, pause, err) < 0)
			return -1;
	}
	if (answer) {
		bak_buf_release(&answer->body);
		*answer = (struct bak_http_answer){.status = x.status, .body = x.body};
	} else {
		bak_buf_release(&x.body);
	}
	return rc;
}

void bak_http_answer_release(struct bak_http_answer *answer)
{
	bak_buf_release(&answer->body);
}

int bak_http_json(struct bak_http *http, const char *method, const char *path, const json_t *body,
		  json_t **out, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	BAK_AUTO(bak_http_answer_release) struct bak_http_answer answer = {.status = 0};
	struct bak_http_request request = {.method = method, .path = path};

	if (body && !text)
		return bak_error_nomem(err);
	if (text) {
		request.body = text;
		request.body_len = strlen(text);
	}
	if (bak_http_send(http, &request, &answer, err) < 0)
		return -1;
	if (!out)
		return 0;
	*out = json_loadb((const char *)answer.body.p, answer.body.len, JSON_DECODE_ANY, NULL);
	if (!*out)
		return bak_error_set(err, BAK_CORRUPT, "%s at %s, %s: its answer is no JSON",
				     http->server->name, http->url, path);
	return 0;
}

/* --- files --- */

int bak_http_download(struct bak_http *http, const char *path, bak_process_take *take, void *ctx,
		      struct bak_error *err)
{
	const struct bak_http_request request = {
		.path = path, .accept = "*/*", .take = take, .take_ctx = ctx};
	char etag[sizeof((struct bak_http_exchange *)0)->new_etag] = "";
	struct patience patience = {.tries = 0};
	uint64_t at = 0, all = UINT64_MAX, pause;

	for (;;) {
		struct bak_http_exchange x = {
			.request = &request, .offset = at, .etag = at ? etag : NULL};
		int rc = bak_http_exchange(http, &x, err);

		bak_buf_release(&x.body);
		if (at == 0)
			memcpy(etag, x.new_etag, sizeof etag);
		if (at == 0 && x.length != UINT64_MAX)
			all = x.length;
		at += x.taken;
		if (x.taken > 0)
			patience = (struct patience){.tries = 0};
		if (rc == 0 && (all == UINT64_MAX || at == all))
			return 0;
		if (rc == 0)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "%s at %s, %s: %llu bytes came instead of %llu",
					     http->server->name, http->url, path,
					     (unsigned long long)at, (unsigned long long)all);
		if (!is_passing(http, &x) || (at > 0 && !*etag) ||
		    !(pause = pause_before(http, &x, &patience)))
			return -1;
		*err = (struct bak_error)BAK_ERROR_INIT;
		if (pause_for(http, pause, err) < 0)
			return -1;
	}
}
