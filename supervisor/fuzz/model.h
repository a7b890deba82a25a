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
	uint64_t output, output_credit;   /* of the connection */
	struct model_channel {
		bool opened, ended;
		enum operation operation;
		uint64_t input, input_credit, output, output_credit;
	} channel[MODEL_CHANNELS];
};

void model_start(struct model *model);
void model_free(struct model *model);
/* The client has written these bytes, right or wrong. */
void model_sent(struct model *model, const uint8_t *data, size_t n);
/* The client has read these: aborts on what no supervisor may send. */
void model_received(struct model *model, const uint8_t *data, size_t n);

#endif
