/*
 * Requests to a store that speaks HTTP, over libcurl: one handle is one connection, used again by
 * requests that may be sent twice, with the store's options for address, secret and TLS.
 *
 * Failures are errors, not statuses: whatever is not 2xx gives -1 with one sentence and the
 * server's own words behind it; answer->status tells the number to those who want it.
 *   BAK_UNAVAILABLE: nobody there, connection cut, no answer in time, 429, 502, 503, 504
 *   BAK_REFUSED: 401, 403       BAK_NOT_FOUND: 404      BAK_EXISTS: 409
 *   BAK_NO_SPACE: 507           BAK_USAGE: 400, 413, 422 BAK_IO: all else
 *   BAK_CORRUPT: an answer that is not what it says     BAK_CANCELLED: env says stop
 * Sent again by itself, with growing pauses: GET, HEAD and requests marked `again`, while nothing
 *   of the answer has been handed on, after 429, 502, 503, 504 and, once the server had answered
 *   before, after a lost connection; pausing no longer than the option `timeout` says.
 * All others are sent once, each on a new connection: on one that was used before, libcurl itself
 *   sends a request once more when that ends without a byte of answer.
 * Redirects are not followed and proxies of the environment not asked: the secret goes to the
 *   server that is configured and nowhere else. It is in no error and no log.
 * Threads: a handle belongs to one thread; bak_http_again makes another for another one.
 */
#ifndef BAK_STORES_HTTP_H
#define BAK_STORES_HTTP_H

#include "stores/process.h"
#include "stores/stores.h"

struct bak_http;

/* The options that each such store has; default_url as in "http://localhost:6333", secret is the
 * help of the option `password`. */
#define BAK_HTTP_OPTIONS(default_url, secret)                                                 \
	{.name = "url",                                                                       \
	 .kind = BAK_OPTION_TEXT,                                                             \
	 .fallback = (default_url),                                                           \
	 .help = "where the server answers: http:// or https://, host and port"},             \
		{.name = "user",                                                              \
		 .kind = BAK_OPTION_TEXT,                                                     \
		 .help = "user name, where the server asks for one"},                         \
		{.name = "password", .kind = BAK_OPTION_SECRET, .help = (secret)},            \
		{.name = "password_file",                                                     \
		 .kind = BAK_OPTION_PATH,                                                     \
		 .help = "file with it in its first line"},                                   \
		{.name = "password_command",                                                  \
		 .kind = BAK_OPTION_TEXT,                                                     \
		 .help = "shell command that prints it"},                                     \
		{.name = "tls_ca",                                                            \
		 .kind = BAK_OPTION_PATH,                                                     \
		 .help = "certificates to trust, instead of the system's"},                   \
		{.name = "tls_pin",                                                           \
		 .kind = BAK_OPTION_TEXT,                                                     \
		 .help = "sha256//HASH of the server's public key; without tls_ca it alone "  \
			 "counts"},                                                           \
	{                                                                                     \
		.name = "timeout", .kind = BAK_OPTION_DURATION, .fallback = "60s",            \
		.help = "how long to wait for an answer, or for the next bytes of a long one" \
	}

/* What differs from server to server. Borrowed as long as the handle lives. */
struct bak_http_server {
	const char *name; /* "Qdrant", for sentences */
	/* Which header carries the password when there is no user; NULL: Authorization: Bearer */
	const char *secret_header;
	/* The server's own words out of the body of a refused request, if it is JSON; leaves out
	 * as it is, "", when there are none. NULL: the body's first line. */
	void (*words)(const json_t *body, char *out, size_t out_len);
};

/* conf has the options above. Does not connect. conf, env and server are borrowed. */
int bak_http_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
		  const struct bak_http_server *server, struct bak_http **out,
		  struct bak_error *err);
/* Another handle to the same server, for another thread. */
int bak_http_again(const struct bak_http *http, struct bak_http **out, struct bak_error *err);
/* The same, stopped by another env, which is borrowed. */
int bak_http_beside(const struct bak_http *http, const struct bak_store_env *env,
		    struct bak_http **out, struct bak_error *err);
/* The server has answered another handle before: a lost connection is worth another try. */
void bak_http_is_known(struct bak_http *http);
/* The same, for undoing what was begun: it goes on when env says stop. */
int bak_http_undoing(const struct bak_http *http, struct bak_http **out, struct bak_error *err);
void bak_http_close(struct bak_http *http); /* NULL is fine */
/* As configured, without a slash at its end; for messages. */
const char *bak_http_url(const struct bak_http *http);

/* printf that knows %s alone, each argument percent-escaped as one segment of a path or value of a
 * query. malloc'd; NULL for lack of memory. */
char *bak_http_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

struct bak_http_request {
	const char *method;         /* NULL: GET */
	const char *path;           /* behind the url, with its query, escaped */
	const char *content_type;   /* NULL: application/json */
	const char *accept;         /* NULL: application/json */
	const char *const *headers; /* more of them, "Name: value", NULL-terminated; or NULL */
	/* The body: bytes, */
	const void *body;
	size_t body_len;
	/* or a stream of give_len bytes; never sent again; as a form's field if form_field names
	 * one, with form_file as its file name. */
	bak_process_give *give;
	void *give_ctx;
	uint64_t give_len;
	const char *form_field, *form_file;
	/* Takes the body of a 2xx answer piece by piece; NULL: it is gathered, 64 MiB at most. */
	bak_process_take *take;
	void *take_ctx;
	bool again; /* sending it twice does no harm */
	/* For the whole request; 0: the option `timeout`. With give or take it is 0: none, a
	 * stream may last; one with take ends when nothing comes for that option's time. */
	uint64_t timeout_ms;
};

struct bak_http_answer {
	long status; /* 0: none came */
	struct bak_buf body;
};
void bak_http_answer_release(struct bak_http_answer *answer);

/* answer: initialised with {0}, filled also when it fails; NULL if nobody wants it. */
int bak_http_send(struct bak_http *http, const struct bak_http_request *request,
		  struct bak_http_answer *answer, struct bak_error *err);

/* JSON there and back. body, borrowed, and out may be NULL; out: a new reference. POST and PUT are
 * not sent again. */
int bak_http_json(struct bak_http *http, const char *method, const char *path, const json_t *body,
		  json_t **out, struct bak_error *err);

/* A file of the server, whole: resumed where the connection was cut, as long as the server says
 * that it is still the same one (ETag), and with no fewer or more bytes than it promised. */
int bak_http_download(struct bak_http *http, const char *path, bak_process_take *take, void *ctx,
		      struct bak_error *err);

/* Between two looks at something that takes its time: 20 ms at first, growing to 2 s. *round
 * begins at 0. BAK_CANCELLED. */
int bak_http_wait(struct bak_http *http, unsigned *round, struct bak_error *err);

#endif
