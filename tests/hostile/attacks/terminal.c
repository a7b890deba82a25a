/* Types into a terminal of its own, where that would be seen: as if it were somebody else's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../supervisor/probe/say.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

int main(void)
{
	char paste[16] = {3 /* paste the selection */};
	int master, slave, unlocked = 0;

	/* A child can begin a session, with a terminal that controls it; its parent may lead one already. */
	if (fork())
		return wait(NULL) < 0;
	setsid();
	master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	ioctl(master, TIOCSPTLCK, &unlocked);
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	say("terminal", slave);
	say("controls", ioctl(slave, TIOCSCTTY, 0));
	say("sti", ioctl(slave, TIOCSTI, "x"));
	say("sti-high-bit", syscall(SYS_ioctl, slave, 1L << 32 | TIOCSTI, "x"));
	say("linux", ioctl(slave, TIOCLINUX, paste));
	say("linux-high-bit", syscall(SYS_ioctl, slave, 1L << 32 | TIOCLINUX, paste));
	say("console", ioctl(slave, TIOCCONS, 0));
	return 0;
}
