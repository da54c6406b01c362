/* One exchange with an HTTP server: the request as libcurl wants it, its answer taken, and what it
 * refuses made into a sentence. See http.h. */
#include "stores/http_private.h"

#include "engine/base/hash.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_MAX ((size_t)64 << 20)
#define WORDS_MAX ((size_t)64 << 10) /* of a refusal */

/* One exchange under way. */
struct transfer {
	struct bak_http *http;
	struct bak_http_exchange *x;
	struct curl_slist *headers;
	curl_mime *form;
	/* The piece of the stream that is being sent. */
	const uint8_t *piece;
	size_t piece_len;
	bool failed; /* take or give did: err tells */
	struct bak_error err;
	char words[CURL_ERROR_SIZE]; /* libcurl's own */
};

static int fail(struct transfer *t)
{
	t->failed = true;
	return -1;
}

/* --- the answer --- */

static bool is_success(long status)
{
	return status >= 200 && status < 300;
}

static int gather(struct transfer *t, const void *p, size_t len)
{
	struct bak_buf *body = &t->x->body;

	if (!is_success(t->x->status)) {
		size_t room = WORDS_MAX - body->len;

		len = len < room ? len : room;
	} else if (len > ANSWER_MAX - body->len) {
		bak_error_set(&t->err, BAK_UNSUPPORTED, "an answer of more than %zu MiB",
			      ANSWER_MAX >> 20);
		return fail(t);
	}
	if (bak_buf_append(body, p, len) < 0) {
		bak_error_nomem(&t->err);
		return fail(t);
	}
	return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	const struct bak_http_request *request = t->x->request;
	size_t len = size * n;

	curl_easy_getinfo(t->http->curl, CURLINFO_RESPONSE_CODE, &t->x->status);
	if (!request->take || !is_success(t->x->status))
		return gather(t, p, len) < 0 ? 0 : len;
	if (request->take(request->take_ctx, p, len, &t->err) < 0) {
		fail(t);
		return 0;
	}
	t->x->taken += len;
	return len;
}

/* --- the request --- */

static size_t on_send(char *p, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	const struct bak_http_request *request = t->x->request;
	size_t len = size * n;

	if (t->piece_len == 0) {
		const void *piece;
		int rc = request->give(request->give_ctx, &piece, &t->piece_len, &t->err);

		if (rc < 0) {
			fail(t);
			return CURL_READFUNC_ABORT;
		}
		if (rc == 0)
			return 0;
		t->piece = piece;
	}
	if (len > t->piece_len)
		len = t->piece_len;
	memcpy(p, t->piece, len);
	t->piece += len;
	t->piece_len -= len;
	return len;
}

static int on_progress(void *ctx, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
		       curl_off_t up)
{
	const struct transfer *t = ctx;
	const struct bak_store_env *env = t->http->env;

	(void)down_all, (void)down, (void)up_all, (void)up;
	return env->cancelled && env->cancelled(env->ctx);
}

static int add_header(struct transfer *t, const char *name, const char *value)
{
	BAK_AUTO(bak_buf_release) struct bak_buf line = BAK_BUF_INIT;
	struct curl_slist *longer;

	if (bak_buf_printf(&line, "%s: %s", name, value) < 0)
		return bak_error_nomem(&t->err);
	longer = curl_slist_append(t->headers, (const char *)line.p);
	bak_wipe(line.p, line.len);
	if (!longer)
		return bak_error_nomem(&t->err);
	t->headers = longer;
	return 0;
}

static int add_secret(struct transfer *t)
{
	const struct bak_http *http = t->http;
	const char *user = bak_store_get(http->conf, "user");
	BAK_AUTO(bak_buf_release) struct bak_buf bearer = BAK_BUF_INIT;
	int rc;

	if (user) {
		curl_easy_setopt(http->curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(http->curl, CURLOPT_USERNAME, user);
		curl_easy_setopt(http->curl, CURLOPT_PASSWORD, http->secret ? http->secret : "");
		return 0;
	}
	if (!http->secret)
		return 0;
	if (http->server->secret_header)
		return add_header(t, http->server->secret_header, http->secret);
	if (bak_buf_printf(&bearer, "Bearer %s", http->secret) < 0)
		return bak_error_nomem(&t->err);
	rc = add_header(t, "Authorization", (const char *)bearer.p);
	bak_wipe(bearer.p, bearer.len);
	return rc;
}

static int add_headers(struct transfer *t)
{
	const struct bak_http_request *request = t->x->request;
	const char *type = request->content_type ? request->content_type : "application/json";
	bool has_body = request->body || request->give;

	if (add_header(t, "Accept", request->accept ? request->accept : "application/json") < 0 ||
	    add_secret(t) < 0)
		return -1;
	if (has_body && !request->form_field && add_header(t, "Content-Type", type) < 0)
		return -1;
	/* Waiting a second for "100 Continue" from servers that never say it gains nothing. */
	if (has_body && add_header(t, "Expect", "") < 0)
		return -1;
	if (t->x->etag && add_header(t, "If-Range", t->x->etag) < 0)
		return -1;
	for (size_t i = 0; request->headers && request->headers[i]; i++) {
		struct curl_slist *longer = curl_slist_append(t->headers, request->headers[i]);

		if (!longer)
			return bak_error_nomem(&t->err);
		t->headers = longer;
	}
	curl_easy_setopt(t->http->curl, CURLOPT_HTTPHEADER, t->headers);
	return 0;
}

static int set_form(struct transfer *t)
{
	const struct bak_http_request *request = t->x->request;
	curl_mimepart *part;

	t->form = curl_mime_init(t->http->curl);
	part = t->form ? curl_mime_addpart(t->form) : NULL;
	if (!part || curl_mime_name(part, request->form_field) != CURLE_OK ||
	    curl_mime_filename(part, request->form_file) != CURLE_OK ||
	    curl_mime_type(part, "application/octet-stream") != CURLE_OK ||
	    curl_mime_data_cb(part, (curl_off_t)request->give_len, on_send, NULL, NULL, t) !=
		    CURLE_OK)
		return bak_error_nomem(&t->err);
	curl_easy_setopt(t->http->curl, CURLOPT_MIMEPOST, t->form);
	return 0;
}

static int set_body(struct transfer *t)
{
	const struct bak_http_request *request = t->x->request;
	CURL *curl = t->http->curl;

	if (request->give && request->form_field)
		return set_form(t);
	if (request->give) {
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_send);
		curl_easy_setopt(curl, CURLOPT_READDATA, t);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->give_len);
	} else if (request->body) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
	}
	return 0;
}

static void set_method(struct transfer *t)
{
	const char *method = t->x->request->method;

	if (!method)
		return;
	if (strcmp(method, "HEAD") == 0)
		curl_easy_setopt(t->http->curl, CURLOPT_NOBODY, 1L);
	else
		curl_easy_setopt(t->http->curl, CURLOPT_CUSTOMREQUEST, method);
}

static void set_limits(struct transfer *t)
{
	const struct bak_http_request *request = t->x->request;
	CURL *curl = t->http->curl;
	uint64_t limit = request->timeout_ms;

	if (!limit && !request->give && !request->take)
		limit = t->http->timeout_ms;
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)limit);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)t->http->timeout_ms);
	if (request->take && !request->give) {
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME,
				 (long)(t->http->timeout_ms + 999) / 1000);
	}
}

static void set_tls(struct transfer *t)
{
	const char *ca = bak_store_get(t->http->conf, "tls_ca");
	const char *pin = bak_store_get(t->http->conf, "tls_pin");
	CURL *curl = t->http->curl;

	if (ca)
		curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
	if (!pin)
		return;
	curl_easy_setopt(curl, CURLOPT_PINNEDPUBLICKEY, pin);
	if (!ca) {
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}

static int set_up(struct transfer *t)
{
	CURL *curl = t->http->curl;
	BAK_AUTO(bak_buf_release) struct bak_buf url = BAK_BUF_INIT;

	if (bak_buf_printf(&url, "%s%s", t->http->url, t->x->request->path) < 0)
		return bak_error_nomem(&t->err);
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, t->words);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(curl, CURLOPT_MAXCONNECTS, 1L);
	curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT,
			 bak_http_is_harmless(t->x->request) ? 0L : 1L);
	curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
	curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->x->offset);
	if (curl_easy_setopt(curl, CURLOPT_URL, (const char *)url.p) != CURLE_OK)
		return bak_error_nomem(&t->err);
	set_tls(t);
	set_limits(t);
	if (set_body(t) < 0 || add_headers(t) < 0)
		return -1;
	set_method(t);
	return 0;
}

/* --- what went wrong --- */

/* One line without control characters, at most len - 1 bytes of it. */
static void one_line(char *text, size_t len)
{
	text[len - 1] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	for (char *c = text; *c; c++) {
		if (iscntrl((unsigned char)*c))
			*c = ' ';
	}
}

static void server_words(const struct transfer *t, char *out, size_t out_len)
{
	const struct bak_buf *body = &t->x->body;
	json_t *json = body->len ? json_loadb((const char *)body->p, body->len, 0, NULL) : NULL;
	size_t len = body->len < out_len - 1 ? body->len : out_len - 1;

	*out = '\0';
	if (json && t->http->server->words)
		t->http->server->words(json, out, out_len);
	json_decref(json);
	if (!*out && len > 0) {
		memcpy(out, body->p, len);
		out[len] = '\0';
	}
	one_line(out, out_len);
}

static enum bak_errc code_of_status(long status)
{
	switch (status) {
	case 400:
	case 413:
	case 422:
		return BAK_USAGE;
	case 401:
	case 403:
		return BAK_REFUSED;
	case 404:
		return BAK_NOT_FOUND;
	case 409:
		return BAK_EXISTS;
	case 429:
	case 502:
	case 503:
	case 504:
		return BAK_UNAVAILABLE;
	case 507:
		return BAK_NO_SPACE;
	default:
		return BAK_IO;
	}
}

/* What a status means for the person who reads it, NULL: nothing that the words do not say. */
static const char *advice(const struct transfer *t, long status)
{
	if (status == 401)
		return t->http->secret || bak_store_get(t->http->conf, "user")
			       ? "it does not accept the user or password"
			       : "it asks for a password: set password_file";
	if (status == 403)
		return "it does not allow this";
	if (status == 429)
		return "it has too much to do";
	if (status >= 300 && status < 400)
		return "it sends us elsewhere: set url to where it answers";
	return NULL;
}

static int refused(struct transfer *t)
{
	const struct bak_http_request *request = t->x->request;
	const char *meaning = advice(t, t->x->status);
	char words[256];

	server_words(t, words, sizeof words);
	/* The query would fill the line. */
	return bak_error_set(
		&t->err, code_of_status(t->x->status), "%s at %s, %s %.*s: %s%sstatus %ld%s%s",
		t->http->server->name, t->http->url, request->method ? request->method : "GET",
		(int)strcspn(request->path, "?"), request->path, meaning ? meaning : "",
		meaning ? ", " : "", t->x->status, *words ? ": " : "", words);
}

static int broken(struct transfer *t, CURLcode rc)
{
	const char *name = t->http->server->name, *url = t->http->url;
	const char *words = *t->words ? t->words : curl_easy_strerror(rc);

	t->x->lost = true;
	switch (rc) {
	case CURLE_ABORTED_BY_CALLBACK:
		t->x->lost = false;
		return bak_error_set(&t->err, BAK_CANCELLED, "cancelled");
	case CURLE_OUT_OF_MEMORY:
		t->x->lost = false;
		return bak_error_nomem(&t->err);
	case CURLE_RANGE_ERROR:
		t->x->lost = false;
		return bak_error_set(&t->err, BAK_UNAVAILABLE,
				     "%s at %s cannot go on where the connection was cut", name,
				     url);
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		t->x->lost = false;
		return bak_error_set(&t->err, BAK_USAGE, "url %s: %s", url, words);
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		return bak_error_set(&t->err, BAK_UNAVAILABLE, "%s does not answer at %s: %s", name,
				     url, words);
	case CURLE_OPERATION_TIMEDOUT:
		return bak_error_set(&t->err, BAK_UNAVAILABLE, "%s at %s is too slow: %s", name,
				     url, words);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_CACERT_BADFILE:
		t->x->lost = false;
		return bak_error_set(&t->err, BAK_REFUSED, "%s at %s is not trusted: %s", name, url,
				     words);
	default:
		return bak_error_set(&t->err, BAK_UNAVAILABLE, "connection to %s at %s lost: %s",
				     name, url, words);
	}
}

/* --- all of it --- */

/* libcurl writes with SIGPIPE raised where TLS is spoken; a lost connection is an error, no end. */
static CURLcode perform(CURL *curl)
{
	sigset_t pipe_only, before, pending;
	CURLcode rc;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	rc = curl_easy_perform(curl);
	if (!sigismember(&before, SIGPIPE) && sigpending(&pending) == 0 &&
	    sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe_only, NULL, &(struct timespec){.tv_sec = 0});
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void note_headers(struct transfer *t)
{
	CURL *curl = t->http->curl;
	struct curl_header *etag;
	curl_off_t n;

	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &t->x->status);
	if (curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &n) == CURLE_OK && n >= 0)
		t->x->length = (uint64_t)n;
	if (curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &n) == CURLE_OK)
		t->x->retry_after = n;
	if (curl_easy_header(curl, "ETag", 0, CURLH_HEADER, -1, &etag) == CURLHE_OK &&
	    strlen(etag->value) < sizeof t->x->new_etag)
		memcpy(t->x->new_etag, etag->value, strlen(etag->value) + 1);
}

static void tear_down(struct transfer *t)
{
	curl_easy_setopt(t->http->curl, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(t->http->curl, CURLOPT_MIMEPOST, NULL);
	curl_easy_setopt(t->http->curl, CURLOPT_ERRORBUFFER, NULL);
	for (struct curl_slist *h = t->headers; h; h = h->next)
		bak_wipe(h->data, strlen(h->data));
	curl_slist_free_all(t->headers);
	curl_mime_free(t->form);
}

int bak_http_exchange(struct bak_http *http, struct bak_http_exchange *x, struct bak_error *err)
{
	struct transfer t = {.http = http, .x = x};
	int rc = set_up(&t);

	x->length = UINT64_MAX;
	if (rc == 0) {
		CURLcode code = perform(http->curl);

		note_headers(&t);
		if (t.failed)
			rc = -1;
		else if (code != CURLE_OK)
			rc = broken(&t, code);
		else if (!is_success(x->status))
			rc = refused(&t);
	}
	tear_down(&t);
	http->reached = http->reached || x->status > 0;
	if (rc < 0)
		*err = t.err;
	return rc;
}
