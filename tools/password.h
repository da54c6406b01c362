/*
 * Where passwords come from: a file's first line, a command's output, the terminal.
 *
 * Nothing here prints or keeps a password; every buffer is wiped.
 * Errors: BAK_USAGE when what was found cannot be a password (empty), BAK_UNAVAILABLE when there is
 *   no terminal, BAK_CANCELLED on ^C.
 */
#ifndef BAK_TOOLS_PASSWORD_H
#define BAK_TOOLS_PASSWORD_H

#include "engine/objects/keyring.h"

#include <stdbool.h>

int bak_password_from_file(struct bak_secret *out, const char *path, struct bak_error *err);
/* Through /bin/sh. */
int bak_password_from_command(struct bak_secret *out, const char *command, struct bak_error *err);
/* Reads the variable and takes it out of the environment, so that no child gets it: 1, 0 not set.
 */
int bak_password_from_env(struct bak_secret *out, const char *variable, struct bak_error *err);
/* Asks on /dev/tty without echo; twice: again, until both are the same. */
int bak_password_ask(struct bak_secret *out, const char *prompt, bool twice, struct bak_error *err);

#endif
