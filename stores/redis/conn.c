/*
 * A connection to a Redis or Valkey server: sockets and deadlines are ours, commands and replies are
 * put together and taken apart by hiredis.
 */
#include "stores/redis/redis.h"

#include "engine/base/hash.h"
#include "stores/password.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* How long we sleep at most before we look whether to stop. */
#define SLICE_MS 200
#define WORDS_MAX 16

struct bak_redis_conn {
	const struct bak_redis *redis;
	struct bak_redis_tls *tls;
	redisReader *reader;
	int fd;
	uint64_t timeout_ms;
	bool broken;    /* an answer that did not come may come yet, and be taken for another */
	char name[300]; /* for messages */
};

/* --- addresses --- */

static int parse_port(const char *text, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n == 0 || n > 65535)
		return -1;
	*out = (unsigned)n;
	return 0;
}

static int parse_host(const char *text, struct bak_redis_address *out)
{
	const char *end = *text == '[' ? strchr(text, ']') : NULL;
	const char *colon = strchr(end ? end : text, ':');

	out->port = 6379;
	/* Several colons and no brackets: IPv6 without a port. */
	if (!end && colon && strchr(colon + 1, ':'))
		colon = NULL;
	if (colon && parse_port(colon + 1, &out->port) < 0)
		return -1;
	if (end)
		out->host = strndup(text + 1, (size_t)(end - text - 1));
	else
		out->host = colon ? strndup(text, (size_t)(colon - text)) : strdup(text);
	return out->host && *out->host ? 0 : -1;
}

int bak_redis_address_parse(const char *text, struct bak_redis_address *out, bool *out_tls,
			    struct bak_error *err)
{
	static const struct scheme {
		const char *text;
		bool tls;
	} schemes[] = {{"redis://", false},
		       {"valkey://", false},
		       {"unix://", false},
		       {"rediss://", true},
		       {"valkeys://", true}};
	const char *rest = text;

	*out = (struct bak_redis_address){.path = NULL};
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
		size_t len = strlen(schemes[i].text);

		if (strncmp(text, schemes[i].text, len) != 0)
			continue;
		rest = text + len;
		*out_tls |= schemes[i].tls;
		break;
	}
	if (strchr(rest, '@'))
		return bak_error_set(err, BAK_USAGE,
				     "address: users and passwords have options of their own");
	if (*rest == '/') {
		out->path = strdup(rest);
		return out->path ? 0 : bak_error_nomem(err);
	}
	if (parse_host(rest, out) == 0)
		return 0;
	bak_redis_address_release(out);
	return bak_error_set(err, BAK_USAGE, "address: \"%s\" is no host:port and no path", text);
}

void bak_redis_address_release(struct bak_redis_address *address)
{
	free(address->path);
	free(address->host);
	*address = (struct bak_redis_address){.path = NULL};
}

void bak_redis_address_text(const struct bak_redis_address *address, char *out, size_t len)
{
	if (address->path)
		snprintf(out, len, "%s", address->path);
	else
		snprintf(out, len, strchr(address->host, ':') ? "[%s]:%u" : "%s:%u", address->host,
			 address->port);
}

/* --- waiting --- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Until fd is ready. -1 with BAK_UNAVAILABLE when the time is over. */
static int wait_for(const struct bak_redis_conn *conn, short events, uint64_t deadline,
		    struct bak_error *err)
{
	struct pollfd pfd = {.fd = conn->fd, .events = events};

	for (;;) {
		uint64_t now = now_ms();
		int rc;

		if (bak_store_check_cancelled(conn->redis->env, err) < 0)
			return -1;
		if (now >= deadline)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "%s: no answer for %llu seconds (option timeout)",
					     conn->name,
					     (unsigned long long)conn->timeout_ms / 1000);
		rc = poll(&pfd, 1, deadline - now < SLICE_MS ? (int)(deadline - now) : SLICE_MS);
		if (rc > 0)
			return 0;
		if (rc < 0 && errno != EINTR)
			return bak_error_sys(err, errno, "%s: poll", conn->name);
	}
}

void bak_redis_set_timeout(struct bak_redis_conn *conn, uint64_t ms)
{
	conn->timeout_ms = ms;
}

bool bak_redis_is_broken(const struct bak_redis_conn *conn)
{
	return conn->broken;
}

int bak_redis_fd(const struct bak_redis_conn *conn)
{
	return conn->fd;
}

/* --- bytes --- */

static ssize_t try_read(struct bak_redis_conn *conn, void *p, size_t len, short *out_events,
			struct bak_error *err)
{
	ssize_t n;

	if (conn->tls)
		return bak_redis_tls_read(conn->tls, p, len, out_events, err);
	*out_events = 0;
	n = read(conn->fd, p, len);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR)
		*out_events = POLLIN;
	else
		bak_error_set(err, BAK_UNAVAILABLE, "%s", strerror(errno));
	return -1;
}

static int read_some(struct bak_redis_conn *conn, void *p, size_t len, size_t *out_n,
		     struct bak_error *err)
{
	uint64_t deadline = now_ms() + conn->timeout_ms;

	for (;;) {
		short events;
		ssize_t n = try_read(conn, p, len, &events, err);

		if (n >= 0) {
			*out_n = (size_t)n;
			return 0;
		}
		if (!events)
			return bak_error_wrap(err, "%s", conn->name);
		if (wait_for(conn, events, deadline, err) < 0)
			return -1;
	}
}

int bak_redis_read(struct bak_redis_conn *conn, void *p, size_t len, size_t *out_n,
		   struct bak_error *err)
{
	int rc = read_some(conn, p, len, out_n, err);

	conn->broken |= rc < 0 || *out_n == 0;
	return rc;
}

static ssize_t try_write(struct bak_redis_conn *conn, const void *p, size_t len, short *out_events,
			 struct bak_error *err)
{
	ssize_t n;

	if (conn->tls)
		return bak_redis_tls_write(conn->tls, p, len, out_events, err);
	*out_events = 0;
	n = send(conn->fd, p, len, MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR)
		*out_events = POLLOUT;
	else
		bak_error_set(err, BAK_UNAVAILABLE, "%s", strerror(errno));
	return -1;
}

static int write_all(struct bak_redis_conn *conn, const void *data, size_t len,
		     struct bak_error *err)
{
	uint64_t deadline = now_ms() + conn->timeout_ms;
	const char *p = data;

	while (len) {
		short events;
		ssize_t n = try_write(conn, p, len, &events, err);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
			deadline = now_ms() + conn->timeout_ms;
			continue;
		}
		if (n == 0 || !events)
			return bak_error_wrap(err, "%s: the connection is lost", conn->name);
		if (wait_for(conn, events, deadline, err) < 0)
			return -1;
	}
	return 0;
}

int bak_redis_write(struct bak_redis_conn *conn, const void *p, size_t len, struct bak_error *err)
{
	int rc = write_all(conn, p, len, err);

	conn->broken |= rc < 0;
	return rc;
}

/* --- commands --- */

void bak_redis_free_reply(redisReply **reply)
{
	if (*reply)
		freeReplyObject(*reply);
	*reply = NULL;
}

int bak_redis_send(struct bak_redis_conn *conn, int argc, const char **argv, const size_t *lens,
		   struct bak_error *err)
{
	char *text = NULL;
	int len = redisFormatCommandArgv(&text, argc, argv, lens);

	if (len < 0)
		return bak_error_nomem(err);
	int rc = bak_redis_write(conn, text, (size_t)len, err);
	/* It may be a password. */
	bak_wipe(text, (size_t)len);
	free(text);
	return rc;
}

int bak_redis_reply(struct bak_redis_conn *conn, redisReply **out, struct bak_error *err)
{
	char buffer[16384];
	void *reply = NULL;
	size_t n;

	for (;;) {
		if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK)
			return bak_error_set(err, BAK_UNAVAILABLE, "%s: not a Redis server? %s",
					     conn->name, conn->reader->errstr);
		if (reply) {
			*out = reply;
			return 0;
		}
		if (bak_redis_read(conn, buffer, sizeof buffer, &n, err) < 0)
			return -1;
		if (n == 0)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "%s: the server closed the connection", conn->name);
		if (redisReaderFeed(conn->reader, buffer, n) != REDIS_OK)
			return bak_error_set(err, BAK_UNAVAILABLE, "%s: %s", conn->name,
					     conn->reader->errstr);
	}
}

bool bak_redis_is_error(const redisReply *reply, const char *code)
{
	size_t len = strlen(code);

	return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, code, len) == 0 &&
	       (reply->str[len] == ' ' || !reply->str[len]);
}

/* What a server's refusal means, and what to try. */
static const struct hint {
	const char *code;
	enum bak_errc errc;
	const char *text;
} hints[] = {
	{"NOAUTH", BAK_REFUSED, "it wants a password (options password_file, user)"},
	{"WRONGPASS", BAK_REFUSED, "wrong user or password"},
	{"NOPERM", BAK_REFUSED, "the user lacks a right (bakfs-stores(7) lists them)"},
	{"DENIED", BAK_REFUSED, "protected mode lets in nobody from other machines"},
	{"LOADING", BAK_UNAVAILABLE, "it is still loading its data, try again"},
	{"BUSY", BAK_UNAVAILABLE, "a script keeps it busy, try again"},
	{"MISCONF", BAK_NO_SPACE, "it cannot write its data to disk, see its log"},
	{"OOM", BAK_NO_SPACE, "its maxmemory is too small for the data"},
	{"MASTERDOWN", BAK_UNAVAILABLE, "it is a replica that lost its primary"},
	{"NOMASTERLINK", BAK_UNAVAILABLE, "it is a replica that lost its primary"},
	{"MOVED", BAK_UNAVAILABLE, "the cluster moves slots meanwhile, try again"},
	{"ASK", BAK_UNAVAILABLE, "the cluster moves slots meanwhile, try again"},
	{"TRYAGAIN", BAK_UNAVAILABLE, "the cluster moves slots meanwhile, try again"},
	{"CLUSTERDOWN", BAK_UNAVAILABLE, "the cluster lacks nodes"},
	{"READONLY", BAK_REFUSED, "it is a replica: name its primary"},
};

int bak_redis_raise(const struct bak_redis_conn *conn, const redisReply *reply,
		    struct bak_error *err)
{
	if (reply->type != REDIS_REPLY_ERROR)
		return 0;
	/* Servers before 6 had no code for it. */
	if (strncmp(reply->str, "ERR invalid password", 20) == 0)
		return bak_error_set(err, BAK_REFUSED, "%s: wrong password (%.200s)", conn->name,
				     reply->str);
	for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
		if (bak_redis_is_error(reply, hints[i].code))
			return bak_error_set(err, hints[i].errc, "%s: %s (%.200s)", conn->name,
					     hints[i].text, reply->str);
	}
	return bak_error_set(err, BAK_REFUSED, "%s: %.300s", conn->name, reply->str);
}

int bak_redis_argv(struct bak_redis_conn *conn, int argc, const char **argv, const size_t *lens,
		   redisReply **out, struct bak_error *err)
{
	if (bak_redis_send(conn, argc, argv, lens, err) < 0 || bak_redis_reply(conn, out, err) < 0)
		return -1;
	if (bak_redis_raise(conn, *out, err) == 0)
		return 0;
	bak_redis_free_reply(out);
	return -1;
}

int bak_redis_do(struct bak_redis_conn *conn, redisReply **out, struct bak_error *err, ...)
{
	const char *words[WORDS_MAX];
	size_t lens[WORDS_MAX];
	int n = 0;
	va_list ap;

	va_start(ap, err);
	while (n < WORDS_MAX && (words[n] = va_arg(ap, const char *)) != NULL) {
		lens[n] = strlen(words[n]);
		n++;
	}
	va_end(ap);
	return bak_redis_argv(conn, n, words, lens, out, err);
}

/* --- connecting --- */

static int finish_connect(struct bak_redis_conn *conn, struct bak_error *err)
{
	int no = 0;
	socklen_t len = sizeof no;

	if (errno != EINPROGRESS && errno != EAGAIN)
		return bak_error_set(err, BAK_UNAVAILABLE, "%s: %s", conn->name, strerror(errno));
	if (wait_for(conn, POLLOUT, now_ms() + conn->timeout_ms, err) < 0)
		return -1;
	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &no, &len) < 0)
		no = errno;
	if (no)
		return bak_error_set(err, BAK_UNAVAILABLE, "%s: %s", conn->name, strerror(no));
	return 0;
}

static int connect_path(struct bak_redis_conn *conn, const char *path, struct bak_error *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof sun.sun_path)
		return bak_error_set(err, BAK_USAGE, "%s: too long for a socket's path", path);
	memcpy(sun.sun_path, path, strlen(path));
	conn->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (conn->fd < 0)
		return bak_error_sys(err, errno, "socket");
	if (connect(conn->fd, (struct sockaddr *)&sun, sizeof sun) == 0)
		return 0;
	if (errno == ENOENT || errno == ECONNREFUSED)
		return bak_error_set(err, BAK_UNAVAILABLE, "%s: no server listens there (%s)", path,
				     strerror(errno));
	return finish_connect(conn, err);
}

static int connect_info(struct bak_redis_conn *conn, const struct addrinfo *info,
			struct bak_error *err)
{
	int one = 1;

	conn->fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (conn->fd < 0)
		return bak_error_sys(err, errno, "socket");
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	if (connect(conn->fd, info->ai_addr, info->ai_addrlen) == 0 ||
	    finish_connect(conn, err) == 0)
		return 0;
	close(conn->fd);
	conn->fd = -1;
	return -1;
}

static int connect_host(struct bak_redis_conn *conn, const struct bak_redis_address *address,
			struct bak_error *err)
{
	const struct addrinfo want = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	char port[8];
	int rc;

	snprintf(port, sizeof port, "%u", address->port);
	rc = getaddrinfo(address->host, port, &want, &list);
	if (rc != 0)
		return bak_error_set(err, BAK_UNAVAILABLE, "%s: %s", conn->name, gai_strerror(rc));
	rc = -1;
	for (struct addrinfo *at = list; at && rc < 0; at = at->ai_next)
		rc = connect_info(conn, at, err);
	freeaddrinfo(list);
	if (rc < 0 && strstr(err->msg, strerror(ECONNREFUSED)))
		bak_error_wrap(err, "no server listens there");
	return rc;
}

static int start_tls(struct bak_redis_conn *conn, const struct bak_redis_address *address,
		     struct bak_error *err)
{
	const char *name = bak_store_get(conn->redis->conf, "tls_name");
	uint64_t deadline = now_ms() + conn->timeout_ms;

	if (bak_redis_tls_new(conn->redis->conf, name ? name : address->host, conn->fd, &conn->tls,
			      err) < 0)
		return -1;
	for (;;) {
		short events;

		if (bak_redis_tls_handshake(conn->tls, &events, err) > 0)
			return 0;
		if (!events)
			return bak_error_wrap(err, "%s", conn->name);
		if (wait_for(conn, events, deadline, err) < 0)
			return -1;
	}
}

static int find_password(const struct bak_redis *redis, char **out, struct bak_error *err)
{
	const char *variable = bak_store_get(redis->conf, "password_env");
	const char *value;

	if (bak_store_password(redis->conf, redis->env, out, err) < 0)
		return -1;
	if (*out)
		return 0;
	value = getenv(variable);
	if (!value || !*value)
		return 0;
	*out = strdup(value);
	return *out ? 0 : bak_error_nomem(err);
}

static int log_in(struct bak_redis_conn *conn, struct bak_error *err)
{
	const char *user = bak_store_get(conn->redis->conf, "user");
	BAK_AUTO(bak_store_password_free) char *password = NULL;
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;

	if (find_password(conn->redis, &password, err) < 0)
		return -1;
	if (!password && user)
		return bak_error_set(err, BAK_USAGE, "user %s needs a password", user);
	if (!password)
		return 0;
	return user ? bak_redis_do(conn, &reply, err, "AUTH", user, password, NULL)
		    : bak_redis_do(conn, &reply, err, "AUTH", password, NULL);
}

static int open_conn(const struct bak_redis *redis, const struct bak_redis_address *address,
		     struct bak_redis_conn **out, struct bak_error *err)
{
	struct bak_redis_conn *conn = calloc(1, sizeof *conn);
	int rc;

	if (!conn)
		return bak_error_nomem(err);
	conn->redis = redis;
	conn->fd = -1;
	conn->timeout_ms = redis->timeout_ms;
	conn->reader = redisReaderCreate();
	bak_redis_address_text(address, conn->name, sizeof conn->name);
	*out = conn;
	if (!conn->reader)
		return bak_error_nomem(err);
	rc = address->path ? connect_path(conn, address->path, err)
			   : connect_host(conn, address, err);
	if (rc == 0 && redis->tls && !address->path)
		rc = start_tls(conn, address, err);
	return rc;
}

int bak_redis_connect(const struct bak_redis *redis, const struct bak_redis_address *address,
		      struct bak_redis_conn **out, struct bak_error *err)
{
	struct bak_redis_conn *conn = NULL;

	*out = NULL;
	if (open_conn(redis, address, &conn, err) < 0 || log_in(conn, err) < 0) {
		bak_redis_disconnect(conn);
		return -1;
	}
	*out = conn;
	return 0;
}

int bak_redis_connect_sentinel(const struct bak_redis *redis,
			       const struct bak_redis_address *address, struct bak_redis_conn **out,
			       struct bak_error *err)
{
	struct bak_redis_conn *conn = NULL;
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	static const char *ping = "PING";
	const size_t len = 4;
	int rc;

	*out = NULL;
	rc = open_conn(redis, address, &conn, err);
	if (rc == 0)
		rc = bak_redis_send(conn, 1, &ping, &len, err);
	if (rc == 0)
		rc = bak_redis_reply(conn, &reply, err);
	if (rc == 0 && bak_redis_is_error(reply, "NOAUTH"))
		rc = log_in(conn, err);
	if (rc < 0) {
		bak_redis_disconnect(conn);
		return -1;
	}
	*out = conn;
	return 0;
}

void bak_redis_disconnect(struct bak_redis_conn *conn)
{
	if (!conn)
		return;
	bak_redis_tls_free(conn->tls);
	if (conn->fd >= 0)
		close(conn->fd);
	if (conn->reader)
		redisReaderFree(conn->reader);
	free(conn);
}
