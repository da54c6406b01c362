/* Making and opening a repository: see repo.h. */
#include "engine/ops/repo_private.h"

#include "engine/objects/repo_json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Who reads in order needs little; a mount asks for a larger cache. */
#define DEFAULT_MEMORY ((uint64_t)128 << 20)

static const struct bak_repo_json fresh_json = {
	.min = 8192, .avg = 32768, .max = 131072, .span = 1u << 20};

/* --- what is there without a key --- */

static int half_made(struct bak_error *err, const char *path)
{
	return bak_error_set(err, BAK_CORRUPT,
			     "%s is half-made: bakfs.json is missing. If an init was interrupted, "
			     "remove the folder and init again",
			     path);
}

static int read_json(struct bak_backend *backend, const char *path, struct bak_buf *out,
		     struct bak_repo_json *json, struct bak_error *err)
{
	int rc = bak_backend_get(backend, "bakfs.json", 0, 1u << 20, out, err);
	if (rc < 0)
		return -1;
	if (rc == 1)
		return bak_repo_json_parse((const char *)out->p, out->len, json, err) < 0
			       ? bak_error_wrap(err, "%s", path)
			       : 1;
	return 0;
}

static int found_one(void *ctx, const char *name, uint64_t size)
{
	(void)ctx;
	(void)name;
	(void)size;
	return 1;
}

/* 1 a repository, 0 nothing of one, -1 (half-made, newer, damaged). */
static int probe(struct bak_backend *backend, const char *path, struct bak_buf *text,
		 struct bak_repo_json *json, struct bak_error *err)
{
	int rc = read_json(backend, path, text, json, err);
	if (rc != 0)
		return rc;
	rc = bak_backend_list(backend, "keys", found_one, NULL, err);
	return rc > 0 ? half_made(err, path) : rc;
}

int bak_repo_probe(const char *path, struct bak_error *err)
{
	struct bak_backend *backend;
	struct bak_repo_json json;
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	struct stat st;
	if (stat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? 0
			       : bak_error_sys(err, errno, "cannot look at %s", path);
	if (!S_ISDIR(st.st_mode))
		return 0;
	if (bak_backend_dir_open(path, false, &backend, err) < 0)
		return -1;
	int rc = probe(backend, path, &text, &json, err);
	bak_backend_close(backend);
	return rc;
}

/* --- init --- */

static const char *const folders[] = {"keys",      "packs",     "parity", "snapshots", "running",
				      "condemned", "forgotten", "tags",   "tmp"};
#define N_FOLDERS (sizeof folders / sizeof *folders)

/* What an init that was killed may have left, and what a fresh disk has. */
static bool may_be_there(const char *name)
{
	bool ours = strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    strcmp(name, "lost+found") == 0;
	for (size_t i = 0; i < N_FOLDERS; i++)
		ours |= strcmp(name, folders[i]) == 0;
	return ours;
}

static int refuse_full_folder(const char *path, struct bak_error *err)
{
	DIR *dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : bak_error_sys(err, errno, "cannot open %s", path);
	struct dirent *e;
	bool full = false;
	while ((e = readdir(dir)))
		full |= !may_be_there(e->d_name);
	closedir(dir);
	return full ? bak_error_set(err, BAK_REFUSED, "%s holds something else already", path) : 0;
}

static int found_object(void *ctx, const char *name, uint64_t size)
{
	(void)ctx;
	(void)size;
	return strncmp(name, "tmp/", 4) != 0;
}

/* Our folders' names may be somebody else's too: they must hold no files. */
static int refuse_full_backend(struct bak_backend *backend, const char *path, struct bak_error *err)
{
	int rc = bak_backend_list(backend, "", found_object, NULL, err);
	if (rc > 0)
		return bak_error_set(err, BAK_REFUSED, "%s holds something else already", path);
	return rc;
}

static int make_folders(struct bak_backend *backend, struct bak_error *err)
{
	for (size_t i = 0; i < N_FOLDERS; i++)
		if (backend->ops->make_folder(backend, folders[i], err) < 0)
			return -1;
	for (unsigned i = 0; i < 256; i++) {
		char name[16];
		snprintf(name, sizeof name, "packs/%02x", i);
		if (backend->ops->make_folder(backend, name, err) < 0)
			return -1;
	}
	return backend->ops->sync(backend, "packs", err) < 0 ? -1
							     : backend->ops->sync(backend, "", err);
}

static int fill_new(struct bak_backend *backend, const struct bak_repo_conf *conf,
		    const struct bak_secret *secret, const char *label, struct bak_error *err)
{
	struct bak_keyring ring = {0};
	struct bak_repo_json json = fresh_json;
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	char slot[33];
	int log_n = conf->scrypt_log_n ? conf->scrypt_log_n : BAK_SCRYPT_LOG_N;
	int rc = bak_keyring_generate(&ring, err);
	memcpy(json.id, ring.repo_id, sizeof json.id);
	json.created = time(NULL);
	if (rc == 0)
		rc = make_folders(backend, err);
	if (rc == 0)
		rc = bak_keys_put(backend, &ring, secret, label, log_n, slot, err);
	if (rc == 0)
		rc = bak_repo_json_write(&json, ring.id_key, &text, err);
	if (rc == 0) {
		rc = bak_backend_put(backend, "init", "bakfs.json", text.p, text.len, err);
		rc = rc == 0 ? bak_error_set(err, BAK_EXISTS, "somebody else was quicker")
			     : (rc < 0 ? -1 : 0);
	}
	bak_keyring_release(&ring);
	return rc;
}

int bak_repo_init(const struct bak_repo_conf *conf, const struct bak_secret *secret,
		  const char *label, struct bak_error *err)
{
	struct bak_backend *backend = conf->backend;
	const char *path = conf->path ? conf->path : "memory";
	struct bak_repo_json json;
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	int rc = conf->path ? bak_repo_probe(conf->path, err)
			    : probe(backend, path, &text, &json, err);
	if (rc == 1)
		return bak_error_set(err, BAK_EXISTS, "%s is a bakfs repository already", path);
	if (rc < 0) {
		if (err->code == BAK_CORRUPT || err->code == BAK_UNSUPPORTED)
			err->code = BAK_EXISTS;
		return -1;
	}
	if (conf->path && (refuse_full_folder(conf->path, err) < 0 ||
			   bak_backend_dir_open(conf->path, true, &backend, err) < 0))
		return -1;
	rc = refuse_full_backend(backend, path, err);
	if (rc == 0 && fill_new(backend, conf, secret, label, err) < 0)
		rc = bak_error_wrap(err, "cannot init %s", path);
	if (conf->path)
		bak_backend_close(backend);
	return rc;
}

/* --- open --- */

static int make_path(const char *path, struct bak_error *err)
{
	char part[PATH_MAX];
	if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
		return bak_error_set(err, BAK_USAGE, "path too long: %s", path);
	for (char *p = part + 1;; p++) {
		if (*p && *p != '/')
			continue;
		char c = *p;
		*p = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return bak_error_sys(err, errno, "cannot make %s", part);
		*p = c;
		if (!c)
			return 0;
	}
}

/* <given base, else $env/bakfs, else /var/..., else ~/...>/<repository id>, made. */
static int make_own_dir(const struct bak_repo *repo, const char *given, const char *env,
			const char *for_root, const char *below_home, char **out,
			struct bak_error *err)
{
	char path[PATH_MAX];
	const char *xdg = getenv(env), *home = getenv("HOME");
	int n;
	if (given)
		n = snprintf(path, sizeof path, "%s/%s", given, repo->id_hex);
	else if (xdg && xdg[0] == '/')
		n = snprintf(path, sizeof path, "%s/bakfs/%s", xdg, repo->id_hex);
	else if (geteuid() == 0)
		n = snprintf(path, sizeof path, "%s/%s", for_root, repo->id_hex);
	else
		n = snprintf(path, sizeof path, "%s/%s/bakfs/%s", home ? home : "", below_home,
			     repo->id_hex);
	if (n < 0 || (size_t)n >= sizeof path)
		return bak_error_set(err, BAK_USAGE, "path too long");
	*out = strdup(path);
	if (!*out)
		return bak_error_nomem(err);
	return make_path(path, err);
}

static int open_keys(struct bak_repo *repo, const struct bak_secret *secret, struct bak_error *err)
{
	BAK_AUTO(bak_buf_release) struct bak_buf text = BAK_BUF_INIT;
	struct bak_repo_json json;
	int rc = probe(repo->backend, repo->path, &text, &json, err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return bak_error_set(err, BAK_NOT_FOUND, "%s is not a bakfs repository",
				     repo->path);
	rc = bak_keys_open(repo->backend, json.id, secret, &repo->tried, &repo->ring, err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return bak_error_set(err, BAK_WRONG_KEY, "wrong %s",
				     secret->kind == BAK_SECRET_KEYFILE ? "key file" : "password");
	if (bak_repo_json_verify((const char *)text.p, text.len, repo->ring.id_key, err) < 0)
		return bak_error_wrap(err, "%s", repo->path);
	repo->ring.reload = bak_keys_reload;
	repo->ring.reload_ctx = repo;
	if (bak_secret_copy(&repo->secret, secret, err) < 0)
		return -1;
	repo->chunk = (struct bak_chunk_conf){json.min, json.avg, json.max, json.span};
	bak_hex(repo->id_hex, json.id, sizeof json.id);
	return 0;
}

static size_t share(const struct bak_repo_conf *conf)
{
	return (size_t)((conf->memory ? conf->memory : DEFAULT_MEMORY) / BAK_MEMORY_SHARES);
}

static int open_index(struct bak_repo *repo, const struct bak_repo_conf *conf, bool *out_fresh,
		      struct bak_error *err)
{
	if (conf->index_in_memory) {
		*out_fresh = true;
		return bak_index_open(NULL, &repo->index, out_fresh, err);
	}
	char path[PATH_MAX];
	if (make_own_dir(repo, conf->cache_dir, "XDG_CACHE_HOME", "/var/cache/bakfs", ".cache",
			 &repo->cache_dir, err) < 0 ||
	    make_own_dir(repo, conf->state_dir, "XDG_STATE_HOME", "/var/lib/bakfs", ".local/state",
			 &repo->state_dir, err) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/index.sqlite", repo->cache_dir);
	return bak_index_open(path, &repo->index, out_fresh, err) < 0
		       ? -1
		       : bak_index_limit(repo->index, share(conf), err);
}

static int refresh_for_source(void *ctx, struct bak_error *err)
{
	bool changed;
	return bak_repo_refresh_packs(ctx, &changed, err);
}

static int open_source(struct bak_repo *repo, const struct bak_repo_conf *conf,
		       struct bak_error *err)
{
	struct bak_source_conf source = {.backend = repo->backend,
					 .ring = &repo->ring,
					 .index = repo->index,
					 .cache_bytes = conf->cache_bytes ? conf->cache_bytes
									  : share(conf),
					 .refresh = refresh_for_source,
					 .refresh_ctx = repo,
					 .damaged = conf->damaged,
					 .repaired = conf->repaired,
					 .damaged_ctx = conf->damaged_ctx};
	return bak_source_new(&source, &repo->source, err);
}

static int open_backend(struct bak_repo *repo, const struct bak_repo_conf *conf,
			struct bak_error *err)
{
	if (!conf->path) {
		repo->backend = conf->backend;
		repo->path = strdup("memory");
		return repo->path ? 0 : bak_error_nomem(err);
	}
	struct stat st;
	if (stat(conf->path, &st) < 0 && errno == ENOENT)
		return bak_error_set(err, BAK_NOT_FOUND, "%s is not there", conf->path);
	repo->path = realpath(conf->path, NULL);
	if (!repo->path)
		return bak_error_sys(err, errno, "cannot open %s", conf->path);
	repo->owns_backend = true;
	if (bak_backend_dir_open(repo->path, false, &repo->backend, err) < 0)
		return -1;
	if (!conf->patience_ms || !bak_backend_dir_is_remote(repo->path))
		return 0;
	return bak_backend_patient_new(repo->backend, conf->patience_ms, &repo->backend, err);
}

static void name_host(struct bak_repo *repo, const char *given)
{
	if (given)
		snprintf(repo->host, sizeof repo->host, "%s", given);
	else if (gethostname(repo->host, sizeof repo->host - 1) < 0)
		snprintf(repo->host, sizeof repo->host, "localhost");
}

int bak_repo_open(const struct bak_repo_conf *conf, const struct bak_secret *secret,
		  struct bak_repo **out_repo, struct bak_error *err)
{
	struct bak_repo *repo = calloc(1, sizeof *repo);
	bool fresh = false, changed;
	if (!repo)
		return bak_error_nomem(err);
	pthread_mutex_init(&repo->lock, NULL);
	pthread_mutex_init(&repo->keys_lock, NULL);
	repo->scrypt_log_n = conf->scrypt_log_n ? conf->scrypt_log_n : BAK_SCRYPT_LOG_N;
	repo->parity = conf->parity;
	repo->memory = conf->memory;
	repo->progress = conf->progress;
	repo->progress_ctx = conf->progress_ctx;
	repo->now = conf->now;
	repo->now_ctx = conf->now_ctx;
	name_host(repo, conf->host);
	if (open_backend(repo, conf, err) < 0 || open_keys(repo, secret, err) < 0 ||
	    open_index(repo, conf, &fresh, err) < 0 || open_source(repo, conf, err) < 0)
		goto fail;
	bak_state_load(repo);
	bak_lost_load(repo);
	if ((fresh && bak_repo_refresh_packs(repo, &changed, err) < 0) ||
	    bak_repo_refresh_snapshots(repo, &changed, err) < 0)
		goto fail;
	*out_repo = repo;
	return 0;
fail:
	bak_repo_close(repo);
	return -1;
}

void bak_repo_close(struct bak_repo *repo)
{
	if (!repo)
		return;
	bak_source_free(repo->source);
	bak_index_close(repo->index);
	bak_keyring_release(&repo->ring);
	bak_secret_release(&repo->secret);
	bak_keys_tried_release(&repo->tried);
	if (repo->owns_backend)
		bak_backend_close(repo->backend);
	pthread_mutex_destroy(&repo->keys_lock);
	pthread_mutex_destroy(&repo->lock);
	bak_place_set_release(&repo->lost);
	free(repo->gone);
	free(repo->seen);
	free(repo->unreadable);
	free(repo->path);
	free(repo->cache_dir);
	free(repo->state_dir);
	free(repo);
}

/* --- what others ask for --- */

struct bak_backend *bak_repo_backend(struct bak_repo *repo)
{
	return repo->backend;
}

const struct bak_keyring *bak_repo_ring(struct bak_repo *repo)
{
	return &repo->ring;
}

struct bak_index *bak_repo_index(struct bak_repo *repo)
{
	return repo->index;
}

struct bak_source *bak_repo_source(struct bak_repo *repo)
{
	return repo->source;
}

const char *bak_repo_host(struct bak_repo *repo)
{
	return repo->host;
}

int64_t bak_repo_now(struct bak_repo *repo)
{
	return repo->now ? repo->now(repo->now_ctx) : time(NULL);
}

const char *bak_repo_path(struct bak_repo *repo)
{
	return repo->path;
}

const char *bak_repo_state_dir(struct bak_repo *repo)
{
	return repo->state_dir;
}

const char *bak_repo_id_hex(struct bak_repo *repo)
{
	return repo->id_hex;
}

uint64_t bak_repo_memory(const struct bak_repo *repo)
{
	return repo->memory;
}

unsigned bak_repo_parity(const struct bak_repo *repo)
{
	return repo->parity;
}

const struct bak_chunk_conf *bak_repo_chunk_conf(struct bak_repo *repo)
{
	return &repo->chunk;
}
