/*
 * The files driver: a folder with all that is in it, or one regular file.
 *
 * Consistency: each file by itself. One that changes while it is read is read again, in the end
 * stored with a flag and a warning; nothing ties several files to one moment.
 */
#include "stores/files/files.h"
#include "stores/checkup.h"
#include "stores/drivers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct bak_store_option files_options[] = {
	{.name = "path",
	 .kind = BAK_OPTION_PATH,
	 .required = true,
	 .help = "the folder, or one regular file"},
	{.name = "exclude",
	 .kind = BAK_OPTION_LIST,
	 .help = "pattern to leave out, as in .gitignore; may be given several times"},
	{.name = "one_file_system",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "yes",
	 .help = "do not enter other file systems mounted below the path"},
	{.name = "reread",
	 .kind = BAK_OPTION_NUMBER,
	 .fallback = "3",
	 .help = "how often a file that changes while it is read is read again"},
	{.name = "xattrs",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "yes",
	 .help = "save extended attributes, ACLs and capabilities among them"},
	{.name = "database_warning",
	 .kind = BAK_OPTION_BOOL,
	 .fallback = "yes",
	 .help = "warn of databases that should have a store of their own"},
	{.name = NULL},
};

static void files_close(void *store)
{
	struct bak_files *files = store;

	if (!files)
		return;
	bak_exclude_release(&files->exclude);
	free(files);
}

static int files_open(const struct bak_store_conf *conf, const struct bak_store_env *env,
		      void **out_store, struct bak_error *err)
{
	struct bak_files *files = calloc(1, sizeof *files);
	const char *pattern;

	if (!files)
		return bak_error_nomem(err);
	*files = (struct bak_files){
		.conf = conf,
		.env = env,
		.path = bak_store_get(conf, "path"),
		.one_file_system = bak_store_get_bool(conf, "one_file_system"),
		.xattrs = bak_store_get_bool(conf, "xattrs"),
		.database_warning = bak_store_get_bool(conf, "database_warning"),
		.reread = bak_store_get_number(conf, "reread"),
	};
	for (size_t i = 0; (pattern = bak_store_get_item(conf, "exclude", i)) != NULL; i++) {
		if (bak_exclude_add(&files->exclude, pattern, err) < 0) {
			files_close(files);
			return -1;
		}
	}
	*out_store = files;
	return 0;
}

static int files_probe(void *store, struct bak_store_probe *out, struct bak_error *err)
{
	struct bak_files *files = store;
	struct stat st;

	*out = (struct bak_store_probe){.bytes = 0};
	snprintf(out->target, sizeof out->target, "%s", files->path);
	if (stat(files->path, &st) < 0)
		return bak_error_sys(err, errno, "%s", files->path);
	if (S_ISREG(st.st_mode))
		out->bytes = (uint64_t)st.st_size;
	return 0;
}

static int files_doctor(void *store, const struct bak_checkup *checkup, struct bak_error *err)
{
	struct bak_files *files = store;

	(void)err;
	if (bak_checkup_readable(checkup, files->path) && !checkup->quick)
		bak_checkup_restorable(checkup, files->path);
	return 0;
}

/* facts: counts, and for a single file its name in the payload. */
static int walk_with_facts(struct bak_files *files, const char *path, const char *name,
			   struct bak_writer *writer, json_t *facts, bool *out_single,
			   struct bak_error *err)
{
	struct bak_files_counts counts;
	json_t *json;

	if (bak_files_walk(files, path, name, writer, &counts, out_single, err) < 0)
		return -1;
	json = json_object();
	if (!json || bak_files_counts_json(&counts, json, err) < 0 ||
	    json_object_set(facts, "counts", json) < 0 ||
	    json_object_set_new(facts, "single", json_boolean(*out_single)) < 0) {
		json_decref(json);
		return bak_error_nomem(err);
	}
	json_decref(json);
	return 0;
}

static int files_backup(void *store, struct bak_writer *writer, json_t *facts,
			struct bak_error *err)
{
	struct bak_files *files = store;
	bool single;

	return walk_with_facts(files, files->path, NULL, writer, facts, &single, err);
}

static int files_counts(void *store, json_t *counts, struct bak_error *err)
{
	struct bak_files *files = store;
	struct bak_files_counts n;
	bool single;

	/* Patterns may have changed since a snapshot was made; all that it brought counts. */
	if (files->restored)
		bak_exclude_release(&files->exclude);
	if (bak_files_walk(files, files->path, NULL, NULL, &n, &single, err) < 0)
		return -1;
	return bak_files_counts_json(&n, counts, err);
}

/* A folder for a folder, a file for a file; where nothing is there yet, either. */
static int files_import(void *store, const char *path, struct bak_writer *writer, json_t *facts,
			struct bak_error *err)
{
	struct bak_files *files = store;
	struct stat live, upload;
	bool single;

	if (stat(path, &upload) < 0)
		return bak_error_sys(err, errno, "%s", path);
	if (stat(files->path, &live) == 0 && S_ISDIR(live.st_mode) != S_ISDIR(upload.st_mode))
		return bak_error_set(err, BAK_REFUSED, "%s is a %s, and this is a %s", files->path,
				     S_ISDIR(live.st_mode) ? "folder" : "file",
				     S_ISDIR(upload.st_mode) ? "folder" : "file");
	return walk_with_facts(files, path, bak_files_base(files->path), writer, facts, &single,
			       err);
}

static int files_restore(void *store, const struct bak_restore_from *from, json_t *state,
			 struct bak_error *err)
{
	struct bak_files *files = store;

	if (bak_files_restore(files, from, state, err) < 0)
		return -1;
	files->restored = true;
	return 0;
}

static int files_rollback(void *store, const json_t *state, struct bak_error *err)
{
	return bak_files_rollback(store, state, err);
}

const struct bak_store_driver bak_store_files = {
	.name = "files",
	.summary = "a folder with all that is in it, or one file",
	.features = BAK_STORE_KEEPS_OLD | BAK_STORE_PARTIAL | BAK_STORE_COUNTS | BAK_STORE_ATOMIC,
	.options = files_options,
	.address_option = "path",
	.open = files_open,
	.probe = files_probe,
	.doctor = files_doctor,
	.backup = files_backup,
	.restore = files_restore,
	.counts = files_counts,
	.rollback = files_rollback,
	.import = files_import,
	.close = files_close,
};
