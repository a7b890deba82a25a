#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "users.h"
#include "wire_table.h"

static int root_fd;

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void root_with(const char *passwd, const char *group)
{
	CHECK(chdir(test_directory()) == 0 && mkdir("etc", 0755) == 0);
	if (passwd != NULL)
		write_file("etc/passwd", passwd);
	if (group != NULL)
		write_file("etc/group", group);
	root_fd = open(".", O_PATH | O_DIRECTORY);
	CHECK(root_fd >= 0);
}

static const char *const passwd = "root:x:0:0:root:/root:/bin/sh\n"
				  "# a comment\n"
				  "daemon:x:1:1::/:/sbin/nologin\n"
				  "node:x:1000:1000::/home/node:/bin/bash\n"
				  "other:x:1000:7::/home/other:/bin/bash\n"
				  "1005:x:1006:1006::/home/number:/bin/sh\n"
				  "broken:x:abc:5::/:/x\n"
				  "negative:x:-1:5::/:/x\n"
				  "huge:x:4294967296:5::/:/x\n"
				  "maximum:x:2147483648:5::/:/x\n"
				  "short\n"
				  "reserved:x:64999:5::/:/x\n"
				  "reservedgroup:x:1001:64999::/:/x\n"
				  "member:x:1002:5::relative:/x\n"
				  "last:x:1003:1003::/last:/x";
static const char *const group = "root:x:0:\n"
				 "wheel:x:10:root,node\n"
				 "audio:x:29:other,node,nodes\n"
				 "again:x:29:node\n"
				 "node:x:1000:\n"
				 "traps:x:64999:member\n"
				 "bad:x:99999999999:node\n";

static void check(const char *spec, uint32_t error, uint32_t uid, uint32_t gid, const char *home,
		  const char *groups)
{
	struct identity identity;
	uint32_t got = users_resolve_in(root_fd, spec, &identity);
	char text[512] = "";

	if (got != error)
		test_fail(__FILE__, __LINE__, "\"%s\": error %u, not %u", spec, got, error);
	if (error != 0)
		return;
	for (uint32_t i = 0; i < identity.group_count; i++)
		sprintf(text + strlen(text), "%s%u", i == 0 ? "" : ",", identity.groups[i]);
	if (identity.uid != uid || identity.gid != gid || strcmp(identity.home, home) != 0 ||
	    strcmp(text, groups) != 0)
		test_fail(__FILE__, __LINE__, "\"%s\": %u:%u home %s groups %s", spec, identity.uid, identity.gid,
			  identity.home, text);
}

TEST("users are found by name and by number, with the database's group, home and memberships")
{
	root_with(passwd, group);
	check("", 0, 0, 0, "/root", "10");
	check("root", 0, 0, 0, "/root", "10");
	check("0", 0, 0, 0, "/root", "10");
	check("node", 0, 1000, 1000, "/home/node", "10,29");
	check("1000", 0, 1000, 1000, "/home/node", "10,29");
	check("other", 0, 1000, 7, "/home/other", "29");
	check("1005", 0, 1006, 1006, "/home/number", "");
	check("4242", 0, 4242, 0, "/", "");
	check("last", 0, 1003, 1003, "/last", "");
	check("2147483647", 0, 2147483647, 0, "/", "");
}

TEST("an explicit group is the only one")
{
	root_with(passwd, group);
	check("node:wheel", 0, 1000, 10, "/home/node", "");
	check("node:10", 0, 1000, 10, "/home/node", "");
	check("node:77", 0, 1000, 77, "/home/node", "");
	check("4242:node", 0, 4242, 1000, "/", "");
	check("4242:4343", 0, 4242, 4343, "/", "");
	check("0:0", 0, 0, 0, "/root", "");
	check("node:nobody", ERROR_USER_NOT_FOUND, 0, 0, "", "");
}

TEST("root and numbers need no database, names do")
{
	root_with(NULL, NULL);
	check("", 0, 0, 0, "/", "");
	check("root", 0, 0, 0, "/", "");
	check("0", 0, 0, 0, "/", "");
	check("1000", 0, 1000, 0, "/", "");
	check("1000:1001", 0, 1000, 1001, "/", "");
	check("root:root", 0, 0, 0, "/", "");
	check("node", ERROR_USER_NOT_FOUND, 0, 0, "", "");
}

TEST("a shell is the database's, where it is a path that fits")
{
	static const char *const cases[][2] = {
		{"root", "/bin/sh"}, {"daemon", "/sbin/nologin"}, {"node", "/bin/bash"}, {"bare", ""},
		{"relative", ""}, {"endless", ""}, {"7777", ""},
	};
	char database[2048], endless[600];

	memset(endless, 'x', sizeof endless - 1);
	endless[0] = '/';
	endless[sizeof endless - 1] = '\0';
	snprintf(database, sizeof database, "%s\nbare:x:1:1::/\nrelative:x:2:2::/:sh\nendless:x:3:3::/:%s\n", passwd,
		 endless);
	root_with(database, group);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct identity identity;

		CHECK(users_resolve_in(root_fd, cases[i][0], &identity) == 0);
		CHECK(strcmp(identity.shell, cases[i][1]) == 0);
	}
}

TEST("the supervisor's own id is refused, however it is asked for")
{
	root_with(passwd, group);
	check("64999", ERROR_USER_REFUSED, 0, 0, "", "");
	check("0064999", ERROR_USER_REFUSED, 0, 0, "", "");
	check("reserved", ERROR_USER_REFUSED, 0, 0, "", "");
	check("reservedgroup", ERROR_USER_REFUSED, 0, 0, "", "");
	check("node:64999", ERROR_USER_REFUSED, 0, 0, "", "");
	check("node:traps", ERROR_USER_REFUSED, 0, 0, "", "");
	check("member", ERROR_USER_REFUSED, 0, 0, "", "");
	check("member:5", 0, 1002, 5, "/", "");
}

TEST("what is no user is refused")
{
	char longest[3000];

	root_with(passwd, group);
	check(":", ERROR_INVALID, 0, 0, "", "");
	check(":10", ERROR_INVALID, 0, 0, "", "");
	check("node:", ERROR_INVALID, 0, 0, "", "");
	check("node:10:10", ERROR_INVALID, 0, 0, "", "");
	check("2147483648", ERROR_INVALID, 0, 0, "", "");
	check("4294967296", ERROR_INVALID, 0, 0, "", "");
	check("99999999999999999999999", ERROR_INVALID, 0, 0, "", "");
	check("node:4294967295", ERROR_INVALID, 0, 0, "", "");
	check("-1", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	check(" 0", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	check("0x0", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	check("broken", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	check("negative", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	check("huge", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	check("maximum", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	check("short", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	check(longest, ERROR_INVALID, 0, 0, "", "");
}

TEST("a database that is no regular file is none, and holds nothing up")
{
	root_with(NULL, group);
	CHECK(mkfifo("etc/passwd", 0666) == 0);
	check("node", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	check("1000", 0, 1000, 0, "/", "");
	CHECK(unlink("etc/passwd") == 0 && mkdir("etc/passwd", 0755) == 0);
	check("1000", 0, 1000, 0, "/", "");
	CHECK(rmdir("etc/passwd") == 0 && symlink("/dev/zero", "etc/passwd") == 0);
	check("1000", 0, 1000, 0, "/", "");
}

TEST("a linked database is looked for in the same root")
{
	root_with(NULL, group);
	CHECK(mkdir("usr", 0755) == 0 && symlink("/usr/passwd", "etc/passwd") == 0);
	write_file("usr/passwd", "linked:x:1234:5::/:/x\n");
	check("linked", 0, 1234, 5, "/", "");
	CHECK(unlink("etc/passwd") == 0 && symlink("../../../../usr/passwd", "etc/passwd") == 0);
	check("linked", 0, 1234, 5, "/", "");
}

TEST("a hostile database costs bounded work")
{
	FILE *file;
	struct identity identity;

	root_with(NULL, NULL);
	/* One endless line, then a good one behind it; a million lines; a user with a thousand groups. */
	file = fopen("etc/passwd", "w");
	CHECK(file != NULL);
	for (int i = 0; i < 200000; i++)
		fputc(i % 10 == 0 ? ':' : 'x', file);
	fputs("\nnear:x:1:1::/:/x\n", file);
	for (int i = 0; i < 1000000; i++)
		fprintf(file, "u%d:x:5:5::/:/x\n", i);
	fputs("far:x:7:7::/:/x\n", file);
	CHECK(fclose(file) == 0);
	file = fopen("etc/group", "w");
	CHECK(file != NULL);
	for (int i = 0; i < 1000; i++)
		fprintf(file, "g%d:x:%d:near\n", i, 100 + i);
	CHECK(fclose(file) == 0);
	EQUAL(users_resolve_in(root_fd, "near", &identity), 0);
	EQUAL(identity.uid, 1);
	EQUAL(identity.group_count, IDENTITY_GROUPS);
	EQUAL(identity.groups[IDENTITY_GROUPS - 1], 100 + IDENTITY_GROUPS - 1);
	check("far", ERROR_USER_NOT_FOUND, 0, 0, "", "");
	check("u1000", 0, 5, 5, "/", "");
}

TEST("bytes that no editor would write are no users")
{
	FILE *file;

	root_with(NULL, NULL);
	file = fopen("etc/passwd", "w");
	CHECK(file != NULL && fwrite("\0root:x:9:9::/:/x\nroot\0:x:8:8::/:/x\nroot:x:0:5::/r:/x", 1, 54, file) == 54);
	CHECK(fclose(file) == 0);
	check("root", 0, 0, 5, "/r", "");
	write_file("etc/passwd", ":x:3:3::/:/x\n:::::\n\n\n:\nroot:x:0:6:::\n");
	check("root", 0, 0, 6, "/", "");
}

TEST("random databases are read without a fault")
{
	static const char bits[] = "root:x:0,\n123456789::\n\n:node";
	char text[3000];
	struct identity identity;

	root_with("", "");
	for (int round = 0; round < 2000; round++) {
		size_t n = test_below(sizeof text - 1);

		for (size_t i = 0; i < n; i++)
			text[i] = test_below(50) == 0 ? (char)test_random() : bits[test_below(sizeof bits - 1)];
		text[n] = '\0';
		write_file("etc/passwd", text);
		write_file("etc/group", text);
		(void)users_resolve_in(root_fd, "root", &identity);
		(void)users_resolve_in(root_fd, "node:1", &identity);
	}
}
