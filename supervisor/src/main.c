/* One binary, five persons: PID 1 of a session, the relay of a second client, its own installer, the copier of a workspace, and
 * its version. */
#include <stdio.h>
#include <string.h>

#include "copy.h"
#include "install.h"
#include "loop.h"
#include "relay.h"
#include "startup.h"

#ifndef FUMEHOOD_BUILD_ID
#define FUMEHOOD_BUILD_ID "development"
#endif

int main(int argc, char **argv)
{
	if (argc <= 1) {
		startup();
		loop_run();
	}
	if (argc == 2 && strcmp(argv[1], "relay") == 0)
		return relay();
	if (argc == 3 && strcmp(argv[1], "install") == 0)
		return install(argv[2]);
	if (argc == 4 && strcmp(argv[1], "copy") == 0)
		return copy_tree(argv[2], argv[3]);
	if (argc == 2 && strcmp(argv[1], "version") == 0)
		return printf("fumehood supervisor %s\n", FUMEHOOD_BUILD_ID) < 0;
	fprintf(stderr, "usage: supervisor [version | relay | install TARGET | copy FROM TO]\n");
	return INSTALL_USAGE;
}
