#define _GNU_SOURCE
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "caps.h"

/* Only into a file that is missing or empty: an image's own list is left alone, and what cannot be written (a read-only
 * root) is done without, as in any container that has no such file. */
static void write_hosts(void)
{
	char name[256] = "", text[512];
	struct stat status;
	int fd, length;

	(void)mkdir("/etc", 0755);
	fd = open("/etc/hosts", O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	(void)gethostname(name, sizeof(name) - 1);
	length = snprintf(text, sizeof(text),
			  "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n", name);
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 0 && length > 0 &&
	    (size_t)length < sizeof(text))
		(void)!write(fd, text, (size_t)length);
	close(fd);
}

/* Through /proc: to open it for good, its mode would have to allow that already, and a workload may have closed a workspace
 * that others are to use again. */
static int open_up(int directory)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", directory);
	return chmod(path, 0755) < 0 ? errno : 0;
}

/* The directory is looked at and changed through one descriptor. While it is root's its mode is made
 * one that lets everybody in and nobody else write; what has another owner keeps the mode that this owner chose. */
static int hand_over(const struct stage_order *order)
{
	struct stat status;
	int fd = open(order->workdir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int failure = 0;

	if (fd < 0)
		return errno;
	if (fstat(fd, &status) < 0)
		failure = errno;
	else if (status.st_uid == 0 && (status.st_mode & 07777) != 0755)
		failure = open_up(fd);
	if (!failure && (status.st_uid != order->uid || status.st_gid != order->gid) &&
	    fchownat(fd, "", order->uid, order->gid, AT_EMPTY_PATH) < 0)
		failure = errno;
	close(fd);
	return failure;
}

_Noreturn void stage_main(int order_fd, int report_fd)
{
	static struct stage_order order;
	struct stage_report report = {0};
	uint32_t chown_only = caps_permitted() & CAP_MASK(CAP_CHOWN);
	size_t have = 0;

	if (!caps_set(chown_only, chown_only, 0))
		_exit(1);
	while (have < sizeof(order)) {
		ssize_t got = read(order_fd, (char *)&order + have, sizeof(order) - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			_exit(0); /* PID 1 ends without ever having been configured */
		have += (size_t)got;
	}
	if (order.write_hosts)
		write_hosts();
	if (order.chown_workspace)
		report.err_no = (uint32_t)hand_over(&order);
	if (report.err_no)
		report.error = report.err_no == ENOENT || report.err_no == ENOTDIR ? ERROR_CWD : ERROR_PERMISSION;
	(void)!write(report_fd, &report, sizeof(report));
	_exit(0);
}
