/*
 * A stand-in for the supervisor, for tests of the engine alone: no wire, no children.
 *
 *   install TARGET   copy this program beside TARGET and rename: what the real one does
 *   relay            copy stdin to stdout
 *   (nothing)        the session: commands of one line each, see serve()
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        data += done;
        size -= (size_t)done;
    }
    return 0;
}

static int copy(int from, int to)
{
    static char buffer[1 << 17];
    for (;;) {
        ssize_t got = read(from, buffer, sizeof buffer);
        if (got <= 0)
            return got == 0 ? 0 : -1;
        if (write_all(to, buffer, (size_t)got) != 0)
            return -1;
    }
}

static int install(const char *target)
{
    char fresh[256];
    /* Not by process id: that is 1 in every container, and two may fill one volume. */
    unsigned long long name = 0;
    if (getrandom(&name, sizeof name, 0) != (ssize_t)sizeof name)
        return 2;
    int number = snprintf(fresh, sizeof fresh, "%s.%016llx.new", target, name);
    if (number < 0 || (size_t)number >= sizeof fresh)
        return 2;
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (from < 0 || to < 0 || copy(from, to) != 0 || fchmod(to, 0111) != 0 || fsync(to) != 0)
        return 3;
    /* Closed first: a program that is open for writing cannot be executed. */
    return close(to) == 0 && rename(fresh, target) == 0 ? 0 : 4;
}

/* Write `size` bytes to a descriptor: byte i of the whole is i modulo 251. */
static int flood(int fd, long long size)
{
    static char block[251 * 512];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(i % 251);
    while (size > 0) {
        size_t part = size < (long long)sizeof block ? (size_t)size : sizeof block;
        if (write_all(fd, block, part) != 0)
            return -1;
        size -= (long long)part;
    }
    return 0;
}

/* Read and throw away `size` bytes, then say so. */
static int sink(long long size)
{
    static char buffer[1 << 17];
    while (size > 0) {
        size_t want = size < (long long)sizeof buffer ? (size_t)size : sizeof buffer;
        ssize_t got = read(0, buffer, want);
        if (got <= 0)
            return -1;
        size -= got;
    }
    return write_all(1, "sunk\n", 5);
}

static int show_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return write_all(1, strerror(errno), strlen(strerror(errno)));
    int result = copy(fd, 1);
    close(fd);
    return result;
}

static int put_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return write_all(1, "no\n", 3);
    int result = write_all(fd, text, strlen(text));
    close(fd);
    return result != 0 ? result : write_all(1, "ok\n", 3);
}

/* Read one line without reading on: what follows belongs to the next command. */
static int read_line(char *line, size_t size)
{
    size_t length = 0;
    for (;;) {
        char byte;
        ssize_t got = read(0, &byte, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -1;
        if (byte == '\n')
            break;
        if (length + 1 < size)
            line[length++] = byte;
    }
    line[length] = '\0';
    return 0;
}

/*
 * echo TEXT | out N | err N | sink N | cat PATH | put PATH TEXT | ids | exit N
 * The end of stdin ends the session with status 7.
 */
static int serve(void)
{
    static char line[4096];
    if (write_all(2, "stand-in ready\n", 15) != 0)
        return 1;
    while (read_line(line, sizeof line) == 0) {
        char *rest = strchr(line, ' ');
        if (rest != NULL)
            *rest++ = '\0';
        else
            rest = line + strlen(line);
        int result = 0;
        if (strcmp(line, "echo") == 0) {
            result = write_all(1, rest, strlen(rest));
            result |= write_all(1, "\n", 1);
        } else if (strcmp(line, "out") == 0) {
            result = flood(1, atoll(rest));
        } else if (strcmp(line, "err") == 0) {
            result = flood(2, atoll(rest));
        } else if (strcmp(line, "sink") == 0) {
            result = sink(atoll(rest));
        } else if (strcmp(line, "cat") == 0) {
            result = show_file(rest);
        } else if (strcmp(line, "put") == 0) {
            char *text = strchr(rest, ' ');
            if (text != NULL) {
                *text++ = '\0';
                result = put_file(rest, text);
            }
        } else if (strcmp(line, "ids") == 0) {
            char text[64];
            int size = snprintf(text, sizeof text, "%d %d %d\n", (int)getpid(), (int)getuid(),
                                (int)getgid());
            result = write_all(1, text, (size_t)size);
        } else if (strcmp(line, "exit") == 0) {
            return atoi(rest);
        }
        if (result != 0)
            return 5;
    }
    return 7;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "install") == 0)
        return install(argv[2]);
    if (argc == 2 && strcmp(argv[1], "relay") == 0)
        return copy(0, 1) == 0 ? 0 : 1;
    return serve();
}
