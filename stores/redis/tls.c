/* TLS to a server, by OpenSSL: Debian's hiredis has none. */
#include "stores/redis/redis.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

struct bak_redis_tls {
	SSL_CTX *ctx;
	SSL *ssl;
};

/* OpenSSL's own words, the last error first. */
static int fail(struct bak_error *err, enum bak_errc code, const char *what)
{
	unsigned long no = ERR_peek_last_error();
	const char *reason = no ? ERR_reason_error_string(no) : NULL;

	ERR_clear_error();
	return bak_error_set(err, code, "TLS: %s%s%s", what, reason ? ": " : "",
			     reason ? reason : "");
}

static int load_files(SSL_CTX *ctx, const struct bak_store_conf *conf, struct bak_error *err)
{
	const char *ca = bak_store_get(conf, "tls_ca"), *cert = bak_store_get(conf, "tls_cert"),
		   *key = bak_store_get(conf, "tls_key");

	if (ca ? SSL_CTX_load_verify_file(ctx, ca) != 1
	       : SSL_CTX_set_default_verify_paths(ctx) != 1)
		return fail(err, BAK_USAGE, ca ? ca : "the system's certificates");
	if (!cert)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return fail(err, BAK_USAGE, cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, key ? key : cert, SSL_FILETYPE_PEM) != 1)
		return fail(err, BAK_USAGE, key ? key : cert);
	return 0;
}

/* A name, or an address: certificates have them in different places. */
static int expect_name(SSL *ssl, const char *name, struct bak_error *err)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
		return 0;
	ERR_clear_error();
	if (SSL_set1_host(ssl, name) != 1 || SSL_set_tlsext_host_name(ssl, name) != 1)
		return fail(err, BAK_USAGE, name);
	return 0;
}

int bak_redis_tls_new(const struct bak_store_conf *conf, const char *name, int fd,
		      struct bak_redis_tls **out, struct bak_error *err)
{
	struct bak_redis_tls *tls = calloc(1, sizeof *tls);
	int rc = 0;

	if (!tls)
		return bak_error_nomem(err);
	*out = tls;
	tls->ctx = SSL_CTX_new(TLS_client_method());
	if (!tls->ctx || SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) != 1)
		return fail(err, BAK_NO_MEMORY, "no context");
	SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
	rc = load_files(tls->ctx, conf, err);
	if (rc == 0 && !(tls->ssl = SSL_new(tls->ctx)))
		rc = fail(err, BAK_NO_MEMORY, "no session");
	if (rc == 0)
		rc = expect_name(tls->ssl, name, err);
	if (rc == 0 && SSL_set_fd(tls->ssl, fd) != 1)
		rc = fail(err, BAK_NO_MEMORY, "no session");
	if (rc == 0)
		SSL_set_mode(tls->ssl,
			     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return rc;
}

void bak_redis_tls_free(struct bak_redis_tls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl);
	SSL_CTX_free(tls->ctx);
	free(tls);
}

/* After a call that gave rc <= 0: 0 the other side is done, else -1. */
static int explain(struct bak_redis_tls *tls, int rc, short *out_events, struct bak_error *err)
{
	long verdict = SSL_get_verify_result(tls->ssl);
	int no = errno;

	*out_events = 0;
	switch (SSL_get_error(tls->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		*out_events = POLLIN;
		return -1;
	case SSL_ERROR_WANT_WRITE:
		*out_events = POLLOUT;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		ERR_clear_error();
		return bak_error_set(err, BAK_UNAVAILABLE, "TLS: %s",
				     no ? strerror(no) : "the connection was cut");
	default:
		if (verdict != X509_V_OK) {
			ERR_clear_error();
			return bak_error_set(err, BAK_REFUSED,
					     "TLS: the server's certificate: %s (options tls_ca, "
					     "tls_name)",
					     X509_verify_cert_error_string(verdict));
		}
		return fail(err, BAK_UNAVAILABLE, "failed");
	}
}

ssize_t bak_redis_tls_read(struct bak_redis_tls *tls, void *p, size_t len, short *out_events,
			   struct bak_error *err)
{
	errno = 0;
	int n = SSL_read(tls->ssl, p, len > INT32_MAX ? INT32_MAX : (int)len);

	return n > 0 ? n : explain(tls, n, out_events, err);
}

ssize_t bak_redis_tls_write(struct bak_redis_tls *tls, const void *p, size_t len, short *out_events,
			    struct bak_error *err)
{
	errno = 0;
	int n = SSL_write(tls->ssl, p, len > INT32_MAX ? INT32_MAX : (int)len);

	return n > 0 ? n : explain(tls, n, out_events, err);
}

int bak_redis_tls_handshake(struct bak_redis_tls *tls, short *out_events, struct bak_error *err)
{
	errno = 0;
	int n = SSL_connect(tls->ssl);

	if (n > 0)
		return 1;
	n = explain(tls, n, out_events, err);
	return n == 0 ? bak_error_set(err, BAK_UNAVAILABLE, "TLS: the server hung up") : n;
}
