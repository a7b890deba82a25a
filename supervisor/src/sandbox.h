/* The seccomp filter of every child, on top of the engine's own profile. */
#ifndef FUMEHOOD_SANDBOX_H
#define FUMEHOOD_SANDBOX_H

#include <stdint.h>

/* Install the filter in the calling thread, for it and all its children, for ever. no_new_privs must be set.
 * One system call, no memory. Returns 0, or -1 with errno (EINVAL: the kernel has no seccomp filter).
 * reserved_id: the uid and gid of the supervisor, which no set*uid or set*gid call may name. */
int sandbox_install(uint32_t reserved_id);

#endif
