/* `supervisor relay`: a second client's way in. Joins stdin and stdout to the socket of PID 1, whose peer it checks. */
#ifndef FUMEHOOD_RELAY_H
#define FUMEHOOD_RELAY_H

#define RELAY_SOCKET "fumehood"

enum {
	RELAY_OK = 0,
	RELAY_UID = 20,            /* not the reserved uid */
	RELAY_CONNECT = 21,        /* nobody listens */
	RELAY_PEER = 22,           /* who listens is not PID 1 */
	RELAY_IO = 23,
};

int relay(void);

#endif
