/* Run all tests, or those whose file or sentence holds one of the arguments. */
#define _GNU_SOURCE
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

/* A test that hangs is ended by SIGALRM; under valgrind-like slowness it has room. */
#define DEADLINE_SECONDS 300
#define MAX_TESTS 512

static struct {
	const char *file, *sentence;
	test_function function;
} tests[MAX_TESTS];
static unsigned count;
static uint64_t state;
static char directory[64];

void test_register(const char *file, const char *sentence, test_function function)
{
	if (count == MAX_TESTS)
		abort();
	tests[count].file = file;
	tests[count].sentence = sentence;
	tests[count++].function = function;
}

void test_fail(const char *file, int line, const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fprintf(stderr, "\t%s:%d: ", file, line);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	_exit(1);
}

/* splitmix64 */
uint32_t test_random(void)
{
	uint64_t value = state += 0x9e3779b97f4a7c15u;

	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
	value = (value ^ value >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)(value ^ value >> 31);
}

uint32_t test_below(uint32_t bound)
{
	return test_random() % bound;
}

const char *test_directory(void)
{
	return directory;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status;
	(void)kind;
	(void)place;
	return remove(path);
}

static int run_child(unsigned index)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		alarm(DEADLINE_SECONDS);
		tests[index].function();
		fflush(stdout);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	if (WIFSIGNALED(status))
		fprintf(stderr, "\tended by signal %d\n", WTERMSIG(status));
	return status;
}

static bool wanted(unsigned index, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strstr(tests[index].file, argv[i]) != NULL || strstr(tests[index].sentence, argv[i]) != NULL)
			return true;
	}
	return argc == 1;
}

int main(int argc, char **argv)
{
	const char *seed = getenv("FUMEHOOD_TEST_SEED");
	unsigned ran = 0, failed = 0;

	for (unsigned i = 0; i < count; i++) {
		if (!wanted(i, argc, argv))
			continue;
		state = seed == NULL ? 1 : strtoull(seed, NULL, 10);
		strcpy(directory, "/tmp/fumehood-test-XXXXXX");
		if (mkdtemp(directory) == NULL)
			abort();
		/* A workload's user must get in. */
		chmod(directory, 0777);
		ran++;
		if (run_child(i) != 0) {
			failed++;
			fprintf(stderr, "FAILED %s: %s\n", tests[i].file, tests[i].sentence);
		} else if (getenv("FUMEHOOD_TEST_VERBOSE") != NULL) {
			printf("ok %s: %s\n", tests[i].file, tests[i].sentence);
		}
		nftw(directory, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	}
	printf("%u tests, %u failed\n", ran, failed);
	return failed > 0 || ran == 0;
}
