/* Searches everything that the process table shows of others for words, one on each line of its input. Prints for each
 * word how many files had it. The words come as input, so that the search does not find itself. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS 8
#define LARGEST (1 << 20)

static char input[4096], content[LARGEST];
static char *words[WORDS];
static int count, found[WORDS];

static void take_words(void)
{
	ssize_t length = read(0, input, sizeof(input) - 1);

	input[length > 0 ? length : 0] = '\0';
	for (char *word = strtok(input, "\n"); word && count < WORDS; word = strtok(NULL, "\n"))
		words[count++] = word;
}

static void search(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK);
	ssize_t got;
	size_t length = 0;

	while (fd >= 0 && length < LARGEST && (got = read(fd, content + length, LARGEST - length)) > 0)
		length += (size_t)got;
	close(fd);
	for (int i = 0; i < count; i++)
		found[i] += memmem(content, length, words[i], strlen(words[i])) != NULL;
}

static void search_process(const char *pid)
{
	static const char *const names[] = {
		"environ", "cmdline", "comm", "status", "maps", "mountinfo", "cgroup", "limits", "auxv", "fd/0", "fd/1",
		"fd/2", "fd/3", "root/etc/hosts", "task/1/environ", "attr/current", "sched", "wchan", "stack", "syscall",
	};
	char path[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "/proc/%.16s/%s", pid, names[i]);
		search(path);
	}
}

int main(void)
{
	DIR *list = opendir("/proc");
	struct dirent *entry;

	take_words();
	while (list && (entry = readdir(list)))
		if (atoi(entry->d_name) && atoi(entry->d_name) != getpid())
			search_process(entry->d_name);
	if (list)
		closedir(list);
	for (int i = 0; i < count; i++)
		printf("%d\n", found[i]);
	return 0;
}
