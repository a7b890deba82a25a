/* The one place that waits: descriptors, signals and deadlines of PID 1.
 *
 * A source is armed for one event at a time: its handler runs once and arms it again when it wants more. A source
 * that waits for credit is simply not armed, which costs nothing and cannot fail (re-arming allocates no memory
 * in the kernel). Handlers never believe what woke them: they try, and take EAGAIN for an answer.
 */
#ifndef FUMEHOOD_LOOP_H
#define FUMEHOOD_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

struct source {
	int fd;                    /* -1 while closed */
	bool armed;
	void (*ready)(struct source *source);
};

/* Create the epoll set and the signal descriptor. False with errno when the kernel refuses. */
bool loop_init(void);

/* Take over `fd`, armed for `events` (0: not yet). False with errno, and the descriptor is still the caller's. */
bool source_open(struct source *source, int fd, uint32_t events, void (*ready)(struct source *source));
void source_arm(struct source *source, uint32_t events);
/* Go on with the descriptor of another source, which is closed then; not armed. Cannot fail. */
void source_take_over(struct source *source, struct source *other, void (*ready)(struct source *source));
/* Also for a source that is closed already. */
void source_close(struct source *source);

/* Turn for ever. Ends the process through session_end alone. */
_Noreturn void loop_run(void);

#endif
