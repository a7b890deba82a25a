/* Makes a file, a directory and a link of whatever name its argument is. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char name[4096];

	if (argc < 2 || open(argv[1], O_WRONLY | O_CREAT, 0644) < 0)
		return 1;
	snprintf(name, sizeof(name), "d%s", argv[1]);
	if (mkdir(name, 0755) < 0)
		return 2;
	snprintf(name, sizeof(name), "l%s", argv[1]);
	return symlink(argv[1], name) < 0;
}
