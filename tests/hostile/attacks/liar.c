/* In the supervisor's place: says what it was told to say. What that is comes in the session's environment, which the
 * client sends first of all, as "LIE=" and words that end with a semicolon:
 *
 *   s HEX      say these bytes            t MS    from here on, a pause before each byte
 *   r N HEX    the same N times, 0: for ever      w       wait until the client says something more
 *   n          noise for ever             e KIB   noise on standard error
 *   h          stay, deaf and silent      x CODE  exit
 *
 * Like the real one it can install itself; as a relay it makes noise.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static useconds_t pause_before_each;

static int install(const char *target)
{
	char fresh[256];
	struct stat status;
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to;

	snprintf(fresh, sizeof(fresh), "%s.new", target);
	to = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (from < 0 || to < 0 || fstat(from, &status) < 0)
		return 1;
	while (sendfile(to, from, NULL, (size_t)status.st_size) > 0)
		;
	return fchmod(to, 0111) < 0 || close(to) < 0 || rename(fresh, target) < 0;
}

static void say(const uint8_t *bytes, size_t size)
{
	size_t step = pause_before_each ? 1 : size;

	for (size_t at = 0; at < size;) {
		ssize_t done;

		usleep(pause_before_each);
		done = write(STDOUT_FILENO, bytes + at, step < size - at ? step : size - at);
		/* Nobody listens any more; that is no reason to go. */
		if (done < 0)
			pause();
		at += done > 0 ? (size_t)done : 0;
	}
}

/* By a generator of its own: the same bytes in every run. */
static void noise(int to, size_t kib)
{
	static uint32_t block[16384];
	static uint32_t state = 1;

	for (size_t sent = 0; !kib || sent < kib; sent += sizeof(block) / 1024) {
		for (size_t i = 0; i < sizeof(block) / sizeof(block[0]); i++)
			block[i] = state = state * 1664525u + 1013904223u;
		if (write(to, block, sizeof(block)) < 0)
			pause();
	}
}

static size_t from_hex(char *text)
{
	size_t size = strlen(text) / 2;

	for (size_t i = 0; i < size; i++) {
		unsigned int byte = 0;

		sscanf(text + 2 * i, "%2x", &byte);
		((uint8_t *)text)[i] = (uint8_t)byte;
	}
	return size;
}

static void listen_once(void)
{
	char heard[65536];

	if (read(STDIN_FILENO, heard, sizeof(heard)) <= 0)
		for (;;)
			pause();
}

static void act(char *words)
{
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
		char kind = *word;
		char *value = strchr("strex", kind) ? strtok(NULL, " ") : NULL;
		long times = 1;
		size_t size;

		if (kind == 'r') {
			times = atol(value);
			value = strtok(NULL, " ");
		}
		switch (kind) {
		case 's':
		case 'r':
			size = from_hex(value);
			for (long i = 0; !times || i < times; i++)
				say((uint8_t *)value, size);
			break;
		case 't':
			pause_before_each = (useconds_t)atoi(value) * 1000;
			break;
		case 'w':
			listen_once();
			break;
		case 'n':
			noise(STDOUT_FILENO, 0);
			break;
		case 'e':
			noise(STDERR_FILENO, (size_t)atol(value));
			break;
		case 'x':
			_exit(atoi(value));
		}
	}
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	static char heard[1 << 20];
	size_t size = 0;

	if (argc == 3 && strcmp(argv[1], "install") == 0)
		return install(argv[2]);
	if (argc == 2)
		noise(STDOUT_FILENO, 0);
	while (size < sizeof(heard)) {
		ssize_t got = read(STDIN_FILENO, heard + size, sizeof(heard) - size);
		char *words;

		if (got <= 0)
			return 1;
		size += (size_t)got;
		words = memmem(heard, size, "LIE=", 4);
		if (words && memchr(words, ';', size - (size_t)(words - heard))) {
			*strchr(words, ';') = '\0';
			act(words + 4);
		}
	}
	return 1;
}
