/* Counts the processes of the session that are not the supervisor's: its own look at who is left. Prints the names of
 * the others but itself, one a line, then their number. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attack.h"

/* A name is the process's own to choose: only what is harmless of it is shown. */
static void tell_name(const char *pid)
{
	char path[64], name[64];
	FILE *file;
	size_t got;

	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	file = fopen(path, "r");
	got = file ? fread(name, 1, sizeof(name), file) : 0;
	if (file)
		fclose(file);
	for (size_t i = 0; i < got; i++)
		if (isalnum((unsigned char)name[i]))
			putchar(name[i]);
	putchar('\n');
}

ATTACK(census)(int argc, char **argv)
{
	struct stat first, other;
	struct dirent *entry;
	int count = 0;
	DIR *list = opendir("/proc");

	(void)argc;
	(void)argv;
	if (!list || stat("/proc/1", &first) < 0)
		return 1;
	while ((entry = readdir(list))) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%.16s", entry->d_name);
		if (!atoi(entry->d_name) || atoi(entry->d_name) == getpid() || stat(path, &other) < 0 ||
		    other.st_uid == first.st_uid)
			continue;
		count++;
		tell_name(entry->d_name);
	}
	closedir(list);
	printf("%d others\n", count);
	return 0;
}
