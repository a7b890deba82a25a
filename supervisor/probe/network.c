/* Tries every way to reach somebody. Told is each address that could be reached or at least be sent to, each family of
 * sockets that opens, each network device, and what could be changed about them. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "attack.h"
#include "say.h"

#define PATIENCE_MS 1000

static unsigned short port = 53;

/* Of somebody that cannot be reached the kernel knows at once; where it does not, there was a way. */
static int connects(int fd, const struct sockaddr *address, socklen_t size)
{
	struct pollfd wait = {.fd = fd, .events = POLLOUT};
	int error = 0;
	socklen_t error_size = sizeof(error);

	if (connect(fd, address, size) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -1;
	if (poll(&wait, 1, PATIENCE_MS) == 0)
		return 0; /* on its way to somebody who does not answer */
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
	errno = error;
	return error ? -1 : 0;
}

static void try_connect(const char *what, int family, int type, int protocol, const struct sockaddr *address,
			socklen_t size)
{
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

	say(what, fd < 0 ? -1 : connects(fd, address, size));
	if (fd >= 0)
		close(fd);
}

static void try_send(const char *what, const struct sockaddr *address, socklen_t size, int family, int type,
		     int protocol, int flags)
{
	static const char packet[16] = {8 /* also an ICMP echo request */};
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	int on = 1;

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
	say(what, fd < 0 ? -1 : sendto(fd, packet, sizeof(packet), flags | MSG_NOSIGNAL, address, size));
	if (fd >= 0)
		close(fd);
}

static void try_ipv4(const char *text)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	const struct sockaddr *any = (const struct sockaddr *)&address;
	char name[64];

	inet_pton(AF_INET, text, &address.sin_addr);
	snprintf(name, sizeof(name), "tcp-%s", text);
	try_connect(name, AF_INET, SOCK_STREAM, 0, any, sizeof(address));
	snprintf(name, sizeof(name), "mptcp-%s", text);
	try_connect(name, AF_INET, SOCK_STREAM, 262, any, sizeof(address));
	snprintf(name, sizeof(name), "sctp-%s", text);
	try_connect(name, AF_INET, SOCK_STREAM, 132, any, sizeof(address));
	snprintf(name, sizeof(name), "fastopen-%s", text);
	try_send(name, any, sizeof(address), AF_INET, SOCK_STREAM, 0, 0x20000000 /* MSG_FASTOPEN */);
	snprintf(name, sizeof(name), "udp-%s", text);
	try_send(name, any, sizeof(address), AF_INET, SOCK_DGRAM, 0, 0);
	snprintf(name, sizeof(name), "udp-without-route-%s", text);
	try_send(name, any, sizeof(address), AF_INET, SOCK_DGRAM, 0, MSG_DONTROUTE);
	snprintf(name, sizeof(name), "udplite-%s", text);
	try_send(name, any, sizeof(address), AF_INET, SOCK_DGRAM, 136, 0);
	snprintf(name, sizeof(name), "ping-%s", text);
	try_send(name, any, sizeof(address), AF_INET, SOCK_DGRAM, IPPROTO_ICMP, 0);
	snprintf(name, sizeof(name), "raw-%s", text);
	try_send(name, any, sizeof(address), AF_INET, SOCK_RAW, IPPROTO_RAW, 0);
}

static void try_ipv6(const char *text)
{
	/* Link-local addresses need a device; the first one is all there is. */
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = 1};
	const struct sockaddr *any = (const struct sockaddr *)&address;
	char name[64];

	inet_pton(AF_INET6, text, &address.sin6_addr);
	snprintf(name, sizeof(name), "tcp-%s", text);
	try_connect(name, AF_INET6, SOCK_STREAM, 0, any, sizeof(address));
	snprintf(name, sizeof(name), "udp-%s", text);
	try_send(name, any, sizeof(address), AF_INET6, SOCK_DGRAM, 0, 0);
	snprintf(name, sizeof(name), "ping-%s", text);
	try_send(name, any, sizeof(address), AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6, 0);
}

static void try_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[160];

	/* '@' for the NUL of an abstract name, as everybody writes it. */
	memcpy(address.sun_path, path, strlen(path));
	snprintf(name, sizeof(name), "unix-%s", path);
	if (address.sun_path[0] == '@')
		address.sun_path[0] = '\0';
	try_connect(name, AF_UNIX, SOCK_STREAM, 0, (const struct sockaddr *)&address,
		    (socklen_t)(sizeof(sa_family_t) + strlen(path)));
}

static int opens(int family)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_RAW, SOCK_RDM};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		for (int protocol = 0; protocol < 32; protocol++) {
			int fd = socket(family, types[i] | SOCK_CLOEXEC, protocol);

			if (fd >= 0) {
				close(fd);
				return 1;
			}
		}
	return 0;
}

static void tell_families(void)
{
	for (int family = 1; family < 64; family++)
		if (opens(family))
			printf("family-%d ok\n", family);
}

static void tell_devices(void)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) < 0)
		return;
	for (struct ifaddrs *one = all; one; one = one->ifa_next)
		printf("device-%s ok\n", one->ifa_name);
	freeifaddrs(all);
}

/* Asks the kernel to change something about the network, and tells its answer. */
static void try_netlink(const char *what, int type, const void *body, size_t size, const char *kind)
{
	struct { struct nlmsghdr head; char rest[512]; } request = {.head = {
		.nlmsg_type = (unsigned short)type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE,
	}};
	struct { struct nlmsghdr head; struct nlmsgerr error; char rest[512]; } answer = {0};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	memcpy(NLMSG_DATA(&request.head), body, size);
	request.head.nlmsg_len = (unsigned int)NLMSG_LENGTH(size);
	if (kind) {
		/* IFLA_LINKINFO { IFLA_INFO_KIND: kind } */
		struct rtattr *outer = (struct rtattr *)((char *)&request + NLMSG_ALIGN(request.head.nlmsg_len));
		struct rtattr *inner = RTA_DATA(outer);

		inner->rta_type = IFLA_INFO_KIND;
		inner->rta_len = (unsigned short)RTA_LENGTH(strlen(kind));
		memcpy(RTA_DATA(inner), kind, strlen(kind));
		outer->rta_type = IFLA_LINKINFO;
		outer->rta_len = (unsigned short)RTA_LENGTH(RTA_ALIGN(inner->rta_len));
		request.head.nlmsg_len = (unsigned int)(NLMSG_ALIGN(request.head.nlmsg_len) + RTA_ALIGN(outer->rta_len));
	}
	if (fd < 0 || send(fd, &request, request.head.nlmsg_len, 0) < 0) {
		say(what, -1);
	} else if (recv(fd, &answer, sizeof(answer), 0) < 0) {
		say(what, -1);
	} else {
		errno = -answer.error.error;
		say(what, answer.error.error ? -1 : 0);
	}
	if (fd >= 0)
		close(fd);
}

static void try_changes(void)
{
	struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
	struct ifinfomsg loopback = {.ifi_family = AF_UNSPEC, .ifi_index = 1, .ifi_change = IFF_UP};
	struct ifaddrmsg address = {.ifa_family = AF_INET, .ifa_prefixlen = 8, .ifa_index = 1};
	struct rtmsg route = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
			      .rtm_type = RTN_UNICAST};
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	static const char *const kinds[] = {"dummy", "veth", "bridge", "vxlan", "gre", "wireguard", "macvlan"};
	char name[64];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(name, sizeof(name), "new-link-%s", kinds[i]);
		try_netlink(name, RTM_NEWLINK, &link, sizeof(link), kinds[i]);
	}
	try_netlink("loopback-down", RTM_NEWLINK, &loopback, sizeof(loopback), NULL);
	try_netlink("new-address", RTM_NEWADDR, &address, sizeof(address), NULL);
	try_netlink("new-route", RTM_NEWROUTE, &route, sizeof(route), NULL);
	say("ioctl-flags", ioctl(fd, SIOCSIFFLAGS, &request));
	say("ioctl-address", ioctl(fd, SIOCSIFADDR, &request));
	say("ioctl-name", ioctl(fd, 0x8923 /* SIOCSIFNAME */, &request));
	say("socket-mark", setsockopt(fd, SOL_SOCKET, SO_MARK, &(int){1}, sizeof(int)));
	say("socket-debug", setsockopt(fd, SOL_SOCKET, SO_DEBUG, &(int){1}, sizeof(int)));
	say("receive-buffer-force", setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){1 << 28}, sizeof(int)));
	say("transparent", setsockopt(fd, SOL_IP, 19 /* IP_TRANSPARENT */, &(int){1}, sizeof(int)));
	say("packet-raw", socket(AF_PACKET, SOCK_RAW, 0x0300));
	say("packet-dgram", socket(AF_PACKET, SOCK_DGRAM, 0x0300));
	say("tun", open("/dev/net/tun", O_RDWR));
	say("supervisors-network", open("/proc/1/ns/net", O_RDONLY));
}

ATTACK(network)(int argc, char **argv)
{
	static const char *const ipv4[] = {"172.17.0.1", "172.17.0.2", "10.0.0.1", "192.168.1.1", "1.1.1.1", "8.8.8.8",
					   "169.254.169.254", "100.100.100.200", "255.255.255.255", "224.0.0.251"};
	static const char *const ipv6[] = {"2001:4860:4860::8888", "fe80::1", "ff02::1", "fd00:ec2::254",
					   "::ffff:1.1.1.1", "::ffff:169.254.169.254"};
	static const char *const locals[] = {"/var/run/docker.sock", "/run/docker.sock",
					     "/run/containerd/containerd.sock", "@/containerd-shim/moby",
					     "@/tmp/.X11-unix/X0", "@/org/kernel/udev/udevd"};

	/* Whoever is given by the test: the addresses of the very machine, and where it listens. */
	for (int i = 1; i < argc; i++)
		if (sscanf(argv[i], "port=%hu", &port) != 1)
			(strchr(argv[i], ':') ? try_ipv6 : try_ipv4)(argv[i]);
	for (size_t i = 0; i < sizeof(ipv4) / sizeof(ipv4[0]); i++)
		try_ipv4(ipv4[i]);
	for (size_t i = 0; i < sizeof(ipv6) / sizeof(ipv6[0]); i++)
		try_ipv6(ipv6[i]);
	for (size_t i = 0; i < sizeof(locals) / sizeof(locals[0]); i++)
		try_unix(locals[i]);
	try_changes();
	tell_families();
	tell_devices();
	return 0;
}
