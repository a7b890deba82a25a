#define _GNU_SOURCE
#include <ctype.h>

#include "dump.h"
#include "test.h"

#ifndef VECTORS
#error "VECTORS is the directory of the golden vectors"
#endif

struct text {
	char *data;
	size_t length, capacity;
};

static void append(struct text *text, const void *bytes, size_t n)
{
	if (text->capacity - text->length < n + 1) {
		text->capacity = 2 * (text->length + n + 1);
		text->data = realloc(text->data, text->capacity);
		CHECK(text->data != NULL);
	}
	memcpy(text->data + text->length, bytes, n);
	text->length += n;
	text->data[text->length] = '\0';
}

static void clear(struct text *text)
{
	append(text, "", 0);
	text->length = 0;
	text->data[0] = '\0';
}

struct vector {
	char name[256];
	enum dump_source source;
	struct text bytes, wanted;
	bool violation;
};

static int digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : c - 'a' + 10;
}

/* Add one "hex" line: pairs of digits, any of them times a number. */
static void add_hex(struct text *bytes, const char *hex)
{
	while (isxdigit((unsigned char)*hex)) {
		char byte = (char)(digit(hex[0]) << 4 | digit(hex[1]));
		unsigned long times = 1;

		hex += 2;
		if (*hex == '*')
			times = strtoul(hex + 1, (char **)&hex, 10);
		while (times-- > 0)
			append(bytes, &byte, 1);
	}
	CHECK(*hex == '\0');
}

/* Add one expected line, with "=XX*N" written out. */
static void add_line(struct text *wanted, const char *line)
{
	while (*line != '\0') {
		append(wanted, line, 1);
		if (*line++ == '=' && isxdigit((unsigned char)line[0]) && isxdigit((unsigned char)line[1]) &&
		    line[2] == '*') {
			unsigned long times = strtoul(line + 3, (char **)&(const char *){ NULL }, 10);

			while (times-- > 0)
				append(wanted, line, 2);
			line += 3 + strspn(line + 3, "0123456789");
		}
	}
	append(wanted, "\n", 1);
}

static size_t one_byte(size_t left)
{
	(void)left;
	return 1;
}

static size_t random_piece(size_t left)
{
	size_t most = test_below(4) == 0 ? 100000 : 20;
	size_t piece = 1 + test_below((uint32_t)most);

	return piece < left ? piece : left;
}

static void run(const struct vector *vector, size_t n, dump_cutter cutter, const char *how)
{
	char *got = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&got, &length);

	CHECK(out != NULL);
	dump_stream(out, vector->source, (const uint8_t *)vector->bytes.data, n, cutter);
	CHECK(fclose(out) == 0);
	if (length != vector->wanted.length || memcmp(got, vector->wanted.data, length) != 0)
		test_fail(__FILE__, __LINE__, "%s, %s:\ngot    %.500swanted %.500s", vector->name, how, got,
			  vector->wanted.data);
	free(got);
}

static void run_all_ways(struct vector *vector)
{
	static const char header_of_ping[] = { 5, 0, 0, 8, 0, 0, 0 };
	static const char one_megabyte[1 << 20];
	size_t n = vector->bytes.length;

	append(&vector->bytes, "", 0);
	run(vector, n, NULL, "whole");
	if (vector->source == DUMP_RECORDS)
		return;
	run(vector, n, one_byte, "byte by byte");
	for (int i = 0; i < 10; i++)
		run(vector, n, random_piece, "in random pieces");
	if (vector->violation) {
		append(&vector->bytes, one_megabyte, sizeof one_megabyte);
		run(vector, vector->bytes.length, random_piece, "with more behind it");
	} else if (strstr(vector->name, "not all there") == NULL) {
		append(&vector->bytes, header_of_ping, sizeof header_of_ping);
		run(vector, n + 1, NULL, "with a byte behind it");
		run(vector, n + 7, random_piece, "with 7 bytes behind it");
	}
}

static void finish(struct vector *vector, unsigned *cases)
{
	if (vector->name[0] == '\0')
		return;
	run_all_ways(vector);
	++*cases;
	vector->name[0] = '\0';
}

static void run_file(const char *path, unsigned least)
{
	struct vector vector = { .name = "" };
	char *line = NULL;
	size_t capacity = 0;
	ssize_t length;
	unsigned cases = 0;
	FILE *file = fopen(path, "r");

	CHECK(file != NULL);
	while ((length = getline(&line, &capacity, file)) > 0) {
		char *rest = strchr(line, ' ');

		line[length - 1] = '\0';
		if (line[0] == '#')
			continue;
		if (line[0] == '\0') {
			finish(&vector, &cases);
			continue;
		}
		CHECK(rest != NULL);
		*rest++ = '\0';
		if (strcmp(line, "case") == 0) {
			snprintf(vector.name, sizeof vector.name, "%s", rest);
			clear(&vector.bytes);
			clear(&vector.wanted);
			vector.violation = false;
		} else if (strcmp(line, "from") == 0) {
			CHECK(dump_source(rest, &vector.source));
		} else if (strcmp(line, "hex") == 0) {
			add_hex(&vector.bytes, rest);
		} else if (strcmp(line, "line") == 0) {
			add_line(&vector.wanted, rest);
		} else {
			SAME_TEXT(line, "violation");
			append(&vector.wanted, "violation ", 10);
			add_line(&vector.wanted, rest);
			vector.violation = true;
		}
	}
	finish(&vector, &cases);
	CHECK(cases >= least);
	fclose(file);
	free(line);
	free(vector.bytes.data);
	free(vector.wanted.data);
}

TEST("the legal vectors are read as they should be, however they arrive")
{
	run_file(VECTORS "/legal.txt", 100);
}

TEST("the illegal vectors are refused as they should be, however they arrive")
{
	run_file(VECTORS "/illegal.txt", 250);
}

TEST("the vectors of records are read as they should be")
{
	run_file(VECTORS "/records.txt", 20);
}
