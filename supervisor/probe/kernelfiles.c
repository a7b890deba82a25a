/* Walks over the files that the kernel makes, and tells which of them can be written, and which of those given as
 * arguments say anything. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attack.h"
#include "say.h"

static long tried;

static int is_process(const char *name)
{
	return strspn(name, "0123456789") == strlen(name) || strcmp(name, "self") == 0 ||
	       strcmp(name, "thread-self") == 0;
}

/* Nothing is written: the kernel asks for all that it wants to know at open, or nothing is safe to try. */
static void walk(int parent, const char *name, const char *path, int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	struct stat own;
	DIR *directory;

	if (fd < 0 || !(directory = fdopendir(fd)))
		return;
	tried++;
	/* To what it is already: the entries of /proc are the whole machine's, whoever mounts them. Its root is not. */
	if (depth > 0 && fstat(fd, &own) == 0 && fchmod(fd, own.st_mode & 07777) == 0)
		printf("chmod %s\n", path);
	if (mkdirat(fd, "fumehood-attack", 0755) == 0) {
		printf("made %s/fumehood-attack\n", path);
		unlinkat(fd, "fumehood-attack", AT_REMOVEDIR);
	}
	while ((entry = readdir(directory))) {
		char below[1024];
		struct stat status;
		int file;

		if (entry->d_name[0] == '.' || (depth == 0 && strcmp(path, "/proc") == 0 && is_process(entry->d_name)))
			continue;
		if (fstatat(fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >= (int)sizeof(below))
			continue;
		if (S_ISDIR(status.st_mode)) {
			walk(fd, entry->d_name, below, depth + 1);
			continue;
		}
		if (!S_ISREG(status.st_mode))
			continue;
		tried++;
		file = openat(fd, entry->d_name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (file >= 0) {
			printf("writable %s\n", below);
			close(file);
		}
		if (fchmodat(fd, entry->d_name, status.st_mode & 07777, 0) == 0)
			printf("chmod %s\n", below);
	}
	closedir(directory);
}

/* A masked file is empty, a masked directory has nothing in it. */
static void tell_content(const char *path)
{
	char text[64];
	struct dirent *entry;
	DIR *directory = opendir(path);
	int fd;

	if (directory) {
		while ((entry = readdir(directory)))
			if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
				printf("entry %s/%s\n", path, entry->d_name);
		closedir(directory);
		return;
	}
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text)) > 0)
		printf("readable %s\n", path);
	/* What cannot be read can sometimes be mapped. */
	if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED)
		printf("mappable %s\n", path);
	close(fd);
}

static void tell_devices(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	struct stat status;

	while (directory && (entry = readdir(directory))) {
		char below[1024];

		if (entry->d_name[0] == '.' || snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >= 1024 ||
		    lstat(below, &status) < 0)
			continue;
		if (S_ISDIR(status.st_mode))
			tell_devices(below);
		else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))
			printf("device %s %c %u:%u\n", below, S_ISCHR(status.st_mode) ? 'c' : 'b',
			       major(status.st_rdev), minor(status.st_rdev));
	}
	if (directory)
		closedir(directory);
}

static void try_nodes(void)
{
	static const struct { const char *name; mode_t mode; unsigned int major, minor; } nodes[] = {
		{"mem", S_IFCHR, 1, 1}, {"kmem", S_IFCHR, 1, 2}, {"port", S_IFCHR, 1, 4}, {"kmsg", S_IFCHR, 1, 11},
		{"kvm", S_IFCHR, 10, 232}, {"fuse", S_IFCHR, 10, 229}, {"tun", S_IFCHR, 10, 200},
		{"loop-control", S_IFCHR, 10, 237}, {"vsock", S_IFCHR, 10, 120}, {"tty1", S_IFCHR, 4, 1},
		{"sda", S_IFBLK, 8, 0}, {"vda", S_IFBLK, 254, 0}, {"nvme0n1", S_IFBLK, 259, 0}, {"null", S_IFCHR, 1, 3},
	};
	static const char *const places[] = {"/workspace", "/tmp", "/dev", "/dev/shm"};

	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		for (size_t j = 0; j < sizeof(places) / sizeof(places[0]); j++) {
			char path[64];

			snprintf(path, sizeof(path), "%s/attack-%s", places[j], nodes[i].name);
			if (mknod(path, nodes[i].mode | 0666, makedev(nodes[i].major, nodes[i].minor)) == 0) {
				printf("made %s\n", path);
				unlink(path);
			}
			tried++;
		}
}

ATTACK(kernelfiles)(int argc, char **argv)
{
	static const char *const roots[] = {"/proc", "/sys"};

	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++)
		walk(AT_FDCWD, roots[i], roots[i], 0);
	for (int i = 1; i < argc; i++)
		tell_content(argv[i]);
	tell_devices("/dev");
	try_nodes();
	printf("tried %ld\n", tried);
	return 0;
}
