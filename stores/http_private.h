/* What http.c (handles, whole requests) and http_send.c (one exchange of bytes) share. */
#ifndef BAK_STORES_HTTP_PRIVATE_H
#define BAK_STORES_HTTP_PRIVATE_H

#include "stores/http.h"

#include <curl/curl.h>

struct bak_http {
	const struct bak_store_conf *conf;
	const struct bak_store_env *env;
	const struct bak_http_server *server;
	CURL *curl;
	char *url;    /* no slash at its end */
	char *secret; /* NULL: none */
	uint64_t timeout_ms;
	bool reached; /* it has answered before */
};

/* What one exchange brought. */
struct bak_http_exchange {
	const struct bak_http_request *request;
	uint64_t offset;  /* asks for the bytes behind it */
	const char *etag; /* that it must still have then */

	long status;
	struct bak_buf body; /* gathered: all without take, else of a refusal */
	uint64_t taken;      /* handed to take */
	uint64_t length;     /* that the server promised; UINT64_MAX: nothing */
	char new_etag[256];  /* "": none */
	int64_t retry_after; /* seconds, 0: nothing said */
	bool lost;           /* no answer or half of one: the connection's fault */
};

/* Sending it twice does no harm. */
bool bak_http_is_harmless(const struct bak_http_request *request);

/* One exchange, without a second try. As bak_http_send for errors; the exchange's results are
 * filled also when it fails. The caller releases body. */
int bak_http_exchange(struct bak_http *http, struct bak_http_exchange *x, struct bak_error *err);

#endif
