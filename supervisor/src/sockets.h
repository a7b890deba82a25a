/* TCP inside the container, on its loopback interface and nowhere else. The system calls alone, none of which waits.
 *
 * Also with no network at all a container has a loopback interface of its own, and what listens there listens for everybody
 * inside, whatever their uid: PID 1 reaches nothing here that a command could not.
 */
#ifndef FUMEHOOD_SOCKETS_H
#define FUMEHOOD_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

/* Begin to connect to 127.0.0.1 or, `six`, to ::1. The descriptor, writable once it is settled; -1 with errno. */
int socket_dial(bool six, uint16_t port);
/* What came of it: 0, or an errno; EINPROGRESS before it is settled. An error is told once. */
int socket_dialled(int fd);

/* Listen on 127.0.0.1, and take one who has connected there. A descriptor, or -1 with errno. */
int socket_listen(uint16_t port);
int socket_accept(int fd);

/* Say that nothing more will be sent: the other end reads its end, and may go on sending. */
void socket_finish(int fd);
/* Let the last close be a reset: the other end is not to take what it has got for all. */
void socket_break(int fd);

#endif
