/*
 * Makes the golden repository, once for each version of the format: a small repository in which
 * nearly everything occurs that bakfs-repository(5) describes, and expected.json, which says what a
 * reader has to find there. Keys, ids and salts are random: a second run makes another one.
 * usage: make_golden FOLDER       makes FOLDER/repo, FOLDER/key, FOLDER/expected.json
 */
#include "tests/golden/model.h"

#include "engine/base/bytes.h"
#include "engine/ops/backup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define PASSWORD "golden"
#define MIB ((uint64_t)1 << 20)
#define TEXT_LEN (5 * MIB / 2)
#define PAIRS 330 /* groups of hard links: more than one page of the link table takes */
#define HOST "golden.example"

struct golden {
	struct bak_repo *repo;
	const char *description; /* of the run at work */
	json_t *expected, *snapshots;
};

/* --- bytes --- */

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static uint8_t *allocate(size_t len)
{
	uint8_t *p = calloc(1, len);
	if (!p)
		abort();
	return p;
}

/* As a dump might look: zstd makes less than a tenth of it. */
static uint8_t *make_text(uint64_t seed, size_t len)
{
	static const char *const words[] = {"paid", "shipped", "returned", "open", "lost"};
	uint8_t *p = allocate(len);
	char row[160];
	unsigned number = 0;
	for (size_t at = 0; at < len; number++) {
		int n = snprintf(row, sizeof row,
				 "%08u\tan order of the year 2026, kept for ever\t%s\tEUR\t0.00\n",
				 number, words[next_random(&seed) % 5]);
		size_t k = (size_t)n < len - at ? (size_t)n : len - at;
		memcpy(p + at, row, k);
		at += k;
	}
	return p;
}

static uint8_t *make_noise(uint64_t seed, size_t len)
{
	uint8_t *p = allocate(len);
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(next_random(&seed) >> 24);
	return p;
}

/* Vectors of floats near one: their exponents are alike, so that the filter pays. */
static uint8_t *make_floats(uint64_t seed, size_t len)
{
	uint8_t *p = allocate(len);
	for (size_t i = 0; i + 4 <= len; i += 4) {
		float f = 1.0f + (float)(next_random(&seed) >> 40 & 0xffff) / 65536.0f;
		memcpy(p + i, &f, sizeof f);
	}
	return p;
}

/* --- the store "docs" --- */

static void text_file(struct node *folder, const char *name, const char *text)
{
	node_bytes(node_new(folder, BAK_TYPE_FILE, name), text, strlen(text));
}

static void add_names(struct node *root)
{
	char longest[256];
	memset(longest, 'n', 255);
	longest[255] = '\0';
	text_file(root, "plain name", "hello\n");
	text_file(root, "back\\slash", "one of three names that checksum lists escape\n");
	text_file(root, "new\nline", "another\n");
	text_file(root, "carriage\rreturn", "the third\n");
	text_file(root, "\xff\xfe not UTF-8", "bytes, not characters\n");
	text_file(root, "$(touch x); 'quoted' \"twice\"", "for shells\n");
	text_file(root, longest, "255 bytes\n");
	node_new(root, BAK_TYPE_FILE, "empty");
}

static void add_sparse(struct node *root)
{
	uint8_t *text = make_text(5, 65536), *zeros = allocate(2 * MIB);
	struct node *node = node_new(root, BAK_TYPE_FILE, "sparse");
	node_bytes(node, text, 5000);
	node_hole(node, 200000);
	node_bytes(node, text + 100, 7000);
	node_bytes(node, zeros, 100000);
	node_bytes(node, text, 3);
	node_hole(node, 3 * MIB);
	node_bytes(node, zeros, 2 * MIB);
	node_bytes(node, text + 20000, 40000);
	node = node_new(root, BAK_TYPE_FILE, "sparse, one span");
	for (int i = 0; i < 39; i++) {
		node_bytes(node, text + 11 * i, 64);
		node_hole(node, 4096);
	}
	/* Enough lines for an inner node below another one. */
	node = node_new(root, BAK_TYPE_FILE, "sparse, of many spans");
	for (int i = 0; i < 33; i++) {
		node_bytes(node, text + i % 3, 100);
		node_hole(node, MIB);
	}
	node_bytes(node, text, 100);
	node_hole(node, 64 * MIB);
	node_bytes(node, text, 100);
	node_hole(node, MIB);
	node_bytes(node, text, 200);
	node_hole(node_new(root, BAK_TYPE_FILE, "nothing but a hole"), 5 * MIB);
	node_hole(node_new(root, BAK_TYPE_FILE, "a terabyte of hole"), MIB << 20);
	node_bytes(node_new(root, BAK_TYPE_FILE, "zeros"), zeros, 300000);
}

static void add_attributes(struct node *root)
{
	struct node *node = node_new(root, BAK_TYPE_FILE, "setuid");
	node_bytes(node, "#!/bin/true\n", 12);
	node->in.inode.mode = 04755;
	node = node_new(root, BAK_TYPE_FILE, "xattrs");
	node_bytes(node, "attributes", 10);
	node_xattr(node, "security.capability", "\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	node_xattr(node, "user.empty", "", 0);
	node_xattr(node, "user.text", "some\0text", 9);
	node = node_new(root, BAK_TYPE_FILE, "before 1970");
	node_bytes(node, "old\n", 4);
	node->in.inode.mtime_s = -1234567;
	node->in.inode.mtime_ns = 999999999;
	node = node_new(root, BAK_TYPE_FILE, "changed while it was read");
	node_bytes(node, "moving\n", 7);
	node->in.inode.flags = BAK_INODE_CHANGED;
	node = node_new(root, BAK_TYPE_FILE, "owners");
	node_bytes(node, "large numbers\n", 14);
	node->in.inode.uid = 4294967294u;
	node->in.inode.gid = 100000;
	node->in.inode.ino = INT64_MAX;
}

static void add_others(struct node *root)
{
	static const char target[] = "../where/it \\ points\n\xff";
	struct node *node = node_new(root, BAK_TYPE_SYMLINK, "symlink");
	node->in.inode.target = target;
	node->in.inode.target_len = sizeof target - 1;
	node_new(root, BAK_TYPE_FIFO, "fifo")->in.inode.mode = 0622;
	node = node_new(root, BAK_TYPE_CHAR, "char device");
	node->in.inode.major = 1;
	node->in.inode.minor = 3;
	node = node_new(root, BAK_TYPE_BLOCK, "block device");
	node->in.inode.major = 259;
	node->in.inode.minor = 70000;
}

/* Hard links: over folders, of a symlink, and so many groups that the link table has pages. */
static void add_folders(struct node *root)
{
	struct node *sub = node_new(root, BAK_TYPE_DIR, "sub");
	struct node *deep = node_new(sub, BAK_TYPE_DIR, "deep\\er");
	struct node *first = node_new(root, BAK_TYPE_FILE, "hard link");
	uint8_t *text = make_text(9, 90000);
	node_new(deep, BAK_TYPE_DIR, "empty folder")->in.inode.mode = 01777;
	node_xattr(sub, "user.folder", "yes", 3);
	node_bytes(first, text, 90000);
	node_link(sub, first, "hard link");
	node_link(deep, first, "hard\nlink");
	text_file(deep, "below", "at the bottom\n");
	struct node *symlink = node_new(sub, BAK_TYPE_SYMLINK, "symlink");
	symlink->in.inode.target = "deep";
	symlink->in.inode.target_len = 4;
	node_link(deep, symlink, "symlink with a second name");

	struct node *many = node_new(root, BAK_TYPE_DIR, "many");
	for (unsigned i = 0; i < PAIRS; i++) {
		char name[64];
		snprintf(name, sizeof name, "pair %03u, one", i);
		struct node *one = node_new(many, BAK_TYPE_FILE, name);
		node_bytes(one, text + i % 7, 40);
		snprintf(name, sizeof name, "pair %03u, two", i);
		node_link(many, one, name);
		if (i % 5)
			continue;
		snprintf(name, sizeof name, "alone %03u", i);
		node_bytes(node_new(many, BAK_TYPE_FILE, name), text + i % 3, 30 + i % 4);
	}
}

static struct node *make_docs(void)
{
	struct node *root = node_new(NULL, BAK_TYPE_DIR, "");
	struct node *fresh;
	root->in.inode.mode = 0750;
	node_xattr(root, "user.root", "top", 3);
	add_names(root);
	add_sparse(root);
	add_attributes(root);
	add_others(root);
	add_folders(root);
	node_bytes(node_new(root, BAK_TYPE_FILE, "dump.sql"), make_text(1, TEXT_LEN), TEXT_LEN);
	/* Younger than the backup: to be read again by the next one. */
	fresh = node_new(root, BAK_TYPE_FILE, "fresh");
	node_bytes(fresh, "just written\n", 13);
	fresh->in.inode.ctime_s = BAK_GOLDEN_NEVER + 1;
	return root;
}

static void touch(struct node *node)
{
	node->in.inode.mtime_s += 1000000;
	node->in.inode.ctime_s += 1000000;
}

static void change_docs(struct node *root)
{
	static const char row[] = "99999999\tone row more\n";
	struct node *dump = node_find(root, "dump.sql"), *many = node_find(root, "many");
	uint8_t *text = make_text(1, TEXT_LEN);
	memcpy(text + 700000, "lost and found", 14);
	memcpy(text + 1900000, "a byte here, a byte there", 25);
	dump->n_parts = dump->in.inode.size = 0;
	node_bytes(dump, text, 1200000);
	node_bytes(dump, row, sizeof row - 1);
	node_bytes(dump, text + 1200000, TEXT_LEN - 1200000);
	touch(dump);
	node_find(root, "setuid")->in.inode.mode = 0755;
	touch(node_find(root, "setuid"));
	node_remove(root, "empty");
	node_remove(root, "hard link");
	node_remove(many, "pair 100, one");
	text_file(root, "added", "this one is new\n");
}

/* --- the store "app" --- */

static struct node *make_app(uint64_t seed)
{
	struct node *root = node_new(NULL, BAK_TYPE_DIR, "");
	node_bytes(node_new(root, BAK_TYPE_FILE, "vectors.f32"), make_floats(3, 200000), 200000);
	struct node *noise = node_new(root, BAK_TYPE_FILE, "noise.bin");
	noise->hint = BAK_HINT_RANDOM;
	node_bytes(noise, make_noise(seed, 40000), 40000);
	/* What the other store has, too. */
	node_bytes(node_new(root, BAK_TYPE_FILE, "copy.sql"), make_text(1, TEXT_LEN), TEXT_LEN);
	return root;
}

/* --- snapshots --- */

static void expect_snapshot(struct golden *g, uint64_t number, const struct bak_run *run,
			    const char *store, const char *driver, const struct bak_backup *backup,
			    const char *type, json_t *entries)
{
	char stamp[BAK_STAMP_LEN + 1], name[24];
	bak_stamp_format(bak_backup_stamp(backup), stamp);
	snprintf(name, sizeof name, "%llu", (unsigned long long)number);
	json_object_set_new(g->snapshots, name,
			    json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:[s, s], s:o}", "store",
				      store, "driver", driver, "host", HOST, "run", bak_run_id(run),
				      "type", type, "description", g->description, "stamp", stamp,
				      "stores", "docs", "app", "entries", entries));
}

static void back_up(struct golden *g, struct bak_run *run, const char *store, const char *driver,
		    const char *type, struct node *root)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_backup_conf conf = {.store = store, .driver = driver, .level = 19, .workers = 1};
	struct bak_backup *backup = NULL;
	uint64_t number = 0;
	json_t *facts = json_pack("{s:{s:i}}", "counts", "things", 42);
	json_t *warnings = json_pack("[s]", "changed while it was read: a file");
	must(bak_backup_begin(run, &conf, &backup, &err), &err);
	node_push(bak_backup_writer(backup), root);
	must(bak_backup_commit(backup, facts, warnings, &number, &err), &err);
	expect_snapshot(g, number, run, store, driver, backup, type, node_describe(root));
	bak_backup_free(backup);
	json_decref(facts);
	json_decref(warnings);
}

static struct bak_run *begin(struct golden *g, const char *type, const char *description)
{
	static const char *const stores[] = {"docs", "app"};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_run *run = NULL;
	g->description = description;
	must(bak_run_begin(g->repo, type, description, stores, 2, &run, &err), &err);
	return run;
}

static void make_snapshots(struct golden *g, char out_last_run[17])
{
	struct node *docs = make_docs();
	struct bak_run *run = begin(g, "manual", "the first of all: \"quotes\" and \xc3\xbcmlauts");
	back_up(g, run, "docs", "files", "manual", docs);
	back_up(g, run, "app", "command", "manual", make_app(11));
	bak_run_end(run);
	run = begin(g, "daily", "");
	back_up(g, run, "docs", "files", "daily", docs);
	bak_run_end(run);
	change_docs(docs);
	run = begin(g, "weekly", "docs changed");
	back_up(g, run, "docs", "files", "weekly", docs);
	bak_run_end(run);
	run = begin(g, "pre-restore", "to be forgotten");
	back_up(g, run, "app", "command", "pre-restore", make_app(12));
	snprintf(out_last_run, 17, "%s", bak_run_id(run));
	bak_run_end(run);
}

/* --- records --- */

static void put_record(struct golden *g, const char *name, json_t *json)
{
	struct bak_error err = BAK_ERROR_INIT;
	char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	must(bak_record_put(bak_repo_backend(g->repo), bak_repo_ring(g->repo), name, text, &err),
	     &err);
	free(text);
	json_decref(json);
}

/* Condemns the packs of a run. */
static void condemn(struct golden *g, const char *run)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pack_row *packs = NULL;
	size_t n = 0;
	json_t *ids = json_array();
	must(bak_index_packs(bak_repo_index(g->repo), &packs, &n, &err), &err);
	for (size_t i = 0; i < n; i++) {
		char hex[2 * BAK_PACK_ID_BYTES + 1], its_run[17];
		bak_hex(its_run, packs[i].run, sizeof packs[i].run);
		bak_hex(hex, packs[i].id, sizeof packs[i].id);
		if (strcmp(its_run, run) == 0)
			json_array_append_new(ids, json_string(hex));
	}
	free(packs);
	json_object_set(g->expected, "condemned", ids);
	put_record(g, "condemned/00112233445566778899aabbccddeeff",
		   json_pack("{s:o, s:s}", "packs", ids, "time", "2026-11-20T08:00:00Z"));
}

static void put_records(struct golden *g, const char *last_run)
{
	struct bak_error err = BAK_ERROR_INIT;
	char *stores[] = {(char[]){"docs"}};
	struct bak_lease lease = {.run = "0011223344556677",
				  .kind = "backup",
				  .boot = "7f0c1a52-93d5-4b59-8b8a-0f6f4a3e7b11",
				  .host = HOST,
				  .pid = 4242,
				  .pid_ns = 4026531836,
				  .start = 1795000000,
				  .time = 1795003600,
				  .stores = stores,
				  .n_stores = 1};
	must(bak_lease_put(bak_repo_backend(g->repo), bak_repo_ring(g->repo), &lease, 3, &err),
	     &err);
	put_record(g, "forgotten/5",
		   json_pack("{s:s, s:s}", "by", HOST, "time", "2026-11-19T10:00:00Z"));
	put_record(g, "forgotten/6-7",
		   json_pack("{s:s, s:s}", "by", HOST, "time", "2026-11-19T10:00:01Z"));
	put_record(g, "tags/1-1", json_pack("{s:[s]}", "tags", "overruled"));
	put_record(g, "tags/1-2", json_pack("{s:[s, s]}", "tags", "first", "keep"));
	condemn(g, last_run);
	json_object_set_new(g->expected, "forgotten", json_pack("[[i, i], [i, i]]", 5, 5, 6, 7));
	json_object_set_new(g->expected, "tags", json_pack("{s:[s, s]}", "1", "first", "keep"));
	json_object_set_new(g->expected, "leases",
			    json_pack("[{s:s, s:[s], s:s}]", "name", "running/0011223344556677-3",
				      "stores", "docs", "time", "2026-11-18T12:06:40Z"));
}

/* --- copies of segments, as a prune makes them --- */

/* The largest and the smallest data segment of all packs. */
static void choose(struct golden *g, struct bak_seg_copy *large, struct bak_seg_copy *small)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_pack_row *packs = NULL;
	size_t n_packs = 0;
	large->raw_len = 0;
	small->raw_len = UINT32_MAX;
	must(bak_index_packs(bak_repo_index(g->repo), &packs, &n_packs, &err), &err);
	for (size_t i = 0; i < n_packs; i++) {
		struct bak_seg_copy *segs = NULL;
		size_t n = 0;
		must(bak_index_pack_segments(bak_repo_index(g->repo), packs[i].id, &segs, &n, &err),
		     &err);
		for (size_t k = 0; k < n; k++) {
			if (segs[k].type != BAK_SEG_DATA)
				continue;
			if (segs[k].raw_len > large->raw_len)
				*large = segs[k];
			if (segs[k].raw_len < small->raw_len)
				*small = segs[k];
		}
		free(segs);
	}
	free(packs);
}

static void fetch(struct golden *g, const struct bak_seg_copy *copy, struct bak_buf *out)
{
	struct bak_error err = BAK_ERROR_INIT;
	char name[BAK_PACK_NAME_LEN];
	bak_pack_name(copy->pack, name);
	must(bak_backend_get(bak_repo_backend(g->repo), name, copy->off, copy->len, out, &err),
	     &err);
}

static void copy_as_is(struct golden *g, struct bak_pack *pack, const struct bak_seg_copy *copy)
{
	BAK_AUTO(bak_buf_release) struct bak_buf record = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_header header;
	size_t master = 0;
	fetch(g, copy, &record);
	must(bak_segment_open_header(bak_repo_ring(g->repo), record.p, &header, &master, &err),
	     &err);
	must(bak_pack_add(pack, record.p, record.len, &header, copy->key, NULL, 0, &err), &err);
}

/* Two of three of the segment's chunks are dropped. */
static void keep_chunks(struct golden *g, struct bak_pack *pack, const struct bak_seg_copy *copy,
			struct bak_seg_range *ranges, size_t max, size_t *out_n)
{
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_footer footer;
	size_t seen = 0;
	*out_n = 0;
	must(bak_pack_read_footer(bak_repo_backend(g->repo), bak_repo_ring(g->repo), copy->pack,
				  &footer, &err),
	     &err);
	for (size_t i = 0; i < footer.rows.n_chunks && *out_n < max; i++) {
		const struct bak_chunk_row *chunk = &footer.rows.chunks[i];
		if (!bak_seg_id_equal(&chunk->seg, &copy->id) || seen++ % 3)
			continue;
		ranges[(*out_n)++] = (struct bak_seg_range){.off = chunk->off, .len = chunk->len};
		must(bak_pack_add_chunk(pack, chunk, &err), &err);
	}
	bak_footer_release(&footer);
}

static void copy_holed(struct golden *g, struct bak_pack *pack, const struct bak_seg_copy *copy)
{
	BAK_AUTO(bak_buf_release)
	struct bak_buf record = BAK_BUF_INIT, raw = BAK_BUF_INIT, sealed = BAK_BUF_INIT;
	const struct bak_keyring *ring = bak_repo_ring(g->repo);
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_codec codec = {.cctx = NULL};
	struct bak_seg_header header;
	struct bak_seg_range ranges[64];
	struct bak_segment segment;
	size_t n;
	fetch(g, copy, &record);
	must(bak_segment_open(ring, &codec, BAK_SEG_DATA, &copy->id, record.p, record.len, &segment,
			      &err),
	     &err);
	keep_chunks(g, pack, copy, ranges, 64, &n);
	bool bad = bak_put_u32(&raw, (uint32_t)n) < 0;
	for (size_t i = 0; i < n; i++)
		bad |= bak_put_u32(&raw, ranges[i].off) < 0 || bak_put_u32(&raw, ranges[i].len) < 0;
	for (size_t i = 0; i < n; i++)
		bad |= bak_buf_append(&raw, segment.data + ranges[i].off, ranges[i].len) < 0;
	if (bad || n < 2)
		abort();
	must(bak_segment_seal(ring, &codec, BAK_SEG_DATA, true, &copy->id, raw.p, raw.len, 3,
			      &sealed, &header, &err),
	     &err);
	must(bak_pack_add(pack, sealed.p, sealed.len, &header,
			  ring->masters[ring->n_masters - 1].number, ranges, n, &err),
	     &err);
	bak_segment_release(&segment);
	bak_seg_codec_release(&codec);
}

static void copy_segments(struct golden *g)
{
	static const uint8_t run[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_seg_copy large, small;
	struct bak_pack_rows rows;
	struct bak_pack *pack = NULL;
	choose(g, &large, &small);
	must(bak_pack_new(bak_repo_backend(g->repo), bak_repo_ring(g->repo), run, 1795200000, &pack,
			  &err),
	     &err);
	copy_as_is(g, pack, &small);
	copy_holed(g, pack, &large);
	must(bak_pack_finish(pack, &rows, &err), &err);
	bak_pack_free(pack);
}

/* --- expected.json --- */

/* Says of a later snapshot of the same store only what differs. */
static void shorten(json_t *snapshot, json_t *base, const char *base_number)
{
	json_t *now = json_object_get(snapshot, "entries"),
	       *before = json_object_get(base, "entries");
	json_t *changed = json_object(), *removed = json_array(), *value;
	const char *path;
	size_t len;
	json_object_keylen_foreach(now, path, len, value)
	{
		json_t *old = json_object_getn(before, path, len);
		if (!old || !json_equal(old, value))
			json_object_setn(changed, path, len, value);
	}
	json_object_keylen_foreach(before, path, len, value)
	{
		if (!json_object_getn(now, path, len))
			json_array_append_new(removed, json_stringn(path, len));
	}
	json_object_set_new(snapshot, "like", json_string(base_number));
	json_object_set_new(snapshot, "changed", changed);
	json_object_set_new(snapshot, "removed", removed);
}

static void write_expected(struct golden *g, const char *folder)
{
	static const char *const bases[][2] = {{"3", "1"}, {"4", "1"}, {"5", "2"}};
	char path[PATH_MAX];
	for (size_t i = 0; i < 3; i++)
		shorten(json_object_get(g->snapshots, bases[i][0]),
			json_object_get(g->snapshots, bases[i][1]), bases[i][1]);
	for (size_t i = 0; i < 3; i++)
		json_object_del(json_object_get(g->snapshots, bases[i][0]), "entries");
	json_object_set_new(g->expected, "password", json_string(PASSWORD));
	snprintf(path, sizeof path, "%s/expected.json", folder);
	if (json_dump_file(g->expected, path, JSON_INDENT(1) | JSON_SORT_KEYS) < 0)
		abort();
}

static void open_repository(struct golden *g, const char *folder)
{
	BAK_AUTO(bak_secret_release) struct bak_secret password = {.kind = BAK_SECRET_NONE};
	BAK_AUTO(bak_secret_release) struct bak_secret key = {.kind = BAK_SECRET_NONE};
	struct bak_error err = BAK_ERROR_INIT;
	char path[PATH_MAX], key_path[PATH_MAX], slot[33];
	snprintf(path, sizeof path, "%s/repo", folder);
	snprintf(key_path, sizeof key_path, "%s/key", folder);
	struct bak_repo_conf conf = {.path = path,
				     .host = HOST,
				     .scrypt_log_n = 10,
				     .index_in_memory = true,
				     .parity = 5};
	must(bak_secret_password(&password, PASSWORD, strlen(PASSWORD), &err), &err);
	must(bak_repo_init(&conf, &password, "the password", &err), &err);
	must(bak_repo_open(&conf, &password, &g->repo, &err), &err);
	must(bak_secret_keyfile_create(&key, key_path, &err), &err);
	must(bak_repo_key_add(g->repo, &key, "the key file", slot, &err), &err);
}

int main(int argc, char **argv)
{
	struct golden g = {.repo = NULL};
	char last_run[17];
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	g.expected = json_object();
	g.snapshots = json_object();
	json_object_set(g.expected, "snapshots", g.snapshots);
	open_repository(&g, argv[1]);
	make_snapshots(&g, last_run);
	copy_segments(&g);
	put_records(&g, last_run);
	write_expected(&g, argv[1]);
	bak_repo_close(g.repo);
	json_decref(g.snapshots);
	json_decref(g.expected);
	return 0;
}
