/*
 * When an upload starts and a trigger fires: the rules of /restore as a state machine without I/O.
 * Events go in, decisions come out; control.c does what they say.
 *
 * An item is what a job can be made of: an upload (a file, or a folder with all that is in it), or
 * a trigger (a name that stands for a snapshot, a part of one, or the way back).
 *
 *   idle --fire--> active --job ended--> over --60 s, nobody has it open--> forgotten
 *   over --written to, touched--> idle or active again
 *
 * "Closed" is no event: FLUSH comes for every close of every copy of a descriptor. So a FLUSH only
 * reads what the format says of the bytes that are there, the last one before RELEASE decides, and
 * RELEASE fires. A FLUSH of a process that a signal kills accepts nothing.
 *
 * Threads: none of its own; the caller's lock guards items.
 */
#ifndef BAK_FS_RESTORE_H
#define BAK_FS_RESTORE_H

#include "fs/proof.h"

/* How long fired triggers and uploads stay listed after their job. */
#define BAK_ITEM_KEPT_S 60

enum bak_name_class {
	BAK_NAME_UPLOAD,
	BAK_NAME_PARTIAL, /* never starts: .x x~ x.part x.tmp x.partial x.filepart */
	BAK_NAME_STAMP,   /* 20261121T140212Z */
	BAK_NAME_LATEST,
	BAK_NAME_ROLLBACK,
	BAK_NAME_CONTROL, /* status wait log */
};
enum bak_name_class bak_name_class(const char *name);
bool bak_name_is_trigger(enum bak_name_class class);

enum bak_item_kind {
	BAK_ITEM_FILE, /* uploads */
	BAK_ITEM_TREE,
	BAK_ITEM_TRIGGER,        /* a touched name */
	BAK_ITEM_TRIGGER_FOLDER, /* <stamp>/ and folders below, made by mkdir */
};
enum bak_item_state { BAK_ITEM_IDLE, BAK_ITEM_ACTIVE, BAK_ITEM_OVER };

struct bak_item_rules {
	enum bak_item_kind kind;
	enum bak_item_state state;
	bool partial;  /* its name never starts */
	bool accepted; /* the last FLUSH found it whole */
	bool written;  /* it got bytes since it was made or emptied */
	bool dated; /* a trigger that got explicit times, or was to be filled: RELEASE does not fire
		       it */
	bool misnamed;  /* an empty upload that was touched: no such snapshot */
	unsigned dirty; /* open descriptions that wrote */
	int64_t until;  /* over: when it is forgotten */
};

/* One open description. */
struct bak_item_handle {
	bool writer;  /* opened for writing */
	bool creator; /* by a CREATE */
	bool wrote;
};

enum bak_action {
	BAK_ACT_NONE,
	BAK_ACT_FIRE,   /* start the job */
	BAK_ACT_CANCEL, /* stop the job; only if that works go on */
	BAK_ACT_FORGET, /* the item goes */
};

struct bak_decision {
	int no; /* errno for the caller, 0 */
	enum bak_action action;
};

/* What is known of a file's content when it matters. */
struct bak_content_facts {
	enum bak_verdict verdict;
	bool killed; /* a signal ends the process that asks */
};

/* Names. known: a snapshot (or a path in it) of that name is there. In the store's own folder: */
struct bak_decision bak_rule_create(enum bak_name_class class, int open_flags, bool known);
struct bak_decision bak_rule_mkdir(enum bak_name_class class, bool known);
struct bak_decision bak_rule_make_other(enum bak_name_class class); /* symlinks, links, nodes */
/* Below the item of a folder: */
struct bak_decision bak_rule_create_in(const struct bak_item_rules *folder, int open_flags,
				       bool known);
struct bak_decision bak_rule_mkdir_in(const struct bak_item_rules *folder, bool known);
struct bak_decision bak_rule_make_other_in(const struct bak_item_rules *folder);

/* A new item. */
void bak_item_init(struct bak_item_rules *item, enum bak_item_kind kind, enum bak_name_class class);

/* Events of one item. */
struct bak_decision bak_item_open(struct bak_item_rules *item, int open_flags);
struct bak_decision bak_item_write(struct bak_item_rules *item, struct bak_item_handle *handle);
/* handle NULL: truncate(2) by name. */
struct bak_decision bak_item_truncate(struct bak_item_rules *item, struct bak_item_handle *handle,
				      uint64_t size);
/* Something below it is made, renamed, or gets attributes. */
struct bak_decision bak_item_change_in(struct bak_item_rules *item);
struct bak_decision bak_item_flush(struct bak_item_rules *item, struct bak_item_handle *handle,
				   const struct bak_content_facts *facts);
struct bak_decision bak_item_release(struct bak_item_rules *item, struct bak_item_handle *handle);
/* Times set to now. top: the item itself, not something in it. n_entries: of a folder. */
struct bak_decision bak_item_touch(struct bak_item_rules *item, bool top, uint64_t n_entries,
				   const struct bak_content_facts *facts);
struct bak_decision bak_item_date(struct bak_item_rules *item); /* explicit times */
/* The item, or something in it. */
struct bak_decision bak_item_remove(struct bak_item_rules *item);
/* The item's name becomes one of another class; over: what is there, or NULL. */
struct bak_decision bak_item_rename(struct bak_item_rules *item, enum bak_name_class to,
				    const struct bak_item_rules *over,
				    const struct bak_content_facts *facts);

void bak_item_fired(struct bak_item_rules *item);
/* It could not be, or its acceptance is taken back; whoever asked for it was told, so nothing fires it
 * behind his back. */
void bak_item_not_fired(struct bak_item_rules *item);
void bak_item_job_ended(struct bak_item_rules *item, int64_t now);
/* n_open: descriptions of anything in it. True: forget it. */
bool bak_item_expired(const struct bak_item_rules *item, int64_t now, unsigned n_open);
/* Whether a listing names it. */
bool bak_item_listed(const struct bak_item_rules *item);

#endif
