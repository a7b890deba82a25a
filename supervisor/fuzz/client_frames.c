#define _GNU_SOURCE
#include "client_frames.h"

#include <string.h>

#include "fake_processes.h"
#include "fields.h"
#include "wire_table.h"

void frame_hello(struct wire_writer *writer, bool right, bool resumable)
{
	uint8_t nonce[WIRE_NONCE_BYTES];

	memset(nonce, right ? 0 : 1, sizeof nonce);
	wire_begin(writer, FRAME_HELLO, 0);
	wire_put_uint(writer, FIELD_VERSION_MIN, 1);
	wire_put_uint(writer, FIELD_VERSION_MAX, 1);
	wire_put_bytes(writer, FIELD_NONCE, nonce, sizeof nonce);
	if (resumable)
		wire_put_text(writer, FIELD_CAPABILITY, WIRE_CAPABILITY_RESUME, strlen(WIRE_CAPABILITY_RESUME));
	wire_end(writer);
}

void frame_configure(struct wire_writer *writer)
{
	static const uint8_t numbers_of_it[] = {
		FIELD_TTL_MS, FIELD_IDLE_MS, FIELD_GRACE_MS, FIELD_HEARTBEAT_MS, FIELD_DETACHED,
		FIELD_WORKLOAD_CAPS, FIELD_MAX_FILE_BYTES, FIELD_MAX_PROCESSES, FIELD_CHOWN_WORKSPACE,
		FIELD_WRITE_HOSTS,
	};

	wire_begin(writer, FRAME_CONFIGURE, 0);
	wire_put_bytes(writer, FIELD_WORKDIR, "/w", 2);
	for (size_t i = 0; i < sizeof numbers_of_it; i++)
		wire_put_uint(writer, numbers_of_it[i], 0);
	wire_end(writer);
}

void frame_open(struct wire_writer *writer, uint32_t channel, uint8_t operation, unsigned limit)
{
	static const struct {
		uint8_t operation, tag;
	} uses[] = {
#define X(name, field, required) { required ? OPERATION_##name : 0, FIELD_##field },
		WIRE_OPERATION_FIELDS(X)
#undef X
	};

	wire_begin(writer, FRAME_OPEN, channel);
	for (unsigned tag = 1; tag < WIRE_TAGS; tag++) {
		if (tag == FIELD_OPERATION)
			wire_put_uint(writer, FIELD_OPERATION, operation);
		for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
			if (uses[i].operation != operation || uses[i].tag != tag)
				continue;
			if (tag == FIELD_ARGUMENT || tag == FIELD_CWD || tag == FIELD_PATH || tag == FIELD_TARGET)
				wire_put_bytes(writer, (uint8_t)tag, "x", 1);
			else if (tag == FIELD_STDOUT_LIMIT || tag == FIELD_STDERR_LIMIT)
				wire_put_uint(writer, (uint8_t)tag, (uint64_t)limit * 64);
			else if (tag == FIELD_PROCESS)
				wire_put_uint(writer, (uint8_t)tag, limit % 16);
			else if (tag == FIELD_OFFSET)
				wire_put_uint(writer, (uint8_t)tag, limit >> 14 == 3 ? UINT64_MAX : limit % 16384);
			else if (tag == FIELD_LOG_BYTES)
				wire_put_uint(writer, (uint8_t)tag, (uint64_t)WIRE_MIN_LOG_BYTES << limit % 6);
			else if (tag == FIELD_AT_END || tag == FIELD_CLOSE)
				wire_put_uint(writer, (uint8_t)tag, limit >> 7 & 1);
			else if (tag == FIELD_PORT)
				wire_put_uint(writer, FIELD_PORT, limit % (FAKE_PORTS + 1));
			else
				wire_put_uint(writer, (uint8_t)tag,
					      tag == FIELD_STDIN || tag == FIELD_ROWS || tag == FIELD_COLUMNS);
		}
	}
	wire_end(writer);
}

void frame_resize(struct wire_writer *writer, uint32_t channel, unsigned rows)
{
	wire_begin(writer, FRAME_RESIZE, channel);
	wire_put_uint(writer, FIELD_ROWS, rows);
	wire_put_uint(writer, FIELD_COLUMNS, 80);
	wire_end(writer);
}

uint8_t frame_operation(uint8_t choice)
{
	static const uint8_t operations[] = {
#define X(name, input, output) OPERATION_##name,
		WIRE_OPERATIONS(X)
#undef X
	};

	return operations[choice % sizeof operations];
}
