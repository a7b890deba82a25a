#include "changes.h"

#include <string.h>

void changes_clear(struct changes *changes)
{
	changes->count = changes->text_length = 0;
	memset(changes->slot, 0, sizeof(changes->slot));
}

/* A path may come as the target of a move too. */
bool changes_full(const struct changes *changes)
{
	return changes->count == CHANGES_MOST || CHANGES_TEXT - changes->text_length < 2 * WIRE_MAX_PATH;
}

static uint32_t hash(const char *path, size_t length)
{
	uint32_t value = 2166136261u;

	for (size_t i = 0; i < length; i++)
		value = (value ^ (uint8_t)path[i]) * 16777619u;
	return value;
}

/* The slot of a path: where its last change is, or a free one. The table is never full: it has four slots for each change, and
 * a change takes two at most. */
static uint32_t *slot_of(struct changes *changes, const char *path, size_t length)
{
	for (uint32_t at = hash(path, length);; at++) {
		uint32_t *slot = &changes->slot[at % CHANGES_SLOTS];
		const struct change *change = *slot ? &changes->list[*slot - 1] : NULL;

		if (!change || (change->path_length == length &&
				memcmp(changes->text + change->path, path, length) == 0))
			return slot;
		if (change->target_length == length && memcmp(changes->text + change->target, path, length) == 0)
			return slot;
	}
}

static uint32_t put_text(struct changes *changes, const char *text, size_t length)
{
	uint32_t at = changes->text_length;

	memcpy(changes->text + at, text, length);
	changes->text_length += (uint32_t)length;
	return at;
}

/* Whether a change says nothing beyond the last one of the same path. */
static bool is_said(const struct change *last, enum event event)
{
	if (event == EVENT_MODIFIED)
		return last->event == EVENT_MODIFIED || last->event == EVENT_CREATED;
	return event == last->event && event != EVENT_MOVED;
}

uint32_t changes_add(struct changes *changes, enum event event, const char *path, size_t length, bool directory,
		     uint32_t cookie)
{
	uint32_t *slot = slot_of(changes, path, length);
	struct change *change;

	if (*slot && is_said(&changes->list[*slot - 1], event))
		return UINT32_MAX;
	change = &changes->list[changes->count++];
	*change = (struct change){
		.event = event, .directory = directory, .path_length = (uint32_t)length, .cookie = cookie,
		.path = put_text(changes, path, length),
	};
	*slot = changes->count;
	return changes->count - 1;
}

uint32_t changes_moved(struct changes *changes, uint32_t cookie, const char *target, size_t length)
{
	/* The two halves come one after the other, or nearly so. */
	for (uint32_t i = changes->count; cookie && i > 0; i--) {
		struct change *change = &changes->list[i - 1];

		if (change->event != EVENT_DELETED || change->cookie != cookie)
			continue;
		*slot_of(changes, target, length) = i;
		change->event = EVENT_MOVED;
		change->target = put_text(changes, target, length);
		change->target_length = (uint32_t)length;
		return i - 1;
	}
	return UINT32_MAX;
}
