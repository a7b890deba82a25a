#define _GNU_SOURCE
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* What the engine's own profile may lack: engines differ by age, and a caller may have asked for another profile.
 *
 * - A foreign architecture (int80 and 32-bit programs on x86-64, AArch32 on arm64) ends the process with SIGSYS: its calls have
 *   other numbers, socketcall(2) hides its arguments in memory, and a whole 32-bit program under an errno
 *   would spin in its own exit loop, since that is refused too. x32 gets ENOSYS, which is what
 *   kernels without it answer, so that a probe of a 64-bit program does not end it.
 * - AF_VSOCK is no part of the network namespace: it reaches the host of a virtual machine. AF_ALG has had
 *   kernel bugs that cross containers. EAFNOSUPPORT is what kernels without them answer.
 * - io_uring does everything else without a system call that a filter could see. ENOSYS: programs fall back.
 * - TIOCSTI and TIOCLINUX type into a terminal that is shared with somebody.
 * - The kernel lets root, with no capability at all, name anybody as the owner of a descriptor and choose the signal
 *   that the owner gets. Whoever is named cannot ignore SIGKILL and SIGSTOP, so no descriptor may send these two.
 * - No call may take the supervisor's uid or gid, whatever capability the workload was granted. setgroups(2)
 *   takes its list from memory, which a filter cannot see: nothing rests on the reserved id as
 *   a *supplementary* group. A user namespace is no way round: what it maps, the kernel translates back.
 *
 * Arguments are 32 bits wide to the kernel here (int, unsigned int, uid_t), so only the low half of a register is
 * compared: a filter that compared all of it would be passed by with a bit set in the upper half.
 */

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#define HAS_X32 1
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#else
#error "the supervisor knows x86-64 and arm64 only"
#endif

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif

#define X32_BIT 0x40000000u

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
/* Both architectures are little-endian: the low half of an argument comes first. */
#define LOAD_ARGUMENT(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, args[n]))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define REFUSE(error) RETURN(SECCOMP_RET_ERRNO | (error))
#define IF_EQUAL(value, then_skip, else_skip) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), then_skip, else_skip)
/* Refuse the one call in the accumulator. */
#define REFUSE_CALL(number, error) IF_EQUAL(number, 0, 1), REFUSE(error)
/* Refuse a call whose argument has one of two values; 6 instructions, which end in "allow". */
#define REFUSE_VALUES(number, argument, one, two, error) \
	IF_EQUAL(number, 0, 5), LOAD_ARGUMENT(argument), IF_EQUAL(one, 1, 0), IF_EQUAL(two, 0, 1), \
		REFUSE(error), RETURN(SECCOMP_RET_ALLOW)
/* The same for two arguments of one call, of which the first has to have one value; 8 instructions. */
#define REFUSE_PAIRS(number, argument, value, other, one, two, error) \
	IF_EQUAL(number, 0, 7), LOAD_ARGUMENT(argument), IF_EQUAL(value, 0, 4), LOAD_ARGUMENT(other), \
		IF_EQUAL(one, 1, 0), IF_EQUAL(two, 0, 1), REFUSE(error), RETURN(SECCOMP_RET_ALLOW)
/* Refuse calls that name the reserved id in their first one, two or three arguments. */
#define REFUSE_ID(number, id) \
	IF_EQUAL(number, 0, 4), LOAD_ARGUMENT(0), IF_EQUAL(id, 0, 1), REFUSE(EPERM), RETURN(SECCOMP_RET_ALLOW)
#define REFUSE_ID2(number, id) \
	IF_EQUAL(number, 0, 6), LOAD_ARGUMENT(0), IF_EQUAL(id, 2, 0), LOAD_ARGUMENT(1), \
		IF_EQUAL(id, 0, 1), REFUSE(EPERM), RETURN(SECCOMP_RET_ALLOW)
#define REFUSE_ID3(number, id) \
	IF_EQUAL(number, 0, 8), LOAD_ARGUMENT(0), IF_EQUAL(id, 4, 0), LOAD_ARGUMENT(1), \
		IF_EQUAL(id, 2, 0), LOAD_ARGUMENT(2), IF_EQUAL(id, 0, 1), REFUSE(EPERM), \
		RETURN(SECCOMP_RET_ALLOW)

/* The kernel finds out once, for each call that no test below names, that its answer is always "allow", and does not run the
 * filter for it again (since 5.11), so the length of the chain costs nothing. */
int sandbox_install(uint32_t reserved_id)
{
	struct sock_filter code[] = {
		LOAD(arch),
		IF_EQUAL(NATIVE, 1, 0),
		RETURN(SECCOMP_RET_KILL_PROCESS),
		LOAD(nr),
#ifdef HAS_X32
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1),
		REFUSE(ENOSYS),
#endif
		REFUSE_VALUES(SYS_socket, 0, AF_VSOCK, AF_ALG, EAFNOSUPPORT),
		REFUSE_VALUES(SYS_socketpair, 0, AF_VSOCK, AF_ALG, EAFNOSUPPORT),
		REFUSE_VALUES(SYS_ioctl, 1, TIOCSTI, TIOCLINUX, EPERM),
		REFUSE_PAIRS(SYS_fcntl, 1, F_SETSIG, 2, SIGKILL, SIGSTOP, EPERM),
		REFUSE_CALL(SYS_io_uring_setup, ENOSYS),
		REFUSE_CALL(SYS_io_uring_enter, ENOSYS),
		REFUSE_CALL(SYS_io_uring_register, ENOSYS),
		REFUSE_ID(SYS_setuid, reserved_id),
		REFUSE_ID(SYS_setgid, reserved_id),
		REFUSE_ID(SYS_setfsuid, reserved_id),
		REFUSE_ID(SYS_setfsgid, reserved_id),
		REFUSE_ID2(SYS_setreuid, reserved_id),
		REFUSE_ID2(SYS_setregid, reserved_id),
		REFUSE_ID3(SYS_setresuid, reserved_id),
		REFUSE_ID3(SYS_setresgid, reserved_id),
		RETURN(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof code / sizeof code[0], .filter = code };

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}
