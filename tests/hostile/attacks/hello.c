/* Proves that the session still runs programs. */
#include <stdio.h>

int main(void)
{
	puts("hello");
	return 0;
}
