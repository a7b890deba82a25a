/* Watches a directory and puts a link in the place of every temporary name that appears in it, before that is renamed
 * to where it belongs. Arguments: the directory, and where the link leads. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static char events[65536];

int main(int argc, char **argv)
{
	int watch = inotify_init();

	if (argc != 3 || watch < 0 || inotify_add_watch(watch, argv[1], IN_CREATE) < 0 ||
	    chdir(argv[1]) < 0) {
		perror("watch");
		return 1;
	}
	puts("up");
	fflush(stdout);
	for (;;) {
		ssize_t size = read(watch, events, sizeof(events));

		for (ssize_t at = 0; at < size;) {
			struct inotify_event *event = (struct inotify_event *)(void *)(events + at);

			if (event->len && strncmp(event->name, ".fumehood-", 10) == 0 && unlink(event->name) == 0)
				(void)!symlink(argv[2], event->name);
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	}
}
