/* Kills everybody that it may, again and again, but for itself: kill(-1) spares the sender. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	static const int numbers[] = {SIGSTOP, SIGCONT, SIGKILL};

	for (int round = 0; round < 200; round++)
		for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
			kill(-1, numbers[i]);
	kill(0, SIGCONT);
	printf("done\n");
	return 0;
}
