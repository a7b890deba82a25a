/* Which lines of a text a program can match, without looking at each of its steps for each character.
 *
 * A deterministic automaton that is made from the program as the text asks for it: a state is the set of steps that the
 * simulation (regex.h) would be at, and where a character leads from it is found out once. It says whether a line matches, not
 * where: that is asked of regex_find, for this line alone. No system calls.
 */
#ifndef FUMEHOOD_REGEX_DFA_H
#define FUMEHOOD_REGEX_DFA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "regex.h"

struct regex_dfa;

/* What it takes, whatever the program is, is less than this. */
#define REGEX_DFA_BYTES (1u << 20)

/* For a program that has been loaded and outlives it. NULL: it can do without (a literal), it tells too many kinds of characters
 * apart, or memory is out; regex_find takes it all the same. */
struct regex_dfa *regex_dfa_new(struct regex *regex);
void regex_dfa_free(struct regex_dfa *dfa);

/* Take heart again after REGEX_UNSURE: another text may be kinder. */
void regex_dfa_retry(struct regex_dfa *dfa);

/* Find the first line of a text that holds a match. The text begins with a line; each ends with '\n' or "\r\n", the last one perhaps with
 * its '\r' alone or without an end.
 *
 * REGEX_FOUND: `at` lies in the line that matches, or is where it ends. REGEX_NONE. REGEX_LATE: `late` said so. REGEX_UNSURE: this text
 * needs too many states for it to pay, until regex_dfa_retry; lines that end before `at` hold no match. */
enum regex_result regex_dfa_find(struct regex_dfa *dfa, const uint8_t *text, size_t length, size_t *at,
				 bool (*late)(void *), void *context);

/* How often it had to forget all its states, for tests. */
uint64_t regex_dfa_flushes(const struct regex_dfa *dfa);

#endif
