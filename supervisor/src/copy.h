/* Copying a workspace: the content of one directory into another one, which is empty, and of another volume.
 *
 * A program of its own, in a container of its own, as root with the few capabilities that this takes. The tree is a stranger's: no
 * link is followed, and what is no file, directory, link, pipe or socket is left out.
 */
#ifndef FUMEHOOD_COPY_H
#define FUMEHOOD_COPY_H

/* How it ended, as an exit code: the engine side tells it apart. */
enum copy_end {
	COPY_OK = 0,
	COPY_FAILED = 20,
	COPY_NO_ROOM = 21,         /* the disk is full, or would be filled below its floor */
	COPY_TOO_DEEP = 22,
};

/* Prints one line, "copied BYTES ENTRIES LEFT_OUT", when all is there and written back. Returns an enum copy_end. */
int copy_tree(const char *from, const char *to);

#endif
