/* Writes good inputs for the fuzzers of segments, footers, snapshots, key slots and bakfs.json.
 * Usage: make_corpus tests/fuzz/corpus */
#include "engine/base/bytes.h"
#include "engine/objects/compress.h"
#include "engine/objects/footer.h"
#include "engine/objects/repo_json.h"
#include "engine/objects/snapshot.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *corpus;

static void must(int result)
{
	if (result < 0) {
		fprintf(stderr, "make_corpus: failed\n");
		exit(1);
	}
}

static void save(const char *fuzzer, const char *name, const void *p, size_t len)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", corpus, fuzzer);
	mkdir(path, 0777);
	snprintf(path, sizeof path, "%s/%s/%s", corpus, fuzzer, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	must(fd);
	must(write(fd, p, len) == (ssize_t)len ? 0 : -1);
	must(close(fd));
}

/* Header and body as the segment fuzzer takes them: the body compressed, but not sealed. */
static void segment(const char *name, enum bak_seg_type type, bool holed, uint8_t filter,
		    const void *raw, size_t len, bool zstd)
{
	struct bak_error err;
	struct bak_buf out = BAK_BUF_INIT, body = BAK_BUF_INIT;
	must(zstd ? bak_zstd_pack(raw, len, 3, &body, &err) : bak_buf_append(&body, raw, len));
	must(bak_buf_resize(&out, 40));
	out.p[0] = 1;
	out.p[1] = (uint8_t)type;
	out.p[2] = holed;
	out.p[3] = filter;
	out.p[4] = zstd;
	memset(out.p + 8, 0x11, BAK_SEG_ID_BYTES);
	bak_store_u32(out.p + 24, (uint32_t)len);
	bak_store_u32(out.p + 28, (uint32_t)body.len);
	must(bak_buf_append(&out, body.p, body.len));
	save("segment", name, out.p, out.len);
	bak_buf_release(&out);
	bak_buf_release(&body);
}

static void segments(void)
{
	uint8_t raw[3000];
	struct bak_buf holed = BAK_BUF_INIT;
	for (size_t i = 0; i < sizeof raw; i++)
		raw[i] = (uint8_t)(i * i >> 5);
	segment("empty", BAK_SEG_DATA, false, 0, raw, 0, false);
	segment("stored", BAK_SEG_DATA, false, 0, raw, 50, false);
	segment("zstd", BAK_SEG_DATA, false, 0, raw, sizeof raw, true);
	segment("transposed", BAK_SEG_DATA, false, 4, raw, 1001, true);
	segment("transposed-stored", BAK_SEG_TREE, false, 16, raw, 33, false);
	static const uint32_t table[] = {3, 0, 10, 64, 100, 1000, 1};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		must(bak_put_u32(&holed, table[i]));
	must(bak_buf_append(&holed, raw, 111));
	segment("holed", BAK_SEG_DATA, true, 0, holed.p, holed.len, false);
	segment("holed-zstd", BAK_SEG_TREE, true, 0, holed.p, holed.len, true);
	bak_buf_release(&holed);
}

static void footer(const char *name, size_t n_segs, size_t n_chunks)
{
	struct bak_error err;
	struct bak_buf body = BAK_BUF_INIT, out = BAK_BUF_INIT;
	struct bak_seg_copy *segs = calloc(n_segs + 1, sizeof *segs);
	struct bak_chunk_row *chunks = calloc(n_chunks + 1, sizeof *chunks);
	struct bak_seg_range ranges[] = {{.off = 0, .len = 10}, {.off = 700, .len = 4000}};
	struct bak_footer_kept kept = {.seg = 0, .first = 0, .n = 2};
	struct bak_node_row node = {.hash = {.b = {9}}, .span_len = 1 << 20};
	uint64_t records = 0;
	must(segs && chunks ? 0 : -1);
	for (size_t i = 0; i < n_segs; i++) {
		segs[i] = (struct bak_seg_copy){.id = {.run = {(uint8_t)(i % 2)}, .n = (uint32_t)i},
						.len = 200 + (uint32_t)i,
						.raw_len = 5000,
						.key = 77,
						.type = i % 3 ? BAK_SEG_DATA : BAK_SEG_TREE,
						.holed = i == 0};
		records += segs[i].len;
	}
	for (size_t i = 0; i < n_chunks; i++)
		chunks[i] = (struct bak_chunk_row){.hash = {.b = {(uint8_t)i, 2, 3}},
						   .seg = segs[i % n_segs].id,
						   .off = (uint32_t)(i / n_segs * 20),
						   .len = 20};
	if (n_segs)
		node.ref = (struct bak_ref){segs[n_segs - 1].id, 100, 200};
	struct bak_footer_in in = {.run = (const uint8_t *)"run name",
				   .run_start = 1795269732,
				   .segs = segs,
				   .n_segs = n_segs,
				   .kept = &kept,
				   .n_kept = n_segs > 0,
				   .ranges = ranges,
				   .chunks = chunks,
				   .n_chunks = n_chunks,
				   .nodes = &node,
				   .n_nodes = n_segs > 0};
	must(bak_footer_encode(&in, records, &body, &err));
	must(bak_put_u64(&out, records));
	must(bak_zstd_unpack(body.p + 8, bak_load_u32(body.p), bak_load_u32(body.p + 4), &out,
			     &err));
	save("footer", name, out.p, out.len);
	bak_buf_release(&body);
	bak_buf_release(&out);
	free(segs);
	free(chunks);
}

static void snapshot(const char *name, uint64_t links)
{
	struct bak_error err;
	struct bak_buf payload = BAK_BUF_INIT, out = BAK_BUF_INIT;
	char store[] = "shop", driver[] = "files", host[] = "db-1", run[] = "0123456789abcdef";
	char type[] = "manual", description[] = "before the move", manifest[] = "{\"bakfs\": 1}";
	char *stores[] = {store, driver};
	struct bak_snapshot in = {
		.number = 12,
		.store = store,
		.driver = driver,
		.host = host,
		.run = run,
		.type = type,
		.description = description,
		.stamp = 1795269732,
		.run_stamp = 1795269730,
		.added = 123456,
		.stores = stores,
		.n_stores = 2,
		.root = {.type = BAK_TYPE_DIR,
			 .mode = 0755,
			 .mtime_s = 1795269000,
			 .totals = {.entries = 3, .files = 2, .bytes = 77, .sums_len = 200},
			 .dir = {{.run = {1}, .n = 5}, 10, 20}},
		.links = links,
		.link_bytes = links * 10,
		.next_link = links + 1,
		.link_table = {{.run = {2}, .n = 6}, 30, 40},
		.manifest = manifest,
		.manifest_len = sizeof manifest - 1,
	};
	must(bak_snapshot_encode(&in, &payload, &err));
	must(bak_zstd_unpack(payload.p + 4, payload.len - 4, bak_load_u32(payload.p), &out, &err));
	save("snapshot", name, out.p, out.len);
	bak_buf_release(&payload);
	bak_buf_release(&out);
}

static void slots(void)
{
	struct bak_error err;
	struct bak_master masters[2] = {{.number = 5, .key = {5}}, {.number = 6, .key = {6}}};
	struct bak_keyring ring = {.repo_id = {1}, .n_masters = 2, .masters = masters};
	uint8_t key[32] = {1};
	struct bak_secret keyfile = {.kind = BAK_SECRET_KEYFILE, .p = key, .len = sizeof key};
	struct bak_secret password = {.kind = BAK_SECRET_PASSWORD, .p = key, .len = 1};
	const struct bak_secret *const secrets[] = {&keyfile, &password};
	for (int i = 0; i < 2; i++) {
		struct bak_buf out = BAK_BUF_INIT;
		must(bak_slot_seal(&ring, "00112233445566778899aabbccddeeff", secrets[i], "a label",
				   10, &out, &err));
		save("slot", i ? "password" : "keyfile", out.p, out.len);
		bak_buf_release(&out);
	}
}

static void repo_json(void)
{
	static const uint8_t id_key[32] = {1};
	struct bak_error err;
	struct bak_repo_json json = {.id = {1},
				     .min = 8192,
				     .avg = 32768,
				     .max = 131072,
				     .span = 1 << 20,
				     .created = 1795269732};
	struct bak_buf out = BAK_BUF_INIT;
	must(bak_repo_json_write(&json, id_key, &out, &err));
	save("repo_json", "good", out.p, out.len);
	bak_buf_release(&out);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	corpus = argv[1];
	mkdir(corpus, 0777);
	segments();
	footer("empty", 0, 0);
	footer("one", 1, 1);
	footer("many", 20, 100);
	snapshot("plain", 0);
	snapshot("links", 2);
	slots();
	repo_json();
	return 0;
}
