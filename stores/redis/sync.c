/*
 * Saving by replication: the server is asked for its data as a replica asks. Bytes are raw behind
 * the answer's head: so many as it says, or up to a mark that it names.
 */
#include "stores/redis/redis.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define READ_LEN (256u << 10)
#define EOF_MARK_LEN 40

struct stream {
	uint64_t len; /* of the file, if it was said */
	bool marked;  /* its end is marked instead */
	char mark[EOF_MARK_LEN + 1];
};

/* A request whose refusal does not matter. */
static int ask(struct bak_redis_conn *conn, const char *name, const char *value,
	       struct bak_error *err)
{
	BAK_AUTO(bak_redis_free_reply) redisReply *reply = NULL;
	const char *words[] = {"REPLCONF", name, value};
	const size_t lens[] = {8, strlen(name), strlen(value)};

	if (bak_redis_send(conn, 3, words, lens, err) < 0)
		return -1;
	return bak_redis_reply(conn, &reply, err);
}

static int read_line(struct bak_redis_conn *conn, char *out, size_t len, struct bak_error *err)
{
	for (size_t n = 0; n < len; n++) {
		size_t got;

		if (bak_redis_read(conn, out + n, 1, &got, err) < 0)
			return -1;
		if (got == 0)
			return bak_error_set(err, BAK_UNAVAILABLE,
					     "the server closed the connection instead of sending "
					     "its data (its log says why)");
		if (out[n] == '\n') {
			out[n > 0 && out[n - 1] == '\r' ? n - 1 : n] = '\0';
			return 0;
		}
	}
	return bak_error_set(err, BAK_UNAVAILABLE, "SYNC: the answer makes no sense");
}

/* "$<length>" or "$EOF:<mark>"; empty lines before it say that the server is at it. 1, 0 refused
 * and err says why, -1. */
static int read_stream_head(struct bak_redis_conn *conn, struct stream *out, struct bak_error *err)
{
	char line[512], *end;

	do {
		if (read_line(conn, line, sizeof line, err) < 0)
			return -1;
	} while (!*line);
	if (*line == '-') {
		redisReply reply = {
			.type = REDIS_REPLY_ERROR, .str = line + 1, .len = strlen(line + 1)};

		bak_redis_raise(conn, &reply, err);
		return err->code == BAK_UNAVAILABLE ? -1 : 0;
	}
	if (strncmp(line, "$EOF:", 5) == 0 && strlen(line + 5) == EOF_MARK_LEN) {
		out->marked = true;
		memcpy(out->mark, line + 5, EOF_MARK_LEN + 1);
		return 1;
	}
	errno = 0;
	out->len = strtoull(line + 1, &end, 10);
	if (*line != '$' || line[1] < '0' || line[1] > '9' || *end || errno)
		return bak_error_set(err, BAK_UNAVAILABLE, "SYNC: the answer makes no sense");
	return 1;
}

/* 1 the stream begins, 0 the server will not (err), -1. */
static int sync_begin(struct bak_redis_conn *conn, struct stream *out, struct bak_error *err)
{
	static const char *sync = "SYNC";
	const size_t len = 4;

	*out = (struct stream){.len = 0};
	/* Valkey 9.1 chooses the format by the version that a replica says to have: without it, it
	 * leaves out when fields of hashes expire. */
	if (ask(conn, "capa", "eof", err) < 0 || ask(conn, "rdb-only", "1", err) < 0 ||
	    ask(conn, "version", "255.255.255", err) < 0)
		return -1;
	if (bak_redis_send(conn, 1, &sync, &len, err) < 0)
		return -1;
	return read_stream_head(conn, out, err);
}

static int cut_off(struct bak_error *err, uint64_t got)
{
	return bak_error_set(err, BAK_UNAVAILABLE,
			     "the server closed the connection after %" PRIu64
			     " bytes of its data (its log says why; too small a "
			     "client-output-buffer-limit for replicas is one reason)",
			     got);
}

static int receive_counted(struct bak_redis_conn *conn, uint64_t len, struct bak_redis_saver *saver,
			   uint8_t *buffer, struct bak_error *err)
{
	for (uint64_t got = 0; got < len;) {
		size_t want = len - got < READ_LEN ? (size_t)(len - got) : READ_LEN, n;

		if (bak_redis_read(conn, buffer, want, &n, err) < 0)
			return -1;
		if (n == 0)
			return cut_off(err, got);
		if (bak_redis_saver_feed(saver, buffer, n, err) < 0)
			return -1;
		got += n;
	}
	return 0;
}

/* The mark may come in pieces: so many bytes are always kept back. */
static int receive_marked(struct bak_redis_conn *conn, const char *mark,
			  struct bak_redis_saver *saver, uint8_t *buffer, struct bak_error *err)
{
	size_t kept = 0, n;
	uint64_t got = 0;

	for (;;) {
		if (bak_redis_read(conn, buffer + kept, READ_LEN - kept, &n, err) < 0)
			return -1;
		if (n == 0)
			return cut_off(err, got);
		got += n;
		kept += n;
		if (kept >= EOF_MARK_LEN &&
		    memcmp(buffer + kept - EOF_MARK_LEN, mark, EOF_MARK_LEN) == 0)
			return bak_redis_saver_feed(saver, buffer, kept - EOF_MARK_LEN, err);
		if (kept <= EOF_MARK_LEN)
			continue;
		if (bak_redis_saver_feed(saver, buffer, kept - EOF_MARK_LEN, err) < 0)
			return -1;
		memmove(buffer, buffer + kept - EOF_MARK_LEN, EOF_MARK_LEN);
		kept = EOF_MARK_LEN;
	}
}

static int receive(struct bak_redis_conn *conn, const struct stream *stream,
		   struct bak_redis_saver *saver, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) uint8_t *buffer = malloc(READ_LEN);

	if (!buffer)
		return bak_error_nomem(err);
	return stream->marked ? receive_marked(conn, stream->mark, saver, buffer, err)
			      : receive_counted(conn, stream->len, saver, buffer, err);
}

int bak_redis_sync(struct bak_redis_conn *conn, struct bak_redis_saver *saver,
		   struct bak_error *err)
{
	struct stream stream;
	int rc = sync_begin(conn, &stream, err);

	if (rc <= 0)
		return rc;
	return receive(conn, &stream, saver, err) < 0 ? -1 : 1;
}
