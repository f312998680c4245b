/* An agent that sends itself as many descriptors as the kernel takes, and receives none of them. When no more are
   taken it writes their number to the file that it was told, and waits for its end. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Most that one message carries. */
#define AT_ONCE 253
/* Beyond what any limit of the tests allows. */
#define PAIRS 500

static int send_some(int to) {
    static union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(AT_ONCE * sizeof(int))];
    } control;
    char byte = 0;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(AT_ONCE * sizeof(int));
    memset(CMSG_DATA(&control.head), 0, AT_ONCE * sizeof(int)); /* standard input, many times */
    return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? 0 : errno;
}

int main(int count, char **arguments) {
    struct rlimit limit;
    long sent = 0;
    int error = 0, pair[2];
    if (count != 2 || getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < PAIRS && error != ETOOMANYREFS; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) break;
        while ((error = send_some(pair[0])) == 0) sent += AT_ONCE;
    }
    FILE *file = fopen("sending", "w");
    if (!file) return 1;
    fprintf(file, "%ld\n", sent);
    fclose(file);
    /* So that who looks for the file finds the number in it. */
    rename("sending", arguments[1]);
    pause();
}
