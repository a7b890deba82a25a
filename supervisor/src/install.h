/* `supervisor install TARGET`: put a copy of this binary where sessions mount it from. */
#ifndef FUMEHOOD_INSTALL_H
#define FUMEHOOD_INSTALL_H

/* Exit codes, told apart by whoever runs it. */
enum {
	INSTALL_OK = 0,
	INSTALL_USAGE = 2,
	INSTALL_SOURCE = 10,       /* this binary cannot be read */
	INSTALL_CREATE = 11,       /* no file beside the target */
	INSTALL_COPY = 12,         /* not all bytes arrived: no space */
	INSTALL_MODE = 13,
	INSTALL_RENAME = 14,
};

/* Readers of the target see nothing, or a whole binary of mode 0111, also when several install at once. */
int install(const char *target);

#endif
