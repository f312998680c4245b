// An agent that fills removed files which only the descriptors of its second thread lead to; its first thread ends.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

static void *fill(void *unused) {
    static char block[1 << 20];
    if (unshare(CLONE_FILES))
        _exit(2);
    // Three files, each smaller than what all of them may hold.
    for (int i = 0; i < 3; i++) {
        int file = open("hidden", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        unlink("hidden");
        for (int n = 0; n < 2; n++)
            if (write(file, block, sizeof block) != sizeof block)
                _exit(3);
    }
    for (;;)
        pause();
    return unused;
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, fill, NULL))
        return 1;
    pthread_exit(NULL);
}
