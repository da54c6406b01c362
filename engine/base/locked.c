/* Memory for secrets: see locked.h. */
#include "engine/base/locked.h"

#include "engine/base/hash.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t whole_pages(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	return (len + !len + page - 1) / page * page;
}

void *bak_locked_alloc(size_t len)
{
	if (len > SIZE_MAX / 2)
		return NULL;
	size_t pages = whole_pages(len);
	void *p = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	mlock(p, pages);
	madvise(p, pages, MADV_DONTDUMP);
	return p;
}

void bak_locked_free(void *p, size_t len)
{
	if (!p)
		return;
	bak_wipe(p, len);
	munmap(p, whole_pages(len));
}
