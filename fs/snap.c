/* Opened snapshots: see snap.h. */
#include "fs/snap.h"

#include <pthread.h>
#include <stdlib.h>

enum slot_state { SLOT_LOADING, SLOT_OPEN };

/* snap stands first: a struct bak_snap that is given back is its slot. */
struct slot {
	struct bak_snap snap;
	struct bak_snaps *owner;
	uint64_t number;
	enum slot_state state;
	unsigned users;
	struct slot *next; /* list of all, the most recently used first */
};

struct bak_snaps {
	struct bak_repo *repo;
	unsigned keep;
	pthread_mutex_t lock; /* guards all below, and the slots' fields but snap */
	pthread_cond_t loaded;
	struct slot *first;
};

int bak_snaps_new(struct bak_repo *repo, unsigned keep, struct bak_snaps **out,
		  struct bak_error *err)
{
	struct bak_snaps *snaps = calloc(1, sizeof *snaps);
	if (!snaps)
		return bak_error_nomem(err);
	snaps->repo = repo;
	snaps->keep = keep;
	pthread_mutex_init(&snaps->lock, NULL);
	pthread_cond_init(&snaps->loaded, NULL);
	*out = snaps;
	return 0;
}

static void slot_free(struct slot *slot)
{
	bak_snapshot_release(&slot->snap.snapshot);
	free(slot);
}

void bak_snaps_free(struct bak_snaps *snaps)
{
	if (!snaps)
		return;
	while (snaps->first) {
		struct slot *next = snaps->first->next;
		slot_free(snaps->first);
		snaps->first = next;
	}
	pthread_cond_destroy(&snaps->loaded);
	pthread_mutex_destroy(&snaps->lock);
	free(snaps);
}

/* Takes the slot out of the list; NULL when it is not there. */
static struct slot *slot_unlink(struct bak_snaps *snaps, uint64_t number)
{
	for (struct slot **at = &snaps->first; *at; at = &(*at)->next) {
		struct slot *slot = *at;
		if (slot->number != number)
			continue;
		*at = slot->next;
		return slot;
	}
	return NULL;
}

static void slot_push(struct bak_snaps *snaps, struct slot *slot)
{
	slot->next = snaps->first;
	snaps->first = slot;
}

/* Lets go of the least recently used ones beyond what is kept. */
static void trim(struct bak_snaps *snaps)
{
	unsigned unused = 0;
	for (struct slot **at = &snaps->first; *at;) {
		struct slot *slot = *at;
		if (slot->users || slot->state != SLOT_OPEN || ++unused <= snaps->keep) {
			at = &slot->next;
			continue;
		}
		*at = slot->next;
		slot_free(slot);
	}
}

/* With the lock held, which it lets go while loading. */
static int slot_load(struct bak_snaps *snaps, uint64_t number, struct slot **out,
		     struct bak_error *err)
{
	struct slot *slot = calloc(1, sizeof *slot);
	if (!slot)
		return bak_error_nomem(err);
	slot->owner = snaps;
	slot->number = number;
	slot->state = SLOT_LOADING;
	slot_push(snaps, slot);
	pthread_mutex_unlock(&snaps->lock);

	int rc = bak_repo_snapshot(snaps->repo, number, &slot->snap.snapshot, err);
	slot->snap.tree = (struct bak_tree){bak_repo_source(snaps->repo), &slot->snap.snapshot};

	pthread_mutex_lock(&snaps->lock);
	pthread_cond_broadcast(&snaps->loaded);
	if (rc <= 0) {
		/* Whoever waits finds it gone and tries for itself. */
		slot_unlink(snaps, number);
		free(slot);
		return rc;
	}
	slot->state = SLOT_OPEN;
	*out = slot;
	return 1;
}

int bak_snap_get(struct bak_snaps *snaps, uint64_t number, struct bak_snap **out,
		 struct bak_error *err)
{
	int rc = 1;
	pthread_mutex_lock(&snaps->lock);
	struct slot *slot;
	for (;;) {
		for (slot = snaps->first; slot && slot->number != number; slot = slot->next)
			;
		if (!slot || slot->state == SLOT_OPEN)
			break;
		pthread_cond_wait(&snaps->loaded, &snaps->lock);
	}
	if (!slot)
		rc = slot_load(snaps, number, &slot, err);
	if (rc > 0) {
		slot->users++;
		if (snaps->first != slot) {
			slot_unlink(snaps, number);
			slot_push(snaps, slot);
		}
		*out = &slot->snap;
	}
	pthread_mutex_unlock(&snaps->lock);
	return rc;
}

void bak_snap_put(struct bak_snap *snap)
{
	if (!snap)
		return;
	struct slot *slot = (struct slot *)snap;
	struct bak_snaps *snaps = slot->owner;
	pthread_mutex_lock(&snaps->lock);
	if (--slot->users == 0)
		trim(snaps);
	pthread_mutex_unlock(&snaps->lock);
}
