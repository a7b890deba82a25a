/* READY: who commands run as, and what the kernel really enforces, read back from inside. */
#ifndef FUMEHOOD_REPORT_H
#define FUMEHOOD_REPORT_H

struct connection;

/* Look at what this process is under before it adds to it. */
void report_init(void);
void report_send(struct connection *connection);

#endif
