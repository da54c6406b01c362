/* What a Chroma server is asked before anything else, and its words: see chroma.h. */
#include "stores/chroma/chroma.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"

#include <limits.h>
#include <string.h>

/* {"error": "NotFoundError", "message": "..."}; proxies answer in other ways. */
static void words(const json_t *body, char *out, size_t out_len)
{
	const char *message = json_string_value(json_object_get(body, "message"));

	if (!message)
		message = json_string_value(json_object_get(body, "detail"));
	if (!message)
		message = json_string_value(json_object_get(body, "error"));
	if (message)
		snprintf(out, out_len, "%s", message);
}

const struct bak_http_server bak_chroma_server = {
	.name = "Chroma", .secret_header = NULL, .words = words};

/* What versions before 1 have, and others no more. */
static bool is_old(struct bak_http *http)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	return bak_http_json(http, "GET", "/api/v1/heartbeat", NULL, NULL, &scratch) == 0;
}

int bak_chroma_ask(struct bak_http *http, struct bak_chroma_facts *out, struct bak_error *err)
{
	json_t *version = NULL, *checks = NULL;

	*out = (struct bak_chroma_facts){.max_batch = 100};
	if (bak_http_json(http, "GET", "/api/v2/version", NULL, &version, err) < 0) {
		if (err->code == BAK_NOT_FOUND && is_old(http))
			return bak_error_set(err, BAK_UNSUPPORTED,
					     "Chroma at %s is older than version 1: it knows no "
					     "/api/v2; upgrade it",
					     bak_http_url(http));
		return err->code == BAK_NOT_FOUND || err->code == BAK_CORRUPT
			       ? bak_error_wrap(err, "this is no Chroma server")
			       : -1;
	}
	snprintf(out->version, sizeof out->version, "%s",
		 json_string_value(version) ? json_string_value(version) : "");
	json_decref(version);
	if (bak_http_json(http, "GET", "/api/v2/pre-flight-checks", NULL, &checks, err) < 0)
		return -1;
	if (json_integer_value(json_object_get(checks, "max_batch_size")) > 0)
		out->max_batch = (uint64_t)json_integer_value(
			json_object_get(checks, "max_batch_size"));
	out->base64 = json_is_true(json_object_get(checks, "supports_base64_encoding"));
	json_decref(checks);
	return 0;
}

/* --- names --- */

static bool is_plain(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_' || c == '.' || c >= 0x80;
}

/* So much of a long name stays, and a part of its hash. */
#define HEAD_MAX 200

int bak_chroma_file_name(const char *name, char *out, struct bak_error *err)
{
	size_t at = 0, len = strlen(name);
	struct bak_sha256 sha;
	uint8_t hash[BAK_SHA256_LEN];

	for (size_t i = 0; i < len && at < HEAD_MAX; i++) {
		if (is_plain((unsigned char)name[i]) && !(name[i] == '.' && i == 0))
			out[at++] = name[i];
		else
			at += (size_t)snprintf(out + at, 4, "%%%02X", (unsigned char)name[i]);
	}
	out[at] = '\0';
	if (len < HEAD_MAX && at < HEAD_MAX)
		return 0;
	if (bak_sha256_init(&sha, err) < 0)
		return -1;
	bak_sha256_begin(&sha);
	bak_sha256_update(&sha, name, len);
	bak_sha256_final(&sha, hash);
	bak_sha256_release(&sha);
	out[at++] = '~';
	bak_hex(out + at, hash, 8);
	return 0;
}
