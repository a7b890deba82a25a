#include "filter.h"

static bool load(struct regex *programs, size_t *count, const struct wire_message *message, uint8_t tag)
{
	const uint8_t *bytes;
	uint32_t cursor = 0, length;

	while ((bytes = wire_next(message, tag, &cursor, &length)) != NULL) {
		if (*count == FILTER_PROGRAMS || !regex_load(&programs[*count], bytes, length))
			return false;
		(*count)++;
	}
	return true;
}

bool filter_load(struct filter *filter, const struct wire_message *message)
{
	filter->included = filter->excluded = 0;
	if (message == NULL)
		return true;
	return load(filter->include, &filter->included, message, FIELD_INCLUDE) &&
	       load(filter->exclude, &filter->excluded, message, FIELD_EXCLUDE);
}

static bool any(struct regex *programs, size_t count, const char *path, size_t length)
{
	size_t start, end;

	for (size_t i = 0; i < count; i++)
		if (regex_find(&programs[i], (const uint8_t *)path, length, &start, &end, NULL, NULL) == REGEX_FOUND)
			return true;
	return false;
}

bool filter_excludes(struct filter *filter, const char *path, size_t length)
{
	return any(filter->exclude, filter->excluded, path, length);
}

bool filter_includes(struct filter *filter, const char *path, size_t length)
{
	return filter->included == 0 || any(filter->include, filter->included, path, length);
}
