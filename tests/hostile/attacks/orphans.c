/* Makes so many orphans, argument 1, that end at once, and never waits for anybody. Prints how many it has made. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A parent that is gone before its children are. */
static void make_family(int children)
{
	int gate[2];
	char byte;

	if (pipe(gate) < 0)
		_exit(1);
	for (int i = 0; i < children; i++) {
		pid_t pid = fork();

		if (pid < 0)
			_exit(i);
		if (pid == 0) {
			close(gate[1]);
			(void)!read(gate[0], &byte, 1); /* until the parent has ended */
			_exit(0);
		}
	}
	_exit(children);
}

int main(int argc, char **argv)
{
	int wanted = argc > 1 ? atoi(argv[1]) : 100, made = 0;

	while (made < wanted) {
		pid_t parent = fork();
		int status;

		if (parent == 0)
			make_family(20);
		/* At the process limit, until there is room again. */
		if (parent > 0 && waitpid(parent, &status, 0) == parent)
			made += WEXITSTATUS(status);
	}
	printf("made\n");
	return 0;
}
