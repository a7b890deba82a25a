/* Knocks at the door that relays come in by: `listener N` times, or without an end. A connection is "closed" when
 * the other side has ended it without a word. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../../supervisor/probe/say.h"

static const char name[] = "\0fumehood";

static int knock(void)
{
	/* A HELLO without a body, as a relay begins. */
	static const char hello[8] = {1};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char word;
	ssize_t got;

	memcpy(address.sun_path, name, sizeof(name) - 1);
	if (connect(fd, (struct sockaddr *)&address, (socklen_t)(sizeof(sa_family_t) + sizeof(name) - 1)) < 0) {
		close(fd);
		return 0;
	}
	(void)!send(fd, hello, sizeof(hello), MSG_NOSIGNAL);
	got = recv(fd, &word, 1, 0);
	close(fd);
	/* A reset, because it was closed with bytes unread, is no word either. */
	return got <= 0;
}

int main(int argc, char **argv)
{
	int closed = 0;

	if (argc > 1) {
		for (int i = atoi(argv[1]); i > 0; i--)
			closed += knock();
		printf("%d closed\n", closed);
		return 0;
	}
	puts("knocking");
	fflush(stdout);
	for (int i = 0; i < 8; i++)
		if (fork() == 0)
			break;
	for (;;)
		knock();
}
