/* Whole folders copied and removed, without the cost of a shell. Plain files and folders only.
 * What goes wrong fails the test. */
#ifndef BAK_TESTS_FAULT_FOLDERS_H
#define BAK_TESTS_FAULT_FOLDERS_H

/* One that is not there is fine. */
void folder_remove(const char *path);
/* Removes it with what is in it, and makes it anew. */
void folder_clear(const char *path);
/* to must not be there. Modes are kept. */
void folder_copy(const char *from, const char *to);
/* Removes the empty folders below. */
void folder_prune(const char *path);

#endif
