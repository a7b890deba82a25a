#define _GNU_SOURCE
#include "users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "walk.h"
#include "wire_table.h"

/* What is read of a database, and the longest line that counts: longer ones are passed over. */
#define MAX_DATABASE (4u << 20)
#define MAX_LINE (64u << 10)
/* The largest id that Docker takes; what is above would be -1 to some system call sooner or later. */
#define MAX_ID 0x7fffffffu
#define MAX_FIELDS 8

/* --- reading a database line by line ------------------------------------------------------------ */

struct lines {
	int fd;
	size_t start, end, taken;
	bool skipping;             /* in the rest of a line that was too long */
	bool over;
	char data[MAX_LINE];
};

/* Regular files only, and nothing that could block: a FIFO at /etc/passwd must not hang a look-up. Images do
 * link these files elsewhere, so links are followed within the root. */
static bool open_database(struct lines *lines, int root_fd, const char *path)
{
	struct stat status;

	lines->start = lines->end = lines->taken = 0;
	lines->skipping = lines->over = false;
	lines->fd = walk_open(root_fd, path, WALK_IN_ROOT, O_RDONLY);
	if (lines->fd < 0)
		return false;
	if (fstat(lines->fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		close(lines->fd);
		return false;
	}
	return true;
}

static void fill(struct lines *lines)
{
	size_t room;
	ssize_t n;

	memmove(lines->data, lines->data + lines->start, lines->end - lines->start);
	lines->end -= lines->start;
	lines->start = 0;
	room = sizeof lines->data - lines->end;
	if (room > MAX_DATABASE - lines->taken)
		room = MAX_DATABASE - lines->taken;
	do
		n = read(lines->fd, lines->data + lines->end, room);
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		/* A last line without a newline is a line; one that the bound cuts is none. */
		lines->over = true;
		if (n == 0 && room > 0 && lines->end > 0 && lines->end < sizeof lines->data)
			lines->data[lines->end++] = '\n';
		return;
	}
	lines->end += (size_t)n;
	lines->taken += (size_t)n;
}

/* The next line, terminated in place; NULL at the end. */
static char *next_line(struct lines *lines)
{
	for (;;) {
		char *line = lines->data + lines->start;
		char *end = memchr(line, '\n', lines->end - lines->start);

		if (end != NULL) {
			bool skipped = lines->skipping;

			*end = '\0';
			lines->start = (size_t)(end + 1 - lines->data);
			lines->skipping = false;
			if (!skipped)
				return line;
			continue;
		}
		if (lines->over)
			return NULL;
		if (lines->end - lines->start == sizeof lines->data) {
			lines->start = lines->end;
			lines->skipping = true;
		}
		fill(lines);
	}
}

/* Cut a line at its colons; missing fields are empty. */
static void split(char *line, char *field[MAX_FIELDS])
{
	static char none[1];

	for (int i = 0; i < MAX_FIELDS; i++) {
		field[i] = line == NULL ? none : line;
		if (line != NULL)
			line = strchr(line, ':');
		if (line != NULL)
			*line++ = '\0';
	}
}

/* --- ids ----------------------------------------------------------------------------------------- */

/* Only digits, and not above what an id may be: no sign, no space, no wrap-around. */
static bool to_id(const char *text, uint32_t *id)
{
	uint64_t value = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint64_t)(*text - '0');
		if (value > MAX_ID)
			return false;
	}
	*id = (uint32_t)value;
	return true;
}

static bool all_digits(const char *text)
{
	return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static bool matches(const char *wanted, const char *name, const char *id_text)
{
	uint32_t wanted_id, id;

	if (strcmp(wanted, name) == 0)
		return true;
	return to_id(wanted, &wanted_id) && to_id(id_text, &id) && wanted_id == id;
}

/* --- users --------------------------------------------------------------------------------------- */

/* Put a whole text, or leave what is there. */
static void put_text(char *out, size_t size, const char *text)
{
	size_t length = strlen(text);

	if (length < size)
		memcpy(out, text, length + 1);
}

/* Fill uid, gid, home, name and shell from the first line that names the user, by name or by number. A line whose
 * numbers are none is no line. */
static bool find_user(struct lines *lines, int root_fd, const char *user, struct identity *out)
{
	bool found = false;
	char *line;

	if (!open_database(lines, root_fd, "/etc/passwd"))
		return false;
	while (!found && (line = next_line(lines)) != NULL) {
		char *field[MAX_FIELDS];
		uint32_t uid, gid;

		split(line, field);
		if (!matches(user, field[0], field[2]) || !to_id(field[2], &uid) || !to_id(field[3], &gid))
			continue;
		found = true;
		out->uid = uid;
		out->gid = gid;
		if (field[5][0] == '/')
			put_text(out->home, sizeof out->home, field[5]);
		put_text(out->name, sizeof out->name, field[0]);
		if (field[6][0] == '/')
			put_text(out->shell, sizeof out->shell, field[6]);
	}
	close(lines->fd);
	return found;
}

static bool is_member(char *members, const char *name)
{
	char *rest = NULL;

	for (char *member = strtok_r(members, ",", &rest); member != NULL;
	     member = strtok_r(NULL, ",", &rest)) {
		if (strcmp(member, name) == 0)
			return true;
	}
	return false;
}

static void add_group(struct identity *out, uint32_t gid)
{
	for (uint32_t i = 0; i < out->group_count; i++) {
		if (out->groups[i] == gid)
			return;
	}
	if (out->group_count < IDENTITY_GROUPS)
		out->groups[out->group_count++] = gid;
}

static void find_memberships(struct lines *lines, int root_fd, struct identity *out)
{
	char *line;

	if (out->name[0] == '\0' || !open_database(lines, root_fd, "/etc/group"))
		return;
	while ((line = next_line(lines)) != NULL) {
		char *field[MAX_FIELDS];
		uint32_t gid;

		split(line, field);
		if (to_id(field[2], &gid) && is_member(field[3], out->name))
			add_group(out, gid);
	}
	close(lines->fd);
}

static bool find_group(struct lines *lines, int root_fd, const char *group, uint32_t *gid)
{
	bool found = false;
	char *line;

	if (!open_database(lines, root_fd, "/etc/group"))
		return false;
	while (!found && (line = next_line(lines)) != NULL) {
		char *field[MAX_FIELDS];

		split(line, field);
		found = matches(group, field[0], field[2]) && to_id(field[2], gid);
	}
	close(lines->fd);
	return found;
}

static bool is_reserved(const struct identity *identity)
{
	if (identity->uid == RESERVED_ID || identity->gid == RESERVED_ID)
		return true;
	for (uint32_t i = 0; i < identity->group_count; i++) {
		if (identity->groups[i] == RESERVED_ID)
			return true;
	}
	return false;
}

static uint32_t resolve(struct lines *lines, int root_fd, const char *user, const char *group,
			struct identity *out)
{
	uint32_t id;

	if (!find_user(lines, root_fd, user, out)) {
		if (strcmp(user, "root") == 0)
			id = 0;
		else if (!to_id(user, &id))
			return all_digits(user) ? ERROR_INVALID : ERROR_USER_NOT_FOUND;
		out->uid = id;
	}
	if (group == NULL) {
		find_memberships(lines, root_fd, out);
	} else if (!find_group(lines, root_fd, group, &out->gid)) {
		if (strcmp(group, "root") == 0)
			id = 0;
		else if (!to_id(group, &id))
			return all_digits(group) ? ERROR_INVALID : ERROR_USER_NOT_FOUND;
		out->gid = id;
	}
	return is_reserved(out) ? ERROR_USER_REFUSED : 0;
}

uint32_t users_resolve_in(int root_fd, const char *spec, struct identity *out)
{
	char user[WIRE_MAX_TEXT + 1];
	char *group;
	struct lines *lines;
	uint32_t error;

	*out = (struct identity){ .home = "/" };
	if (strlen(spec) >= sizeof user)
		return ERROR_INVALID;
	put_text(user, sizeof user, *spec == '\0' ? "root" : spec);
	group = strchr(user, ':');
	if (group != NULL)
		*group++ = '\0';
	if (*user == '\0' || (group != NULL && (*group == '\0' || strchr(group, ':') != NULL)))
		return ERROR_INVALID;
	lines = malloc(sizeof *lines);
	if (lines == NULL)
		return ERROR_OUT_OF_MEMORY;
	error = resolve(lines, root_fd, user, group, out);
	free(lines);
	return error;
}

uint32_t users_resolve(const char *spec, struct identity *out)
{
	int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint32_t error;

	if (root_fd < 0)
		return ERROR_IO;
	error = users_resolve_in(root_fd, spec, out);
	close(root_fd);
	return error;
}
