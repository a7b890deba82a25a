#define _GNU_SOURCE
#include "packed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "wire.h"

static uint16_t load16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void store16(uint8_t *bytes, uint16_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

/* --- reading ------------------------------------------------------------------------------------------------ */

/* One read(2) behind what is there, of at most n bytes. */
static bool read_more(struct packed_reader *reader, size_t n)
{
	size_t room = sizeof reader->bytes - reader->end;
	ssize_t got;

	do
		got = read(reader->fd, reader->bytes + reader->end, n < room ? n : room);
	while (got < 0 && errno == EINTR);
	if (got <= 0) {
		reader->err_no = got < 0 ? errno : EPIPE;
		return false;
	}
	reader->end += (size_t)got;
	return true;
}

/* Until n bytes, fewer than the buffer holds, are there in one piece; with `exact` no more of them are read. */
static bool need(struct packed_reader *reader, size_t n, bool exact)
{
	if (reader->end - reader->start >= n)
		return true;
	memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
	reader->end -= reader->start;
	reader->start = 0;
	while (reader->end < n)
		if (!read_more(reader, exact ? n - reader->end : sizeof reader->bytes))
			return false;
	return true;
}

/* A name ends at its length and nowhere before. */
static bool take_name(struct packed_reader *reader, size_t length, char name[WIRE_MAX_PATH + 1])
{
	if (!need(reader, length, false))
		return false;
	memcpy(name, reader->bytes + reader->start, length);
	name[length] = '\0';
	reader->start += length;
	if (strlen(name) == length)
		return true;
	reader->err_no = EBADMSG;
	return false;
}

bool packed_read(struct packed_reader *reader, struct packed_record *record)
{
	const uint8_t *header;
	size_t path, link;

	if (!need(reader, PACKED_HEADER, false))
		return false;
	header = reader->bytes + reader->start;
	record->type = header[0];
	record->flags = header[1];
	record->mode = load16(header + 2);
	path = load16(header + 4);
	link = load16(header + 6);
	record->modified_ns = wire_load64(header + 8);
	record->size = wire_load64(header + 16);
	reader->start += PACKED_HEADER;
	if (path > WIRE_MAX_PATH || link > WIRE_MAX_PATH) {
		reader->err_no = EBADMSG;
		return false;
	}
	return take_name(reader, path, record->path) && take_name(reader, link, record->link);
}

bool packed_read_number(struct packed_reader *reader, uint32_t *number, bool left)
{
	if (!need(reader, 4, left))
		return false;
	*number = wire_load32(reader->bytes + reader->start);
	reader->start += 4;
	return true;
}

const uint8_t *packed_read_some(struct packed_reader *reader, size_t n, size_t *got)
{
	const uint8_t *some;

	if (reader->start == reader->end) {
		reader->start = reader->end = 0;
		if (!read_more(reader, sizeof reader->bytes))
			return NULL;
	}
	some = reader->bytes + reader->start;
	*got = reader->end - reader->start < n ? reader->end - reader->start : n;
	reader->start += *got;
	return some;
}

bool packed_has(const struct packed_reader *reader)
{
	return reader->end > reader->start;
}

ssize_t packed_splice(struct packed_reader *reader, int to, size_t n)
{
	ssize_t moved;

	do
		moved = splice(reader->fd, NULL, to, NULL, n, SPLICE_F_MOVE);
	while (moved < 0 && errno == EINTR);
	return moved;
}

/* --- writing ------------------------------------------------------------------------------------------------ */

bool packed_flush(struct packed_writer *writer)
{
	size_t done = 0;

	while (writer->err_no == 0 && done < writer->length) {
		ssize_t put = write(writer->fd, writer->bytes + done, writer->length - done);

		if (put >= 0)
			done += (size_t)put;
		else if (errno != EINTR)
			writer->err_no = errno;
	}
	writer->length = 0;
	return writer->err_no == 0;
}

static bool make_room(struct packed_writer *writer, size_t n)
{
	return writer->err_no == 0 && (sizeof writer->bytes - writer->length >= n || packed_flush(writer));
}

bool packed_write(struct packed_writer *writer, const struct packed_record *record)
{
	size_t path = strlen(record->path), link = strlen(record->link);
	uint8_t *header;

	if (!make_room(writer, PACKED_HEADER + path + link))
		return false;
	header = writer->bytes + writer->length;
	header[0] = record->type;
	header[1] = record->flags;
	store16(header + 2, record->mode);
	store16(header + 4, (uint16_t)path);
	store16(header + 6, (uint16_t)link);
	wire_store64(header + 8, record->modified_ns);
	wire_store64(header + 16, record->size);
	memcpy(header + PACKED_HEADER, record->path, path);
	memcpy(header + PACKED_HEADER + path, record->link, link);
	writer->length += PACKED_HEADER + path + link;
	return true;
}

bool packed_write_number(struct packed_writer *writer, uint32_t number)
{
	if (!make_room(writer, 4))
		return false;
	wire_store32(writer->bytes + writer->length, number);
	writer->length += 4;
	return true;
}

uint8_t *packed_room(struct packed_writer *writer, size_t n)
{
	return make_room(writer, 4 + n) ? writer->bytes + writer->length + 4 : NULL;
}

void packed_piece(struct packed_writer *writer, size_t n)
{
	wire_store32(writer->bytes + writer->length, (uint32_t)n);
	writer->length += 4 + n;
}

/* What a file did not have of a piece that was announced. */
static int fill_up(struct packed_writer *writer, uint32_t n)
{
	int why = errno;

	while (n > 0) {
		uint32_t part = n < sizeof writer->bytes ? n : (uint32_t)sizeof writer->bytes;

		memset(writer->bytes, 0, part);
		writer->length = part;
		if (!packed_flush(writer))
			return -1;
		n -= part;
	}
	errno = why;
	return 0;
}

/* By hand, for file systems that cannot splice. */
static ssize_t copy_some(struct packed_writer *writer, int from, uint32_t n)
{
	ssize_t got;

	do
		got = read(from, writer->bytes, n < sizeof writer->bytes ? n : sizeof writer->bytes);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got;
	writer->length = (size_t)got;
	return packed_flush(writer) ? got : -1;
}

int packed_splice_piece(struct packed_writer *writer, int from, uint32_t n, uint64_t *moved)
{
	bool copying = false;

	if (!packed_write_number(writer, n) || !packed_flush(writer))
		return -1;
	while (n > 0) {
		ssize_t done = copying ? copy_some(writer, from, n)
				       : splice(from, NULL, writer->fd, NULL, n, SPLICE_F_MOVE);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && !copying && (errno == EINVAL || errno == ENOSYS || errno == EPERM)) {
			copying = true;
			continue;
		}
		if (done < 0 && errno == EPIPE)
			writer->err_no = EPIPE;
		if (writer->err_no != 0)
			return -1;
		if (done <= 0) {
			errno = done < 0 ? errno : 0;
			return fill_up(writer, n);
		}
		n -= (uint32_t)done;
		*moved += (uint64_t)done;
	}
	return 1;
}
