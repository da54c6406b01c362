/* Short texts made on demand: /status, /metrics, the manifests of runs. See fs.h. */
#include "fs/errno.h"
#include "fs/fs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_TEXTS 128

struct text {
	uint64_t ino;
	struct bak_buf buf;
	int64_t made;
	uint64_t used; /* tick of the last use */
};

struct current {
	uint64_t ino, version;
	int64_t made;
};

struct bak_texts {
	pthread_mutex_t lock;   /* guards texts and tick */
	pthread_mutex_t making; /* guards current; taken before lock */
	struct text texts[N_TEXTS];
	struct current current[2];
	uint64_t tick;
};

int bak_texts_new(struct bak_texts **out, struct bak_error *err)
{
	struct bak_texts *texts = calloc(1, sizeof *texts);
	if (!texts)
		return bak_error_nomem(err);
	pthread_mutex_init(&texts->lock, NULL);
	pthread_mutex_init(&texts->making, NULL);
	*out = texts;
	return 0;
}

void bak_texts_free(struct bak_texts *texts)
{
	if (!texts)
		return;
	for (size_t i = 0; i < N_TEXTS; i++)
		bak_buf_release(&texts->texts[i].buf);
	pthread_mutex_destroy(&texts->lock);
	pthread_mutex_destroy(&texts->making);
	free(texts);
}

static struct text *find(struct bak_texts *texts, uint64_t ino)
{
	for (size_t i = 0; i < N_TEXTS; i++)
		if (texts->texts[i].ino == ino)
			return &texts->texts[i];
	return NULL;
}

static void keep(struct bak_texts *texts, uint64_t ino, struct bak_buf *buf, int64_t now)
{
	struct text *text = find(texts, ino);
	for (size_t i = 0; !text && i < N_TEXTS; i++)
		if (!texts->texts[i].ino)
			text = &texts->texts[i];
	if (!text) {
		text = &texts->texts[0];
		for (size_t i = 1; i < N_TEXTS; i++)
			if (texts->texts[i].used < text->used)
				text = &texts->texts[i];
	}
	int64_t made = text->ino == ino ? text->made : now;
	bak_buf_release(&text->buf);
	*text = (struct text){.ino = ino, .buf = *buf, .made = made, .used = ++texts->tick};
	*buf = (struct bak_buf)BAK_BUF_INIT;
}

int bak_text_keep(struct bak_fs *fs, uint64_t ino, struct bak_buf *buf)
{
	pthread_mutex_lock(&fs->texts->lock);
	keep(fs->texts, ino, buf, time(NULL));
	pthread_mutex_unlock(&fs->texts->lock);
	return 0;
}

int bak_text_get(struct bak_fs *fs, uint64_t ino, uint64_t off, size_t len, struct bak_buf *out,
		 uint64_t *out_size, int64_t *out_made)
{
	struct bak_texts *texts = fs->texts;
	int no = ESTALE;
	pthread_mutex_lock(&texts->lock);
	struct text *text = find(texts, ino);
	if (text) {
		text->used = ++texts->tick;
		*out_size = text->buf.len;
		if (out_made)
			*out_made = text->made;
		if (off > text->buf.len)
			off = text->buf.len;
		if (len > text->buf.len - off)
			len = text->buf.len - (size_t)off;
		no = out && bak_buf_append(out, text->buf.p + off, len) < 0 ? ENOMEM : 0;
	}
	pthread_mutex_unlock(&texts->lock);
	return no;
}

static bool still_current(struct bak_fs *fs, const struct current *current, uint64_t version,
			  int64_t now, uint64_t *out_size, int64_t *out_made)
{
	return current->ino && current->version == version && current->made == now &&
	       !bak_text_get(fs, current->ino, 0, 0, NULL, out_size, out_made);
}

static int make(struct bak_fs *fs, enum bak_text_kind kind, struct current *current,
		uint64_t *out_size, int64_t *out_made)
{
	BAK_AUTO(bak_buf_release) struct bak_buf buf = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	int rc = kind == BAK_TEXT_STATUS ? bak_report_status(fs, &buf, &err)
					 : bak_report_metrics(fs, &buf, &err);
	if (rc < 0)
		return bak_errno_of(&err);
	if (bak_buf_append(&buf, "", 1) < 0)
		return ENOMEM;
	buf.len--;
	current->ino = bak_ino_hash(BAK_RANGE_VIRTUAL, (const char *)buf.p, 3 + (uint64_t)kind);
	bak_text_keep(fs, current->ino, &buf);
	return bak_text_get(fs, current->ino, 0, 0, NULL, out_size, out_made);
}

int bak_text_current(struct bak_fs *fs, enum bak_text_kind kind, uint64_t *out_ino,
		     uint64_t *out_size, int64_t *out_made)
{
	struct bak_catalog *cat = bak_catalog_box_get(fs->catalog);
	uint64_t version = cat->version;
	bak_catalog_unref(cat);
	int64_t now = time(NULL);
	int no = 0;
	pthread_mutex_lock(&fs->texts->making);
	struct current *current = &fs->texts->current[kind];
	if (!still_current(fs, current, version, now, out_size, out_made)) {
		no = make(fs, kind, current, out_size, out_made);
		current->version = version;
		current->made = now;
	}
	*out_ino = current->ino;
	pthread_mutex_unlock(&fs->texts->making);
	return no;
}
