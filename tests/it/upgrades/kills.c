// Counts what one process writes to its files, and ends it by SIGKILL before a certain write.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static void step(void) {
    static unsigned long long count;
    const char *path = getenv("TEST_WRITES");
    const char *last = getenv("TEST_KILL_BEFORE");
    if (!path || !last)
        return;
    if (__sync_add_and_fetch(&count, 1) == strtoull(last, NULL, 10))
        kill(getpid(), SIGKILL);
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0) {
        syscall(SYS_write, file, "w", 1);
        close(file);
    }
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
    step();
    return syscall(SYS_pwrite64, file, bytes, length, at);
}

int ftruncate64(int file, off64_t length) {
    step();
    return syscall(SYS_ftruncate, file, length);
}

int fsync(int file) {
    step();
    return syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    step();
    return syscall(SYS_fdatasync, file);
}

int rename(const char *from, const char *to) {
    step();
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
    step();
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
