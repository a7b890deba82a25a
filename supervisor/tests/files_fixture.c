#define _GNU_SOURCE
#include "files_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fields.h"

static struct answer answer;
static struct helper_report *shared;
static int workspace = -1, root = -1;

void fixture_start(void)
{
	CHECK(chdir(test_directory()) == 0 && mkdir("ws", 0755) == 0);
	CHECK(geteuid() != 0 || chown("ws", WORKLOAD_ID, WORKLOAD_ID) == 0);
	workspace = open("ws", O_PATH | O_DIRECTORY | O_CLOEXEC);
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(workspace >= 0 && root >= 0 && shared != MAP_FAILED);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
}

static void become_workload(void)
{
	if (geteuid() != 0)
		return;
	CHECK(setgroups(0, NULL) == 0 && setresgid(WORKLOAD_ID, WORKLOAD_ID, WORKLOAD_ID) == 0);
	CHECK(setresuid(WORKLOAD_ID, WORKLOAD_ID, WORKLOAD_ID) == 0);
}

static void run_helper(const struct call *call, int in_fd, int out_fd, int commit_fd)
{
	bool listing = call->op == OPERATION_LIST;
	struct file_request request = {
		.op = call->op,
		.root = call->whole ? ROOT_FILESYSTEM : ROOT_WORKSPACE,
		.path = (const uint8_t *)call->path,
		.path_len = strlen(call->path),
		.target = (const uint8_t *)call->target,
		.target_len = call->target == NULL ? 0 : strlen(call->target),
		.offset = call->offset,
		.limit = call->limit != 0 || call->no_limit ? call->limit : listing ? 1000 : 1 << 20,
		.mode = call->mode != 0 ? call->mode : call->op == OPERATION_WRITE ? 0644 : 0755,
		.parents = call->parents,
		.recursive = call->recursive,
		.follow = call->follow,
	};

	if (call->as_workload)
		become_workload();
	files_run(&request, workspace, root, in_fd, out_fd, commit_fd, shared);
	_exit(0);
}

struct helper fixture_spawn(struct call call)
{
	int in[2], out[2], commit[2];
	struct helper helper;

	CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(commit, O_CLOEXEC) == 0);
	*shared = (struct helper_report){ .error = ERROR_HELPER_DIED };
	helper.pid = fork();
	CHECK(helper.pid >= 0);
	if (helper.pid == 0) {
		close(in[1]);
		close(out[0]);
		close(commit[1]);
		run_helper(&call, in[0], out[1], commit[0]);
	}
	close(in[0]);
	close(out[1]);
	close(commit[0]);
	helper.in_fd = in[1];
	helper.out_fd = out[0];
	helper.commit_fd = commit[1];
	return helper;
}

static void feed(const struct call *call, const struct helper *helper)
{
	const uint8_t *bytes = call->input;
	size_t left = call->input_length;
	char word = call->ending == WRONG_BYTE ? 'X' : 'C';

	while (left > 0) {
		ssize_t n = write(helper->in_fd, bytes, left);

		if (n <= 0)
			break;
		bytes += n;
		left -= (size_t)n;
	}
	close(helper->in_fd);
	if (call->ending != NO_COMMIT)
		(void)!write(helper->commit_fd, &word, 1);
	close(helper->commit_fd);
}

static void collect(const struct helper *helper)
{
	size_t capacity = 65536;
	ssize_t n = 1;

	free(answer.output);
	answer.output = malloc(capacity);
	answer.length = 0;
	while (n > 0) {
		if (answer.length == capacity)
			answer.output = realloc(answer.output, capacity *= 2);
		CHECK(answer.output != NULL);
		n = read(helper->out_fd, answer.output + answer.length, capacity - answer.length);
		CHECK(n >= 0);
		answer.length += (size_t)n;
	}
	close(helper->out_fd);
}

static void take_text(const struct wire_message *message, uint8_t tag, char out[WIRE_MAX_PATH + 1])
{
	uint32_t length;
	const uint8_t *value = wire_bytes(message, tag, &length);

	CHECK(length <= WIRE_MAX_PATH);
	if (value != NULL)
		memcpy(out, value, length);
	out[length] = '\0';
}

static int by_name(const void *one, const void *other)
{
	return strcmp(((const struct entry_text *)one)->name, ((const struct entry_text *)other)->name);
}

static void parse_entries(void)
{
	size_t at = 0;

	free(answer.entries);
	answer.entries = NULL;
	answer.count = 0;
	while (at < answer.length) {
		uint32_t length = wire_load32(answer.output + at);
		struct wire_message message;
		struct entry_text *entry;

		CHECK(answer.length - at >= 4 && length <= answer.length - at - 4);
		EQUAL(fields_parse_record(answer.output + at + 4, length, &message), 0);
		if ((answer.count & (answer.count - 1)) == 0)
			answer.entries = realloc(answer.entries, (2 * answer.count + 1) * sizeof *entry);
		CHECK(answer.entries != NULL);
		entry = &answer.entries[answer.count++];
		entry->type = wire_uint(&message, FIELD_TYPE, 99);
		entry->size = wire_uint(&message, FIELD_SIZE, 0);
		entry->mode = wire_uint(&message, FIELD_MODE, 0);
		entry->uid = wire_uint(&message, FIELD_UID, 0);
		entry->gid = wire_uint(&message, FIELD_GID, 0);
		entry->modified_ns = wire_uint(&message, FIELD_MODIFIED_NS, 0);
		take_text(&message, FIELD_NAME, entry->name);
		take_text(&message, FIELD_LINK, entry->link);
		at += 4 + length;
	}
	if (answer.count > 1)
		qsort(answer.entries, answer.count, sizeof *answer.entries, by_name);
}

const struct answer *fixture_run(struct call call)
{
	struct helper helper = fixture_spawn(call);
	int status;

	feed(&call, &helper);
	collect(&helper);
	CHECK(waitpid(helper.pid, &status, 0) == helper.pid);
	if (status != 0)
		test_fail(__FILE__, __LINE__, "the helper ended with status %#x", status);
	answer.report = *shared;
	CHECK(memchr(answer.report.step, '\0', sizeof answer.report.step) != NULL);
	CHECK((answer.report.error == 0) == (answer.report.step[0] == '\0'));
	if (call.op == OPERATION_LIST || call.op == OPERATION_STAT)
		parse_entries();
	return &answer;
}

void put_file(const char *path, const char *text, unsigned mode)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	CHECK(fchmod(fd, mode) == 0 && close(fd) == 0);
}

bool holds(const char *path, const char *text)
{
	char got[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof got);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && memcmp(got, text, (size_t)n) == 0;
}

unsigned mode_of(const char *path)
{
	struct stat status;

	CHECK(lstat(path, &status) == 0);
	return status.st_mode & 07777;
}

bool exists(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0;
}

unsigned names_in(const char *path)
{
	DIR *directory = opendir(path);
	unsigned count = 0;

	CHECK(directory != NULL);
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count - 2;
}
