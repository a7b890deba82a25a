/* Which paths of a tree an operation is about: the programs of `include` and `exclude`. */
#ifndef FUMEHOOD_FILTER_H
#define FUMEHOOD_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "fields.h"
#include "regex.h"

#define FILTER_PROGRAMS 64

struct filter {
	struct regex include[FILTER_PROGRAMS], exclude[FILTER_PROGRAMS];
	size_t included, excluded;
};

/* Take the programs from a request; none in it lets everything pass. False: one of them is none, or they are too many. */
bool filter_load(struct filter *filter, const struct wire_message *message);

/* Whether a path is out, and with it, if it is a directory's, everything beneath. Paths are relative to the operation's own. */
bool filter_excludes(struct filter *filter, const char *path, size_t length);
/* Whether a path that is not out is one of those that are asked for. */
bool filter_includes(struct filter *filter, const char *path, size_t length);

#endif
