/*
 * Dumps restored: loaded by neo4j-admin into folders of their own beside the live ones, checked
 * there, and then, with the server stopped for that moment alone, exchanged with the live ones. The
 * old ones stay in a folder beside them; a rollback is the same exchange.
 */
#include "stores/neo4j/neo4j.h"

#include "engine/content/folder.h"
#include "stores/place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SUFFIX ".dump"
#define DATABASES_MAX 8

/* --- the exchange --- */

/* What changes places: of each database the store and the logs. */
struct exchange {
	struct bak_neo4j_service *service;
	struct bak_neo4j_places *places;
	const char *kept; /* the folder with "databases" and "transactions" of the other side */
	int kept_fd;
	const char *names[DATABASES_MAX];
	size_t n;
};

/* Opens a folder, made if it is not there, by the owner of the data. */
static int open_made(int at, const char *path, const struct bak_neo4j_places *places,
		     struct bak_error *err)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT && mkdirat(at, path, 0755) == 0) {
		fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && geteuid() == 0 && stat(places->data, &st) == 0 &&
		    fchown(fd, st.st_uid, st.st_gid) < 0)
			bak_close_fd(&fd);
	}
	if (fd < 0)
		bak_error_sys(err, errno, "%s", path);
	return fd;
}

/* The i-th half: a store or its logs. */
static int toggle(const struct exchange *x, size_t i, struct bak_error *err)
{
	bool logs = i & 1;
	const char *name = x->names[i / 2];
	BAK_AUTO(bak_close_fd)
	int live = open_made(AT_FDCWD, logs ? x->places->transactions : x->places->databases,
			     x->places, err);
	BAK_AUTO(bak_close_fd)
	int kept = live < 0 ? -1
			    : open_made(x->kept_fd, logs ? "transactions" : "databases", x->places,
					err);

	if (kept < 0)
		return -1;
	return bak_place_toggle(live, name, kept, name, err);
}

/* All or none. */
static int exchange_all(const struct exchange *x, struct bak_error *err)
{
	struct bak_error second = BAK_ERROR_INIT;
	size_t done = 0;

	if (bak_neo4j_mark(x->service, x->kept, err) < 0)
		return -1;
	while (done < 2 * x->n && toggle(x, done, err) == 0)
		done++;
	if (done == 2 * x->n)
		return bak_neo4j_mark(x->service, "", err);
	while (done > 0) {
		if (toggle(x, --done, &second) < 0)
			return bak_error_wrap(err, "half exchanged, and not undone (%s)",
					      second.msg);
	}
	if (bak_neo4j_mark(x->service, "", &second) < 0)
		bak_store_log(x->service->neo4j->env, "%s", second.msg);
	return bak_error_wrap(err, "exchanging the folders");
}

/* With the server stopped meanwhile. When it does not come up with the new ones, the old ones are
 * put back. */
static int exchange_and_start(const struct exchange *x, bool *out_unchanged, struct bak_error *err)
{
	struct bak_neo4j_service *service = x->service;
	struct bak_error second = BAK_ERROR_INIT;
	int rc = bak_neo4j_stop(service, err);

	*out_unchanged = true;
	if (rc == 0)
		rc = exchange_all(x, err);
	if (rc < 0) {
		if (bak_neo4j_start(service, &second) < 0)
			bak_error_wrap(err, "the server did not start again (%s)", second.msg);
		return -1;
	}
	if (bak_neo4j_start(service, err) == 0)
		return 0;
	bak_error_wrap(err, "the server did not start with the new data");
	if (bak_neo4j_stop(service, &second) == 0 && exchange_all(x, &second) == 0) {
		service->stopped = true;
		if (bak_neo4j_start(service, &second) == 0)
			return bak_error_wrap(err, "the old data is back");
		return bak_error_wrap(err, "the old data is back, but does not start either (%s)",
				      second.msg);
	}
	*out_unchanged = false;
	return bak_error_wrap(err, "the old data could not be put back (%s)", second.msg);
}

/* --- what is to be restored --- */

struct target {
	char name[NAME_MAX + 1]; /* of the database */
	struct bak_found found;
};

struct restore {
	struct bak_neo4j *neo4j;
	const struct bak_restore_from *from;
	struct bak_tree tree;
	struct bak_neo4j_places places;
	struct bak_neo4j_service service;
	json_t *facts;
	struct target targets[DATABASES_MAX];
	size_t n;
	uint64_t all, done; /* bytes of them */
	int data_fd, fresh_fd;
	char fresh[NAME_MAX + 1]; /* the folder's name in data */
	char *conf_dir, *report;
};

static bool is_wanted(const struct restore *r, const char *file)
{
	if (r->from->n_only == 0)
		return true;
	for (size_t i = 0; i < r->from->n_only; i++) {
		if (strcmp(r->from->only[i], file) == 0)
			return true;
	}
	return false;
}

static int add_target(struct restore *r, uint64_t number, struct bak_error *err)
{
	struct target *t = &r->targets[r->n];
	char file[NAME_MAX + 1];
	size_t len;

	if (bak_folder_at(&r->tree, &r->tree.snapshot->root.dir, number, &t->found, err) != 1)
		return -1;
	len = t->found.entry.name_len;
	if (len > NAME_MAX || len <= strlen(SUFFIX) || t->found.entry.inode.type != BAK_TYPE_FILE)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot should hold dumps");
	memcpy(file, t->found.entry.name, len);
	file[len] = '\0';
	if (strcmp(file + len - strlen(SUFFIX), SUFFIX) != 0)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot should hold dumps, not %s",
				     file);
	if (!is_wanted(r, file)) {
		bak_found_release(&t->found);
		t->found = (struct bak_found)BAK_FOUND_INIT;
		return 0;
	}
	snprintf(t->name, sizeof t->name, "%.*s", (int)(len - strlen(SUFFIX)), file);
	r->all += t->found.entry.inode.size;
	r->n++;
	return 0;
}

static int find_targets(struct restore *r, struct bak_error *err)
{
	uint64_t entries = r->from->snapshot->root.totals.entries;
	const char *mode;

	r->facts = bak_snapshot_facts(r->from->snapshot);
	if (!r->facts)
		return bak_error_nomem(err);
	mode = json_string_value(json_object_get(r->facts, "mode"));
	if (!mode || strcmp(mode, "dump") != 0)
		return bak_error_set(err, BAK_REFUSED,
				     "the snapshot is an export, and the store has mode = dump: "
				     "set mode = export to restore it");
	if (entries > DATABASES_MAX)
		return bak_error_set(err, BAK_CORRUPT, "the snapshot should hold one or two dumps");
	for (uint64_t i = 1; i <= entries; i++) {
		if (add_target(r, i, err) < 0)
			return -1;
	}
	if (r->n == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "nothing of the snapshot was chosen");
	return 0;
}

/* Older programs read no newer store. */
static int check_version(struct restore *r, struct bak_error *err)
{
	const char *theirs = json_string_value(json_object_get(r->facts, "version"));
	const char *ours = r->neo4j->admin_version;

	if (bak_neo4j_admin_version(r->neo4j, &r->places, err) < 0)
		return -1;
	if (theirs && bak_neo4j_version(theirs) > bak_neo4j_version(ours))
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "the snapshot is of Neo4j %s, and here is %s: no Neo4j loads "
				     "what a newer one wrote",
				     theirs, ours);
	return 0;
}

static int check_place(struct restore *r, struct bak_error *err)
{
	struct stat data, logs;
	struct statvfs vfs;

	r->data_fd = open(r->places.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->data_fd < 0 || fstat(r->data_fd, &data) < 0 || fstatvfs(r->data_fd, &vfs) < 0)
		return bak_error_sys(err, errno, "the server's data folder %s", r->places.data);
	if (stat(r->places.transactions, &logs) == 0 && logs.st_dev != data.st_dev)
		return bak_error_set(err, BAK_UNSUPPORTED,
				     "%s is on another file system than %s: restore with --to and "
				     "load it by hand",
				     r->places.transactions, r->places.data);
	uint64_t room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	if (r->all > room)
		return bak_error_set(
			err, BAK_NO_SPACE, "%s has %llu bytes free, and the restore needs %llu",
			r->places.data, (unsigned long long)room, (unsigned long long)r->all);
	return 0;
}

/* --- the new folders --- */

static int write_conf(struct restore *r, const struct stat *owner, struct bak_error *err)
{
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	FILE *file;

	if (asprintf(&r->conf_dir, "%s/%s/conf", r->places.data, r->fresh) < 0 ||
	    asprintf(&path, "%s/neo4j.conf", r->conf_dir) < 0 ||
	    asprintf(&r->report, "--report-path=%s/%s", r->places.data, r->fresh) < 0)
		return bak_error_nomem(err);
	if (mkdir(r->conf_dir, 0755) < 0 || !(file = fopen(path, "wxe")))
		return bak_error_sys(err, errno, "%s", r->conf_dir);
	fprintf(file, "server.directories.data=%s/%s\n", r->places.data, r->fresh);
	fprintf(file, "server.directories.transaction.logs.root=%s/%s/transactions\n",
		r->places.data, r->fresh);
	fprintf(file, "server.directories.logs=%s/logs\n", r->conf_dir);
	fprintf(file, "server.directories.run=%s/run\n", r->conf_dir);
	if (fclose(file) != 0)
		return bak_error_sys(err, errno, "%s", path);
	if (geteuid() == 0 && (chown(r->conf_dir, owner->st_uid, owner->st_gid) < 0 ||
			       fchown(r->fresh_fd, owner->st_uid, owner->st_gid) < 0 ||
			       chown(path, owner->st_uid, owner->st_gid) < 0))
		return bak_error_sys(err, errno, "%s", r->conf_dir);
	return 0;
}

static int make_fresh(struct restore *r, struct bak_error *err)
{
	struct stat owner;

	if (fstat(r->data_fd, &owner) < 0)
		return bak_error_sys(err, errno, "%s", r->places.data);
	if (bak_place_make_fresh(r->data_fd, "databases", r->fresh, &r->fresh_fd, err) < 0)
		return bak_error_wrap(err, "%s", r->places.data);
	return write_conf(r, &owner, err);
}

/* Read once in full: what is not whole must not even be loaded. */
static int prove(struct restore *r, struct bak_payload_reader *in, struct bak_error *err)
{
	struct bak_neo4j_archive *archive;
	struct bak_neo4j_archive_stats stats;
	const void *p;
	size_t len;
	int rc;

	if (bak_neo4j_archive_new(NULL, NULL, &archive, err) < 0)
		return -1;
	while ((rc = bak_payload_give(in, &p, &len, err)) > 0) {
		if (bak_store_check_cancelled(r->neo4j->env, err) < 0 ||
		    bak_neo4j_archive_feed(archive, p, len, err) < 0) {
			rc = -1;
			break;
		}
	}
	if (rc == 0)
		rc = bak_neo4j_archive_end(archive, &stats, err);
	bak_neo4j_archive_free(archive);
	in->at = 0;
	return rc;
}

static int take_nothing(void *ctx, const void *p, size_t len, struct bak_error *err)
{
	(void)ctx;
	(void)p;
	(void)len;
	(void)err;
	return 0;
}

static int check_loaded(struct restore *r, const char *database, struct bak_error *err)
{
	const char *words[] = {"database", "check", database, r->report, NULL};
	const struct bak_neo4j_admin admin = {
		.neo4j = r->neo4j, .places = &r->places, .conf_dir = r->conf_dir, .words = words};

	if (!bak_store_get_bool(r->neo4j->conf, "check"))
		return 0;
	bak_store_log(r->neo4j->env, "checking %s", database);
	return bak_neo4j_admin_read(&admin, take_nothing, NULL, err);
}

static int load(struct restore *r, struct target *t, struct bak_error *err)
{
	const char *words[] = {"database", "load", t->name, "--from-stdin", NULL};
	const struct bak_neo4j_admin admin = {
		.neo4j = r->neo4j, .places = &r->places, .conf_dir = r->conf_dir, .words = words};
	BAK_AUTO(bak_payload_reader_release)
	struct bak_payload_reader in = {.env = r->neo4j->env,
					.source = r->tree.source,
					.inode = &t->found.entry.inode,
					.before = r->done,
					.all = r->all};

	if (prove(r, &in, err) < 0)
		return bak_error_wrap(err, "%s" SUFFIX, t->name);
	bak_store_log(r->neo4j->env, "loading %s beside the live data", t->name);
	if (bak_neo4j_admin_write(&admin, bak_payload_give, &in, err) < 0)
		return bak_error_wrap(err, "%s" SUFFIX, t->name);
	r->done += t->found.entry.inode.size;
	return check_loaded(r, t->name, err);
}

/* --- putting them in place --- */

static int note_state(struct restore *r, const char *kept, json_t *state, struct bak_error *err)
{
	json_t *names = json_array();
	char text[600];
	int rc;

	snprintf(text, sizeof text, "%s%s of %s/%s", r->targets[0].name,
		 r->n > 1 ? " and the others" : "", r->places.data, kept);
	rc = json_object_set_new(state, "databases", names);
	for (size_t i = 0; rc == 0 && i < r->n; i++)
		rc = json_array_append_new(names, json_string(r->targets[i].name));
	if (rc < 0 || json_object_set_new(state, "parent", json_string(r->places.data)) < 0 ||
	    json_object_set_new(state, "kept", json_string(kept)) < 0 ||
	    json_object_set_new(state, "text", json_string(text)) < 0)
		return bak_error_nomem(err);
	return 0;
}

static int put_in_place(struct restore *r, json_t *state, struct bak_error *err)
{
	char kept[NAME_MAX + 1];
	struct exchange x = {.service = &r->service,
			     .places = &r->places,
			     .kept = kept,
			     .kept_fd = r->fresh_fd,
			     .n = r->n};
	bool unchanged;

	for (size_t i = 0; i < r->n; i++)
		x.names[i] = r->targets[i].name;
	/* What earlier restores left unfinished is removed by its name: the old data must have
	 * another one before it comes in there. */
	if (bak_place_kept_name(r->data_fd, "databases", kept, err) < 0)
		return -1;
	if (renameat(r->data_fd, r->fresh, r->data_fd, kept) < 0)
		return bak_error_sys(err, errno, "%s/%s", r->places.data, r->fresh);
	memcpy(r->fresh, kept, sizeof kept);
	if (note_state(r, kept, state, err) < 0 || bak_store_no_return(r->neo4j->env, err) < 0)
		return -1;
	if (exchange_and_start(&x, &unchanged, err) < 0) {
		if (unchanged)
			json_object_set_new(state, "unchanged", json_true());
		else
			r->fresh[0] = '\0'; /* it holds the old data */
		return -1;
	}
	r->fresh[0] = '\0';
	if (bak_place_remove(r->fresh_fd, "conf", err) < 0)
		bak_store_warn(r->neo4j->env, "%s/conf is left over: %s", kept, err->msg);
	bak_store_log(r->neo4j->env, "in place; what was there before is in %s/%s", r->places.data,
		      kept);
	return 0;
}

/* --- the whole --- */

static int prepare(struct restore *r, struct bak_error *err)
{
	if (find_targets(r, err) < 0 || bak_neo4j_places(r->neo4j, &r->places, err) < 0 ||
	    bak_neo4j_may_stop(&r->service, err) < 0 || bak_neo4j_take_over(&r->service, err) < 0 ||
	    check_version(r, err) < 0 || check_place(r, err) < 0 || make_fresh(r, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n; i++) {
		if (load(r, &r->targets[i], err) < 0)
			return -1;
	}
	return 0;
}

static void release(struct restore *r)
{
	struct bak_error scratch = BAK_ERROR_INIT;

	if (r->fresh_fd >= 0 && *r->fresh && bak_place_remove(r->data_fd, r->fresh, &scratch) < 0)
		bak_store_warn(r->neo4j->env, "%s/%s is left over: %s", r->places.data, r->fresh,
			       scratch.msg);
	for (size_t i = 0; i < r->n; i++)
		bak_found_release(&r->targets[i].found);
	bak_close_fd(&r->fresh_fd);
	bak_close_fd(&r->data_fd);
	bak_neo4j_service_release(&r->service);
	bak_neo4j_places_release(&r->places);
	json_decref(r->facts);
	free(r->conf_dir);
	free(r->report);
}

int bak_neo4j_dump_restore(struct bak_neo4j *neo4j, const struct bak_restore_from *from,
			   json_t *state, struct bak_error *err)
{
	struct restore r = {.neo4j = neo4j,
			    .from = from,
			    .tree = {bak_repo_source(from->repo), from->snapshot},
			    .data_fd = -1,
			    .fresh_fd = -1};
	int rc;

	struct bak_error second = BAK_ERROR_INIT;

	r.service = (struct bak_neo4j_service){.neo4j = neo4j, .places = &r.places, .mark_fd = -1};
	rc = prepare(&r, err);
	if (rc == 0)
		rc = put_in_place(&r, state, err);
	else if (bak_neo4j_start(&r.service, &second) < 0)
		bak_store_warn(neo4j->env, "the server was found stopped and did not start: %s",
			       second.msg);
	release(&r);
	return rc;
}

int bak_neo4j_dump_rollback(struct bak_neo4j *neo4j, const json_t *state, struct bak_error *err)
{
	BAK_AUTO(bak_neo4j_places_release) struct bak_neo4j_places places = {.data = NULL};
	BAK_AUTO(bak_neo4j_service_release)
	struct bak_neo4j_service service = {.neo4j = neo4j, .places = &places, .mark_fd = -1};
	const char *parent = json_string_value(json_object_get(state, "parent"));
	const char *kept = json_string_value(json_object_get(state, "kept"));
	const json_t *names = json_object_get(state, "databases");
	struct exchange x = {
		.service = &service, .places = &places, .kept = kept, .n = json_array_size(names)};
	BAK_AUTO(bak_free_ptr) char *path = NULL;
	bool unchanged;

	if (!parent || !kept || x.n == 0 || x.n > DATABASES_MAX)
		return bak_error_set(err, BAK_CORRUPT, "it is not noted what was kept");
	for (size_t i = 0; i < x.n; i++) {
		x.names[i] = json_string_value(json_array_get(names, i));
		if (!x.names[i])
			return bak_error_set(err, BAK_CORRUPT, "it is not noted what was kept");
	}
	if (asprintf(&path, "%s/%s", parent, kept) < 0) {
		path = NULL;
		return bak_error_nomem(err);
	}
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return bak_error_sys(err, errno, "what was kept, %s", path);
	if (bak_neo4j_places(neo4j, &places, err) < 0 || bak_neo4j_take_over(&service, err) < 0)
		return -1;
	x.kept_fd = fd;
	return exchange_and_start(&x, &unchanged, err);
}
