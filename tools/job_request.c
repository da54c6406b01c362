/* What a mount asks of a job, as JSON on standard input: see job.h and fs/mount.h. */
#include "tools/job.h"

#include "engine/base/hash.h"
#include "engine/base/locked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX (1u << 20)

static int read_all(int fd, struct bak_buf *out, struct bak_error *err)
{
	for (;;) {
		ssize_t n;

		if (bak_buf_reserve(out, 4096) < 0)
			return bak_error_nomem(err);
		n = read(fd, out->p + out->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return bak_error_sys(err, errno, "reading the job");
		if (n == 0)
			return 0;
		out->len += (size_t)n;
		if (out->len > REQUEST_MAX)
			return bak_error_set(err, BAK_USAGE, "the job is too long");
	}
}

static char *dup_string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? strdup(text) : NULL;
}

static int take_secret(struct bak_job_request *out, const json_t *json, struct bak_error *err)
{
	const char *kind = json_string_value(json_object_get(json, "kind"));
	const char *hex = json_string_value(json_object_get(json, "hex"));
	size_t len = hex ? strlen(hex) : 0;

	if (!kind || !hex || len % 2)
		return bak_error_set(err, BAK_USAGE, "the job names no secret");
	out->secret.p = bak_locked_alloc(len / 2);
	if (!out->secret.p)
		return bak_error_nomem(err);
	out->secret.len = len / 2;
	out->secret.kind = strcmp(kind, "keyfile") == 0 ? BAK_SECRET_KEYFILE : BAK_SECRET_PASSWORD;
	if (!bak_unhex(out->secret.p, out->secret.len, hex))
		return bak_error_set(err, BAK_USAGE, "the job's secret is not hex");
	return 0;
}

static int take_only(struct bak_job_request *out, const json_t *only, struct bak_error *err)
{
	size_t n = json_array_size(only);

	if (n == 0)
		return 0;
	out->only = calloc(n, sizeof *out->only);
	if (!out->only)
		return bak_error_nomem(err);
	for (; out->n_only < n; out->n_only++) {
		const char *path = json_string_value(json_array_get(only, out->n_only));

		if (!path)
			return bak_error_set(err, BAK_USAGE, "the job's paths are not text");
		out->only[out->n_only] = strdup(path);
		if (!out->only[out->n_only])
			return bak_error_nomem(err);
	}
	return 0;
}

static int take_from(struct bak_job_request *out, const json_t *from, struct bak_error *err)
{
	json_int_t number = json_integer_value(json_object_get(from, "snapshot"));

	out->upload = dup_string(from, "upload");
	if (out->upload) {
		out->from = BAK_JOB_FROM_UPLOAD;
		return 0;
	}
	if (json_is_true(json_object_get(from, "rollback"))) {
		out->from = BAK_JOB_FROM_ROLLBACK;
		return 0;
	}
	if (number <= 0)
		return bak_error_set(err, BAK_USAGE, "the job says not what to restore from");
	out->from = BAK_JOB_FROM_SNAPSHOT;
	out->snapshot = (uint64_t)number;
	out->latest = json_is_true(json_object_get(from, "latest"));
	return take_only(out, json_object_get(from, "only"), err);
}

static int take_request(struct bak_job_request *out, const json_t *json, struct bak_error *err)
{
	json_int_t delay = json_integer_value(json_object_get(json, "delay"));
	struct timespec now;
	json_int_t deadline = json_integer_value(json_object_get(json, "deadline"));

	out->id = dup_string(json, "id");
	out->store = dup_string(json, "store");
	out->description = dup_string(json, "description");
	if (!out->id || !out->store || !bak_store_name_ok(out->store))
		return bak_error_set(err, BAK_USAGE, "the job names no store");
	out->delay_s = delay > 0 && delay < 86400 ? (unsigned)delay : 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	out->deadline_s = deadline > 0 && deadline <= 86400 ? now.tv_sec + deadline : 0;
	if (take_secret(out, json_object_get(json, "secret"), err) < 0)
		return -1;
	return take_from(out, json_object_get(json, "from"), err);
}

int bak_job_request_read(int fd, struct bak_job_request *out, struct bak_error *err)
{
	struct bak_buf text = BAK_BUF_INIT;
	json_error_t where;
	json_t *json = NULL;
	int rc;

	*out = (struct bak_job_request){.id = NULL};
	rc = read_all(fd, &text, err);
	if (rc == 0) {
		json = json_loadb((const char *)text.p, text.len, 0, &where);
		if (!json)
			rc = bak_error_set(err, BAK_USAGE, "the job is not JSON: %s", where.text);
	}
	if (rc == 0)
		rc = take_request(out, json, err);
	/* jansson's copy of the secret is freed, not wiped: the process ends with its job. */
	json_decref(json);
	if (text.p)
		bak_wipe(text.p, text.cap);
	bak_buf_release(&text);
	if (rc < 0)
		bak_job_request_release(out);
	return rc;
}

void bak_job_request_release(struct bak_job_request *request)
{
	free(request->id);
	free(request->store);
	free(request->description);
	for (size_t i = 0; i < request->n_only; i++)
		free(request->only[i]);
	free(request->only);
	free(request->upload);
	bak_secret_release(&request->secret);
	*request = (struct bak_job_request){.id = NULL};
}
