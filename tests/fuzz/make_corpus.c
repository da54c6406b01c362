/* Writes good inputs for the fuzzers of segments, footers, parity, snapshots, key slots, bakfs.json and
 * tree objects. Usage: make_corpus tests/fuzz/corpus */
#include "engine/base/bytes.h"
#include "engine/objects/compress.h"
#include "engine/objects/footer.h"
#include "engine/objects/parity.h"
#include "engine/objects/refs.h"
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
	struct bak_kept_rows kept = {.seg = 0, .first = 0, .n = 2};
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

/* An opened head. */
static void parity(const char *name, size_t size, unsigned percent)
{
	static const uint8_t id[16] = {1};
	static struct bak_master master = {.number = 7, .key = {1}};
	static const struct bak_keyring ring = {
		.repo_id = "repository-id-1", .n_masters = 1, .masters = &master};
	struct bak_error err;
	struct bak_parity_maker *maker;
	struct bak_buf object = BAK_BUF_INIT, head = BAK_BUF_INIT;
	char object_name[BAK_PARITY_NAME_LEN];
	uint8_t *pack = calloc(size, 1);
	must(pack ? 0 : -1);
	must(bak_parity_maker_new(size, percent, &maker, &err));
	must(bak_parity_maker_add(maker, pack, size, &err));
	must(bak_parity_maker_finish(maker, &ring, id, &object, &err));
	bak_parity_name(id, object_name);
	must(bak_object_open(&ring, object_name, object.p + 12, bak_load_u32(object.p + 8), &head,
			     &err));
	save("parity", name, head.p, head.len);
	bak_parity_maker_free(maker);
	bak_buf_release(&object);
	bak_buf_release(&head);
	free(pack);
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

/* --- tree objects --- */

/* Saves and empties a payload. */
static void keep(const char *fuzzer, const char *name, struct bak_buf *payload)
{
	save(fuzzer, name, payload->p, payload->len);
	bak_buf_release(payload);
}

static const struct bak_ref somewhere = {.seg = {.run = {7}, .n = 300}, .off = 5000, .len = 700};

static struct bak_inode inode_of(enum bak_type type)
{
	struct bak_inode inode = {.type = type,
				  .mode = 0644,
				  .uid = 1000,
				  .gid = 100,
				  .mtime_s = 1700000000,
				  .mtime_ns = 123456789,
				  .ctime_s = -7,
				  .ctime_ns = 999999999,
				  .ino = 4711};
	if (type == BAK_TYPE_DIR) {
		inode.totals = (struct bak_totals){5, 4, 1, 999, 400};
		inode.dir = somewhere;
	} else if (type == BAK_TYPE_SYMLINK) {
		inode.target = "../elsewhere";
		inode.target_len = 12;
	} else if (type == BAK_TYPE_CHAR || type == BAK_TYPE_BLOCK) {
		inode.major = 259;
		inode.minor = 70000;
	}
	return inode;
}

static struct bak_inode file_of(enum bak_content_kind kind, enum bak_extent_kind extent)
{
	struct bak_inode inode = inode_of(BAK_TYPE_FILE);
	inode.size = kind ? 70000 : 0;
	memset(inode.sha256, 0xab, sizeof inode.sha256);
	inode.content = (struct bak_content){.kind = kind, .ref = somewhere};
	inode.content.extent = (struct bak_extent){extent, {.run = {8}, .n = 2}, 4096, 70000};
	return inode;
}

/* One of each kind. */
static size_t all_inodes(struct bak_inode out[16], const struct bak_buf *xattrs)
{
	size_t n = 0;
	out[n++] = file_of(BAK_CONTENT_NONE, BAK_EXTENT_HOLE);
	for (int i = BAK_EXTENT_HOLE; i <= BAK_EXTENT_BYTES; i++)
		out[n++] = file_of(BAK_CONTENT_EXTENT, (enum bak_extent_kind)i);
	out[n++] = file_of(BAK_CONTENT_SPAN, BAK_EXTENT_HOLE);
	out[n++] = file_of(BAK_CONTENT_INNER, BAK_EXTENT_HOLE);
	for (int i = BAK_TYPE_DIR; i <= BAK_TYPE_SOCKET; i++)
		out[n++] = inode_of((enum bak_type)i);
	out[1].xattrs = xattrs->p;
	out[1].xattrs_len = xattrs->len;
	return n;
}

static void folders(const struct bak_inode *inodes, size_t n)
{
	struct bak_error err;
	struct bak_buf out = BAK_BUF_INIT;
	struct bak_entry entries[17] = {{.name = NULL}};
	static const char *const names[] = {"A", "a\n", "b", "b!", "c", "d", "e", "f", "g",
					    "h", "i",   "j", "k",  "l", "m", "n", "o"};
	for (size_t i = 0; i < n; i++)
		entries[i] = (struct bak_entry){
			.name = names[i], .name_len = strlen(names[i]), .inode = inodes[i]};
	entries[n] = (struct bak_entry){.name = names[n], .name_len = 1, .linked = true, .link = 5};
	entries[n].inode.type = BAK_TYPE_FILE;
	must(bak_page_encode(entries, 0, &out, &err));
	keep("page", "empty", &out);
	must(bak_page_encode(entries, n + 1, &out, &err));
	keep("page", "all", &out);
	const struct bak_name_line lines[] = {
		{"A", 1, somewhere, {3, 2, 0, 100, 200}},
		{"m", 1, {{.run = {9}, .n = 1}, 0, 5}, {90000, 0, 0, 0, 0}},
	};
	must(bak_names_encode(lines, 2, &out, &err));
	keep("names", "two", &out);
	must(bak_names_encode(lines, 1, &out, &err));
	keep("names", "one", &out);
}

static void link_tables(const struct bak_inode *inodes, size_t n)
{
	struct bak_error err;
	struct bak_buf out = BAK_BUF_INIT;
	struct bak_link links[16] = {{.number = 0}};
	size_t n_links = 0;
	for (size_t i = 0; i < n; i++)
		if (inodes[i].type != BAK_TYPE_DIR) {
			links[n_links] = (struct bak_link){3 + 100 * i, 2 + i, inodes[i]};
			n_links++;
		}
	must(bak_links_encode(links, 1, &out, &err));
	keep("links", "one", &out);
	must(bak_links_encode(links, n_links, &out, &err));
	keep("links", "all", &out);
	const struct bak_link_line lines[] = {{1, 400, somewhere}, {900, 2, somewhere}};
	must(bak_link_names_encode(lines, 2, &out, &err));
	keep("link_names", "two", &out);
}

static void span(const char *name, size_t n)
{
	struct bak_error err;
	struct bak_buf out = BAK_BUF_INIT;
	struct bak_extent *extents = calloc(n, sizeof *extents);
	uint32_t *chunks = calloc(n, sizeof *chunks);
	struct bak_span in = {.scatter = 12, .hash = {.b = {6}}};
	must(extents && chunks ? 0 : -1);
	for (size_t i = 0; i < n; i++) {
		extents[i] = (struct bak_extent){i % 5 < 2 ? (enum bak_extent_kind)(i % 5)
							   : BAK_EXTENT_BYTES,
						 {.run = {(uint8_t)(i % 3)}, .n = (uint32_t)i % 7},
						 (uint32_t)(i * 977 % 100000),
						 4 + i % 37};
		in.len += extents[i].len;
		if (extents[i].kind == BAK_EXTENT_BYTES)
			chunks[in.n_chunks++] = (uint32_t)extents[i].len;
	}
	in.extents = extents;
	in.n_extents = n;
	in.chunk_lens = chunks;
	must(bak_span_encode(&in, &out, &err));
	keep("span", name, &out);
	free(extents);
	free(chunks);
}

static void inner(void)
{
	struct bak_error err;
	struct bak_buf out = BAK_BUF_INIT;
	const struct bak_line lines[] = {
		{BAK_LINE_HOLE, (uint64_t)1 << 40, {.len = 0}},
		{BAK_LINE_SPAN, 1 << 20, somewhere},
		{BAK_LINE_ZEROS, 2 << 20, {.len = 0}},
		{BAK_LINE_INNER, (uint64_t)1 << 30, somewhere},
	};
	must(bak_inner_encode(lines, 4, &out, &err));
	keep("inner", "four", &out);
}

static void tree_objects(void)
{
	struct bak_error err;
	struct bak_buf xattrs = BAK_BUF_INIT, out = BAK_BUF_INIT;
	struct bak_inode inodes[16];
	must(bak_xattrs_add(&xattrs, "security.capability", "\1\0\2", 3));
	must(bak_xattrs_add(&xattrs, "user.empty", "", 0));
	must(bak_xattrs_add(&xattrs, "user.note", "hello", 5));
	save("xattrs", "three", xattrs.p, xattrs.len);
	size_t n = all_inodes(inodes, &xattrs);
	for (size_t i = 0; i < n; i++) {
		char name[16];
		snprintf(name, sizeof name, "kind-%02zu", i);
		must(bak_inode_encode(&inodes[i], &out, &err));
		keep("inode", name, &out);
	}
	folders(inodes, n);
	link_tables(inodes, n);
	span("one", 1);
	span("stored", 15);
	span("zstd", 400);
	inner();
	bak_buf_release(&xattrs);
}

static void refs(const char *name, bool exact)
{
	struct bak_buf out = BAK_BUF_INIT;
	struct bak_ref trees[] = {somewhere, {{{9, 9}, 70000}, 5, 500}};
	struct bak_use uses[] = {{{{1}, 2}, exact ? 300 : 0, 40}, {{{9, 9}, 3}, 0, 1 << 20}};
	const struct bak_refs in = {.n_trees = exact ? 2 : 0,
				    .trees = trees,
				    .n_uses = 2,
				    .uses = uses,
				    .exact = exact};
	must(bak_refs_encode(&in, &out));
	keep("refs", name, &out);
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
	parity("tiny", 300, 5);
	parity("small", 9000, 5);
	parity("half", 60000, 50);
	parity("wide", 600000, 2);
	refs("page", true);
	refs("span", false);
	snapshot("plain", 0);
	snapshot("links", 2);
	slots();
	repo_json();
	tree_objects();
	return 0;
}
