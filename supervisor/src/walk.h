/* Opening paths that hostile code can change at any moment: beneath a directory, or never. */
#ifndef FUMEHOOD_WALK_H
#define FUMEHOOD_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum walk_mode {
	WALK_BENEATH,              /* what leads out of the directory is EXDEV: a workspace */
	WALK_IN_ROOT,              /* the directory is "/" for absolute links and "..": a whole file system */
};

/* Open `path` (terminated) as openat2 would with RESOLVE_BENEATH or RESOLVE_IN_ROOT, and RESOLVE_NO_MAGICLINKS.
 * Where the kernel or a seccomp profile lacks openat2 the components are walked one by one with
 * the same outcome. O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added unless flags has O_PATH.
 * Returns a descriptor, or -1 with errno: EXDEV escapes, ELOOP too many links or a magic link. */
int walk_open(int directory, const char *path, enum walk_mode mode, int flags, mode_t create_mode);

/* For tests: act as if the kernel had no openat2. */
extern bool walk_without_openat2;

#endif
