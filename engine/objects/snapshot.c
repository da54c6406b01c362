/* Snapshots to bytes and back: see snapshot.h for the layout. */
#include "engine/objects/snapshot.h"

#include "engine/base/bytes.h"
#include "engine/objects/compress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SNAPSHOT_VERSION 1
#define SNAPSHOT_LEVEL 3
#define SNAPSHOT_LIMIT (64u << 20) /* unpacked; most of it is the manifest */

void bak_snapshot_release(struct bak_snapshot *snapshot)
{
	free(snapshot->store);
	free(snapshot->driver);
	free(snapshot->host);
	free(snapshot->run);
	free(snapshot->type);
	free(snapshot->description);
	for (size_t i = 0; i < snapshot->n_stores; i++)
		free(snapshot->stores[i]);
	free(snapshot->stores);
	free(snapshot->manifest);
	bak_buf_release(&snapshot->raw);
	*snapshot = (struct bak_snapshot){.number = 0};
}

static int put_string(struct bak_buf *out, const char *text)
{
	size_t len = text ? strlen(text) : 0;
	return bak_put_varint(out, len) < 0 ? -1 : bak_buf_append(out, text, len);
}

static int put_root(struct bak_buf *out, const struct bak_inode *root, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf bytes = BAK_BUF_INIT;
	if (bak_inode_encode(root, &bytes, err) < 0)
		return -1;
	if (bak_put_varint(out, bytes.len) < 0 || bak_buf_append(out, bytes.p, bytes.len) < 0)
		return bak_error_nomem(err);
	return 0;
}

static int put_links(struct bak_buf *out, const struct bak_snapshot *snapshot)
{
	BAK_AUTO(bak_runs_release) struct bak_runs runs = {.n = 0};
	BAK_AUTO(bak_buf_release) struct bak_buf ref = BAK_BUF_INIT;
	if (bak_put_varint(out, snapshot->links) < 0 ||
	    bak_put_varint(out, snapshot->link_bytes) < 0)
		return -1;
	if (snapshot->links > 0 &&
	    (bak_put_ref(&ref, &runs, &snapshot->link_table) < 0 || bak_put_runs(out, &runs) < 0 ||
	     bak_buf_append(out, ref.p, ref.len) < 0))
		return -1;
	return bak_put_varint(out, snapshot->next_link);
}

static int put_head(struct bak_buf *out, const struct bak_snapshot *snapshot)
{
	const char *const strings[] = {snapshot->store, snapshot->driver, snapshot->host,
				       snapshot->run,   snapshot->type,   snapshot->description};
	if (bak_put_u8(out, SNAPSHOT_VERSION) < 0 || bak_put_varint(out, snapshot->number) < 0)
		return -1;
	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
		if (put_string(out, strings[i]) < 0)
			return -1;
	if (bak_put_zigzag(out, snapshot->stamp) < 0 ||
	    bak_put_zigzag(out, snapshot->run_stamp) < 0 ||
	    bak_put_varint(out, snapshot->added) < 0 || bak_put_varint(out, snapshot->n_stores) < 0)
		return -1;
	for (size_t i = 0; i < snapshot->n_stores; i++)
		if (put_string(out, snapshot->stores[i]) < 0)
			return -1;
	return 0;
}

int bak_snapshot_encode(const struct bak_snapshot *snapshot, struct bak_buf *out,
			struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf raw = BAK_BUF_INIT;
	if (put_head(&raw, snapshot) < 0)
		return bak_error_nomem(err);
	if (put_root(&raw, &snapshot->root, err) < 0)
		return -1;
	if (put_links(&raw, snapshot) < 0 || bak_put_varint(&raw, snapshot->manifest_len) < 0 ||
	    bak_buf_append(&raw, snapshot->manifest, snapshot->manifest_len) < 0)
		return bak_error_nomem(err);
	if (raw.len > SNAPSHOT_LIMIT)
		return bak_error_set(err, BAK_UNSUPPORTED, "the manifest is too long: %zu bytes",
				     snapshot->manifest_len);
	if (bak_put_u32(out, (uint32_t)raw.len) < 0)
		return bak_error_nomem(err);
	return bak_zstd_pack(raw.p, raw.len, SNAPSHOT_LEVEL, out, err);
}

/* An owned string without zero bytes; NULL (and in->bad, or lack of memory) otherwise. */
static char *get_string(struct bak_bytes *in, size_t *out_len)
{
	size_t len = (size_t)bak_get_varint_max(in, bak_bytes_left(in));
	const uint8_t *p = bak_get_bytes(in, len);
	if (!p || memchr(p, '\0', len)) {
		in->bad = true;
		return NULL;
	}
	if (out_len)
		*out_len = len;
	return strndup((const char *)p, len);
}

static int malformed(const char *what, struct bak_error *err)
{
	return bak_error_set(err, BAK_CORRUPT, "malformed snapshot: %s", what);
}

static int string_failed(const struct bak_bytes *in, struct bak_error *err)
{
	return in->bad ? malformed("strings", err) : bak_error_nomem(err);
}

static int get_stores(struct bak_bytes *in, struct bak_snapshot *out, struct bak_error *err)
{
	size_t n = (size_t)bak_get_varint_max(in, bak_bytes_left(in));
	out->stores = calloc(n ? n : 1, sizeof *out->stores);
	if (!out->stores)
		return bak_error_nomem(err);
	for (; out->n_stores < n; out->n_stores++) {
		char *name = get_string(in, NULL);
		if (!name)
			return string_failed(in, err);
		out->stores[out->n_stores] = name;
	}
	return 0;
}

/* Types and stores become names of folders in the mount. */
static bool type_ok(const char *type)
{
	size_t len = strspn(type, "abcdefghijklmnopqrstuvwxyz-");
	return len > 0 && len <= 32 && type[len] == '\0';
}

static bool run_ok(const char *run)
{
	uint8_t bytes[8];
	return bak_unhex(bytes, sizeof bytes, run);
}

static int get_head(struct bak_bytes *in, struct bak_snapshot *out, struct bak_error *err)
{
	char **const strings[] = {&out->store, &out->driver, &out->host,
				  &out->run,   &out->type,   &out->description};
	if (bak_get_u8(in) != SNAPSHOT_VERSION)
		return bak_error_set(err, BAK_UNSUPPORTED, "snapshot of a newer version");
	out->number = bak_get_varint(in);
	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
		*strings[i] = get_string(in, NULL);
		if (!*strings[i])
			return string_failed(in, err);
	}
	out->stamp = bak_get_zigzag(in);
	out->run_stamp = bak_get_zigzag(in);
	out->added = bak_get_varint(in);
	if (get_stores(in, out, err) < 0)
		return -1;
	if (out->number == 0 || !bak_store_name_ok(out->store) || !run_ok(out->run) ||
	    !type_ok(out->type))
		return malformed("names", err);
	return 0;
}

static int get_root(struct bak_bytes *in, struct bak_snapshot *out, struct bak_error *err)
{
	size_t len = (size_t)bak_get_varint_max(in, bak_bytes_left(in));
	const uint8_t *p = bak_get_bytes(in, len);
	if (!p)
		return malformed("root", err);
	struct bak_bytes root = bak_bytes_of(p, len);
	if (bak_inode_decode(&root, &out->root, err) < 0)
		return -1;
	if (bak_bytes_left(&root) > 0 || out->root.type != BAK_TYPE_DIR)
		return malformed("root", err);
	return 0;
}

static int get_links(struct bak_bytes *in, struct bak_snapshot *out, struct bak_error *err)
{
	struct bak_runs runs = {.n = 0};
	out->links = bak_get_varint(in);
	out->link_bytes = bak_get_varint(in);
	if (out->links > 0) {
		if (bak_get_runs(in, &runs, err) < 0)
			return -1;
		bak_get_ref(in, &runs, &out->link_table);
		bak_runs_release(&runs);
	}
	out->next_link = bak_get_varint(in);
	return in->bad ? malformed("link table", err) : 0;
}

static int decode_raw(struct bak_snapshot *out, struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(out->raw.p, out->raw.len);
	if (get_head(&in, out, err) < 0 || get_root(&in, out, err) < 0 ||
	    get_links(&in, out, err) < 0)
		return -1;
	out->manifest = get_string(&in, &out->manifest_len);
	if (!out->manifest)
		return string_failed(&in, err);
	return bak_bytes_left(&in) ? malformed("bytes left over", err) : 0;
}

int bak_snapshot_decode(const void *payload, size_t len, struct bak_snapshot *out,
			struct bak_error *err)
{
	struct bak_bytes in = bak_bytes_of(payload, len);
	*out = (struct bak_snapshot){.number = 0};
	uint32_t raw_len = bak_get_u32(&in);
	if (in.bad || raw_len > SNAPSHOT_LIMIT)
		return malformed("length", err);
	if (bak_zstd_unpack(in.p, bak_bytes_left(&in), raw_len, &out->raw, err) < 0 ||
	    decode_raw(out, err) < 0) {
		bak_snapshot_release(out);
		return -1;
	}
	return 0;
}

int bak_snapshot_load(struct bak_backend *backend, const struct bak_keyring *ring, uint64_t number,
		      struct bak_snapshot *out, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf sealed = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf payload = BAK_BUF_INIT;
	char name[40];
	snprintf(name, sizeof name, "snapshots/%llu", (unsigned long long)number);
	int found = bak_backend_get(backend, name, 0, SIZE_MAX, &sealed, err);
	if (found <= 0)
		return found;
	if (bak_object_open(ring, name, sealed.p, sealed.len, &payload, err) < 0)
		return -1;
	if (bak_snapshot_decode(payload.p, payload.len, out, err) < 0)
		return bak_error_wrap(err, "%s", name);
	if (out->number != number) {
		bak_snapshot_release(out);
		return bak_error_set(err, BAK_CORRUPT, "%s says that it is another one", name);
	}
	return 1;
}
