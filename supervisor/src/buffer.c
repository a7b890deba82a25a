#define _GNU_SOURCE
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#define SMALLEST 1024u

void buffer_init(struct buffer *buffer, size_t limit, size_t keep)
{
	*buffer = (struct buffer){ .limit = limit, .keep = keep };
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	buffer->data = NULL;
	buffer->capacity = 0;
	buffer->start = 0;
	buffer->length = 0;
}

size_t buffer_room(const struct buffer *buffer)
{
	return buffer->limit - buffer->length;
}

static void move_to_front(struct buffer *buffer)
{
	memmove(buffer->data, buffer->data + buffer->start, buffer->length);
	buffer->start = 0;
}

/* Move what is queued to the front of memory that holds at least `needed` bytes. */
static bool make_room(struct buffer *buffer, size_t needed)
{
	size_t capacity = buffer->capacity == 0 ? SMALLEST : buffer->capacity;
	uint8_t *data;

	/* A move is paid for when at least as much has been taken off as is moved. Otherwise memory grows,
	 * to twice the limit at most: from there on the first is always true. */
	if (needed <= buffer->capacity && buffer->start >= buffer->length) {
		move_to_front(buffer);
		return true;
	}
	while (capacity < needed || (capacity == buffer->capacity && capacity < 2 * buffer->limit))
		capacity *= 2;
	if (capacity > 2 * buffer->limit)
		capacity = 2 * buffer->limit;
	data = malloc(capacity);
	if (data == NULL) {
		if (needed > buffer->capacity)
			return false;
		move_to_front(buffer);
		return true;
	}
	if (buffer->length > 0)
		memcpy(data, buffer->data + buffer->start, buffer->length);
	free(buffer->data);
	buffer->data = data;
	buffer->capacity = capacity;
	buffer->start = 0;
	return true;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t n)
{
	size_t tail = buffer->start + buffer->length;

	if (n > buffer_room(buffer) || n == 0)
		return NULL;
	if (n > buffer->capacity - tail) {
		if (!make_room(buffer, buffer->length + n))
			return NULL;
		tail = buffer->length;
	}
	return buffer->data + tail;
}

void buffer_commit(struct buffer *buffer, size_t n)
{
	buffer->length += n;
}

bool buffer_append(struct buffer *buffer, const void *bytes, size_t n)
{
	uint8_t *room;

	if (n == 0)
		return true;
	room = buffer_reserve(buffer, n);
	if (room == NULL)
		return false;
	memcpy(room, bytes, n);
	buffer_commit(buffer, n);
	return true;
}

void buffer_trim(struct buffer *buffer, size_t keep)
{
	/* Room for as much again: the next bytes are not to move it all at once. */
	size_t capacity = 2 * buffer->length > keep ? 2 * buffer->length : keep;
	uint8_t *data;

	if (buffer->capacity <= capacity)
		return;
	if (buffer->length == 0) {
		buffer_free(buffer);
		return;
	}
	data = malloc(capacity);
	if (data == NULL)
		return;
	memcpy(data, buffer->data + buffer->start, buffer->length);
	free(buffer->data);
	buffer->data = data;
	buffer->capacity = capacity;
	buffer->start = 0;
}

const uint8_t *buffer_peek(const struct buffer *buffer, size_t *n)
{
	*n = buffer->length;
	return buffer->length == 0 ? NULL : buffer->data + buffer->start;
}

void buffer_consume(struct buffer *buffer, size_t n)
{
	buffer->start += n;
	buffer->length -= n;
	if (buffer->length > 0)
		return;
	buffer->start = 0;
	if (buffer->capacity > buffer->keep)
		buffer_free(buffer);
}
