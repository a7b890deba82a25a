/* Whole connections over made-up processes: clients that follow the rules and clients that do not, and whatever happens,
 * what the supervisor sends is what a client may be sent, no turn is endless, and in the end nothing is left.
 *
 * The input is a program of actions; protocol/vectors seeds have their bytes sent raw. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Its numbers start again with each input, which nothing else may do. */
#include "../src/connection.c"

#include "client_frames.h"
#include "fake_processes.h"
#include "model.h"
#include "must.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLIENTS 3
#define MAX_ACTIONS 400

static struct client {
	int fd;                    /* -1: not connected */
	bool away;                 /* it has lost its stream, and may come back */
	uint8_t *sent;             /* all that was sent, to be sent again */
	size_t sent_capacity;
	uint32_t next;             /* channel */
	struct model model;
} clients[CLIENTS];

struct input {
	const uint8_t *data;
	size_t left;
};

static uint8_t take_byte(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->data++;
}

static unsigned take_number(struct input *input)
{
	unsigned high = take_byte(input);

	return high << 8 | take_byte(input);
}

/* --- clients ------------------------------------------------------------------------------------- */

static void connect_it(struct client *client)
{
	int ends[2], twin;

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	twin = fcntl(ends[0], F_DUPFD_CLOEXEC, 3);
	MUST(twin >= 0);
	client->fd = ends[1];
	connection_new(ends[0], twin);
}

static void join(struct client *client)
{
	if (client->fd >= 0 || client->away)
		return;
	connect_it(client);
	client->next = 1;
	model_start(&client->model);
}

static void part(struct client *client)
{
	if (client->fd < 0 && !client->away)
		return;
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	client->away = false;
	model_free(&client->model);
	free(client->sent);
	client->sent = NULL;
	client->sent_capacity = 0;
}

static void keep(struct client *client, const uint8_t *data, size_t n)
{
	size_t needed = client->model.bytes_sent + n;

	if (needed > client->sent_capacity) {
		client->sent_capacity = 2 * needed;
		client->sent = realloc(client->sent, client->sent_capacity);
		MUST(client->sent != NULL);
	}
	memcpy(client->sent + client->model.bytes_sent, data, n);
}

static void send_bytes(struct client *client, const uint8_t *data, size_t n)
{
	ssize_t sent;

	if (client->fd < 0)
		return;
	sent = send(client->fd, data, n, MSG_NOSIGNAL);
	if (sent <= 0)
		return;
	keep(client, data, (size_t)sent);
	model_sent(&client->model, data, (size_t)sent);
}

/* Read up to n bytes. Returns whether there was anything. */
static bool receive(struct client *client, size_t n)
{
	static uint8_t bytes[65536];
	ssize_t got;

	if (client->fd < 0)
		return false;
	got = recv(client->fd, bytes, n < sizeof bytes ? n : sizeof bytes, 0);
	if (got > 0)
		model_received(&client->model, bytes, (size_t)got);
	return got > 0;
}

/* The stream breaks, with all that is on its way. */
static void lose(struct client *client)
{
	if (!client->model.resumable) {
		part(client);
		return;
	}
	close(client->fd);
	client->fd = -1;
	client->away = true;
}

/* The answer to a HELLO, to the byte: what is behind it is the connection's. 0: it was cut off without one. */
static size_t read_answer(struct client *client, uint8_t *memory, size_t room)
{
	size_t n = 0, want = WIRE_HEADER_BYTES;

	while (n < want) {
		ssize_t got = recv(client->fd, memory + n, want - n, 0);

		if (got <= 0)
			return 0;
		n += (size_t)got;
		if (n == WIRE_HEADER_BYTES)
			want += wire_load32(memory) & 0xffffff;
		MUST(want <= room);
	}
	return n;
}

/* Another stream for the same connection, asked for as the input says: rightly when `wrong` is 0. */
static void come_back(struct client *client, uint8_t wrong)
{
	struct model *model = &client->model;
	struct wire_writer writer;
	uint8_t memory[4096], nonce[WIRE_NONCE_BYTES] = { 0 };
	uint64_t from;
	size_t n;

	connect_it(client);
	client->away = false;
	wire_writer_init(&writer, memory, sizeof memory);
	wire_begin(&writer, FRAME_HELLO, 0);
	wire_put_uint(&writer, FIELD_VERSION_MIN, 1);
	wire_put_uint(&writer, FIELD_VERSION_MAX, 1);
	wire_put_bytes(&writer, FIELD_NONCE, nonce, sizeof nonce);
	wire_put_text(&writer, FIELD_CAPABILITY, WIRE_CAPABILITY_RESUME, strlen(WIRE_CAPABILITY_RESUME));
	wire_put_uint(&writer, FIELD_CONNECTION, model->number + (wrong == 1));
	model->key[0] ^= wrong == 2;
	wire_put_bytes(&writer, FIELD_RESUME_KEY, model->key, sizeof model->key - (wrong == 3));
	wire_put_uint(&writer, FIELD_RECEIVED, model->bytes_received + (wrong == 4));
	wire_end(&writer);
	MUST(!writer.failed && send(client->fd, memory, writer.length, MSG_NOSIGNAL) == (ssize_t)writer.length);
	fake_settle();
	n = read_answer(client, memory, sizeof memory);
	from = n == 0 ? UINT64_MAX : model_resumed(model, memory, n);
	MUST(wrong == 0 || wrong > 3 || from == UINT64_MAX);
	/* One that claims a byte too much may be believed, if that byte was written; it has itself to blame. */
	if (from == UINT64_MAX || wrong == 4) {
		part(client);
		return;
	}
	n = client->model.bytes_sent - from;
	if (n > 0 && send(client->fd, client->sent + from, n, MSG_NOSIGNAL) != (ssize_t)n)
		part(client);
}

static void lose_or_come_back(struct client *client, uint8_t wrong)
{
	if (client->fd >= 0)
		lose(client);
	else if (client->away)
		come_back(client, wrong);
}

static void acknowledge(struct client *client, uint64_t total)
{
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_ACK_BYTES], bytes[WIRE_ACK_BYTES];
	struct wire_writer writer;

	wire_store64(bytes, total);
	wire_writer_init(&writer, frame, sizeof frame);
	wire_put_frame(&writer, FRAME_ACK, 0, bytes, sizeof bytes);
	send_bytes(client, frame, sizeof frame);
}

/* Return the credit of all that has come, on every channel, as an honest client does. */
static void return_credit(struct client *client)
{
	struct model *model = &client->model;
	struct wire_writer writer;
	uint8_t memory[4096];

	if (client->fd < 0)
		return;
	if (model->resumable)
		acknowledge(client, model->bytes_received);
	wire_writer_init(&writer, memory, sizeof memory);
	if (model->output > model->output_credit)
		wire_put_credit(&writer, 0, (uint32_t)(model->output - model->output_credit));
	for (uint32_t i = 1; i < MODEL_CHANNELS; i++) {
		struct model_channel *channel = &model->channel[i];

		if (channel->opened && !channel->ended && channel->output > channel->output_credit)
			wire_put_credit(&writer, i, (uint32_t)(channel->output - channel->output_credit));
	}
	if (!writer.failed && writer.length > 0)
		send_bytes(client, memory, writer.length);
}

/* --- what they send --------------------------------------------------------------------------------- */

static void send_frame(struct client *client, struct input *input)
{
	static uint8_t memory[WIRE_HEADER_BYTES + WIRE_MAX_PAYLOAD], data[WIRE_MAX_PAYLOAD];
	uint8_t kind = take_byte(input) % 13, choice = take_byte(input);
	uint32_t channel = choice % (client->next + 1);
	struct wire_writer writer;

	wire_writer_init(&writer, memory, sizeof memory);
	switch (kind) {
	case 0:
		frame_hello(&writer, take_byte(input) != 255, choice & 1);
		break;
	case 1:
		frame_configure(&writer);
		break;
	case 2:
	case 3:
		frame_open(&writer, client->next++, frame_operation(choice), take_number(input));
		break;
	case 4:
	case 5:
		wire_put_frame(&writer, FRAME_STDIN, channel, data, 1 + take_number(input));
		break;
	case 6:
		wire_put_frame(&writer, FRAME_EOF, channel, NULL, 0);
		break;
	case 7:
		wire_put_frame(&writer, FRAME_CANCEL, channel, NULL, 0);
		break;
	case 8:
		wire_put_frame(&writer, choice & 1 ? FRAME_PING : FRAME_PONG, 0, data, WIRE_PING_BYTES);
		break;
	case 9:
		wire_put_credit(&writer, channel, 1 + take_number(input));
		break;
	case 10:
		frame_resize(&writer, channel, take_number(input));
		break;
	case 11:
		wire_put_frame(&writer, FRAME_LEAVE, 0, NULL, 0);
		break;
	default:
		wire_put_frame(&writer, FRAME_DESTROY, 0, NULL, 0);
	}
	if (!writer.failed)
		send_bytes(client, memory, writer.length);
}

/* --- the program --------------------------------------------------------------------------------- */

static void act(struct input *input)
{
	uint8_t action = take_byte(input);
	struct client *client = &clients[(action >> 6) % CLIENTS];
	size_t n;

	switch (action % 16) {
	case 0:
	case 1:
	case 2:
		send_frame(client, input);
		return; /* several frames may arrive at once */
	case 3:
		n = take_number(input) % 300;
		n = n < input->left ? n : input->left;
		send_bytes(client, input->data, n);
		input->data += n;
		input->left -= n;
		break;
	case 4:
		fake_write(take_byte(input), action & 0x20, take_number(input));
		break;
	case 5:
		fake_read(take_byte(input), take_number(input));
		break;
	case 6:
		fake_exit(take_byte(input));
		break;
	case 7:
		fake_close_input(take_byte(input));
		break;
	case 8:
		receive(client, 1 + take_number(input));
		break;
	case 9:
		return_credit(client);
		break;
	case 10:
		join(client);
		break;
	case 11:
		if (action >= 0x80)
			part(client);
		break;
	case 13:
		lose_or_come_back(client, take_byte(input));
		break;
	case 14:
		acknowledge(client, take_number(input));
		break;
	case 15:
		fake_pass_time();
		break;
	default:
		fake_configured();
	}
	fake_settle();
}

static void check_bounds(void)
{
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		MUST(connections[i].queue.length <= QUEUE_LIMIT + RESUME_KEEP);
		MUST(connections[i].resume.written <= RESUME_KEEP);
		MUST(connections[i].window <= WIRE_CONNECTION_WINDOW);
	}
	MUST(channel_count() <= WIRE_MAX_CHANNELS);
}

/* Parked ones too, which have no stream. */
static bool any_connection(void)
{
	for (uint32_t i = 0; i < WIRE_MAX_CONNECTIONS; i++) {
		if (connections[i].state != CONNECTION_FREE)
			return true;
	}
	return false;
}

/* Every client reads all that there is, every process ends, then every client goes: nothing may be left. */
static void finish(void)
{
	bool any = true;

	fake_exit_all();
	for (int i = 0; any && i < 1000; i++) {
		any = false;
		for (int c = 0; c < CLIENTS; c++) {
			while (receive(&clients[c], SIZE_MAX))
				any = true;
			return_credit(&clients[c]);
		}
		fake_settle();
	}
	for (int c = 0; c < CLIENTS; c++)
		part(&clients[c]);
	/* What waited for a configuration, or was cut short by the session's end (once for every DESTROY that came), is let
	 * go too. */
	for (int i = 0; (i < 2 || any_connection() || fake_processes()) && i < 10000; i++) {
		fake_let_go();
		fake_pass_time();
		fake_settle();
		fake_exit_all();
	}
	MUST(!any_connection());
	MUST(connection_count() == 0);
	MUST(channel_count() == 0);
	MUST(fake_processes() == 0);
	MUST(fake_open_sources() == 0);
}

/* All channels at once have some 1,500 pipe ends. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct rlimit limit;

	(void)argc;
	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 4096);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	numbers = 0;
	fake_forget();
	for (int c = 0; c < CLIENTS; c++)
		clients[c].fd = -1, clients[c].away = false;
	fake_configures_at_once = (take_byte(&input) & 1) != 0;
	join(&clients[0]);
	for (int i = 0; i < MAX_ACTIONS && input.left > 0 && !session_ending(); i++) {
		act(&input);
		check_bounds();
	}
	fake_settle();
	finish();
	return 0;
}
