/*
 * Taking turns: an actor (a backup, a prune) goes to the storage through a gate, which counts its
 * calls and stops it before one of them, whichever of its threads makes it, until it is told to go
 * on. All of it stands still meanwhile. No clock is involved: actors are handed over.
 *
 * A gate can also kill: from a call on all fail, as if the process had ended there.
 */
#ifndef BAK_TESTS_GATE_H
#define BAK_TESTS_GATE_H

#include "engine/storage/backend.h"

struct bak_gate;

struct bak_gate *bak_gate_new(struct bak_backend *inner);
void bak_gate_free(struct bak_gate *gate); /* NULL is fine */
struct bak_backend *bak_gate_backend(struct bak_gate *gate);
uint64_t bak_gate_calls(struct bak_gate *gate);

/* Before the n-th call from now on; 0 never. */
void bak_gate_stop_at(struct bak_gate *gate, uint64_t n);
void bak_gate_kill_at(struct bak_gate *gate, uint64_t n);
/* Calls about leases are let through uncounted: so somebody else may renew one meanwhile. */
void bak_gate_pass_leases(struct bak_gate *gate);

/* Starts the actor in a thread of its own, and waits until it stands before a call (true) or has
 * ended (false). */
bool bak_gate_start(struct bak_gate *gate, void (*actor)(void *ctx), void *ctx);
/* Lets it go on to the next stop (true) or its end (false). */
bool bak_gate_go_on(struct bak_gate *gate, uint64_t stop_at);
/* To its end. */
void bak_gate_finish(struct bak_gate *gate);

#endif
