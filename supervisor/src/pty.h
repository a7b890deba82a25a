/* A pseudoterminal, as the process that is to be its command makes it: with the rights of that command's user, whose
 * the terminal then is, and with no path that PID 1 would have to open. */
#ifndef FUMEHOOD_PTY_H
#define FUMEHOOD_PTY_H

#include <stdint.h>

/* Make a terminal of this size, the controlling one of this process's session, and send both of its sides over `way`
 * (see terminal.h). Returns the command's side, or -1 with errno. For a leader of a session without a terminal. */
int pty_make(int way, uint16_t rows, uint16_t columns);

/* The ERROR_* for the errno of a pty_make that failed. */
uint32_t pty_error(int err_no);

#endif
