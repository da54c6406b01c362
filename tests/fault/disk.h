/*
 * A disk that loses its power: records what really is written, renamed and synced below a folder,
 * and makes the folder as it may look after a power cut at any of these calls.
 *
 * Sure is: what a file held at its last fsync, and which names a folder had at its last fsync. Of
 * all the rest any part may have reached the disk, in any order: writes whole, not at all or in
 * part (by sectors of 512 bytes), names each for itself, so that a rename may show both names, one,
 * or none. That is less than any file system promises.
 *
 * What was there when the recording began is sure. Mapped memory is not seen. No thread but those
 * of the recorded work.
 */
#ifndef BAK_TESTS_FAULT_DISK_H
#define BAK_TESTS_FAULT_DISK_H

#include <stddef.h>
#include <stdint.h>

struct disk;

/* folder as it is now is base's copy; base stays as it is. Both are borrowed. */
struct disk *disk_record(const char *folder, const char *base);
/* How many calls were recorded so far: a moment for disk_crash. */
size_t disk_now(const struct disk *disk);
void disk_stop(struct disk *disk);
void disk_free(struct disk *disk);
/* "w /folder/name 512 bytes": what was recorded last before moment. */
const char *disk_last(const struct disk *disk, size_t moment, char *out, size_t out_len);

/* Makes the folder anew as it may look after a power cut at the moment. seed 0: nothing but what is
 * sure; UINT64_MAX: all that was done, as after a kill; else some of it. */
void disk_crash(const struct disk *disk, size_t moment, uint64_t seed);

#endif
