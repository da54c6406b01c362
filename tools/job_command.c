/*
 * bakfs job: what a mount starts to restore a store; not for users. What is to be done, and the
 * repository's secret, come as JSON on standard input (fs/mount.h); what is done goes into the
 * job's files.
 */
#include "tools/commands.h"
#include "tools/job.h"
#include "tools/job_files.h"
#include "tools/restore.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

static int is_cancelled(void *ctx)
{
	struct bak_tool *tool = ctx;

	return *tool->stop != 0;
}

/* The store is not in the configuration any more: whoever waits for the job must hear of it. */
static void note_refusal(struct bak_tool *tool, const struct bak_job_request *request,
			 const struct bak_error *err)
{
	struct bak_job_files files;
	struct bak_error scratch = BAK_ERROR_INIT;

	if (!request->id || bak_job_files_open(&files, bak_repo_state_dir(tool->repo),
					       request->store, request->id, &scratch) < 0)
		return;
	snprintf(files.error, sizeof(files.error), "%s", err->msg);
	files.finished = time(NULL);
	files.cancellable = false;
	bak_job_files_log(&files, err->msg);
	bak_job_files_state(&files, "failed");
	bak_job_files_close(&files);
}

/* At the deadline a signal wakes whatever waits, as Ctrl-C would; job.c knows why it came. */
static void arm_deadline(const struct bak_job_request *request)
{
	struct sigevent term = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};
	struct itimerspec when = {.it_value.tv_sec = (time_t)request->deadline_s};
	timer_t timer;

	if (request->deadline_s && timer_create(CLOCK_MONOTONIC, &term, &timer) == 0)
		timer_settime(timer, TIMER_ABSTIME, &when, NULL);
}

static int run(struct bak_tool *tool, const struct bak_job_request *request, struct bak_error *err)
{
	struct bak_job_result result;
	struct bak_repo_conf conf;
	struct bak_job job = {.request = request, .ctx = tool, .cancelled = is_cancelled};

	if (bak_tool_need_path(tool, err) < 0)
		return -1;
	bak_tool_repo_conf(tool, &conf);
	if (bak_repo_open(&conf, &request->secret, &tool->repo, err) < 0)
		return -1;
	job.store = bak_live_store(tool, request->store, err);
	if (!job.store) {
		note_refusal(tool, request, err);
		return -1;
	}
	job.repo = tool->repo;
	job.workers = tool->config.workers;
	return bak_job_run(&job, &result, err);
}

int bak_command_job(struct bak_tool *tool)
{
	struct bak_job_request request;
	struct bak_error err = BAK_ERROR_INIT;
	int rc;

	if (isatty(STDIN_FILENO))
		return bak_tool_usage(tool, "a mount starts this; bakfs restore is for you");
	tool->catch_stops();
	if (bak_job_request_read(STDIN_FILENO, &request, &err) < 0)
		return bak_tool_fail(tool, &err);
	arm_deadline(&request);
	rc = run(tool, &request, &err);
	bak_job_request_release(&request);
	return rc < 0 ? bak_tool_fail(tool, &err) : bak_tool_done(tool);
}
