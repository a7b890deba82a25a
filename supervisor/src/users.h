/* Who a command runs as: `user=` looked up in the container's own user database, as Docker does it.
 *
 * Runs in a helper process with a deadline: the database belongs to the image and the workload, and is hostile input.
 */
#ifndef FUMEHOOD_USERS_H
#define FUMEHOOD_USERS_H

#include <stdint.h>

/* The uid and gid of the supervisor itself. No workload may have either. */
#define RESERVED_ID 64999u

#define IDENTITY_GROUPS 64

struct identity {
	uint32_t uid, gid;
	uint32_t group_count;
	uint32_t groups[IDENTITY_GROUPS]; /* supplementary ones; more than fit are left out, which only takes rights away */
	char home[4096];           /* "/" when the database does not say */
	char name[256];            /* empty when the database does not say */
	char shell[256];           /* likewise */
};

/* Look `spec` up: "name", "uid", "name:group", "uid:gid" and mixtures; "" is root. "root" and numbers need no
 * database. Without a group the gid is the database's or 0, and the supplementary groups are those
 * that list the user; with one, it is the only group.
 * Returns 0, ERROR_USER_NOT_FOUND, ERROR_USER_REFUSED (the reserved id) or ERROR_INVALID (not a user at all). */
uint32_t users_resolve(const char *spec, struct identity *out);

/* The same in another root directory, for tests. */
uint32_t users_resolve_in(int root_fd, const char *spec, struct identity *out);

#endif
