#define _GNU_SOURCE
#include "caps.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

const uint32_t caps_own = CAP_MASK(CAP_SETUID) | CAP_MASK(CAP_SETGID) | CAP_MASK(CAP_KILL);

const uint32_t caps_grantable = CAP_MASK(CAP_CHOWN) | CAP_MASK(CAP_DAC_OVERRIDE) | CAP_MASK(CAP_FOWNER) |
				CAP_MASK(CAP_FSETID) | CAP_MASK(CAP_SETUID) | CAP_MASK(CAP_SETGID) |
				CAP_MASK(CAP_NET_BIND_SERVICE);

uint32_t caps_permitted(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}};

	if (syscall(SYS_capget, &header, data) < 0)
		return 0;
	return data[0].permitted;
}

bool caps_set(uint32_t permitted, uint32_t effective, uint32_t inheritable)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}};

	data[0].permitted = permitted;
	data[0].effective = effective;
	data[0].inheritable = inheritable;
	return syscall(SYS_capset, &header, data) == 0;
}

/* The raw calls: this process has one thread, and libc's versions would first look for others. */
bool caps_become(const struct identity *identity, uint32_t caps)
{
	/* Its own group is among the others too: without it, a program that changes its gid would shed the rules that bind
	 * that group (CVE-2022-36109). */
	gid_t groups[IDENTITY_GROUPS + 1] = {identity->gid};
	size_t count = 1;

	for (uint32_t i = 0; i < identity->group_count; i++)
		if (identity->groups[i] != identity->gid)
			groups[count++] = identity->groups[i];
	if (syscall(SYS_setgroups, count, groups) < 0)
		return false;
	if (syscall(SYS_setresgid, identity->gid, identity->gid, identity->gid) < 0)
		return false;
	if (syscall(SYS_setresuid, identity->uid, identity->uid, identity->uid) < 0)
		return false;
	/* The kernel does this by itself unless fs.suid_dumpable says otherwise. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return false;
	if (!caps_set(caps, caps, caps))
		return false;
	for (unsigned int capability = 0; capability < 32; capability++)
		if (caps & CAP_MASK(capability) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
			return false;
	return true;
}
