/*
 * What restore.h decides about items of /restore, and what it wants to know for that, done:
 * verdicts about contents, firing, cancelling, forgetting. The lock is held.
 */
#include "fs/control_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* PF_SIGNALED of the kernel's include/linux/sched.h, as /proc/<pid>/stat shows it (proc(5)). */
#define PF_SIGNALED 0x400u

void bak_control_refused(struct bak_item *item, const char *why)
{
	char quoted[200];
	bak_error_quote(item->path, quoted, sizeof quoted);
	snprintf(item->room->refused, sizeof item->room->refused, "%s: %.300s", quoted, why);
}

void bak_control_forget(struct bak_control *c, struct bak_item *item)
{
	struct bak_dirmap *map = item->dir ? &item->dir->entries : &item->room->entries;
	const char *slash = strrchr(item->path, '/');
	const char *name = slash ? slash + 1 : item->path;
	const struct bak_dirmap_entry *entry = bak_dirmap_find(map, name);
	item->rules.state = BAK_ITEM_IDLE;
	if (item->job)
		item->job->item = NULL;
	item->job = NULL;
	if (!entry || entry->value != item->top)
		return;
	/* A trigger folder goes with its last entry; until then it is one that was not touched. */
	if (item->rules.kind == BAK_ITEM_TRIGGER_FOLDER && item->top->entries.live)
		return;
	if (!item->dir && S_ISDIR(item->top->mode))
		item->room->folders--;
	BAK_AUTO(bak_free_ptr) char *copy = strdup(name); /* the item may go before its name */
	if (copy)
		bak_unode_unlink_all(&c->nodes, map, copy);
}

/* --- what content says --- */

bool bak_control_killed(pid_t pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	BAK_AUTO(bak_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	char *p = strrchr(text, ')');
	for (int field = 2; p && field < 9; field++)
		p = strchr(p + 1, ' ');
	return p && (strtoul(p, NULL, 10) & PF_SIGNALED);
}

static int read_blob(void *ctx, uint64_t off, void *p, size_t len)
{
	struct bak_error err = BAK_ERROR_INIT;
	size_t n;
	return bak_blob_read(ctx, off, p, len, &n, &err) == 0 && n == len ? 0 : -1;
}

/* A copy of the proof reads the file; it counts unless the file changed meanwhile, and then whoever
 * changed it will ask for a verdict of his own. */
int bak_control_catch_up(struct bak_control *c, struct bak_unode *node)
{
	if (!node->blob || !bak_proof_is_behind(&node->proof, bak_blob_size(node->blob)))
		return 0;
	struct bak_proof copy = node->proof;
	char why[BAK_PROOF_WHY_LEN];
	enum bak_verdict verdict;
	pthread_mutex_unlock(&c->lock);
	int rc = bak_proof_verdict(&copy, bak_blob_size(node->blob), read_blob, node->blob,
				   &verdict, why);
	pthread_mutex_lock(&c->lock);
	if (node->proof.changes == copy.changes)
		node->proof = copy;
	return rc < 0 ? EIO : 0;
}

/* The verdict, and for a bad one its reason in the room's `refused`. */
int bak_control_facts(struct bak_unode *node, struct bak_content_facts *out)
{
	char why[BAK_PROOF_WHY_LEN];
	out->verdict = BAK_VERDICT_UNPROVABLE;
	if (!node->blob)
		return 0;
	if (bak_proof_is_behind(&node->proof, bak_blob_size(node->blob))) {
		out->verdict = BAK_VERDICT_CUT;
		bak_control_refused(node->item, "it was still being written");
		return 0;
	}
	if (bak_proof_verdict(&node->proof, bak_blob_size(node->blob), read_blob, node->blob,
			      &out->verdict, why) < 0)
		return EIO;
	if (*why)
		bak_control_refused(node->item, why);
	return 0;
}

/* Does what was decided about an item. */
int bak_control_do(struct bak_control *c, struct bak_item *item, struct bak_decision d)
{
	int no = d.no;
	switch (no ? BAK_ACT_NONE : d.action) {
	case BAK_ACT_FIRE:
		no = bak_control_fire(c, item);
		if (no)
			bak_item_not_fired(&item->rules);
		break;
	case BAK_ACT_CANCEL:
		no = bak_control_cancel(c, item);
		break;
	case BAK_ACT_FORGET:
		bak_control_forget(c, item);
		break;
	case BAK_ACT_NONE:
		break;
	}
	if (no == EBADMSG || no == ENOENT || no == EAGAIN)
		bak_control_say_changed(c, item->room);
	return no;
}
