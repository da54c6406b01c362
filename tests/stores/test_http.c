/* Requests over HTTP against a peer that follows a script: what is asked, what is asked again, what
 * a cut connection and each refusal become. */
#include "stores/http.h"

#include "engine/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STEPS_MAX = 10, REQUEST_MAX = 1 << 20 };

/* What the peer says to the n-th request, then closes if told to. */
struct step {
	const char *answer; /* NULL: nothing */
	bool close;
};

struct peer {
	int listener;
	struct step steps[STEPS_MAX];
	size_t n;
	char *requests[STEPS_MAX];
	size_t seen, connections;
	pthread_t thread;
};

struct world {
	struct peer peer;
	struct bak_store_pair pairs[8];
	struct bak_store_conf conf;
	struct bak_store_env env;
	struct bak_http *http;
	char url[64];
	struct bak_buf got;
	uint64_t cancel_after; /* bytes of got; 0: never */
};

/* --- the peer --- */

static size_t body_len_of(const char *head)
{
	const char *field = strstr(head, "Content-Length: ");

	return field ? strtoul(field + strlen("Content-Length: "), NULL, 10) : 0;
}

/* One request, whole; NULL at the connection's end. */
static char *read_request(int fd)
{
	char *text = calloc(1, REQUEST_MAX + 1);
	size_t len = 0;

	for (;;) {
		char *end = strstr(text, "\r\n\r\n");
		ssize_t n;

		if (end && len >= (size_t)(end + 4 - text) + body_len_of(text))
			return text;
		n = read(fd, text + len, REQUEST_MAX - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	free(text);
	return NULL;
}

/* What the step says; whether the connection goes on. */
static bool answer(struct peer *peer, int fd)
{
	const struct step *step;
	char *request = read_request(fd);

	if (!request)
		return false;
	step = &peer->steps[peer->seen];
	peer->requests[peer->seen++] = request;
	if (step->answer && send(fd, step->answer, strlen(step->answer), MSG_NOSIGNAL) !=
				    (ssize_t)strlen(step->answer))
		return false;
	return !step->close;
}

/* Connections in the order in which they ask, as the client keeps some open beside others. */
static void *serve(void *arg)
{
	struct peer *peer = arg;
	struct pollfd fds[1 + STEPS_MAX] = {{.fd = peer->listener, .events = POLLIN}};
	nfds_t n = 1;

	while (peer->seen < peer->n && poll(fds, n, -1) > 0) {
		if (fds[0].revents && n <= STEPS_MAX) {
			fds[n++] = (struct pollfd){accept(peer->listener, NULL, NULL), POLLIN, 0};
			peer->connections++;
		}
		for (nfds_t i = 1; i < n && peer->seen < peer->n; i++) {
			if (!fds[i].revents || answer(peer, fds[i].fd))
				continue;
			close(fds[i].fd);
			fds[i].fd = -1;
		}
	}
	for (nfds_t i = 1; i < n; i++)
		close(fds[i].fd);
	return NULL;
}

static void start(struct world *w, const struct step *steps, size_t n)
{
	memcpy(w->peer.steps, steps, n * sizeof *steps);
	w->peer.n = n;
	assert_int_equal(pthread_create(&w->peer.thread, NULL, serve, &w->peer), 0);
}
#define START(w, ...)                                \
	start(w, (const struct step[]){__VA_ARGS__}, \
	      sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step))

static void finish(struct world *w)
{
	pthread_join(w->peer.thread, NULL);
}

/* --- the world --- */

static int is_cancelled(void *ctx)
{
	const struct world *w = ctx;

	return w->cancel_after && w->got.len >= w->cancel_after;
}

static void set(struct world *w, const char *key, const char *value)
{
	w->pairs[w->conf.n++] = (struct bak_store_pair){strdup(key), strdup(value)};
}

static void words(const json_t *body, char *out, size_t out_len)
{
	const char *text = json_string_value(json_object_get(body, "error"));

	if (text)
		snprintf(out, out_len, "%s", text);
}

static const struct bak_http_server server = {
	.name = "Example", .secret_header = "api-key", .words = words};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof address;

	w->peer.listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(w->peer.listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(w->peer.listener, 8), 0);
	assert_int_equal(getsockname(w->peer.listener, (struct sockaddr *)&address, &len), 0);
	snprintf(w->url, sizeof w->url, "http://127.0.0.1:%d/base/", ntohs(address.sin_port));
	w->conf = (struct bak_store_conf){
		.name = strdup("s"), .driver = strdup("none"), .pairs = w->pairs};
	w->env = (struct bak_store_env){.ctx = w, .cancelled = is_cancelled};
	set(w, "url", w->url);
	set(w, "timeout", "30s");
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	bak_http_close(w->http);
	close(w->peer.listener);
	for (size_t i = 0; i < w->peer.seen; i++)
		free(w->peer.requests[i]);
	for (size_t i = 0; i < w->conf.n; i++) {
		free(w->pairs[i].key);
		free(w->pairs[i].value);
	}
	free(w->conf.name);
	free(w->conf.driver);
	bak_buf_release(&w->got);
	free(w);
	return 0;
}

static void open_http(struct world *w)
{
	struct bak_error err = BAK_ERROR_INIT;

	if (bak_http_open(&w->conf, &w->env, &server, &w->http, &err) < 0)
		fail_msg("%s", err.msg);
}

static int take(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	struct world *w = ctx;

	(void)err;
	return bak_buf_append(&w->got, p, len);
}

/* --- tests --- */

#define OK_JSON "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"a\": true}"
#define BUSY "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"

static void test_json_both_ways(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;
	json_t *body = json_pack("{s:i}", "n", 7), *answer = NULL;

	set(w, "password", "s3cret");
	open_http(w);
	START(w, {.answer = OK_JSON}, {.answer = OK_JSON, .close = true});
	assert_int_equal(bak_http_json(w->http, "PUT", "/x?y=1", body, &answer, &err), 0);
	assert_true(json_is_true(json_object_get(answer, "a")));
	json_decref(answer);
	assert_int_equal(bak_http_json(w->http, "GET", "/again", NULL, NULL, &err), 0);
	finish(w);
	assert_non_null(strstr(w->peer.requests[0], "PUT /base/x?y=1 HTTP/1.1\r\n"));
	assert_non_null(strstr(w->peer.requests[0], "api-key: s3cret\r\n"));
	assert_non_null(strstr(w->peer.requests[0], "Content-Type: application/json\r\n"));
	assert_non_null(strstr(w->peer.requests[0], "\r\n\r\n{\"n\":7}"));
	assert_null(strstr(w->peer.requests[1], "Content-Type"));
	json_decref(body);
}

static void test_basic_when_there_is_a_user(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;

	set(w, "user", "me");
	set(w, "password", "pw");
	open_http(w);
	START(w, {.answer = OK_JSON, .close = true});
	assert_int_equal(bak_http_json(w->http, "GET", "/", NULL, NULL, &err), 0);
	finish(w);
	assert_non_null(strstr(w->peer.requests[0], "Authorization: Basic bWU6cHc=\r\n"));
	assert_null(strstr(w->peer.requests[0], "api-key"));
}

static void test_refusals_become_sentences(void **state)
{
	static const struct {
		const char *answer;
		enum bak_errc code;
		const char *words;
	} cases[] = {
		{"HTTP/1.1 404 No\r\nContent-Length: 20\r\n\r\n{\"error\": \"no such\"}",
		 BAK_NOT_FOUND, "Example at http://127.0.0.1:@/base, GET /x: status 404: no such"},
		{"HTTP/1.1 401 No\r\nContent-Length: 14\r\n\r\nInvalid\nsecond", BAK_REFUSED,
		 "it does not accept the user or password, status 401: Invalid"},
		{"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", BAK_REFUSED,
		 "it does not allow this, status 403"},
		{"HTTP/1.1 409 No\r\nContent-Length: 0\r\n\r\n", BAK_EXISTS, "status 409"},
		{"HTTP/1.1 507 No\r\nContent-Length: 0\r\n\r\n", BAK_NO_SPACE, "status 507"},
		{"HTTP/1.1 302 No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
		 BAK_IO, "it sends us elsewhere"},
		{"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\na\tb\033c", BAK_IO,
		 "status 500: a b c"},
	};
	struct world *w = *state;
	size_t n = sizeof cases / sizeof *cases;
	struct step steps[STEPS_MAX];

	for (size_t i = 0; i < n; i++)
		steps[i] = (struct step){.answer = cases[i].answer};
	set(w, "password", "s3cret");
	open_http(w);
	start(w, steps, n);
	for (size_t i = 0; i < n; i++) {
		struct bak_error err = BAK_ERROR_INIT;
		const char *from = strchr(cases[i].words, '@');
		const char *rest = from ? from + 1 : cases[i].words;

		assert_int_equal(bak_http_json(w->http, "GET", "/x", NULL, NULL, &err), -1);
		assert_int_equal(err.code, cases[i].code);
		if (!strstr(err.msg, rest) || strstr(err.msg, "s3cret"))
			fail_msg("\"%s\" lacks \"%s\", or tells too much", err.msg, rest);
	}
	finish(w);
}

static void test_tries_again_what_does_no_harm(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;

	open_http(w);
	START(w, {.answer = BUSY}, {.answer = "HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"},
	      {.close = true},
	      {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", .close = true},
	      {.answer = OK_JSON}, {.answer = BUSY, .close = true});
	assert_int_equal(bak_http_json(w->http, "GET", "/x", NULL, NULL, &err), 0);
	assert_int_equal(w->peer.seen, 5);
	assert_int_equal(bak_http_json(w->http, "POST", "/x", NULL, NULL, &err), -1);
	assert_int_equal(err.code, BAK_UNAVAILABLE);
	finish(w);
	assert_int_equal(w->peer.seen, 6);
}

/* Who says when to come back is believed, but for what would take too long. */
static void test_tries_no_longer_than_the_timeout(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;

	free(w->pairs[1].value);
	w->pairs[1].value = strdup("10s");
	open_http(w);
	START(w, {.answer = "HTTP/1.1 503 Busy\r\nRetry-After: 11\r\nContent-Length: 0\r\n\r\n"},
	      {.answer = OK_JSON});
	assert_int_equal(bak_http_json(w->http, "GET", "/x", NULL, NULL, &err), -1);
	assert_int_equal(err.code, BAK_UNAVAILABLE);
	assert_int_equal(bak_http_json(w->http, "GET", "/x", NULL, NULL, &err), 0);
	finish(w);
}

/* A connection that was used before is cut without an answer: libcurl would send it once more. */
static void test_what_makes_something_is_sent_once(void **state)
{
	static const char *const methods[] = {"POST", "PUT", "DELETE"};
	struct world *w = *state;

	open_http(w);
	START(w, {.answer = OK_JSON}, {.close = true}, {.answer = OK_JSON}, {.close = true},
	      {.answer = OK_JSON}, {.close = true}, {.answer = OK_JSON}, {.answer = OK_JSON});
	for (size_t i = 0; i < 3; i++) {
		struct bak_error err = BAK_ERROR_INIT;

		assert_int_equal(bak_http_json(w->http, "GET", "/x", NULL, NULL, &err), 0);
		assert_int_equal(bak_http_json(w->http, methods[i], "/x", NULL, NULL, &err), -1);
		assert_int_equal(err.code, BAK_UNAVAILABLE);
		assert_int_equal(w->peer.seen, 2 * i + 2);
	}
	for (size_t i = 0; i < 2; i++) {
		struct bak_error err = BAK_ERROR_INIT;

		assert_int_equal(bak_http_json(w->http, "GET", "/x", NULL, NULL, &err), 0);
	}
	finish(w);
	/* The harmless ones all go by the first. */
	assert_int_equal(w->peer.connections, 4);
}

static void test_nobody_there(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;

	close(w->peer.listener);
	open_http(w);
	assert_int_equal(bak_http_json(w->http, "GET", "/x", NULL, NULL, &err), -1);
	assert_int_equal(err.code, BAK_UNAVAILABLE);
	assert_non_null(strstr(err.msg, "Example does not answer at http://127.0.0.1:"));
}

static void test_download_is_resumed(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;

	open_http(w);
	START(w,
	      {.answer = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\n\r\n0123",
	       .close = true},
	      {.answer = "HTTP/1.1 206 Part\r\nETag: \"e\"\r\nContent-Range: bytes 4-9/10\r\n"
			 "Content-Length: 6\r\n\r\n45",
	       .close = true},
	      {.answer = "HTTP/1.1 206 Part\r\nETag: \"e\"\r\nContent-Range: bytes 6-9/10\r\n"
			 "Content-Length: 4\r\n\r\n6789"});
	if (bak_http_download(w->http, "/f", take, w, &err) < 0)
		fail_msg("%s", err.msg);
	bak_http_close(w->http); /* the peer waits for more on this connection */
	w->http = NULL;
	finish(w);
	assert_int_equal(w->got.len, 10);
	assert_memory_equal(w->got.p, "0123456789", 10);
	assert_non_null(strstr(w->peer.requests[1], "Range: bytes=4-\r\n"));
	assert_non_null(strstr(w->peer.requests[1], "If-Range: \"e\"\r\n"));
	assert_non_null(strstr(w->peer.requests[2], "Range: bytes=6-\r\n"));
}

static void test_download_of_a_changed_file_fails(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;

	open_http(w);
	START(w,
	      {.answer = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\n\r\n0123",
	       .close = true},
	      {.answer = "HTTP/1.1 200 OK\r\nETag: \"f\"\r\nContent-Length: 10\r\n\r\nABCDEFGHIJ",
	       .close = true});
	assert_int_equal(bak_http_download(w->http, "/f", take, w, &err), -1);
	finish(w);
	assert_int_equal(w->got.len, 4);
}

static void test_download_cut_without_etag_fails(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;

	open_http(w);
	START(w, {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123", .close = true});
	assert_int_equal(bak_http_download(w->http, "/f", take, w, &err), -1);
	assert_int_equal(err.code, BAK_UNAVAILABLE);
	finish(w);
}

static void test_cancelled_in_an_answer(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;

	w->cancel_after = 4;
	open_http(w);
	START(w, {.answer = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\n\r\n0123"});
	assert_int_equal(bak_http_download(w->http, "/f", take, w, &err), -1);
	assert_int_equal(err.code, BAK_CANCELLED);
	finish(w);
}

struct stream {
	const char *pieces[3];
	size_t at;
};

static int give(void *ctx, const void **out_p, size_t *out_len, struct bak_error *err)
{
	struct stream *stream = ctx;
	const char *piece = stream->pieces[stream->at];

	(void)err;
	if (!piece)
		return 0;
	stream->at++;
	*out_p = piece;
	*out_len = strlen(piece);
	return 1;
}

static void test_streams_up(void **state)
{
	struct world *w = *state;
	struct bak_error err = BAK_ERROR_INIT;
	struct stream body = {.pieces = {"first ", "second"}},
		      form = {.pieces = {"first ", "second"}};

	open_http(w);
	START(w, {.answer = OK_JSON}, {.answer = OK_JSON}, {.answer = BUSY, .close = true});
	assert_int_equal(bak_http_send(w->http,
				       &(struct bak_http_request){.method = "PUT",
								  .path = "/x",
								  .content_type = "text/plain",
								  .give = give,
								  .give_ctx = &body,
								  .give_len = 12},
				       NULL, &err),
			 0);
	assert_int_equal(bak_http_send(w->http,
				       &(struct bak_http_request){.method = "POST",
								  .path = "/y",
								  .give = give,
								  .give_ctx = &form,
								  .give_len = 12,
								  .form_field = "snapshot",
								  .form_file = "a.tar"},
				       NULL, &err),
			 0);
	body.at = 0;
	assert_int_equal(bak_http_send(w->http,
				       &(struct bak_http_request){.method = "PUT",
								  .path = "/x",
								  .give = give,
								  .give_ctx = &body,
								  .give_len = 12},
				       NULL, &err),
			 -1);
	finish(w);
	assert_non_null(strstr(w->peer.requests[0], "Content-Length: 12\r\n"));
	assert_non_null(strstr(w->peer.requests[0], "Content-Type: text/plain\r\n"));
	assert_non_null(strstr(w->peer.requests[0], "\r\n\r\nfirst second"));
	assert_non_null(strstr(w->peer.requests[1], "name=\"snapshot\"; filename=\"a.tar\""));
	assert_non_null(strstr(w->peer.requests[1], "\r\n\r\nfirst second\r\n--"));
}

static void test_paths_are_escaped(void **state)
{
	BAK_AUTO(bak_free_ptr) char *path = bak_http_path("/c/%s/x?q=%s", "a/b c?", "\xc3\xa4&=%");

	(void)state;
	assert_string_equal(path, "/c/a%2Fb%20c%3F/x?q=%C3%A4%26%3D%25");
}

static void test_urls_that_cannot_be(void **state)
{
	static const char *const urls[] = {"localhost:6333", "ftp://h/", "http://me:pw@h/",
					   "http://h/?x=1"};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
		struct bak_error err = BAK_ERROR_INIT;

		free(w->pairs[0].value);
		w->pairs[0].value = strdup(urls[i]);
		assert_int_equal(bak_http_open(&w->conf, &w->env, &server, &w->http, &err), -1);
		assert_int_equal(err.code, BAK_USAGE);
		assert_null(strstr(err.msg, "pw"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_json_both_ways),
		TEST(test_basic_when_there_is_a_user),
		TEST(test_refusals_become_sentences),
		TEST(test_tries_again_what_does_no_harm),
		TEST(test_tries_no_longer_than_the_timeout),
		TEST(test_what_makes_something_is_sent_once),
		TEST(test_nobody_there),
		TEST(test_download_is_resumed),
		TEST(test_download_of_a_changed_file_fails),
		TEST(test_download_cut_without_etag_fails),
		TEST(test_cancelled_in_an_answer),
		TEST(test_streams_up),
		TEST(test_paths_are_escaped),
		TEST(test_urls_that_cannot_be),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
