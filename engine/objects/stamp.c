/* Names and times as the repository writes them: see snapshot.h. */
#include "engine/objects/snapshot.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* The years 0000 to 9999: what four digits hold. */
#define FIRST_SECOND (-62167219200)
#define LAST_SECOND 253402300799

bool bak_store_name_ok(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_-";
	size_t len = strspn(name, allowed);
	return len > 0 && len <= BAK_STORE_NAME_MAX && name[len] == '\0';
}

static void split(int64_t utc, struct tm *tm)
{
	time_t t = utc < FIRST_SECOND ? FIRST_SECOND : utc > LAST_SECOND ? LAST_SECOND : utc;
	gmtime_r(&t, tm);
	tm->tm_year += 1900;
	tm->tm_mon += 1;
}

/* The casts keep the compiler sure of the width; split has bounded the values. */
void bak_stamp_format(int64_t utc, char out[BAK_STAMP_LEN + 1])
{
	struct tm tm;
	split(utc, &tm);
	snprintf(out, BAK_STAMP_LEN + 1, "%04u%02u%02uT%02u%02u%02uZ", (unsigned)tm.tm_year % 10000,
		 (unsigned)tm.tm_mon % 100, (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100,
		 (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

void bak_time_format(int64_t utc, char out[BAK_TIME_LEN + 1])
{
	struct tm tm;
	split(utc, &tm);
	snprintf(out, BAK_TIME_LEN + 1, "%04u-%02u-%02uT%02u:%02u:%02uZ",
		 (unsigned)tm.tm_year % 10000, (unsigned)tm.tm_mon % 100,
		 (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
		 (unsigned)tm.tm_sec % 100);
}

/* Reads n digits at *text and moves on; -1 when there are none such. */
static int digits(const char **text, int n)
{
	int v = 0;
	for (; n > 0; n--, ++*text) {
		if (**text < '0' || **text > '9')
			return -1;
		v = 10 * v + (**text - '0');
	}
	return v;
}

/* shape: a # stands for digits (the first for four, others for two), all else for itself. */
static bool parse(const char *text, const char *shape, int64_t *out_utc)
{
	int v[6], n = 0;
	for (; *shape; shape++) {
		if (*shape == '#') {
			v[n] = digits(&text, n == 0 ? 4 : 2);
			if (v[n++] < 0)
				return false;
		} else if (*text++ != *shape) {
			return false;
		}
	}
	if (*text)
		return false;
	struct tm tm = {.tm_year = v[0] - 1900,
			.tm_mon = v[1] - 1,
			.tm_mday = v[2],
			.tm_hour = v[3],
			.tm_min = v[4],
			.tm_sec = v[5]};
	struct tm given = tm;
	*out_utc = timegm(&tm);
	/* timegm turns the 30th of February into a day of March; such a time is none. */
	return tm.tm_year == given.tm_year && tm.tm_mon == given.tm_mon &&
	       tm.tm_mday == given.tm_mday && tm.tm_hour == given.tm_hour &&
	       tm.tm_min == given.tm_min && tm.tm_sec == given.tm_sec;
}

bool bak_stamp_parse(const char *text, int64_t *out_utc)
{
	return parse(text, "###T###Z", out_utc);
}

bool bak_time_parse(const char *text, int64_t *out_utc)
{
	return parse(text, "#-#-#T#:#:#Z", out_utc);
}
