/* For suites whose program starts itself again for each part of a test, as libuv's does: the child goes on in run_test_part() where it would call
   execve(), so that it shares its parent's loop. Include it in the file that calls execve() (libuv: test/runner-unix.c). */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

int run_test_part(const char* test, const char* part);

static inline int go_on_forked(char** arguments) { _exit(run_test_part(arguments[1], arguments[2])); }
#define execve(path, arguments, environment) go_on_forked(arguments)

/* The stack is shared by what is forked after it has started. */
__attribute__((constructor)) static void start_stack(void) {
    const struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)bind(fd, (const struct sockaddr*)&name, sizeof name);
    close(fd);
}
