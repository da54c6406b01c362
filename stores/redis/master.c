/*
 * The master that a target copies from: it listens, does the handshake of replication, sends a file
 * and keeps the link alive until the target has loaded it.
 *
 * A target whose load failed comes again at once, some twenty times a second: a second connection,
 * or the end of the first, means that it has given up.
 */
#include "stores/redis/redis.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A target that can reach us does so at once. */
#define COME_MS 10000
#define SLICE_MS 200
#define PING_MS 5000
/* More than any history has, and twice that still fits. */
#define FAR_OFFSET ((uint64_t)1 << 60)

struct bak_redis_master {
	const struct bak_redis *redis;
	int listener, fd;
	char host[256];
	unsigned port;
	bool any_peer;               /* behind address translation nobody can tell who comes */
	char peer[INET6_ADDRSTRLEN]; /* who may come */
	redisReader *reader;
	uint64_t pinged_ms;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- listening --- */

/* IPv4 addresses mapped into IPv6 are the same address. */
static void address_text(const struct sockaddr_storage *addr, char *out, size_t len)
{
	const struct sockaddr_in6 *six = (const void *)addr;
	const struct sockaddr_in *four = (const void *)addr;

	*out = '\0';
	if (addr->ss_family == AF_INET)
		inet_ntop(AF_INET, &four->sin_addr, out, (socklen_t)len);
	else if (addr->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, out, (socklen_t)len);
	else if (addr->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &six->sin6_addr, out, (socklen_t)len);
}

static void set_port(struct sockaddr_storage *addr, unsigned port)
{
	if (addr->ss_family == AF_INET6)
		((struct sockaddr_in6 *)addr)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)addr)->sin_port = htons((uint16_t)port);
}

/* Our end of the connection to it is where it can reach us; over a Unix socket it is here. */
static int choose_address(struct bak_redis_master *m, int conn_fd, struct sockaddr_storage *out,
			  struct bak_error *err)
{
	const char *listen = bak_store_get(m->redis->conf, "listen");
	struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof *out, peer_len = sizeof peer;

	if (getsockname(conn_fd, (struct sockaddr *)out, &len) < 0 ||
	    getpeername(conn_fd, (struct sockaddr *)&peer, &peer_len) < 0)
		return bak_error_sys(err, errno, "getsockname");
	if (out->ss_family == AF_UNIX) {
		*(struct sockaddr_in *)out = (struct sockaddr_in){
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		memcpy(&peer, out, sizeof peer);
	}
	set_port(out, 0);
	address_text(out, m->host, sizeof m->host);
	address_text(&peer, m->peer, sizeof m->peer);
	if (!listen)
		return 0;
	struct bak_redis_address told;
	bool tls = false;
	if (bak_redis_address_parse(listen, &told, &tls, err) < 0 || !told.host) {
		bak_redis_address_release(&told);
		return bak_error_set(err, BAK_USAGE, "listen: \"%s\" is no host:port", listen);
	}
	snprintf(m->host, sizeof m->host, "%s", told.host);
	m->any_peer = true;
	*(struct sockaddr_in6 *)out = (struct sockaddr_in6){.sin6_family = AF_INET6,
							    .sin6_addr = in6addr_any};
	set_port(out, strchr(listen, ':') ? told.port : 0);
	bak_redis_address_release(&told);
	return 0;
}

int bak_redis_master_new(const struct bak_redis *redis, struct bak_redis_conn *conn,
			 struct bak_redis_master **out, struct bak_error *err)
{
	struct bak_redis_master *m = calloc(1, sizeof *m);
	struct sockaddr_storage addr = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof addr;
	int one = 1;

	if (!m)
		return bak_error_nomem(err);
	*out = m;
	*m = (struct bak_redis_master){.redis = redis, .listener = -1, .fd = -1};
	m->reader = redisReaderCreate();
	if (!m->reader)
		return bak_error_nomem(err);
	if (choose_address(m, bak_redis_fd(conn), &addr, err) < 0)
		return -1;
	m->listener = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (m->listener < 0)
		return bak_error_sys(err, errno, "socket");
	setsockopt(m->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(m->listener, (struct sockaddr *)&addr,
		 addr.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					    : sizeof(struct sockaddr_in)) < 0 ||
	    listen(m->listener, 4) < 0 ||
	    getsockname(m->listener, (struct sockaddr *)&addr, &len) < 0)
		return bak_error_sys(err, errno, "cannot listen at %s", m->host);
	m->port = ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
						   : ((struct sockaddr_in *)&addr)->sin_port);
	return 0;
}

void bak_redis_master_free(struct bak_redis_master *m)
{
	if (!m)
		return;
	if (m->fd >= 0)
		close(m->fd);
	if (m->listener >= 0)
		close(m->listener);
	if (m->reader)
		redisReaderFree(m->reader);
	free(m);
}

const char *bak_redis_master_host(const struct bak_redis_master *m)
{
	return m->host;
}

unsigned bak_redis_master_port(const struct bak_redis_master *m)
{
	return m->port;
}

/* --- bytes --- */

static int gave_up(struct bak_error *err)
{
	return bak_error_set(err, BAK_UNAVAILABLE,
			     "the server gave up loading the data; its log says why");
}

static int wait_for(const struct bak_redis_master *m, int fd, short events, uint64_t deadline,
		    struct bak_error *err)
{
	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = events};
		uint64_t now = now_ms();

		if (bak_store_check_cancelled(m->redis->env, err) < 0)
			return -1;
		if (now >= deadline)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "the server stopped taking the data (option timeout)");
		if (poll(&pfd, 1, SLICE_MS) > 0)
			return 0;
	}
}

int bak_redis_master_send(struct bak_redis_master *m, const void *data, size_t len,
			  struct bak_error *err)
{
	uint64_t deadline = now_ms() + m->redis->timeout_ms;
	const char *p = data;

	while (len) {
		ssize_t n = send(m->fd, p, len, MSG_NOSIGNAL);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
			deadline = now_ms() + m->redis->timeout_ms;
		} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
			return gave_up(err);
		} else if (wait_for(m, m->fd, POLLOUT, deadline, err) < 0) {
			return -1;
		}
	}
	return 0;
}

static int send_text(struct bak_redis_master *m, const char *text, struct bak_error *err)
{
	return bak_redis_master_send(m, text, strlen(text), err);
}

/* What has come: 1 and its length, 0 nothing; -1 the end. */
static int take_in(struct bak_redis_master *m, char *p, size_t len, size_t *out_n,
		   struct bak_error *err)
{
	ssize_t n = recv(m->fd, p, len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return gave_up(err);
	*out_n = (size_t)n;
	return 1;
}

/* The next command: 1, 0 there is none yet, -1. */
static int next_command(struct bak_redis_master *m, redisReply **out, struct bak_error *err)
{
	void *reply = NULL;

	if (redisReaderGetReply(m->reader, &reply) != REDIS_OK)
		return bak_error_set(err, BAK_UNAVAILABLE, "the server's request: %s",
				     m->reader->errstr);
	*out = reply;
	return reply != NULL;
}

/* --- the handshake --- */

static bool is_command(const redisReply *reply, const char *name)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
	       reply->element[0]->type == REDIS_REPLY_STRING &&
	       strcasecmp(reply->element[0]->str, name) == 0;
}

/* A history of our own, 40 hex digits. */
static int make_id(char *out, struct bak_error *err)
{
	uint8_t random[20];

	if (bak_random(random, sizeof random, err) < 0)
		return -1;
	bak_hex(out, random, sizeof random);
	return 0;
}

/* To a target that is told its own history's name, the old data is an older state of what it gets,
 * and its clients may read that as long as it loads (Redis 7). Nothing must fit on that history by
 * accident: its offset is far behind all that there was. */
static int begin_transfer(struct bak_redis_master *m, const redisReply *psync, uint64_t size,
			  struct bak_error *err)
{
	const char *their_id = psync ? psync->element[1]->str : "";
	char line[128], id[41] = "";
	uint64_t offset = 0;

	if (strlen(their_id) == 40 && strspn(their_id, "0123456789abcdef") == 40) {
		memcpy(id, their_id, sizeof id);
		offset = strtoull(psync->element[2]->str, NULL, 10) & (FAR_OFFSET - 1);
	} else if (make_id(id, err) < 0) {
		return -1;
	}
	if (psync) {
		snprintf(line, sizeof line, "+FULLRESYNC %s %" PRIu64 "\r\n", id,
			 offset + FAR_OFFSET);
		if (send_text(m, line, err) < 0)
			return -1;
	}
	snprintf(line, sizeof line, "$%" PRIu64 "\r\n", size);
	return send_text(m, line, err);
}

/* 1 it wants the data now, 0 it goes on asking, -1. Whatever it brings as a password is fine: it is
 * our client, and who it is we know by its address. */
static int answer(struct bak_redis_master *m, const redisReply *command, uint64_t size,
		  struct bak_error *err)
{
	bool psync = is_command(command, "PSYNC") && command->elements == 3 &&
		     command->element[1]->type == REDIS_REPLY_STRING &&
		     command->element[2]->type == REDIS_REPLY_STRING;

	if (psync || is_command(command, "SYNC"))
		return begin_transfer(m, psync ? command : NULL, size, err) < 0 ? -1 : 1;
	if (is_command(command, "PING"))
		return send_text(m, "+PONG\r\n", err);
	if (is_command(command, "REPLCONF") || is_command(command, "AUTH"))
		return send_text(m, "+OK\r\n", err);
	return send_text(m, "-ERR unknown command\r\n", err);
}

static int shake_hands(struct bak_redis_master *m, uint64_t size, struct bak_error *err)
{
	uint64_t deadline = now_ms() + m->redis->timeout_ms;
	char buffer[4096];
	size_t n;

	for (;;) {
		redisReply *command = NULL;
		int rc = next_command(m, &command, err);

		if (rc > 0) {
			rc = answer(m, command, size, err);
			bak_redis_free_reply(&command);
			if (rc != 0)
				return rc < 0 ? -1 : 0;
			continue;
		}
		if (rc < 0 || wait_for(m, m->fd, POLLIN, deadline, err) < 0 ||
		    (rc = take_in(m, buffer, sizeof buffer, &n, err)) < 0)
			return -1;
		if (rc > 0 && redisReaderFeed(m->reader, buffer, n) != REDIS_OK)
			return bak_error_set(err, BAK_UNAVAILABLE, "the server's request: %s",
					     m->reader->errstr);
	}
}

static bool is_expected(const struct bak_redis_master *m, const struct sockaddr_storage *peer)
{
	char text[INET6_ADDRSTRLEN];

	address_text(peer, text, sizeof text);
	return m->any_peer || strcmp(text, m->peer) == 0 || strcmp(text, m->host) == 0;
}

int bak_redis_master_accept(struct bak_redis_master *m, uint64_t size, struct bak_error *err)
{
	uint64_t wait_ms = m->redis->timeout_ms < COME_MS ? m->redis->timeout_ms : COME_MS;
	uint64_t deadline = now_ms() + wait_ms;

	while (m->fd < 0) {
		struct sockaddr_storage peer;
		socklen_t len = sizeof peer;

		if (wait_for(m, m->listener, POLLIN, deadline, err) < 0) {
			if (err->code == BAK_UNAVAILABLE)
				bak_error_set(err, BAK_UNAVAILABLE,
					      "the server does not reach us at %s port %u (option "
					      "listen)",
					      m->host, m->port);
			return -1;
		}
		int fd = accept4(m->listener, (struct sockaddr *)&peer, &len,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0 && is_expected(m, &peer))
			m->fd = fd;
		else if (fd >= 0)
			close(fd);
	}
	m->pinged_ms = now_ms();
	return shake_hands(m, size, err);
}

int bak_redis_master_tend(struct bak_redis_master *m, int ms, struct bak_error *err)
{
	struct pollfd pfds[2] = {{.fd = m->fd, .events = POLLIN},
				 {.fd = m->listener, .events = POLLIN}};
	char buffer[4096];
	size_t n;

	if (poll(pfds, 2, ms) > 0 && pfds[1].revents)
		return gave_up(err);
	/* Acknowledgements, and empty lines while it loads: they want no answer. */
	if (pfds[0].revents && take_in(m, buffer, sizeof buffer, &n, err) < 0)
		return -1;
	if (now_ms() - m->pinged_ms < PING_MS)
		return 0;
	m->pinged_ms = now_ms();
	return send_text(m, "*1\r\n$4\r\nPING\r\n", err);
}
