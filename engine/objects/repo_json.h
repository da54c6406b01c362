/*
 * bakfs.json: what stands in the clear about a repository.
 *
 *   {"chunker":{"avg":32768,"max":131072,"min":8192,"span":1048576},"created":"...Z",
 *    "format":"bakfs repository","id":"<32 hex>","mac":"<64 hex>","version":1}
 *
 * mac: HMAC-SHA256(id key, the object without "mac" as compact JSON with sorted keys). Unknown
 * members are kept under the MAC and otherwise ignored.
 */
#ifndef BAK_OBJECTS_REPO_JSON_H
#define BAK_OBJECTS_REPO_JSON_H

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/ids.h"

#include <stddef.h>
#include <stdint.h>

#define BAK_FORMAT_VERSION 1

struct bak_repo_json {
	uint8_t id[BAK_REPO_ID_BYTES];
	uint32_t min, avg, max, span;
	int64_t created; /* UTC seconds */
};

/* Appends the text with its MAC and a newline. */
int bak_repo_json_write(const struct bak_repo_json *json, const uint8_t id_key[32],
			struct bak_buf *out, struct bak_error *err);
/* BAK_CORRUPT when it is none, BAK_UNSUPPORTED for a newer version. */
int bak_repo_json_parse(const char *text, size_t len, struct bak_repo_json *out,
			struct bak_error *err);
/* BAK_CORRUPT when the MAC does not fit. */
int bak_repo_json_verify(const char *text, size_t len, const uint8_t id_key[32],
			 struct bak_error *err);

#endif
