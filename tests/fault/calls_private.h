/* Between calls.c, which decides, and calls_files.c, the functions that ask it. */
#ifndef BAK_TESTS_FAULT_CALLS_PRIVATE_H
#define BAK_TESTS_FAULT_CALLS_PRIVATE_H

#include "tests/fault/calls.h"

#define CALL_NAME 512 /* of the longest name that is known */

/* 0: go on; else an errno, or CALL_SHORT. */
int call_verdict(enum call_kind kind, const char *name);

/* The absolute name, "" when it cannot be told. */
const char *call_absolute(int dir, const char *name, char out[CALL_NAME]);
/* What a descriptor was opened as; "" unknown. */
const char *call_name_of(int fd);
void call_set_name(int fd, const char *name);

/* Whether the observer wants it; if so no other observed call begins until it was told. */
bool call_watch(const char *name);
void call_tell(bool watching, bool done, const struct call *call);

#endif
