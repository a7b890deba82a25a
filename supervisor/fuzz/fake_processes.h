/* Everything below a connection and its channels, made up: a loop that turns when it is told to, and
 * processes and servers that do what the fuzzer's input says. */
#ifndef FUMEHOOD_FAKE_PROCESSES_H
#define FUMEHOOD_FAKE_PROCESSES_H

#include <stdbool.h>
#include <stdint.h>

/* Handle what is ready until nothing is. Aborts when that has no end. */
void fake_settle(void);
/* Sources that are open: all that a connection and its channels hold. */
unsigned fake_open_sources(void);

/* What a port does, by its number: 0 is none, and there is no other. */
enum fake_port { FAKE_ABSENT = 1, FAKE_REFUSES, FAKE_SERVES, FAKE_HANGS, FAKE_PORTS = FAKE_HANGS };

/* Servers' ends of connections are among them: closing their input is the end of what they send. */
unsigned fake_processes(void);
/* Let one of them do something; `which` and `amount` are taken as they come. */
void fake_write(unsigned which, bool error_stream, unsigned amount);
void fake_read(unsigned which, unsigned amount);
void fake_close_input(unsigned which);
void fake_exit(unsigned which);
void fake_exit_all(void);

/* Whether CONFIGURE is carried out at once or by fake_configured. */
extern bool fake_configures_at_once;
void fake_configured(void);
/* Let nothing wait for a configuration any more, nor stop for the session's end. */
void fake_let_go(void);
/* Let every grace be over. */
void fake_pass_time(void);
/* For the next input: a session of which nothing is known. */
void fake_forget(void);

#endif
