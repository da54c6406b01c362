/* What a file was, or is like: see kin.h. */
#include "engine/content/kin.h"

void bak_kin_release(struct bak_kin *kin)
{
	bak_buf_release(&kin->name);
}

/* Without memory there is no kin. */
void bak_kin_remember(struct bak_kin *kin, const struct bak_entry *entry)
{
	if (entry->inode.type != BAK_TYPE_FILE || entry->inode.size == 0)
		return;
	kin->name.len = 0;
	(void)bak_buf_append(&kin->name, entry->name, entry->name_len);
	kin->ino = entry->inode.ino;
	kin->size = entry->inode.size;
	kin->content = entry->inode.content;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Two names that are the same but for the numbers in them. */
static bool names_alike(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t i = 0, j = 0;
	for (;;) {
		while (i < a_len && is_digit(a[i]))
			i++;
		while (j < b_len && is_digit(b[j]))
			j++;
		if (i == a_len || j == b_len)
			return i == a_len && j == b_len;
		if (a[i++] != b[j++])
			return false;
	}
}

bool bak_kin_fits(const struct bak_kin *kin, const char *name, uint64_t ino)
{
	if (kin->name.len == 0)
		return false;
	return (ino != 0 && ino == kin->ino) ||
	       names_alike((const char *)kin->name.p, kin->name.len, name, strlen(name));
}
