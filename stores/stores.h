/*
 * The contract between bakfs and a datastore: a driver is one file and one struct of callbacks.
 *
 * Order of calls: open, then any of probe, doctor, backup, restore, counts, rollback, then close. One
 * handle belongs to one thread. No callback talks to the user: facts go into JSON, warnings and
 * progress through struct bak_store_env, failures into the error (what failed, the server's own
 * words, what to try; never a secret).
 *
 * Backing up: the driver pushes entries to the writer it is given (engine/content/writer.h). What
 * it leaves in `facts` goes into the manifest; facts["counts"] is an object of name -> integer that
 *   `counts` can take again from the live store, and that a restore compares.
 * Restoring: all or nothing wherever the store allows it. Before the driver changes anything that
 *   others can see it calls env->point_of_no_return and gives up if that answers non-zero; what
 *   rollback will need stands in `state` by then.
 * Safety: a driver with BAK_STORE_KEEPS_OLD keeps the old data whole and names it in `state` (unless
 *   keeps_old says that it cannot); for the others the job makes a pre-restore snapshot first, and a
 *   rollback restores that.
 */
#ifndef BAK_STORES_STORES_H
#define BAK_STORES_STORES_H

#include "engine/base/proof.h"
#include "engine/ops/backup.h"
#include "engine/ops/extract.h"

enum bak_store_feature {
	BAK_STORE_KEEPS_OLD = 1u << 0, /* restore leaves the old data under another name */
	BAK_STORE_PARTIAL = 1u << 1,   /* restore takes `only` paths */
	BAK_STORE_COUNTS = 1u << 2,    /* counts() works */
	BAK_STORE_ATOMIC = 1u << 3,    /* a restore that fails has changed nothing */
};

enum bak_option_kind {
	BAK_OPTION_TEXT,
	BAK_OPTION_PATH,     /* made absolute by the configuration */
	BAK_OPTION_BOOL,     /* yes, no */
	BAK_OPTION_NUMBER,   /* not negative */
	BAK_OPTION_DURATION, /* seconds, or with s, m, h, d behind */
	BAK_OPTION_LIST,     /* may be given several times */
	BAK_OPTION_SECRET,   /* text that never goes into a log or an error */
	BAK_OPTION_CHOICE,   /* one of `choices` */
};

/* The options of a driver, as data: the configuration checks them, man and --help are held
 * against them. The last one has name NULL. */
struct bak_store_option {
	const char *name;
	enum bak_option_kind kind;
	bool required;
	const char *fallback; /* as it would be written, NULL for none */
	const char *help;     /* one line */
	const char *choices;  /* CHOICE: separated by '|' */
};

/* A configured store: its section as pairs; values checked against the driver's options. */
struct bak_store_conf {
	char *name, *driver;
	size_t n;
	struct bak_store_pair {
		char *key, *value;
	} * pairs;
};
/* The value, else the driver's fallback, else NULL. */
const char *bak_store_get(const struct bak_store_conf *conf, const char *key);
bool bak_store_get_bool(const struct bak_store_conf *conf, const char *key);
uint64_t bak_store_get_number(const struct bak_store_conf *conf, const char *key);
/* Durations in milliseconds. */
uint64_t bak_store_get_duration_ms(const struct bak_store_conf *conf, const char *key);
/* The i-th value of a list, NULL past the last. */
const char *bak_store_get_item(const struct bak_store_conf *conf, const char *key, size_t i);

/* What the caller offers a driver. All callbacks may be NULL. */
struct bak_store_env {
	void *ctx;
	/* One line for the job's log and -v. */
	void (*log)(void *ctx, const char *line);
	/* Something was skipped or is not as it should be: exit status 3, and in the manifest. */
	void (*warn)(void *ctx, const char *line);
	/* Percent done of a restore, or -1 unknown; and bytes. */
	void (*progress)(void *ctx, int percent, uint64_t bytes);
	/* Non-zero: stop, nothing has been changed yet. */
	int (*cancelled)(void *ctx);
	int (*point_of_no_return)(void *ctx, struct bak_error *err);
	bool force; /* other people's connections may be ended */
	/* A backup of data too broken for the driver's own way may store it as it lies there, with
	 * facts["raw"] = true: set for the copy that a job makes before it restores. */
	bool raw_ok;
	/* Real path of the repository, never backed up; NULL if it is not on this machine. */
	const char *repo_path;
};
/* Callbacks that may be NULL, called; the text is one line, cut if need be. */
void bak_store_log(const struct bak_store_env *env, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void bak_store_warn(const struct bak_store_env *env, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* -1 and BAK_CANCELLED when the caller wants to stop. */
int bak_store_check_cancelled(const struct bak_store_env *env, struct bak_error *err);
int bak_store_no_return(const struct bak_store_env *env, struct bak_error *err);

struct bak_store_probe {
	char version[128]; /* of the server or format, "" if there is none */
	char target[512];  /* what it is, for messages: a path, host/database; no secrets */
	uint64_t bytes;    /* about how much, 0 unknown */
};

/* One thing that is not as it should be: a sentence each, no full stop, no secret. */
enum bak_ailment {
	BAK_AILMENT_ADVICE, /* it works, but not for long or not for everything */
	BAK_AILMENT_BROKEN, /* a backup will fail */
};
/* Who asks how a store is. */
struct bak_checkup {
	bool quick;     /* before a backup: nothing that takes long or costs the store anything */
	uint64_t bytes; /* size of the last good snapshot, 0 unknown */
	void *ctx;
	void (*finding)(void *ctx, enum bak_ailment ailment, const char *what, const char *todo);
};
/* Tells a finding; the text is what is wrong. */
void bak_checkup_tell(const struct bak_checkup *checkup, enum bak_ailment ailment, const char *todo,
		      const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* What to restore from. */
struct bak_restore_from {
	struct bak_repo *repo;
	const struct bak_snapshot *snapshot;
	const char *const *only; /* paths in the snapshot; n_only 0: everything */
	size_t n_only;
	/* What this one restore is asked for besides, checked against the driver's restore_options.
	 * With any, the driver validates what it restored itself. */
	const struct bak_store_pair *wishes;
	size_t n_wishes;
};
/* The i-th value of a wish, NULL past the last. */
const char *bak_restore_wish(const struct bak_restore_from *from, const char *key, size_t i);
/* What the driver left in `facts` when the snapshot was made: a new reference, {} if there is
 * nothing of the kind; NULL for lack of memory. */
json_t *bak_snapshot_facts(const struct bak_snapshot *snapshot);

struct bak_store_driver {
	const char *name;    /* as in type = NAME */
	const char *summary; /* one line */
	unsigned features;   /* enum bak_store_feature */
	const struct bak_store_option *options;
	/* Which option the rest of "NAME:rest" on the command line sets, NULL for none. */
	const char *address_option;
	/* What a single restore may be asked for: `bakfs restore --NAME VALUE`. NULL: nothing. */
	const struct bak_store_option *restore_options;
	/* How an upload shows that it is whole; NULL: it cannot, and starts by a touch. */
	const struct bak_proof_format *proof;

	/* Checks options and connects, or finds what it needs. *out_store is the driver's. Borrows
	 * conf and env. */
	int (*open)(const struct bak_store_conf *conf, const struct bak_store_env *env,
		    void **out_store, struct bak_error *err);
	int (*probe)(void *store, struct bak_store_probe *out, struct bak_error *err);
	/* Looks for what is or will be wrong: rights, tools, versions, space, clock. Findings go to
	 * checkup; -1 only when it could not look. May be NULL. */
	int (*doctor)(void *store, const struct bak_checkup *checkup, struct bak_error *err);
	/* facts: an empty JSON object to fill. */
	int (*backup)(void *store, struct bak_writer *writer, json_t *facts, struct bak_error *err);
	/* state: an empty JSON object for rollback to read later. One that fails behind the point of
	 * no return and finds that nothing has changed says so: state["unchanged"] = true; one that
	 * only made something new beside what is live: state["beside"] = true. Then a rollback still
	 * undoes the restore before it. */
	int (*restore)(void *store, const struct bak_restore_from *from, json_t *state,
		       struct bak_error *err);
	/* Counts of the live store, into an empty object; NULL without BAK_STORE_COUNTS. */
	int (*counts)(void *store, json_t *counts, struct bak_error *err);
	/* With BAK_STORE_KEEPS_OLD, where it depends on the store whether old data is kept: 1 this
	 * restore keeps it, 0 a pre-restore snapshot must come first, -1. NULL: it always does. */
	int (*keeps_old)(void *store, const struct bak_restore_from *from, struct bak_error *err);
	/* Puts back what restore's state names; NULL without BAK_STORE_KEEPS_OLD. */
	int (*rollback)(void *store, const json_t *state, struct bak_error *err);
	/* Backs up a file or folder at path (an upload, a dump made elsewhere) as if it were this
	 * store's own data, in the same shape; BAK_REFUSED with the reason when it cannot be that.
	 * facts as in backup. */
	int (*import)(void *store, const char *path, struct bak_writer *writer, json_t *facts,
		      struct bak_error *err);
	void (*close)(void *store); /* NULL is fine */
};

/* All drivers built in, NULL last; and one by name, NULL for none. */
extern const struct bak_store_driver *const bak_store_drivers[];
const struct bak_store_driver *bak_store_driver_find(const char *name);

/* Options that every store has, whatever its driver (type, restore, level ...). */
extern const struct bak_store_option bak_store_common_options[];
/* Checks all pairs against the driver's and the common options: unknown keys, bad values, missing
 * required ones. *out_pair: the offending pair's index, or SIZE_MAX. */
int bak_store_conf_check(const struct bak_store_conf *conf, size_t *out_pair,
			 struct bak_error *err);
void bak_store_conf_release(struct bak_store_conf *conf);

/* "30", "30s", "5m", "2h", "1d" to milliseconds; false for anything else. */
bool bak_duration_parse(const char *text, uint64_t *out_ms);

#endif
