#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files_fixture.h"
#include "walk.h"

static bool got(const struct answer *answer, const char *text)
{
	return answer->report.error == 0 && answer->length == strlen(text) &&
	       memcmp(answer->output, text, answer->length) == 0 && answer->report.size == answer->length;
}

/* --- read ---------------------------------------------------------------------------------------- */

TEST_BOTH("a file is read whole, from an offset, and from beyond its end")
{
	fixture_start();
	put_file("ws/f", "hello sandbox", 0644);
	CHECK(got(fixture_run(READ("f")), "hello sandbox"));
	CHECK(got(fixture_run(READ("f", .offset = 6)), "sandbox"));
	CHECK(got(fixture_run(READ("f", .offset = 13)), ""));
	CHECK(got(fixture_run(READ("f", .offset = 1 << 30)), ""));
	FAILS(READ("f", .offset = UINT64_MAX), ERROR_INVALID);
	put_file("ws/empty", "", 0644);
	CHECK(got(fixture_run(READ("empty")), ""));
}

TEST_BOTH("a file that holds more than the limit is refused before its first byte, with its size")
{
	const struct answer *answer;

	fixture_start();
	put_file("ws/f", "0123456789", 0644);
	CHECK(got(fixture_run(READ("f", .limit = 10)), "0123456789"));
	CHECK(got(fixture_run(READ("f", .limit = 4, .offset = 6)), "6789"));
	answer = fixture_run(READ("f", .limit = 9));
	EQUAL(answer->report.error, ERROR_TOO_LARGE);
	EQUAL(answer->report.size, 10);
	EQUAL(answer->length, 0);
	FAILS(READ("f", .limit = 0, .no_limit = true), ERROR_TOO_LARGE);
	put_file("ws/empty", "", 0644);
	WORKS(READ("empty", .limit = 0, .no_limit = true));
}

TEST("a file whose size lies is read to its end and no further than the limit")
{
	const struct answer *answer;

	fixture_start();
	answer = fixture_run(READ("proc/self/status", .whole = true));
	EQUAL(answer->report.error, 0);
	CHECK(answer->length > 100 && memcmp(answer->output, "Name:", 5) == 0);
	answer = fixture_run(READ("proc/self/status", .whole = true, .limit = 50));
	EQUAL(answer->report.error, ERROR_TOO_LARGE);
	CHECK(answer->length <= 50);
}

TEST("a file that grows while it is read ends at the limit")
{
	struct helper helper;
	uint8_t chunk[4096];
	uint64_t total = 0;
	ssize_t n;
	int fd, status;

	fixture_start();
	put_file("ws/f", "x", 0644);
	CHECK(truncate("ws/f", 1000000) == 0);
	helper = fixture_spawn(READ("f", .limit = 2000000));
	/* The pipe holds far less than the file: the helper is in the middle of it after one byte. */
	CHECK(read(helper.out_fd, chunk, 1) == 1);
	fd = open("ws/f", O_WRONLY);
	CHECK(fd >= 0 && ftruncate(fd, 50000000) == 0);
	for (total = 1; (n = read(helper.out_fd, chunk, sizeof chunk)) > 0; total += (uint64_t)n)
		;
	CHECK(waitpid(helper.pid, &status, 0) == helper.pid && status == 0);
	EQUAL(total, 2000000);
}

TEST_BOTH("what is no regular file is refused at once")
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "ws/socket" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	fixture_start();
	CHECK(mkdir("ws/directory", 0755) == 0 && mkfifo("ws/fifo", 0666) == 0);
	CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
	FAILS(READ("fifo"), ERROR_NOT_REGULAR);
	FAILS(READ("directory"), ERROR_IS_DIRECTORY);
	FAILS(READ("."), ERROR_IS_DIRECTORY);
	FAILS(READ("socket"), ERROR_NOT_REGULAR);
	FAILS(READ("dev/zero", .whole = true), ERROR_NOT_REGULAR);
	FAILS(READ("dev/tty", .whole = true), ERROR_NOT_REGULAR);
	FAILS(WRITE("fifo", "x"), ERROR_NOT_REGULAR);
	FAILS(WRITE("socket", "x"), ERROR_NOT_REGULAR);
	FAILS(WRITE("directory", "x"), ERROR_IS_DIRECTORY);
	FAILS(WRITE("directory/", "x"), ERROR_IS_DIRECTORY);
	FAILS(WRITE(".", "x"), ERROR_IS_DIRECTORY);
	FAILS(WRITE("dev/null", "x", .whole = true), ERROR_NOT_REGULAR);
}

TEST_BOTH("no path leads out of the workspace")
{
	static const char *const paths[] = { "../secret", "/etc/passwd", "a/../../secret", "out", "out_absolute",
					     "parent/secret", "//x", ".." };

	fixture_start();
	put_file("secret", "secret", 0644);
	CHECK(mkdir("ws/a", 0755) == 0 && symlink("../secret", "ws/out") == 0);
	CHECK(symlink("/etc/passwd", "ws/out_absolute") == 0 && symlink("..", "ws/parent") == 0);
	put_file("ws/a/in", "in", 0644);
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		FAILS(READ(paths[i]), ERROR_ESCAPES);
		FAILS(STAT(paths[i], .follow = true), ERROR_ESCAPES);
		if (strcmp(paths[i], "..") != 0)
			FAILS(WRITE(paths[i], "x", .parents = true), ERROR_ESCAPES);
		if (strncmp(paths[i], "out", 3) != 0) {
			FAILS(REMOVE(paths[i]), ERROR_ESCAPES);
			FAILS(RENAME("a/in", paths[i]), ERROR_ESCAPES);
			FAILS(RENAME(paths[i], "b"), ERROR_ESCAPES);
			FAILS(MKDIR(paths[i], .parents = true), ERROR_ESCAPES);
		}
	}
	CHECK(got(fixture_run(READ("a/../a/in")), "in"));
	CHECK(holds("secret", "secret"));
	EQUAL(names_in("."), 2);
}

TEST_BOTH("paths that are none are refused")
{
	char longest[WIRE_MAX_PATH + 2];
	struct call call = READ("x");

	fixture_start();
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	FAILS(READ(""), ERROR_INVALID);
	FAILS(READ("none"), ERROR_NOT_FOUND);
	FAILS(READ("none/x"), ERROR_NOT_FOUND);
	FAILS(READ(longest), ERROR_NAME_TOO_LONG);
	longest[256] = '\0';
	FAILS(READ(longest), ERROR_NAME_TOO_LONG);
	FAILS(WRITE(longest, "x"), ERROR_NAME_TOO_LONG);
	call.op = OPERATION_STATUS;
	FAILS(call, ERROR_UNSUPPORTED);
}

TEST("a NUL in a path is refused")
{
	struct file_request request = {
		.op = OPERATION_STAT, .path = (const uint8_t *)"f\0x", .path_len = 3
	};
	struct helper_report report;

	files_run(&request, -1, -1, -1, -1, -1, &report);
	EQUAL(report.error, ERROR_INVALID);
	SAME_TEXT(report.step, "path");
}

TEST_BOTH("the workload's rights hold, not the supervisor's")
{
	fixture_start();
	put_file("ws/f", "secret", 0600);
	CHECK(mkdir("ws/closed", 0700) == 0);
	put_file("ws/closed/f", "x", 0666);
	if (geteuid() != 0)
		CHECK(chmod("ws/f", 0) == 0 && chmod("ws/closed", 0) == 0);
	FAILS(READ("f", .as_workload = true), ERROR_PERMISSION);
	FAILS(WRITE("f", "x", .as_workload = true), ERROR_PERMISSION);
	FAILS(READ("closed/f", .as_workload = true), ERROR_PERMISSION);
	FAILS(WRITE("closed/new", "x", .as_workload = true), ERROR_PERMISSION);
	FAILS(LIST("closed", .as_workload = true), ERROR_PERMISSION);
	if (geteuid() == 0)
		CHECK(holds("ws/f", "secret"));
}

/* --- write --------------------------------------------------------------------------------------- */

TEST_BOTH("a new file gets the mode that was asked for, whatever the umask")
{
	const struct answer *answer;

	fixture_start();
	answer = fixture_run(WRITE("f", "hello", .mode = 0666));
	EQUAL(answer->report.error, 0);
	EQUAL(answer->report.size, 5);
	CHECK(holds("ws/f", "hello"));
	EQUAL(mode_of("ws/f"), 0666);
	WORKS(WRITE("empty", ""));
	CHECK(holds("ws/empty", ""));
	EQUAL(names_in("ws"), 2);
}

TEST_BOTH("a file is replaced and keeps its mode but for setuid and setgid")
{
	fixture_start();
	put_file("ws/f", "old and long", 0751);
	WORKS(WRITE("f", "new", .mode = 0600));
	CHECK(holds("ws/f", "new"));
	EQUAL(mode_of("ws/f"), 0751);
	CHECK(chmod("ws/f", 06755) == 0);
	WORKS(WRITE("f", "newer"));
	EQUAL(mode_of("ws/f"), 0755);
	EQUAL(names_in("ws"), 1);
}

TEST_BOTH("a write that is not committed leaves the old file and nothing else")
{
	fixture_start();
	put_file("ws/f", "old", 0644);
	FAILS(WRITE("f", "new", .ending = NO_COMMIT), ERROR_CANCELLED);
	FAILS(WRITE("f", "new", .ending = WRONG_BYTE), ERROR_CANCELLED);
	FAILS(WRITE("g", "new", .ending = NO_COMMIT), ERROR_CANCELLED);
	CHECK(holds("ws/f", "old"));
	EQUAL(names_in("ws"), 1);
}

TEST("a helper that is killed in the middle of a write leaves nothing behind")
{
	struct helper helper;
	int status;

	fixture_start();
	put_file("ws/f", "old", 0644);
	helper = fixture_spawn(WRITE("f", ""));
	CHECK(write(helper.in_fd, "new", 3) == 3);
	/* It has started to write once it has taken the bytes out of the pipe. */
	for (int waiting = 1; waiting != 0;) {
		CHECK(ioctl(helper.in_fd, FIONREAD, &waiting) == 0);
		sched_yield();
	}
	CHECK(kill(helper.pid, SIGKILL) == 0 && waitpid(helper.pid, &status, 0) == helper.pid);
	CHECK(holds("ws/f", "old"));
	EQUAL(names_in("ws"), 1);
}

TEST_BOTH("a write beyond the limit leaves nothing behind")
{
	fixture_start();
	put_file("ws/f", "old", 0644);
	FAILS(WRITE("f", "12345", .limit = 4), ERROR_TOO_LARGE);
	CHECK(holds("ws/f", "old"));
	WORKS(WRITE("f", "1234", .limit = 4));
	CHECK(holds("ws/f", "1234"));
	FAILS(WRITE("g", "1", .no_limit = true), ERROR_TOO_LARGE);
	WORKS(WRITE("g", "", .no_limit = true));
	EQUAL(names_in("ws"), 2);
}

TEST_BOTH("missing directories are made for a write that asks for it")
{
	fixture_start();
	FAILS(WRITE("a/b/c/f", "x"), ERROR_NOT_FOUND);
	WORKS(WRITE("a/b/c/f", "x", .parents = true));
	CHECK(holds("ws/a/b/c/f", "x"));
	EQUAL(mode_of("ws/a/b"), 0755);
	WORKS(WRITE("a/b/c/f", "y", .parents = true));
	put_file("ws/file", "", 0644);
	FAILS(WRITE("file/f", "x", .parents = true), ERROR_NOT_DIRECTORY);
	FAILS(WRITE("new/../../f", "x", .parents = true), ERROR_ESCAPES);
	CHECK(symlink("nowhere", "ws/dangling") == 0);
	FAILS(WRITE("dangling/f", "x", .parents = true), ERROR_NOT_FOUND);
}

TEST_BOTH("a write goes through a link to what it names beneath the workspace")
{
	fixture_start();
	CHECK(mkdir("ws/d", 0755) == 0 && mkdir("ws/d/e", 0755) == 0);
	put_file("ws/d/real", "old", 0640);
	CHECK(symlink("d/real", "ws/link") == 0 && symlink("../real", "ws/d/e/up") == 0);
	CHECK(symlink("d/e/up", "ws/twice") == 0 && symlink("d/new", "ws/dangling") == 0);
	CHECK(symlink("self", "ws/self") == 0);
	WORKS(WRITE("link", "one"));
	CHECK(holds("ws/d/real", "one"));
	WORKS(WRITE("twice", "two"));
	CHECK(holds("ws/d/real", "two"));
	EQUAL(mode_of("ws/d/real"), 0640);
	WORKS(WRITE("dangling", "three"));
	CHECK(holds("ws/d/new", "three"));
	FAILS(WRITE("self", "x"), ERROR_TOO_MANY_LINKS);
	CHECK(exists("ws/link") && mode_of("ws/link") == 0777);
	EQUAL(names_in("ws/d"), 3);
}

TEST_BOTH("a file that the workload may not write is not replaced")
{
	fixture_start();
	put_file("ws/f", "old", 0444);
	FAILS(WRITE("f", "new", .as_workload = true), ERROR_PERMISSION);
	CHECK(holds("ws/f", "old"));
	EQUAL(names_in("ws"), 1);
}

/* Put a small file system of the test's own at its directory; it goes with the process. */
static void mount_small(void)
{
	CHECK(unshare(CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) == 0);
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount("none", test_directory(), "tmpfs", 0, "size=256k") == 0);
}

TEST("a full file system is no_space, and the half-written file is gone")
{
	static char input[1 << 20];

	mount_small();
	fixture_start();
	put_file("ws/f", "old", 0644);
	FAILS(((struct call){ .op = OPERATION_WRITE, .path = "f", .input = input, .input_length = sizeof input }),
	      ERROR_NO_SPACE);
	CHECK(holds("ws/f", "old"));
	EQUAL(names_in("ws"), 1);
	WORKS(WRITE("f", "new"));
	CHECK(holds("ws/f", "new"));
}

TEST("the limit on file sizes of a process is too_large")
{
	static char input[100000];
	struct rlimit limit = { 50000, 50000 };

	fixture_start();
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	FAILS(((struct call){ .op = OPERATION_WRITE, .path = "f", .input = input, .input_length = sizeof input }),
	      ERROR_TOO_LARGE);
	EQUAL(names_in("ws"), 0);
}

TEST("megabytes pass unchanged both ways")
{
	size_t size = (20u << 20) + 12345;
	uint8_t *input = malloc(size);
	const struct answer *answer;

	CHECK(input != NULL);
	for (size_t i = 0; i < size; i++)
		input[i] = (uint8_t)(i * 2654435761u >> 13);
	fixture_start();
	WORKS(((struct call){ .op = OPERATION_WRITE, .path = "f", .input = input, .input_length = size,
			      .limit = size }));
	answer = fixture_run(READ("f", .limit = size));
	EQUAL(answer->report.error, 0);
	EQUAL(answer->length, size);
	CHECK(memcmp(answer->output, input, size) == 0);
	FAILS(((struct call){ .op = OPERATION_WRITE, .path = "f", .input = input, .input_length = size,
			      .limit = size - 1 }),
	      ERROR_TOO_LARGE);
}

/* --- races --------------------------------------------------------------------------------------- */

/* A process of the workload that makes "f" a file and a link out by turns, as fast as it can. */
static int start_flipping(void)
{
	int pid = fork();

	CHECK(pid >= 0);
	if (pid > 0)
		return pid;
	for (;;) {
		(void)!symlink("../secret", "ws/.flip");
		(void)!rename("ws/.flip", "ws/f");
		(void)!link("ws/good", "ws/.flip");
		(void)!rename("ws/.flip", "ws/f");
	}
}

TEST_BOTH("no race of a file with a link shows or changes what is outside")
{
	int pid, status;
	unsigned good = 0;

	fixture_start();
	put_file("secret", "secret", 0666);
	put_file("ws/good", "good", 0666);
	pid = start_flipping();
	for (int i = 0; i < 400; i++) {
		const struct answer *answer = fixture_run(READ("f"));

		CHECK(answer->length == 0 || memcmp(answer->output, "secret", 6) != 0);
		good += answer->length == 4 && memcmp(answer->output, "good", 4) == 0;
		(void)fixture_run(WRITE("f", "good"));
		CHECK(holds("secret", "secret"));
	}
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	CHECK(good > 0);
}
