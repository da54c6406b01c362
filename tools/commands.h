/*
 * The subcommands: each tools/<name>.c has the function and its own options; the table is in
 * main.c.
 */
#ifndef BAK_TOOLS_COMMANDS_H
#define BAK_TOOLS_COMMANDS_H

#include "tools/tool.h"

/* Returns the exit status. */
typedef int bak_command_fn(struct bak_tool *tool);

bak_command_fn bak_command_init, bak_command_backup, bak_command_list, bak_command_show,
	bak_command_diff, bak_command_cat, bak_command_restore, bak_command_rollback,
	bak_command_mount, bak_command_verify, bak_command_check, bak_command_reindex,
	bak_command_key, bak_command_status, bak_command_job, bak_command_doctor,
	bak_command_forget, bak_command_tag, bak_command_prune;

extern const struct bak_option bak_options_init[], bak_options_backup[], bak_options_list[],
	bak_options_diff[], bak_options_restore[], bak_options_rollback[], bak_options_mount[],
	bak_options_verify[], bak_options_check[], bak_options_key[], bak_options_forget[],
	bak_options_prune[], bak_suboptions_mount[];

#endif
