/*
 * The progress line.
 */
#include "tools/progress.h"

#include "tools/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define REDRAW_MS 100
/* Speeds and remaining times of the first moments would be noise. */
#define SETTLED_MS 2000

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void bak_progress_init(struct bak_progress *progress, bool on)
{
	*progress = (struct bak_progress){.on = on, .label = ""};
}

void bak_progress_begin(struct bak_progress *progress, const char *label, uint64_t total)
{
	bak_progress_clear(progress);
	progress->label = label;
	progress->total = total;
	progress->begun_ms = now_ms();
	progress->drawn_ms = 0;
}

static bool due(struct bak_progress *progress)
{
	uint64_t now = now_ms();

	if (!progress->on || now - progress->drawn_ms < REDRAW_MS)
		return false;
	progress->drawn_ms = now;
	return true;
}

/* left as it is, then as much of path's end as fits. */
static void draw(struct bak_progress *progress, const char *left, const char *path)
{
	struct winsize size = {.ws_col = 80};
	char *clean = path ? bak_name_text(path, strlen(path)) : NULL;
	size_t width, used = strlen(left), len = clean ? strlen(clean) : 0, room;

	if (ioctl(2, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
		size.ws_col = 80;
	width = (size_t)size.ws_col - 1;
	room = used + 2 < width ? width - used - 2 : 0;
	if (len <= room)
		fprintf(stderr, "\r%.*s%s%s\033[K", (int)width, left, len ? "  " : "",
			len ? clean : "");
	else if (room > 8)
		fprintf(stderr, "\r%s  ...%s\033[K", left, clean + len - (room - 3));
	else
		fprintf(stderr, "\r%.*s\033[K", (int)width, left);
	fflush(stderr);
	progress->shown = true;
	free(clean);
}

/* done is what stands first: "etc: 12 files, 1.2 MiB". */
static void draw_measured(struct bak_progress *progress, const char *done, uint64_t bytes,
			  const char *path)
{
	char total[BAK_SIZE_TEXT + 8] = "", speed[BAK_SIZE_TEXT + 8] = "",
				   left[BAK_SPAN_TEXT + 8] = "", size[BAK_SIZE_TEXT],
				   span[BAK_SPAN_TEXT], line[256];
	uint64_t ms = progress->drawn_ms - progress->begun_ms;
	uint64_t rate = ms >= SETTLED_MS ? bytes * 1000 / ms : 0;
	bool more = progress->total > bytes;

	if (more)
		snprintf(total, sizeof(total), " of %s", bak_size_text(progress->total, size));
	if (rate)
		snprintf(speed, sizeof(speed), ", %s/s", bak_size_text(rate, size));
	if (rate && more)
		snprintf(left, sizeof(left), ", %s left",
			 bak_span_text((progress->total - bytes) / rate, span));
	snprintf(line, sizeof(line), "%s%s%s%s", done, total, speed, left);
	draw(progress, line, path);
}

void bak_progress_bytes(struct bak_progress *progress, uint64_t files, uint64_t bytes,
			const char *path)
{
	char done[192], size[BAK_SIZE_TEXT];

	if (!due(progress))
		return;
	snprintf(done, sizeof(done), "%.100s: %" PRIu64 " file%s, %s", progress->label, files,
		 bak_plural(files), bak_size_text(bytes, size));
	draw_measured(progress, done, bytes, path);
}

void bak_progress_measure(struct bak_progress *progress, uint64_t bytes, const char *path)
{
	char done[192], size[BAK_SIZE_TEXT];

	if (!due(progress))
		return;
	snprintf(done, sizeof(done), "%.100s: %s", progress->label, bak_size_text(bytes, size));
	draw_measured(progress, done, bytes, path);
}

void bak_progress_count(struct bak_progress *progress, const char *what, uint64_t done,
			uint64_t total)
{
	char line[256];

	if (!due(progress))
		return;
	if (total)
		snprintf(line, sizeof(line), "%s: %" PRIu64 " of %" PRIu64, what, done, total);
	else
		snprintf(line, sizeof(line), "%s: %" PRIu64, what, done);
	draw(progress, line, NULL);
}

void bak_progress_state(struct bak_progress *progress, const char *state, int percent,
			uint64_t bytes)
{
	char line[256], size[BAK_SIZE_TEXT], share[16] = "";

	if (!due(progress))
		return;
	if (percent >= 0)
		snprintf(share, sizeof(share), " %d %%", percent);
	snprintf(line, sizeof(line), "%.100s: %s%s%s%s", progress->label, state, share,
		 bytes ? ", " : "", bytes ? bak_size_text(bytes, size) : "");
	draw(progress, line, NULL);
}

void bak_progress_clear(struct bak_progress *progress)
{
	if (!progress->shown)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	progress->shown = false;
}
