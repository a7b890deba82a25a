/* The only file of the image fumehood/test-scratch: what a session can do without shell or libc.
 *
 *   /hello WORD…        print each argument on a line
 *   /hello cat          copy standard input to standard output
 *   /hello exit CODE    end with that code
 *   /hello sleep        wait for a signal
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int copy_input(void) {
    char block[65536];
    for (;;) {
        ssize_t got = read(STDIN_FILENO, block, sizeof block);
        if (got <= 0) return got == 0 ? 0 : 1;
        for (ssize_t at = 0; at < got;) {
            ssize_t put = write(STDOUT_FILENO, block + at, (size_t)(got - at));
            if (put < 0) return 1;
            at += put;
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "cat") == 0) return copy_input();
    if (argc == 3 && strcmp(argv[1], "exit") == 0) return atoi(argv[2]);
    if (argc == 2 && strcmp(argv[1], "sleep") == 0) {
        for (;;) pause();
    }
    for (int i = 1; i < argc; i++) {
        if (puts(argv[i]) < 0) return 1;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
