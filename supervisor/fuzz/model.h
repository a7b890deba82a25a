/* What an honest client knows of one connection, and so what the supervisor must never send to it. */
#ifndef FUMEHOOD_FUZZ_MODEL_H
#define FUMEHOOD_FUZZ_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

/* Channels above are used too, but not looked into. */
#define MODEL_CHANNELS 64

struct model {
	struct wire_reader sent, received;
	bool welcomed, over;
	bool resumable;                   /* it was agreed that the connection may outlive its stream */
	uint32_t number;
	uint8_t key[WIRE_RESUME_KEY_BYTES];
	uint64_t bytes_sent, bytes_received, acknowledged;
	uint64_t output, output_credit;   /* of the connection */
	uint64_t ticket;                  /* the last one that it was told of */
	struct model_channel {
		bool opened, ended, joined, output_ended;
		enum operation operation;
		uint64_t input, input_credit, output, output_credit;
		uint64_t position;         /* of a log: the next byte's offset */
		bool placed;               /* a POSITION has come, and no byte since */
	} channel[MODEL_CHANNELS];
};

void model_start(struct model *model);
void model_free(struct model *model);
/* The client has written these bytes, right or wrong. */
void model_sent(struct model *model, const uint8_t *data, size_t n);
/* The answer to a HELLO that resumes, whole: the bytes of the client's that have to be sent again from there, or
 * UINT64_MAX when it was refused. Aborts on what no supervisor may answer. */
uint64_t model_resumed(struct model *model, const uint8_t *data, size_t n);
/* The client has read these: aborts on what no supervisor may send. */
void model_received(struct model *model, const uint8_t *data, size_t n);

#endif
