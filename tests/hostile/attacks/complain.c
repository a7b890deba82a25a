/* Says its argument on standard error, and fails. */
#include <stdio.h>

int main(int argc, char **argv)
{
	if (argc > 1)
		fputs(argv[1], stderr);
	return 3;
}
