/* Opening paths that hostile code can change at any moment: beneath a directory, or not at all. */
#ifndef FUMEHOOD_WALK_H
#define FUMEHOOD_WALK_H

#include <stdbool.h>

enum walk_mode {
	WALK_BENEATH,              /* what leads out of the directory is EXDEV: a workspace */
	WALK_IN_ROOT,              /* the directory is "/" for absolute links and "..": a whole file system */
};

/* Open `path` (terminated) as openat2 does with RESOLVE_BENEATH or RESOLVE_IN_ROOT, and RESOLVE_NO_MAGICLINKS.
 * Where the kernel or a seccomp profile lacks openat2, the components are walked one by one with the
 * same outcome, but that a magic link is followed by its text, never by its magic. Nothing is created: `flags` has
 * no O_CREAT. O_CLOEXEC is added, and O_NOCTTY and O_NONBLOCK unless it is an O_PATH open.
 * Returns a descriptor, or -1 with errno: EXDEV leads out, ELOOP too many links or a magic one,
 * EAGAIN still racing with a rename after many tries. */
int walk_open(int directory, const char *path, enum walk_mode mode, int flags);

/* For tests: act as a kernel without openat2. */
extern bool walk_without_openat2;

#endif
