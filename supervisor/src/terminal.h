/* Terminals: what a command at one has instead of pipes. PID 1's side.
 *
 * The command's process makes the terminal (pty.h) and sends both sides of it over a socket pair, the way. PID 1 reads and
 * writes the master side. It holds the command's side too: a program may close its terminal and open it again, and
 * only a master whose last other side was closed looks like the end.
 */
#ifndef FUMEHOOD_TERMINAL_H
#define FUMEHOOD_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

#include "fields.h"

struct channel;
struct task;

/* Both ends of a way: [0] is the process's, [1] is ours and does not block. False with errno. */
bool terminal_way(int ends[2]);
/* Wait for the terminal at our end of the way, which is taken over. False with errno. */
bool terminal_await(struct task *task, int way);
/* Take it if it has been sent: what has happened since is behind it. */
void terminal_take(struct task *task);

/* The size that an OPEN or a RESIZE asks for: false when the kernel has no such size. */
bool terminal_size(const struct wire_message *message, uint16_t *rows, uint16_t *columns);
/* RESIZE came: a VIOLATION_* or 0. */
uint32_t terminal_resize(struct channel *channel, const struct wire_message *message);

/* Close what was kept of it beside the flow and the input. */
void terminal_release(struct task *task);
/* Close all of it. The kernel tells the session's leader (SIGHUP), and nobody there reads or writes any more. */
void terminal_hang_up(struct task *task);

#endif
