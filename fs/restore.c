/* The rules of /restore: see restore.h. Each comes from one sentence of the contract. */
#include "fs/restore.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define BULK_FLAGS (O_EXCL | O_TRUNC)

static struct bak_decision refuse(int no)
{
	return (struct bak_decision){.no = no};
}

static struct bak_decision act(enum bak_action action)
{
	return (struct bak_decision){.action = action};
}

static struct bak_decision fine(void)
{
	return act(BAK_ACT_NONE);
}

/* --- names --- */

static bool looks_like_stamp(const char *name)
{
	if (strlen(name) != 16 || name[8] != 'T' || name[15] != 'Z')
		return false;
	for (int i = 0; i < 15; i++)
		if (i != 8 && !isdigit((unsigned char)name[i]))
			return false;
	return true;
}

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);
	return len > end_len && strcmp(name + len - end_len, end) == 0;
}

enum bak_name_class bak_name_class(const char *name)
{
	static const char *const partial[] = {"~", ".part", ".tmp", ".partial", ".filepart"};
	if (strcmp(name, "status") == 0 || strcmp(name, "wait") == 0 || strcmp(name, "log") == 0)
		return BAK_NAME_CONTROL;
	if (strcmp(name, "latest") == 0)
		return BAK_NAME_LATEST;
	if (strcmp(name, "rollback") == 0)
		return BAK_NAME_ROLLBACK;
	if (looks_like_stamp(name))
		return BAK_NAME_STAMP;
	if (name[0] == '.')
		return BAK_NAME_PARTIAL;
	for (size_t i = 0; i < sizeof partial / sizeof *partial; i++)
		if (ends_with(name, partial[i]))
			return BAK_NAME_PARTIAL;
	return BAK_NAME_UPLOAD;
}

bool bak_name_is_trigger(enum bak_name_class class)
{
	return class == BAK_NAME_STAMP || class == BAK_NAME_LATEST || class == BAK_NAME_ROLLBACK;
}

static bool is_trigger(const struct bak_item_rules *item)
{
	return item->kind == BAK_ITEM_TRIGGER || item->kind == BAK_ITEM_TRIGGER_FOLDER;
}

/* A trigger's name is made by touch: programs that copy in bulk insist on a new or an emptied
 * file, and fail here where the user sees it. */
static struct bak_decision make_trigger(int open_flags, bool known)
{
	if (open_flags & BULK_FLAGS)
		return refuse(EINVAL);
	return known ? fine() : refuse(ENOENT);
}

struct bak_decision bak_rule_create(enum bak_name_class class, int open_flags, bool known)
{
	if (class == BAK_NAME_CONTROL)
		return refuse(EEXIST);
	return bak_name_is_trigger(class) ? make_trigger(open_flags, known) : fine();
}

struct bak_decision bak_rule_mkdir(enum bak_name_class class, bool known)
{
	if (class == BAK_NAME_CONTROL)
		return refuse(EEXIST);
	if (class == BAK_NAME_STAMP)
		return known ? fine() : refuse(ENOENT);
	return bak_name_is_trigger(class) ? refuse(EINVAL) : fine();
}

struct bak_decision bak_rule_make_other(enum bak_name_class class)
{
	if (class == BAK_NAME_CONTROL)
		return refuse(EEXIST);
	/* A link or a device is nothing that a store could be restored from. */
	return refuse(bak_name_is_trigger(class) ? EINVAL : EPERM);
}

struct bak_decision bak_rule_create_in(const struct bak_item_rules *folder, int open_flags,
				       bool known)
{
	if (folder->kind == BAK_ITEM_TRIGGER_FOLDER)
		return make_trigger(open_flags, known);
	return folder->state == BAK_ITEM_ACTIVE ? refuse(EBUSY) : fine();
}

struct bak_decision bak_rule_mkdir_in(const struct bak_item_rules *folder, bool known)
{
	if (folder->kind == BAK_ITEM_TRIGGER_FOLDER)
		return known ? fine() : refuse(ENOENT);
	return folder->state == BAK_ITEM_ACTIVE ? refuse(EBUSY) : fine();
}

struct bak_decision bak_rule_make_other_in(const struct bak_item_rules *folder)
{
	if (folder->kind == BAK_ITEM_TRIGGER_FOLDER)
		return refuse(EINVAL);
	return folder->state == BAK_ITEM_ACTIVE ? refuse(EBUSY) : fine();
}

/* --- items --- */

void bak_item_init(struct bak_item_rules *item, enum bak_item_kind kind, enum bak_name_class class)
{
	*item = (struct bak_item_rules){.kind = kind, .partial = class == BAK_NAME_PARTIAL};
}

/* Its content changes: what was found about it does not hold any more. */
static void changes(struct bak_item_rules *item)
{
	item->accepted = false;
	item->misnamed = false;
	if (item->state == BAK_ITEM_OVER)
		item->state = BAK_ITEM_IDLE;
}

static void handle_wrote(struct bak_item_rules *item, struct bak_item_handle *handle)
{
	if (!handle || handle->wrote)
		return;
	handle->wrote = true;
	item->dirty++;
}

/* A job reads it: what is under way must stay as it was accepted. Who wants to fill or empty a
 * trigger (rsync --inplace of an empty file does) is not touching it. */
static struct bak_decision may_change(struct bak_item_rules *item)
{
	if (is_trigger(item)) {
		bak_item_date(item);
		return refuse(EINVAL);
	}
	return item->state == BAK_ITEM_ACTIVE ? refuse(EBUSY) : fine();
}

struct bak_decision bak_item_open(struct bak_item_rules *item, int open_flags)
{
	if (!(open_flags & O_TRUNC))
		return fine(); /* for writing too: touch opens so */
	return bak_item_truncate(item, NULL, 0);
}

struct bak_decision bak_item_write(struct bak_item_rules *item, struct bak_item_handle *handle)
{
	struct bak_decision d = may_change(item);
	if (d.no)
		return d;
	changes(item);
	item->written = true;
	handle_wrote(item, handle);
	return d;
}

struct bak_decision bak_item_truncate(struct bak_item_rules *item, struct bak_item_handle *handle,
				      uint64_t size)
{
	struct bak_decision d = may_change(item);
	if (d.no)
		return d;
	changes(item);
	item->written = size > 0;
	handle_wrote(item, handle);
	return d;
}

struct bak_decision bak_item_change_in(struct bak_item_rules *item)
{
	if (is_trigger(item))
		return fine();
	struct bak_decision d = may_change(item);
	if (!d.no)
		changes(item);
	return d;
}

static struct bak_decision by_verdict(enum bak_verdict verdict)
{
	bool bad = verdict == BAK_VERDICT_CUT || verdict == BAK_VERDICT_WRONG;
	return bad ? refuse(EBADMSG) : fine();
}

struct bak_decision bak_item_flush(struct bak_item_rules *item, struct bak_item_handle *handle,
				   const struct bak_content_facts *facts)
{
	if (item->kind == BAK_ITEM_TRIGGER && handle->creator && facts->killed)
		item->dated = true;
	if (item->kind != BAK_ITEM_FILE || item->state != BAK_ITEM_IDLE || !handle->wrote)
		return fine();
	item->accepted = false;
	if (facts->killed || item->partial || !item->written)
		return fine();
	item->accepted = facts->verdict == BAK_VERDICT_WHOLE;
	return by_verdict(facts->verdict);
}

struct bak_decision bak_item_release(struct bak_item_rules *item, struct bak_item_handle *handle)
{
	if (handle->wrote && item->dirty)
		item->dirty--;
	if (item->state != BAK_ITEM_IDLE)
		return fine();
	if (item->kind == BAK_ITEM_TRIGGER && handle->creator)
		return act(item->dated ? BAK_ACT_FORGET : BAK_ACT_FIRE);
	if (item->kind != BAK_ITEM_FILE)
		return fine();
	if (item->misnamed && !item->written)
		return act(BAK_ACT_FORGET);
	return act(item->accepted && !item->dirty && !item->partial ? BAK_ACT_FIRE : BAK_ACT_NONE);
}

static struct bak_decision touch_upload(struct bak_item_rules *item, uint64_t n_entries,
					const struct bak_content_facts *facts)
{
	if (item->partial)
		return fine();
	if (item->dirty)
		return refuse(EBUSY);
	bool empty = item->kind == BAK_ITEM_TREE ? !n_entries : !item->written;
	if (empty) {
		/* Most likely a stamp that was mistyped: touch says so, and nothing stays behind.
		 */
		item->misnamed = item->kind == BAK_ITEM_FILE;
		return refuse(ENOENT);
	}
	struct bak_decision d = fine();
	if (item->kind == BAK_ITEM_FILE)
		d = by_verdict(facts->verdict);
	return d.no ? d : act(BAK_ACT_FIRE);
}

struct bak_decision bak_item_touch(struct bak_item_rules *item, bool top, uint64_t n_entries,
				   const struct bak_content_facts *facts)
{
	if (item->state == BAK_ITEM_ACTIVE)
		return fine(); /* it is on its way */
	if (is_trigger(item))
		return act(BAK_ACT_FIRE);
	return top ? touch_upload(item, n_entries, facts) : fine();
}

struct bak_decision bak_item_date(struct bak_item_rules *item)
{
	if (is_trigger(item) && item->state == BAK_ITEM_IDLE)
		item->dated = true;
	return fine();
}

struct bak_decision bak_item_remove(struct bak_item_rules *item)
{
	return act(item->state == BAK_ITEM_ACTIVE ? BAK_ACT_CANCEL : BAK_ACT_FORGET);
}

struct bak_decision bak_item_rename(struct bak_item_rules *item, enum bak_name_class to,
				    const struct bak_item_rules *over,
				    const struct bak_content_facts *facts)
{
	if (is_trigger(item) || bak_name_is_trigger(to) || (over && is_trigger(over)))
		return refuse(EINVAL);
	if (to == BAK_NAME_CONTROL)
		return refuse(EPERM);
	if (item->state == BAK_ITEM_ACTIVE || (over && over->state == BAK_ITEM_ACTIVE))
		return refuse(EBUSY);
	bool was_partial = item->partial;
	bool is_partial = to == BAK_NAME_PARTIAL;
	struct bak_decision d = fine();
	/* A final name for what had none: that is its acceptance. */
	if (item->kind == BAK_ITEM_FILE && was_partial && !is_partial && item->written) {
		d = by_verdict(facts->verdict);
		if (d.no)
			return d;
		item->accepted = facts->verdict == BAK_VERDICT_WHOLE;
		if (item->accepted && !item->dirty && item->state == BAK_ITEM_IDLE)
			d = act(BAK_ACT_FIRE);
	}
	item->partial = is_partial;
	if (is_partial)
		item->accepted = false;
	return d;
}

void bak_item_fired(struct bak_item_rules *item)
{
	item->state = BAK_ITEM_ACTIVE;
	item->accepted = false;
	item->dated = false;
}

void bak_item_not_fired(struct bak_item_rules *item)
{
	item->accepted = false;
	item->dated = is_trigger(item);
}

void bak_item_job_ended(struct bak_item_rules *item, int64_t now)
{
	item->state = BAK_ITEM_OVER;
	item->until = now + BAK_ITEM_KEPT_S;
}

bool bak_item_expired(const struct bak_item_rules *item, int64_t now, unsigned n_open)
{
	return item->state == BAK_ITEM_OVER && now >= item->until && !n_open;
}

bool bak_item_listed(const struct bak_item_rules *item)
{
	return !is_trigger(item) || item->state != BAK_ITEM_IDLE;
}
