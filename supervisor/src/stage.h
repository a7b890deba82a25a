/* The stage hand: a process that stays root, with CAP_CHOWN alone, until the configuration is known. It does the two
 * things that need root, before any workload runs, and ends: /etc/hosts, which an engine does not
 * write without a network, and the workspace's owner. PID 1 itself never holds CAP_CHOWN for it. */
#ifndef FUMEHOOD_STAGE_H
#define FUMEHOOD_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "wire_table.h"

struct stage_order {
	uint32_t uid, gid;
	bool chown_workspace, write_hosts;
	char workdir[WIRE_MAX_PATH + 1];
};

struct stage_report {
	uint32_t error, err_no;
};

_Noreturn void stage_main(int order_fd, int report_fd);

#endif
