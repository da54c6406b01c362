/* bakfs.json to text and back: see repo_json.h. */
#include "engine/objects/repo_json.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"
#include "engine/objects/snapshot.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#define FORMAT_NAME "bakfs repository"

static int mac_of(json_t *object, const uint8_t id_key[32], char out_hex[65], struct bak_error *err)
{
	uint8_t mac[BAK_SHA256_LEN];
	char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
	if (!text)
		return bak_error_nomem(err);
	int rc = bak_hmac_once(id_key, text, strlen(text), mac, err);
	free(text);
	if (rc == 0)
		bak_hex(out_hex, mac, sizeof mac);
	return rc;
}

int bak_repo_json_write(const struct bak_repo_json *json, const uint8_t id_key[32],
			struct bak_buf *out, struct bak_error *err)
{
	char id[2 * BAK_REPO_ID_BYTES + 1], created[BAK_TIME_LEN + 1], mac[65];
	bak_hex(id, json->id, sizeof json->id);
	bak_time_format(json->created, created);
	json_t *object = json_pack("{s:s, s:i, s:s, s:s, s:{s:I, s:I, s:I, s:I}}", "format",
				   FORMAT_NAME, "version", BAK_FORMAT_VERSION, "id", id, "created",
				   created, "chunker", "min", (json_int_t)json->min, "avg",
				   (json_int_t)json->avg, "max", (json_int_t)json->max, "span",
				   (json_int_t)json->span);
	if (!object)
		return bak_error_nomem(err);
	char *text = NULL;
	int rc = mac_of(object, id_key, mac, err);
	if (rc == 0 &&
	    (json_object_set_new(object, "mac", json_string(mac)) < 0 ||
	     !(text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS)) ||
	     bak_buf_append(out, text, strlen(text)) < 0 || bak_buf_append(out, "\n", 1) < 0))
		rc = bak_error_nomem(err);
	free(text);
	json_decref(object);
	return rc;
}

static bool get_size(json_t *object, const char *name, uint32_t *out)
{
	json_t *v = json_object_get(object, name);
	if (!json_is_integer(v) || json_integer_value(v) < 1 ||
	    json_integer_value(v) > (json_int_t)1 << 30)
		return false;
	*out = (uint32_t)json_integer_value(v);
	return true;
}

static int parse_object(json_t *object, struct bak_repo_json *out, struct bak_error *err)
{
	const char *format = json_string_value(json_object_get(object, "format"));
	const char *id = json_string_value(json_object_get(object, "id"));
	const char *created = json_string_value(json_object_get(object, "created"));
	json_t *version = json_object_get(object, "version");
	json_t *chunker = json_object_get(object, "chunker");
	if (!format || strcmp(format, FORMAT_NAME) != 0 || !json_is_integer(version))
		return bak_error_set(err, BAK_CORRUPT, "bakfs.json is not a bakfs repository's");
	if (json_integer_value(version) != BAK_FORMAT_VERSION)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the repository has format version %lld; this bakfs knows "
				     "version %d",
				     (long long)json_integer_value(version), BAK_FORMAT_VERSION);
	if (!id || !bak_unhex(out->id, sizeof out->id, id) || !created ||
	    !bak_time_parse(created, &out->created) || !get_size(chunker, "min", &out->min) ||
	    !get_size(chunker, "avg", &out->avg) || !get_size(chunker, "max", &out->max) ||
	    !get_size(chunker, "span", &out->span))
		return bak_error_set(err, BAK_CORRUPT, "bakfs.json is damaged");
	return 0;
}

static int load(const char *text, size_t len, json_t **out, struct bak_error *err)
{
	json_error_t why;
	*out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!*out)
		return bak_error_set(err, BAK_CORRUPT, "bakfs.json is damaged: %s", why.text);
	return 0;
}

int bak_repo_json_parse(const char *text, size_t len, struct bak_repo_json *out,
			struct bak_error *err)
{
	json_t *object;
	if (load(text, len, &object, err) < 0)
		return -1;
	int rc = parse_object(object, out, err);
	json_decref(object);
	return rc;
}

int bak_repo_json_verify(const char *text, size_t len, const uint8_t id_key[32],
			 struct bak_error *err)
{
	json_t *object;
	char want[65];
	if (load(text, len, &object, err) < 0)
		return -1;
	json_t *mac = json_incref(json_object_get(object, "mac"));
	json_object_del(object, "mac");
	int rc = mac_of(object, id_key, want, err);
	const char *got = json_string_value(mac);
	if (rc == 0 && (!got || strlen(got) != 64 || CRYPTO_memcmp(got, want, 64) != 0))
		rc = bak_error_set(err, BAK_CORRUPT,
				   "bakfs.json was changed: its MAC does not fit");
	json_decref(mac);
	json_decref(object);
	return rc;
}
