/* Rows of a Chroma collection. Input: by its first byte a page of the server's answer, or lines of
 * an export. What is written as a line must be read as the same line again. */
#include "stores/chroma/row.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

/* Its parts are as they were in a line of ours: written again, it is equal. */
static void check_line(const char *p, size_t len)
{
	BAK_AUTO(bak_buf_release) struct bak_buf spare = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf again = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_chroma_row row;

	/* A page may have a vector without numbers; a row that is added has some. */
	if (bak_chroma_row_parse(p, len, &row, &spare, &err) < 0) {
		if (!strstr(p, "\"embedding\":\"\"}"))
			abort();
		return;
	}
	if (bak_chroma_row_line(&row, &again, &err) < 0 || again.len != len ||
	    memcmp(again.p, p, len) != 0)
		abort();
	if (!bak_chroma_lines_equal((struct bak_text){p, len}, (struct bak_text){p, len}, true))
		abort();
}

static void page(const char *p, size_t len)
{
	struct bak_chroma_page parsed = {.n = 0};
	struct bak_error err = BAK_ERROR_INIT;

	if (bak_chroma_page_parse(p, len, &parsed, &err) == 0) {
		for (size_t i = 0; i < parsed.n; i++) {
			BAK_AUTO(bak_buf_release) struct bak_buf line = BAK_BUF_INIT;

			if (bak_chroma_page_line(&parsed, i, &line, &err) < 0)
				break;
			if (bak_buf_append(&line, "", 1) < 0)
				abort();
			check_line((const char *)line.p, line.len - 1);
		}
	}
	bak_chroma_page_release(&parsed);
}

static void line(const char *p, size_t len)
{
	BAK_AUTO(bak_buf_release) struct bak_buf spare = BAK_BUF_INIT;
	BAK_AUTO(bak_buf_release) struct bak_buf out = BAK_BUF_INIT;
	struct bak_error err = BAK_ERROR_INIT;
	struct bak_chroma_row row;

	if (bak_chroma_row_parse(p, len, &row, &spare, &err) < 0)
		return;
	if (bak_chroma_row_line(&row, &out, &err) < 0 || bak_buf_append(&out, "", 1) < 0)
		abort();
	check_line((const char *)out.p, out.len - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	/* Of just that length, so that reading behind it is noticed. */
	char *copy = len > 1 ? malloc(len - 1) : NULL;

	if (!copy)
		return 0;
	memcpy(copy, p + 1, len - 1);
	if (p[0] == 'p')
		page(copy, len - 1);
	else
		line(copy, len - 1);
	free(copy);
	return 0;
}
