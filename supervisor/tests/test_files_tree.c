#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files_fixture.h"
#include "walk.h"

static const struct entry_text *entry(const struct answer *answer, const char *name)
{
	for (size_t i = 0; i < answer->count; i++) {
		if (strcmp(answer->entries[i].name, name) == 0)
			return &answer->entries[i];
	}
	return NULL;
}

/* Make "d/d/d/…" in the current directory, deeper than a path can say. */
static void make_deep(unsigned levels, const char *file_at_the_end)
{
	int fd = open(".", O_PATH | O_DIRECTORY);

	for (unsigned i = 0; i < levels; i++) {
		int next;

		CHECK(fd >= 0 && mkdirat(fd, "d", 0755) == 0);
		next = openat(fd, "d", O_PATH | O_DIRECTORY);
		close(fd);
		fd = next;
	}
	if (file_at_the_end != NULL)
		CHECK(close(openat(fd, file_at_the_end, O_CREAT | O_WRONLY, 0644)) == 0);
	close(fd);
}

/* --- list and stat ------------------------------------------------------------------------------- */

TEST_BOTH("a directory's entries are listed with all that is known of them, links unfollowed")
{
	const struct answer *answer;
	const struct entry_text *one;
	struct timespec times[2] = { { 5, 0 }, { 1700000000, 123456789 } };

	fixture_start();
	put_file("ws/f", "hello", 04750);
	CHECK(utimensat(AT_FDCWD, "ws/f", times, 0) == 0);
	CHECK(mkdir("ws/d", 0700) == 0 && mkfifo("ws/p", 0600) == 0);
	CHECK(symlink("../../anywhere", "ws/l") == 0);
	put_file("ws/.hidden", "", 0644);
	put_file("ws/d/inside", "", 0644);
	answer = fixture_run(LIST("."));
	EQUAL(answer->report.error, 0);
	EQUAL(answer->report.entries, 5);
	EQUAL(answer->count, 5);
	one = entry(answer, "f");
	CHECK(one != NULL);
	EQUAL(one->type, FILE_TYPE_FILE);
	EQUAL(one->size, 5);
	EQUAL(one->mode, 04750);
	EQUAL(one->uid, geteuid());
	EQUAL(one->gid, getegid());
	EQUAL(one->modified_ns, 1700000000123456789);
	EQUAL(entry(answer, "d")->type, FILE_TYPE_DIRECTORY);
	EQUAL(entry(answer, "p")->type, FILE_TYPE_FIFO);
	one = entry(answer, "l");
	EQUAL(one->type, FILE_TYPE_SYMLINK);
	SAME_TEXT(one->link, "../../anywhere");
	FAILS(LIST("f"), ERROR_NOT_DIRECTORY);
	FAILS(LIST("none"), ERROR_NOT_FOUND);
	FAILS(LIST(".."), ERROR_ESCAPES);
	FAILS(LIST("l"), ERROR_ESCAPES);
}

TEST_BOTH("a recursive listing names everything below and follows no link")
{
	const struct answer *answer;

	fixture_start();
	CHECK(mkdir("ws/a", 0755) == 0 && mkdir("ws/a/b", 0755) == 0 && mkdir("ws/empty", 0755) == 0);
	put_file("ws/a/b/f", "x", 0644);
	put_file("ws/g", "x", 0644);
	CHECK(symlink(".", "ws/a/loop") == 0 && symlink("/", "ws/a/root") == 0);
	answer = fixture_run(LIST(".", .recursive = true));
	EQUAL(answer->report.error, 0);
	EQUAL(answer->count, 7);
	CHECK(entry(answer, "a/b/f") != NULL && entry(answer, "a/loop") != NULL && entry(answer, "empty") != NULL);
	answer = fixture_run(LIST("a", .recursive = true));
	EQUAL(answer->count, 4);
	CHECK(entry(answer, "b/f") != NULL);
}

TEST_BOTH("what is closed below is passed by and counted, and what was asked for itself fails")
{
	const struct answer *answer;

	fixture_start();
	CHECK(mkdir("ws/closed", 0755) == 0 && mkdir("ws/named", 0755) == 0 && mkdir("ws/named/d", 0755) == 0);
	CHECK(mkdir("ws/open", 0755) == 0);
	put_file("ws/closed/unseen", "x", 0644);
	put_file("ws/named/f", "x", 0644);
	put_file("ws/open/g", "x", 0);
	/* Of the second, names can be read and nothing else. */
	CHECK(chmod("ws/closed", 0) == 0 && chmod("ws/named", 0444) == 0);
	answer = fixture_run(LIST(".", .recursive = true, .as_workload = true));
	EQUAL(answer->report.error, 0);
	EQUAL(answer->count, 4);
	CHECK(entry(answer, "closed") != NULL && entry(answer, "named") != NULL && entry(answer, "open/g") != NULL);
	EQUAL(answer->report.entries, 4);
	/* The closed one, and the two names. */
	EQUAL(answer->report.unreadable, 3);
	EQUAL(fixture_run(LIST(".", .as_workload = true))->report.unreadable, 0);
	EQUAL(fixture_run(LIST("open", .recursive = true, .as_workload = true))->report.unreadable, 0);
	FAILS(LIST("closed", .recursive = true, .as_workload = true), ERROR_PERMISSION);
	FAILS(LIST("named", .recursive = true, .as_workload = true), ERROR_PERMISSION);
}

TEST("a closed directory so deep that only \"..\" would lead back is passed by too")
{
	const struct answer *answer;
	char last[512];

	fixture_start();
	CHECK(chdir("ws") == 0);
	make_deep(100, "f");
	put_file("beside", "x", 0644);
	memset(last, 0, sizeof last);
	for (int i = 0; i < 100; i++)
		memcpy(last + 2 * i, i < 99 ? "d/" : "d", i < 99 ? 2 : 1);
	CHECK(chmod(last, 0444) == 0);
	answer = fixture_run(LIST(".", .recursive = true, .as_workload = true));
	EQUAL(answer->report.error, 0);
	EQUAL(answer->count, 101);
	CHECK(entry(answer, "beside") != NULL);
	EQUAL(answer->report.unreadable, 1);
}

TEST("a link whose target may not be seen is listed without one")
{
	const struct answer *answer;
	char path[64];
	int pid, status;

	/* Only root can have somebody else's process. */
	fixture_start();
	if (geteuid() != 0)
		return;
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	sprintf(path, "/proc/%d", pid);
	answer = fixture_run(LIST(path, .whole = true, .as_workload = true));
	EQUAL(answer->report.error, 0);
	EQUAL(entry(answer, "exe")->type, FILE_TYPE_SYMLINK);
	SAME_TEXT(entry(answer, "exe")->link, "");
	sprintf(path, "/proc/%d", pid);
	CHECK(entry(fixture_run(LIST(path, .whole = true)), "exe")->link[0] == '/');
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
}

TEST("a listing of more than the limit is too_many_entries, of exactly as many is not")
{
	char name[32];

	fixture_start();
	for (int i = 0; i < 2000; i++) {
		sprintf(name, "ws/%d", i);
		put_file(name, "", 0644);
	}
	WORKS(LIST(".", .limit = 2000));
	EQUAL(fixture_run(LIST(".", .limit = 2000))->count, 2000);
	FAILS(LIST(".", .limit = 1999), ERROR_TOO_MANY_ENTRIES);
	FAILS(LIST(".", .recursive = true, .limit = 100), ERROR_TOO_MANY_ENTRIES);
}

TEST("names of any bytes are listed as they are")
{
	const struct answer *answer;
	char longest[256];

	fixture_start();
	memset(longest, 0xff, 255);
	longest[255] = '\0';
	CHECK(chdir("ws") == 0);
	put_file(longest, "", 0644);
	put_file("new\nline", "", 0644);
	put_file("\x1b[31m", "", 0644);
	answer = fixture_run(LIST("."));
	EQUAL(answer->count, 3);
	CHECK(entry(answer, longest) != NULL && entry(answer, "new\nline") != NULL);
}

TEST("a tree deeper than descriptors are kept is listed, one deeper than a path is refused")
{
	struct rlimit few = { 128, 128 };
	const struct answer *answer;

	fixture_start();
	CHECK(chdir("ws") == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	make_deep(500, "end");
	answer = fixture_run(LIST(".", .recursive = true));
	EQUAL(answer->report.error, 0);
	EQUAL(answer->count, 501);
	/* The longest path is that of the innermost directory, 999 bytes, and the file beside. */
	EQUAL(strlen(answer->entries[499].name), 999);
	CHECK(rename("d", "e") == 0);
	make_deep(2100, NULL);
	FAILS(LIST("d", .recursive = true, .limit = 10000), ERROR_NAME_TOO_LONG);
	WORKS(REMOVE("d", .recursive = true));
	WORKS(REMOVE("e", .recursive = true));
	EQUAL(names_in("."), 0);
}

TEST_BOTH("stat tells of the link itself or of what it leads to")
{
	const struct answer *answer;

	fixture_start();
	put_file("ws/f", "hello", 0640);
	CHECK(symlink("f", "ws/l") == 0 && symlink("none", "ws/dangling") == 0);
	answer = fixture_run(STAT("l"));
	EQUAL(answer->count, 1);
	EQUAL(answer->entries[0].type, FILE_TYPE_SYMLINK);
	SAME_TEXT(answer->entries[0].link, "f");
	SAME_TEXT(answer->entries[0].name, "l");
	answer = fixture_run(STAT("l", .follow = true));
	EQUAL(answer->entries[0].type, FILE_TYPE_FILE);
	EQUAL(answer->entries[0].size, 5);
	SAME_TEXT(answer->entries[0].link, "");
	EQUAL(fixture_run(STAT("."))->entries[0].type, FILE_TYPE_DIRECTORY);
	EQUAL(fixture_run(STAT("dangling"))->entries[0].type, FILE_TYPE_SYMLINK);
	FAILS(STAT("dangling", .follow = true), ERROR_NOT_FOUND);
	FAILS(STAT("f/x"), ERROR_NOT_DIRECTORY);
	answer = fixture_run(STAT("dev/null", .whole = true));
	EQUAL(answer->entries[0].type, FILE_TYPE_CHARACTER);
	answer = fixture_run(STAT("/", .whole = true));
	EQUAL(answer->entries[0].type, FILE_TYPE_DIRECTORY);
}

/* --- make_directory and rename ------------------------------------------------------------------- */

TEST_BOTH("a directory is made with its mode, and with its parents where that is asked for")
{
	fixture_start();
	WORKS(MKDIR("a", .mode = 0777));
	EQUAL(mode_of("ws/a"), 0777);
	FAILS(MKDIR("a"), ERROR_EXISTS);
	WORKS(MKDIR("a", .parents = true));
	FAILS(MKDIR("b/c/d"), ERROR_NOT_FOUND);
	WORKS(MKDIR("b/c/d", .parents = true, .mode = 0700));
	EQUAL(mode_of("ws/b/c"), 0755);
	EQUAL(mode_of("ws/b/c/d"), 0700);
	put_file("ws/f", "", 0644);
	FAILS(MKDIR("f", .parents = true), ERROR_EXISTS);
	FAILS(MKDIR("f/x", .parents = true), ERROR_NOT_DIRECTORY);
	FAILS(MKDIR("."), ERROR_EXISTS);
	WORKS(MKDIR(".", .parents = true));
	FAILS(MKDIR("..", .parents = true), ERROR_ESCAPES);
	CHECK(symlink("b", "ws/to_b") == 0 && symlink("/tmp", "ws/out") == 0);
	WORKS(MKDIR("to_b", .parents = true));
	WORKS(MKDIR("to_b/new/one", .parents = true));
	CHECK(exists("ws/b/new/one"));
	FAILS(MKDIR("out/fumehood-must-not-be", .parents = true), ERROR_ESCAPES);
	CHECK(!exists("/tmp/fumehood-must-not-be"));
}

TEST_BOTH("rename moves files and directories, and replaces as rename(2) does")
{
	fixture_start();
	put_file("ws/a", "a", 0644);
	put_file("ws/b", "b", 0644);
	WORKS(RENAME("a", "b"));
	CHECK(holds("ws/b", "a") && !exists("ws/a"));
	FAILS(RENAME("a", "c"), ERROR_NOT_FOUND);
	FAILS(RENAME("b", "x/y"), ERROR_NOT_FOUND);
	WORKS(RENAME("b", "x/y", .parents = true));
	CHECK(holds("ws/x/y", "a"));
	put_file("ws/f", "", 0644);
	FAILS(RENAME("f", "x"), ERROR_IS_DIRECTORY);
	FAILS(RENAME("x", "f"), ERROR_NOT_DIRECTORY);
	CHECK(mkdir("ws/d", 0755) == 0);
	FAILS(RENAME("d", "x"), ERROR_NOT_EMPTY);
	FAILS(RENAME("x", "x/inside"), ERROR_INVALID);
	FAILS(RENAME(".", "y"), ERROR_INVALID);
	FAILS(RENAME("f", "."), ERROR_INVALID);
	FAILS(RENAME("f", "../f"), ERROR_ESCAPES);
	FAILS(RENAME("f", ""), ERROR_INVALID);
	CHECK(symlink("nowhere", "ws/l") == 0);
	WORKS(RENAME("l", "m"));
	CHECK(exists("ws/m") && !exists("ws/l"));
}

/* --- remove -------------------------------------------------------------------------------------- */

TEST_BOTH("remove takes a file, a link or an empty directory, and a tree only when asked")
{
	fixture_start();
	put_file("keep", "keep", 0644);
	CHECK(mkdir("kept", 0755) == 0);
	put_file("kept/f", "keep", 0644);
	put_file("ws/f", "", 0644);
	CHECK(mkdir("ws/d", 0755) == 0 && mkdir("ws/t", 0755) == 0 && mkdir("ws/t/u", 0755) == 0);
	put_file("ws/t/u/f", "", 0644);
	CHECK(symlink("../keep", "ws/l") == 0 && symlink("../../kept", "ws/t/out") == 0);
	CHECK(symlink("..", "ws/t/u/up") == 0 && symlink("../kept", "ws/k") == 0);
	FAILS(REMOVE("none"), ERROR_NOT_FOUND);
	FAILS(REMOVE("none", .recursive = true), ERROR_NOT_FOUND);
	FAILS(REMOVE("."), ERROR_INVALID);
	FAILS(REMOVE(".", .recursive = true), ERROR_INVALID);
	FAILS(REMOVE("t"), ERROR_NOT_EMPTY);
	WORKS(REMOVE("f"));
	WORKS(REMOVE("d"));
	WORKS(REMOVE("l"));
	WORKS(REMOVE("k", .recursive = true));
	WORKS(REMOVE("t", .recursive = true));
	EQUAL(names_in("ws"), 0);
	CHECK(holds("keep", "keep") && holds("kept/f", "keep"));
}

TEST("a tree thousands of levels deep is removed with few descriptors")
{
	struct rlimit few = { 128, 128 };

	fixture_start();
	CHECK(chdir("ws") == 0 && mkdir("top", 0755) == 0 && chdir("top") == 0);
	make_deep(5000, "end");
	CHECK(chdir("../..") == 0 && setrlimit(RLIMIT_NOFILE, &few) == 0);
	WORKS(REMOVE("top", .recursive = true));
	EQUAL(names_in("ws"), 0);
}

TEST("a wide tree is removed whole")
{
	char path[64];

	fixture_start();
	CHECK(mkdir("ws/top", 0755) == 0);
	for (int i = 0; i < 700; i++) {
		sprintf(path, "ws/top/directory-with-a-long-name-%d", i);
		CHECK(mkdir(path, 0755) == 0);
		strcat(path, "/f");
		put_file(path, "", 0644);
		sprintf(path, "ws/top/%d", i);
		put_file(path, "", 0644);
	}
	WORKS(REMOVE("top", .recursive = true));
	EQUAL(names_in("ws"), 0);
}

TEST("what may not be removed is reported, and what stands in the way stays")
{
	fixture_start();
	CHECK(mkdir("ws/t", 0755) == 0 && mkdir("ws/t/closed", 0755) == 0);
	put_file("ws/t/closed/f", "x", 0644);
	if (geteuid() == 0)
		CHECK(chown("ws/t", WORKLOAD_ID, WORKLOAD_ID) == 0);
	else
		CHECK(chmod("ws/t/closed", 0555) == 0);
	FAILS(REMOVE("t", .recursive = true, .as_workload = true), ERROR_PERMISSION);
	CHECK(holds("ws/t/closed/f", "x"));
}

/* A process of the workload that makes directories in "t" as fast as it can. */
static int start_filling(void)
{
	int pid = fork();

	CHECK(pid >= 0);
	if (pid > 0)
		return pid;
	for (unsigned i = 0;; i++) {
		char name[64];

		sprintf(name, "ws/t/%u", i % 16);
		(void)!mkdir("ws/t", 0755);
		(void)!mkdir(name, 0755);
		strcat(name, "/x");
		(void)!mkdir(name, 0755);
	}
}

TEST("a tree that is filled while it is removed ends with an answer")
{
	int pid, status;

	fixture_start();
	CHECK(mkdir("ws/t", 0755) == 0);
	pid = start_filling();
	for (int i = 0; i < 20; i++) {
		const struct answer *answer = fixture_run(REMOVE("t", .recursive = true));

		CHECK(answer->report.error == 0 || answer->report.error == ERROR_NOT_EMPTY ||
		      answer->report.error == ERROR_NOT_FOUND);
		answer = fixture_run(LIST(".", .recursive = true, .limit = 100000));
		EQUAL(answer->report.error, 0);
	}
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	WORKS(MKDIR("t", .parents = true));
	WORKS(REMOVE("t", .recursive = true));
}
