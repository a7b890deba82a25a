#define _GNU_SOURCE
#include "store.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of some: nobody may execute it. */
#define NO_EXECUTION 0x0008U
#define CLOSE_ON_EXEC 0x0001U

int store_open(void)
{
	int fd = (int)syscall(SYS_memfd_create, "log", CLOSE_ON_EXEC | NO_EXECUTION);

	/* Kernels before 6.3 do not know that flag. */
	if (fd < 0 && errno == EINVAL)
		fd = (int)syscall(SYS_memfd_create, "log", CLOSE_ON_EXEC);
	return fd;
}

static size_t piece(uint32_t capacity, uint64_t offset, size_t n)
{
	size_t left = (size_t)(capacity - offset % capacity);

	return n < left ? n : left;
}

bool store_write(int fd, uint32_t capacity, uint64_t offset, const uint8_t *data, size_t n)
{
	while (n) {
		ssize_t done = pwrite(fd, data, piece(capacity, offset, n), (off_t)(offset % capacity));

		if (done <= 0)
			return false;
		data += done;
		offset += (uint64_t)done;
		n -= (size_t)done;
	}
	return true;
}

bool store_read(int fd, uint32_t capacity, uint64_t offset, uint8_t *data, size_t n)
{
	while (n) {
		ssize_t done = pread(fd, data, piece(capacity, offset, n), (off_t)(offset % capacity));

		if (done <= 0)
			return false;
		data += done;
		offset += (uint64_t)done;
		n -= (size_t)done;
	}
	return true;
}
