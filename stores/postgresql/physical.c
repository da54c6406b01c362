/*
 * A server's data directory by the replication protocol: BASE_BACKUP sends it as tar archives, one
 * for the directory and one for each tablespace, and a manifest with every file's SHA-256. All of it
 * becomes one tree, the tablespaces in pg_tblspc/, so that a server starts on it as it lies there.
 *
 * The archives' order is not the tree's: contents are stored as they come, entries are placed at the
 * end. What the stream is made of: PostgreSQL's documentation, "Streaming Replication Protocol".
 */
#include "stores/postgresql/postgresql.h"

#include "engine/base/hash.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 200
#define MANIFEST "backup_manifest"
#define MANIFEST_MAX (1u << 30)
/* Tablespaces that are folders and no links. Where no tool looks for what was changed. */
#define AUTO_CONF "postgresql.auto.conf"
#define IN_PLACE "allow_in_place_tablespaces = on\n"

struct entry {
	char *path;
	struct bak_inode inode;
	char *target; /* of a link */
	bool ours;    /* it was not sent: its owner is that of the rest */
};

struct base {
	struct bak_pg *pg;
	struct bak_writer *writer;
	PGconn *conn;
	struct entry *entries;
	size_t n, cap;
	json_t *tablespaces; /* {"oid", "location"} of all but the usual ones */
	struct bak_buf manifest;
	char start_lsn[32], end_lsn[32];
	int timeline;
	uint32_t uid, gid; /* of the server's user */
	/* The copy under way. */
	char *message; /* as libpq gave it */
	bool in_copy;
	bool archive_ended; /* a message that is not the archive's came; it waits in `message` */
	int message_len;
	struct bak_error err; /* what libarchive's callback met */
};

/* --- what the server sends --- */

static void drop_message(struct base *b)
{
	PQfreemem(b->message);
	b->message = NULL;
}

static int copy_failed(struct base *b, struct bak_error *err)
{
	BAK_AUTO(bak_pg_clear) PGresult *result = PQgetResult(b->conn);

	return bak_pg_fail(err, "base backup",
			   result && *PQresultErrorMessage(result) ? PQresultErrorMessage(result)
								   : PQerrorMessage(b->conn));
}

/* The next message of the copy: 1, 0 at its end, -1. */
static int next_message(struct base *b, struct bak_error *err)
{
	for (;;) {
		struct pollfd fd = {.fd = PQsocket(b->conn), .events = POLLIN};

		drop_message(b);
		b->message_len = PQgetCopyData(b->conn, &b->message, 1);
		if (b->message_len > 0)
			return 1;
		if (b->message_len == -1)
			b->in_copy = false;
		if (b->message_len == -1)
			return 0;
		if (b->message_len < 0)
			return copy_failed(b, err);
		if (bak_store_check_cancelled(b->pg->env, err) < 0)
			return -1;
		if (poll(&fd, 1, LOOK_MS) < 0 && errno != EINTR)
			return bak_error_sys(err, errno, "poll");
		if (fd.revents && !PQconsumeInput(b->conn))
			return bak_pg_fail(err, "base backup", PQerrorMessage(b->conn));
	}
}

/* From 15 on the first byte says what a message is: n a new archive, d data, p progress, m the
 * manifest begins. Before, a copy is one archive, and all of it data. */
static bool is_framed(const struct base *b)
{
	return b->pg->version >= 150000;
}

/* For libarchive: the next bytes of this archive. */
static la_ssize_t on_read(struct archive *archive, void *ctx, const void **out)
{
	struct base *b = ctx;

	while (!b->archive_ended) {
		int rc = next_message(b, &b->err);

		if (rc < 0) {
			if (archive)
				archive_set_error(archive, EIO, "%s", b->err.msg);
			return -1;
		}
		if (rc == 0 || (is_framed(b) && (*b->message == 'n' || *b->message == 'm'))) {
			b->archive_ended = true;
			break;
		}
		if (is_framed(b) && *b->message != 'd')
			continue;
		*out = b->message + is_framed(b);
		if (b->message_len > is_framed(b))
			return b->message_len - is_framed(b);
	}
	return 0;
}

/* --- from archives to entries --- */

static struct entry *add_entry(struct base *b, const char *prefix, const char *path,
			       struct bak_error *err)
{
	struct entry *entry;
	size_t len;

	if (strncmp(path, "./", 2) == 0)
		path += 2;
	if (*path == '/' || strstr(path, "..") || strlen(path) > 4000) {
		bak_error_set(err, BAK_CORRUPT, "the server sent a file called %.200s", path);
		return NULL;
	}
	if (bak_grow(&b->entries, &b->cap, b->n, sizeof *b->entries) < 0) {
		bak_error_nomem(err);
		return NULL;
	}
	entry = &b->entries[b->n];
	*entry = (struct entry){.path = NULL};
	if (asprintf(&entry->path, "%s%s", prefix, path) < 0) {
		entry->path = NULL;
		bak_error_nomem(err);
		return NULL;
	}
	b->n++;
	len = strlen(entry->path);
	while (len && entry->path[len - 1] == '/')
		entry->path[--len] = '\0';
	return entry;
}

static void fill_inode(struct archive_entry *header, struct bak_source_inode *out)
{
	const mode_t type = archive_entry_filetype(header);

	*out = (struct bak_source_inode){.inode = {.type = type == AE_IFDIR   ? BAK_TYPE_DIR
							   : type == AE_IFLNK ? BAK_TYPE_SYMLINK
									      : BAK_TYPE_FILE,
						   .mode = archive_entry_perm(header),
						   .uid = (uint32_t)archive_entry_uid(header),
						   .gid = (uint32_t)archive_entry_gid(header),
						   .mtime_s = archive_entry_mtime(header),
						   .ctime_s = archive_entry_mtime(header)},
					 .nlink = 1};
}

static int store_content(struct base *b, struct archive *archive, const struct entry *entry,
			 const struct bak_source_inode *in, struct bak_inode *out,
			 struct bak_error *err)
{
	bool in_place = json_array_size(b->tablespaces) && strcmp(entry->path, AUTO_CONF) == 0;
	const void *p;
	size_t len;
	la_int64_t off;
	int rc;

	if (bak_writer_loose(b->writer, entry->path, in, BAK_HINT_NONE, err) < 0)
		return -1;
	while ((rc = archive_read_data_block(archive, &p, &len, &off)) == ARCHIVE_OK) {
		if (bak_writer_data(b->writer, p, len, err) < 0)
			return -1;
	}
	if (rc != ARCHIVE_EOF)
		return b->err.code ? (*err = b->err, -1)
				   : bak_error_set(err, BAK_IO, "base backup: %s: %s", entry->path,
						   archive_error_string(archive));
	if (in_place && bak_writer_data(b->writer, IN_PLACE, strlen(IN_PLACE), err) < 0)
		return -1;
	return bak_writer_loose_end(b->writer, out, err);
}

/* The links to tablespaces make room for these themselves. */
static bool is_tablespace_link(const char *path, mode_t type)
{
	return type == AE_IFLNK && strncmp(path, "pg_tblspc/", strlen("pg_tblspc/")) == 0;
}

static int take_header(struct base *b, struct archive *archive, struct archive_entry *header,
		       const char *prefix, struct bak_error *err)
{
	const char *path = archive_entry_pathname(header), *target = archive_entry_symlink(header);
	mode_t type = archive_entry_filetype(header);
	struct bak_source_inode in;
	struct bak_inode inode;
	struct entry *entry;

	if (!path)
		return bak_error_nomem(err);
	if (strncmp(path, "./", 2) == 0)
		path += 2;
	if (!*path || (!*prefix && is_tablespace_link(path, type)))
		return 0;
	entry = add_entry(b, prefix, path, err);
	if (!entry)
		return -1;
	fill_inode(header, &in);
	inode = in.inode;
	b->uid = inode.uid;
	b->gid = inode.gid;
	if (type == AE_IFREG && store_content(b, archive, entry, &in, &inode, err) < 0)
		return -1;
	if (type == AE_IFLNK && target && !(entry->target = strdup(target)))
		return bak_error_nomem(err);
	if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK)
		return bak_error_set(err, BAK_CORRUPT, "the server sent %s, of no known kind",
				     path);
	entry->inode = inode;
	entry->inode.xattrs = NULL;
	return 0;
}

static int read_archive(struct base *b, const char *prefix, struct bak_error *err)
{
	struct archive *archive = archive_read_new();
	struct archive_entry *header;
	int rc = 0, step = ARCHIVE_FATAL;

	b->archive_ended = false;
	if (!archive)
		return bak_error_nomem(err);
	archive_read_support_format_tar(archive);
	archive_read_support_format_empty(archive);
	if (archive_read_open(archive, b, NULL, on_read, NULL) == ARCHIVE_OK) {
		while (rc == 0 &&
		       (step = archive_read_next_header(archive, &header)) <= ARCHIVE_OK &&
		       step >= ARCHIVE_WARN)
			rc = take_header(b, archive, header, prefix, err);
	}
	if (rc == 0 && b->err.code) {
		*err = b->err;
		rc = -1;
	} else if (rc == 0 && step != ARCHIVE_EOF) {
		rc = bak_error_set(err, BAK_IO, "base backup: %s", archive_error_string(archive));
	}
	archive_read_free(archive);
	/* what follows an archive's end in its stream */
	while (rc == 0 && !b->archive_ended) {
		const void *rest;

		if (on_read(NULL, b, &rest) < 0) {
			*err = b->err;
			rc = -1;
		}
	}
	return rc;
}

static int make_folder(struct base *b, const char *path, struct bak_error *err)
{
	struct entry *entry = add_entry(b, "", path, err);
	struct bak_source_inode in;

	if (!entry)
		return -1;
	bak_payload_inode(&in, BAK_TYPE_DIR, 0700);
	entry->inode = in.inode;
	entry->ours = true;
	return 0;
}

/* oid "": the data directory. */
static int read_tablespace(struct base *b, const char *oid, struct bak_error *err)
{
	char prefix[64];

	if (!*oid)
		return read_archive(b, "", err);
	if (strspn(oid, "0123456789") != strlen(oid) || strlen(oid) > 20)
		return bak_error_set(err, BAK_CORRUPT, "the server sent a tablespace %.40s", oid);
	snprintf(prefix, sizeof prefix, "pg_tblspc/%s/", oid);
	if (make_folder(b, prefix, err) < 0)
		return -1;
	return read_archive(b, prefix, err);
}

/* --- the manifest --- */

static int take_manifest(struct base *b, const char *p, size_t len, struct bak_error *err)
{
	if (b->manifest.len + len > MANIFEST_MAX)
		return bak_error_set(err, BAK_CORRUPT, "the server's manifest is too long");
	return bak_buf_append(&b->manifest, p, len) < 0 ? bak_error_nomem(err) : 0;
}

static int store_manifest(struct base *b, struct bak_error *err)
{
	struct entry *entry = add_entry(b, "", MANIFEST, err);
	struct bak_source_inode in;

	if (!entry)
		return -1;
	bak_payload_inode(&in, BAK_TYPE_FILE, 0600);
	entry->ours = true;
	if (bak_writer_loose(b->writer, MANIFEST, &in, BAK_HINT_NONE, err) < 0 ||
	    bak_writer_data(b->writer, b->manifest.p, b->manifest.len, err) < 0 ||
	    bak_writer_loose_end(b->writer, &entry->inode, err) < 0)
		return -1;
	entry->inode.xattrs = NULL;
	return 0;
}

static int by_path(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	const char *p = x->path, *q = y->path;

	/* name by name: a slash comes before everything */
	while (*p && *p == *q) {
		p++;
		q++;
	}
	unsigned char c = *p == '/' ? 1 : (unsigned char)*p, d = *q == '/' ? 1 : (unsigned char)*q;
	return c < d ? -1 : c > d;
}

static int check_file(struct base *b, const json_t *file, struct bak_error *err)
{
	const char *path = json_string_value(json_object_get(file, "Path"));
	const char *sum = json_string_value(json_object_get(file, "Checksum"));
	const struct entry key = {.path = (char *)(uintptr_t)path}, *entry;
	char hex[65];

	if (!path) /* a name that is no UTF-8 */
		return 0;
	entry = bsearch(&key, b->entries, b->n, sizeof key, by_path);
	if (!entry)
		return bak_error_set(err, BAK_CORRUPT,
				     "base backup: %s is in the server's manifest and did not come",
				     path);
	if (strcmp(path, AUTO_CONF) == 0 && json_array_size(b->tablespaces))
		return 0;
	bak_hex(hex, entry->inode.sha256, 32);
	if ((json_int_t)entry->inode.size == json_integer_value(json_object_get(file, "Size")) &&
	    (!sum || !entry->inode.size || strcmp(sum, hex) == 0))
		return 0;
	return bak_error_set(err, BAK_CORRUPT,
			     "base backup: %s did not come as the server's manifest says", path);
}

/* Every file of the manifest came, with its size and sum. */
static int check_manifest(struct base *b, struct bak_error *err)
{
	json_t *manifest = json_loadb((char *)b->manifest.p, b->manifest.len, 0, NULL), *file;
	size_t i;
	int rc = manifest ? 0 : bak_error_set(err, BAK_CORRUPT, "the server's manifest is no JSON");

	json_array_foreach(json_object_get(manifest, "Files"), i, file)
	{
		if (rc == 0)
			rc = check_file(b, file, err);
	}
	json_decref(manifest);
	return rc;
}

/* --- from entries to the tree --- */

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Leaves folders until `open` is the one that path lies in. */
static int leave_to(struct base *b, struct bak_buf *open, const char *path, struct bak_error *err)
{
	size_t parent = (size_t)(base_of(path) - path);

	while (open->len > parent || memcmp(open->p, path, open->len) != 0) {
		if (bak_writer_leave(b->writer, err) < 0)
			return -1;
		open->len--;
		while (open->len && open->p[open->len - 1] != '/')
			open->len--;
	}
	if (open->len != parent)
		return bak_error_set(err, BAK_CORRUPT, "the server sent %s, but no folder for it",
				     path);
	return 0;
}

static int place(struct base *b, struct bak_buf *open, struct entry *entry, struct bak_error *err)
{
	struct bak_source_inode in = {.inode = entry->inode, .nlink = 1};
	const char *name = base_of(entry->path);

	if (entry->ours) {
		entry->inode.uid = in.inode.uid = b->uid;
		entry->inode.gid = in.inode.gid = b->gid;
	}
	if (leave_to(b, open, entry->path, err) < 0)
		return -1;
	if (entry->inode.type == BAK_TYPE_FILE)
		return bak_writer_place(b->writer, name, &entry->inode, err);
	if (entry->inode.type == BAK_TYPE_SYMLINK) {
		in.inode.target = entry->target;
		in.inode.target_len = entry->target ? strlen(entry->target) : 0;
		return bak_writer_other(b->writer, name, &in, err);
	}
	if (bak_buf_append(open, entry->path + open->len, strlen(entry->path) - open->len) < 0 ||
	    bak_buf_append(open, "/", 1) < 0)
		return bak_error_nomem(err);
	return bak_writer_enter(b->writer, name, &in, err);
}

static int place_all(struct base *b, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf open = BAK_BUF_INIT;
	struct bak_source_inode root;

	if (bak_buf_reserve(&open, 1) < 0)
		return bak_error_nomem(err);
	bak_payload_inode(&root, BAK_TYPE_DIR, 0700);
	root.inode.uid = b->uid;
	root.inode.gid = b->gid;
	if (bak_writer_root(b->writer, &root, err) < 0)
		return -1;
	for (size_t i = 0; i < b->n; i++) {
		if (place(b, &open, &b->entries[i], err) < 0)
			return -1;
	}
	return leave_to(b, &open, "x", err);
}

/* --- the protocol --- */

/* Sent, and its first result here; the following ones are fetched by PQgetResult. */
static PGresult *expect_result(struct base *b, ExecStatusType status, struct bak_error *err)
{
	PGresult *result;

	while (PQisBusy(b->conn)) {
		struct pollfd fd = {.fd = PQsocket(b->conn), .events = POLLIN};

		if (bak_store_check_cancelled(b->pg->env, err) < 0)
			return NULL;
		if (poll(&fd, 1, LOOK_MS) < 0 && errno != EINTR) {
			bak_error_sys(err, errno, "poll");
			return NULL;
		}
		if (fd.revents && !PQconsumeInput(b->conn))
			break;
	}
	result = PQgetResult(b->conn);
	if (PQresultStatus(result) == status)
		return result;
	bak_pg_fail(err, "base backup",
		    result && *PQresultErrorMessage(result) ? PQresultErrorMessage(result)
							    : PQerrorMessage(b->conn));
	PQclear(result);
	return NULL;
}

static int take_position(struct base *b, char lsn[32], struct bak_error *err)
{
	BAK_AUTO(bak_pg_clear) PGresult *result = expect_result(b, PGRES_TUPLES_OK, err);

	if (!result)
		return -1;
	if (PQntuples(result) != 1 || PQnfields(result) < 2)
		return bak_error_set(err, BAK_IO, "base backup: no position came");
	snprintf(lsn, 32, "%s", PQgetvalue(result, 0, 0));
	b->timeline = atoi(PQgetvalue(result, 0, 1));
	return 0;
}

/* Rows of oid, location, size; the data directory's has no oid. */
static int take_tablespaces(struct base *b, PGresult **out, struct bak_error *err)
{
	*out = expect_result(b, PGRES_TUPLES_OK, err);
	if (!*out)
		return -1;
	for (int i = 0; i < PQntuples(*out); i++) {
		if (!PQgetisnull(*out, i, 0) &&
		    json_array_append_new(b->tablespaces,
					  json_pack("{s:s, s:s}", "oid", PQgetvalue(*out, i, 0),
						    "location", PQgetvalue(*out, i, 1))) < 0)
			return bak_error_nomem(err);
	}
	return 0;
}

static int begin_copy(struct base *b, struct bak_error *err)
{
	BAK_AUTO(bak_pg_clear) PGresult *result = expect_result(b, PGRES_COPY_OUT, err);

	b->in_copy = result != NULL;
	return result ? 0 : -1;
}

/* One copy with everything in it, each part announced. */
static int read_framed(struct base *b, struct bak_error *err)
{
	int rc = begin_copy(b, err);
	bool manifest = false;

	if (rc == 0)
		rc = next_message(b, err) < 0 ? -1 : 0;
	while (rc == 0 && b->in_copy) {
		char oid[64];

		if (*b->message == 'n') {
			/* "base.tar" or "16385.tar", and the path; both end in a zero byte */
			const char *name = b->message + 1;
			size_t len = strnlen(name, (size_t)b->message_len - 1);
			const char *dot = memchr(name, '.', len);

			snprintf(oid, sizeof oid, "%.*s", (int)(dot ? dot - name : 0), name);
			rc = read_tablespace(b, strcmp(oid, "base") == 0 ? "" : oid, err);
			continue;
		}
		if (*b->message == 'm')
			manifest = true;
		else if (*b->message == 'd' && manifest)
			rc = take_manifest(b, b->message + 1, (size_t)b->message_len - 1, err);
		if (rc == 0)
			rc = next_message(b, err) < 0 ? -1 : 0;
	}
	return rc;
}

/* A copy for each, in the order of the tablespaces, then one with the manifest. */
static int read_unframed(struct base *b, const PGresult *tablespaces, struct bak_error *err)
{
	int rc = 0;

	for (int i = 0; rc == 0 && i < PQntuples(tablespaces); i++) {
		rc = begin_copy(b, err);
		if (rc == 0)
			rc = read_tablespace(b, PQgetvalue(tablespaces, i, 0), err);
	}
	if (rc == 0)
		rc = begin_copy(b, err);
	while (rc == 0 && (rc = next_message(b, err)) > 0)
		rc = take_manifest(b, b->message, (size_t)b->message_len, err);
	return rc;
}

/* What keeps the WAL until it is in the backup: gone with the connection. */
static int reserve_wal(struct base *b, struct bak_error *err)
{
	struct bak_error why = BAK_ERROR_INIT;
	char sql[120];

	snprintf(sql, sizeof sql, "CREATE_REPLICATION_SLOT bakfs_%d TEMPORARY PHYSICAL RESERVE_WAL",
		 PQbackendPID(b->conn));
	BAK_AUTO(bak_pg_clear) PGresult *result = bak_pg_query(b->pg->env, b->conn, sql, &why);
	if (result)
		return 0;
	if (why.code == BAK_CANCELLED || PQstatus(b->conn) != CONNECTION_OK) {
		*err = why;
		return -1;
	}
	bak_store_log(b->pg->env,
		      "no replication slot, so the server may throw needed WAL away: %s", why.msg);
	return 0;
}

static int run(struct base *b, json_t *facts, struct bak_error *err)
{
	static const char framed[] =
		"BASE_BACKUP (LABEL 'bakfs', PROGRESS, CHECKPOINT 'fast', WAL, "
		"MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256')";
	static const char unframed[] = "BASE_BACKUP LABEL 'bakfs' PROGRESS FAST WAL MANIFEST 'yes' "
				       "MANIFEST_CHECKSUMS 'SHA256'";
	BAK_AUTO(bak_pg_clear) PGresult *tablespaces = NULL;
	BAK_AUTO(bak_pg_clear)
	PGresult *system = bak_pg_query(b->pg->env, b->conn, "IDENTIFY_SYSTEM", err);
	int rc;

	if (!system || reserve_wal(b, err) < 0)
		return -1;
	if (json_object_set_new(facts, "system", json_string(PQgetvalue(system, 0, 0))) < 0)
		return bak_error_nomem(err);
	if (!PQsendQuery(b->conn, is_framed(b) ? framed : unframed))
		return bak_pg_fail(err, "base backup", PQerrorMessage(b->conn));
	if (take_position(b, b->start_lsn, err) < 0 || take_tablespaces(b, &tablespaces, err) < 0)
		return -1;
	rc = is_framed(b) ? read_framed(b, err) : read_unframed(b, tablespaces, err);
	drop_message(b);
	if (rc < 0 || take_position(b, b->end_lsn, err) < 0)
		return -1;
	BAK_AUTO(bak_pg_clear) PGresult *done = expect_result(b, PGRES_COMMAND_OK, err);
	if (!done)
		return -1;
	if (!b->n)
		return bak_error_set(err, BAK_IO, "base backup: the server sent nothing");
	return 0;
}

/* --- the whole --- */

static int note_facts(const struct base *b, json_t *facts, struct bak_error *err)
{
	int rc = json_object_set(facts, "tablespaces", b->tablespaces);

	rc |= json_object_set_new(facts, "mode", json_string("physical"));
	rc |= json_object_set_new(facts, "server",
				  json_string(PQparameterStatus(b->conn, "server_version")));
	rc |= json_object_set_new(facts, "version", json_integer(b->pg->version));
	rc |= json_object_set_new(facts, "timeline", json_integer(b->timeline));
	rc |= json_object_set_new(facts, "start_lsn", json_string(b->start_lsn));
	rc |= json_object_set_new(facts, "end_lsn", json_string(b->end_lsn));
	return rc ? bak_error_nomem(err) : 0;
}

static void release(struct base *b)
{
	for (size_t i = 0; i < b->n; i++) {
		free(b->entries[i].path);
		free(b->entries[i].target);
	}
	free(b->entries);
	drop_message(b);
	bak_buf_release(&b->manifest);
	json_decref(b->tablespaces);
	bak_pg_close(&b->conn);
}

int bak_pg_base_backup(struct bak_pg *pg, struct bak_writer *writer, json_t *facts,
		       struct bak_error *err)
{
	struct base b = {
		.pg = pg, .writer = writer, .tablespaces = json_array(), .err = BAK_ERROR_INIT};
	int rc = b.tablespaces ? bak_pg_connect_replication(pg, &b.conn, err)
			       : bak_error_nomem(err);

	if (rc == 0) {
		pg->version = PQserverVersion(b.conn);
		rc = run(&b, facts, err);
	}
	if (rc == 0)
		rc = store_manifest(&b, err);
	if (rc == 0) {
		qsort(b.entries, b.n, sizeof *b.entries, by_path);
		rc = check_manifest(&b, err);
	}
	if (rc == 0)
		rc = place_all(&b, err);
	if (rc == 0)
		rc = note_facts(&b, facts, err);
	release(&b);
	return rc;
}
