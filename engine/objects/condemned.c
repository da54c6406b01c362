/* Condemnations of packs: see condemned.h. */
#include "engine/objects/condemned.h"

#include "engine/base/bytes.h"
#include "engine/base/hash.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

void bak_condemned_release(struct bak_condemned *condemned)
{
	free(condemned->packs);
	*condemned = (struct bak_condemned){.n = 0};
}

static char *condemned_json(const struct bak_condemned *condemned)
{
	char time[BAK_TIME_LEN + 1], hex[2 * BAK_PACK_ID_BYTES + 1];
	json_t *packs = json_array();
	bak_time_format(condemned->time, time);
	for (size_t i = 0; i < condemned->n; i++) {
		bak_hex(hex, condemned->packs[i], BAK_PACK_ID_BYTES);
		json_array_append_new(packs, json_string(hex));
	}
	json_t *json = json_pack("{s:b, s:o, s:s, s:s}", "damaged", condemned->damaged, "packs",
				 packs, "run", condemned->run, "time", time);
	char *text = json ? json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

int bak_condemned_put(struct bak_backend *backend, const struct bak_keyring *ring,
		      const struct bak_condemned *condemned, char out_name[BAK_CONDEMNED_NAME_LEN],
		      struct bak_error *err)
{
	uint8_t id[16];
	char hex[2 * sizeof id + 1];
	BAK_AUTO(bak_free_ptr) char *json = condemned_json(condemned);
	if (!json)
		return bak_error_nomem(err);
	if (bak_random(id, sizeof id, err) < 0)
		return -1;
	bak_hex(hex, id, sizeof id);
	snprintf(out_name, BAK_CONDEMNED_NAME_LEN, "condemned/%s", hex);
	int rc = bak_record_put(backend, ring, out_name, json, err);
	if (rc == 0)
		return bak_error_set(err, BAK_BUG, "%s is there already", out_name);
	return rc < 0 ? -1 : 0;
}

/* A pack of which the name makes no sense is none. */
static bool parse_packs(const json_t *packs, struct bak_condemned *out)
{
	size_t i, n = json_array_size(packs);
	const json_t *pack;
	out->packs = calloc(n + 1, sizeof *out->packs);
	if (!out->packs)
		return false;
	json_array_foreach(packs, i, pack)
	{
		const char *hex = json_string_value(pack);
		if (hex && bak_unhex(out->packs[out->n], BAK_PACK_ID_BYTES, hex))
			out->n++;
	}
	return true;
}

/* 1, 0 not what anybody writes, -1 no memory. */
static int parse(const struct bak_buf *text, struct bak_condemned *out, struct bak_error *err)
{
	json_t *json = json_loadb((const char *)text->p, text->len, 0, NULL), *packs;
	const char *time, *run = "";
	int damaged = 0;
	int rc = json &&
		 json_unpack(json, "{s?b, s:o, s?s, s:s}", "damaged", &damaged, "packs", &packs,
			     "run", &run, "time", &time) == 0 &&
		 json_is_array(packs) && bak_time_parse(time, &out->time);
	if (rc == 1) {
		out->damaged = damaged;
		snprintf(out->run, sizeof out->run, "%s", run);
		rc = parse_packs(packs, out) ? 1 : bak_error_nomem(err);
	}
	json_decref(json);
	return rc;
}

int bak_condemned_get(struct bak_backend *backend, const struct bak_keyring *ring, const char *name,
		      struct bak_condemned *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf json = BAK_BUF_INIT;
	*out = (struct bak_condemned){.n = 0};
	int rc = bak_record_get(backend, ring, name, &json, err);
	if (rc < 0 && err->code == BAK_CORRUPT)
		return 0;
	return rc == 1 ? parse(&json, out, err) : rc;
}

struct each {
	struct bak_backend *backend;
	const struct bak_keyring *ring;
	bak_condemned_fn *fn;
	void *ctx;
	struct bak_error *err;
};

static int each_condemned(void *ctx, const char *name, uint64_t size)
{
	const struct each *each = ctx;
	struct bak_condemned condemned;
	(void)size;
	if (strlen(name) >= BAK_CONDEMNED_NAME_LEN)
		return 0;
	int rc = bak_condemned_get(each->backend, each->ring, name, &condemned, each->err);
	if (rc == 1)
		rc = each->fn(each->ctx, name, &condemned);
	bak_condemned_release(&condemned);
	return rc;
}

int bak_condemned_each(struct bak_backend *backend, const struct bak_keyring *ring,
		       bak_condemned_fn *fn, void *ctx, struct bak_error *err)
{
	struct each each = {backend, ring, fn, ctx, err};
	return bak_backend_list(backend, "condemned", each_condemned, &each, err);
}

int bak_condemned_remove(struct bak_backend *backend, const char *name, struct bak_error *err)
{
	return bak_backend_remove(backend, name, err) < 0 ? -1 : 0;
}
