/*
 * The configuration: an INI file read with libinih, or nothing but what the command line says.
 *
 *   [repository]   path, the secret's whereabouts, host, memory, parity, what forget keeps
 *   [store NAME]   type, that driver's options, what forget keeps; any number of sections
 *   [mount]        restore_delay, restore_deadline, restore_queue, spool
 *
 * Rules: one `key = value` a line, of at most 4096 bytes; indentation means nothing. A line that
 *   begins with ';' or '#' is a comment, and so is the rest of a line behind a space and ';'. '#'
 *   inside a value belongs to it. Paths may begin with "~/"; relative ones start at the folder of
 *   the file. Unknown sections and keys, keys given twice (unless they are lists), bad values, bad
 *   or repeated store names are errors: "FILE:LINE: what".
 * Ownership: the struct owns everything that it points to; it holds no secret, only where to find
 *   one (but for stores' own, of kind BAK_OPTION_SECRET, which release wipes).
 * Errors: BAK_USAGE for what the file says, BAK_NOT_FOUND or BAK_IO for the file itself.
 */
#ifndef BAK_TOOLS_CONFIG_H
#define BAK_TOOLS_CONFIG_H

#include "stores/stores.h"
#include "tools/keep.h"

/* The longest line and the longest file that are read; a configuration is some dozens of lines. */
#define BAK_CONFIG_LINE_MAX 4096
#define BAK_CONFIG_FILE_MAX (1u << 20)

struct bak_config_store {
	struct bak_store_conf conf; /* checked against its driver's options; paths absolute */
	unsigned line;              /* of "[store NAME]"; 0 when it came from the command line */
	unsigned *lines;            /* of each pair of conf */
	struct bak_keep keep;       /* if it says anything, it counts instead of the config's */
};

struct bak_config {
	char *file; /* absolute path of what was read, NULL: nothing was */
	/* [repository] */
	char *path; /* absolute, NULL when not said */
	char *key_file, *password_file, *password_command;
	char *host;           /* NULL: the host name */
	uint64_t cache_bytes; /* of decoded segments; 0: the engine's own */
	uint64_t memory;      /* what a backup holds; 0: the engine's own */
	unsigned workers;     /* 0: as many as cores */
	unsigned parity;      /* percent; 0: none */
	struct bak_keep keep; /* for stores that say nothing of their own */
	/* [mount] */
	unsigned restore_delay_s;
	unsigned restore_deadline_s; /* 0: none */
	unsigned restore_queue;      /* jobs of one store that are not over */
	char *spool;                 /* absolute, NULL: the repository's tmp/ */

	size_t n_stores;
	struct bak_config_store *stores; /* in the file's order */
};
#define BAK_CONFIG_RESTORE_DELAY_S 5
#define BAK_CONFIG_RESTORE_QUEUE 16

/* Nothing said: the fallbacks. */
void bak_config_init(struct bak_config *config);
void bak_config_release(struct bak_config *config);

/* Which file to read: explicit_path (of --config), else $BAKFS_CONFIG, else with_defaults
 * ~/.config/bakfs/bakfs.conf or /etc/bakfs/bakfs.conf if it is there. 1 and a path to free, 0 none.
 */
int bak_config_find(const char *explicit_path, bool with_defaults, char **out_path,
		    struct bak_error *err);
/* config must be in its initial state; on failure it is again. */
int bak_config_read(struct bak_config *config, const char *path, struct bak_error *err);
/* The same from memory; file is for messages and its folder for relative paths. */
int bak_config_parse(struct bak_config *config, const char *file, const char *text, size_t len,
		     struct bak_error *err);

/* By name; NULL for none. Valid until a store is added. */
const struct bak_config_store *bak_config_store(const struct bak_config *config, const char *name);
/* A store for once, from "DRIVER:ADDRESS": named name, or after the address (its last part without
 * extension, other characters made '_'). *out_index is its place in stores. */
int bak_config_add_adhoc(struct bak_config *config, const char *spec, const char *name,
			 size_t *out_index, struct bak_error *err);

/* A number, with K, M, G or T (powers of 1024) behind it, perhaps followed by "B" or "iB". */
bool bak_parse_size(const char *text, uint64_t *out);

/* The keys of [repository] and [mount], as data for messages and the tests of the man page. The
 * last one has key NULL. */
struct bak_config_key {
	const char *section, *key, *help;
};
extern const struct bak_config_key bak_config_keys[];

#endif
