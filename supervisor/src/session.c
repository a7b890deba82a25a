#define _GNU_SOURCE
#include "session.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "farewell.h"
#include "tree.h"
#include "wire.h"

/* How long the last frames may take to leave. */
#define END_PATIENCE (200 * MILLISECOND)
/* So that whoever finds the container gone learns why from the engine's events. */
#define EXIT_CODE_BASE 64

struct session session = {
	.null_fd = -1, .proc_fd = -1, .root_fd = -1, .pts_fd = -1, .workspace_fd = -1,
};

static uint32_t end_reason;
static uint32_t end_error;
static char end_message[256];

void session_end(uint32_t reason)
{
	if (!end_reason)
		end_reason = reason;
}

void session_end_saying(uint32_t reason, const char *message)
{
	if (end_reason)
		return;
	end_reason = reason;
	snprintf(end_message, sizeof(end_message), "%s", message);
}

void session_fail(uint32_t error, int err_no, const char *message)
{
	if (end_reason)
		return;
	end_reason = END_NOT_CONFIGURED;
	end_error = error;
	snprintf(end_message, sizeof(end_message), "%s%s%s", message, err_no ? ": " : "",
		 err_no ? strerror(err_no) : "");
}

bool session_ending(void)
{
	return end_reason != 0;
}

_Noreturn void session_finish(void)
{
	struct wire_writer writer;
	uint8_t frame[512];

	wire_writer_init(&writer, frame, sizeof(frame));
	wire_begin(&writer, FRAME_END, 0);
	wire_put_uint(&writer, FIELD_REASON, end_reason);
	if (end_error)
		wire_put_uint(&writer, FIELD_ERROR, end_error);
	if (end_message[0])
		wire_put_text(&writer, FIELD_MESSAGE, end_message, strlen(end_message));
	wire_end(&writer);
	tree_kill_all();
	farewell(&writer, END_PATIENCE);
	(void)kill(-1, SIGKILL);
	_exit(EXIT_CODE_BASE + (int)end_reason);
}
