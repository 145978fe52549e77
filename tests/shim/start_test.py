"""The stack's start, from outside: it happens at the first socket that needs it; what goes wrong is one clear line, and the program goes on."""
import os
import subprocess
import sys
import unittest

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
SHUNT = os.path.join(BUILD, "bin", "shunt")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}
BIND = "import socket\ns = socket.socket()\ntry: s.bind(('10.98.0.1', 0)); print('bound')\nexcept OSError as error: print(error.strerror)"
REFUSED = """
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
memory = ctypes.create_string_buffer(256)
print(libc.syscall(425, 4, memory), ctypes.get_errno())
print(libc.io_uring_queue_init(4, memory, 0))
s = socket.socket()
s.bind(('10.98.0.1', 0))
ctypes.c_int.from_buffer(memory).value = s.fileno()
print(libc.aio_read(memory), ctypes.get_errno())
"""
FORKS = """
import os, socket
s = socket.socket()
s.bind(('10.98.0.1', 7))
s.listen()
child = os.fork()
if child == 0:
    print('listens', flush=True)
    try: s.accept(); print('accepted', flush=True)
    except OSError as error: print(error.strerror, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
CONNECTS = """
import socket
try: socket.create_connection(('10.98.0.1', 7), timeout=1)
except OSError: pass
"""
MALLOC = """
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
static char memory[64 << 20];
static size_t used, calls;
void* malloc(size_t size) { size_t at = __atomic_fetch_add(&used, (size + 31) & ~15UL, __ATOMIC_RELAXED); ++calls; *(size_t*)(memory + at) = size; return memory + at + 16; }
void free(void* p) { (void)p; }
void* calloc(size_t n, size_t size) { return malloc(n * size); }
void* realloc(void* p, size_t size) { void* q = malloc(size); if (p) memcpy(q, p, ((size_t*)p)[-2] < size ? ((size_t*)p)[-2] : size); return q; }
void* aligned_alloc(size_t a, size_t size) { char* p = malloc(size + a); return p + (a - (size_t)p % a) % a; }
int posix_memalign(void** p, size_t a, size_t size) { *p = aligned_alloc(a, size); return 0; }
void* memalign(size_t a, size_t size) { return aligned_alloc(a, size); }
int main(void) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    size_t before = calls;
    inet_pton(AF_INET, "10.98.0.1", &a.sin_addr);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    int r = bind(s, (struct sockaddr*)&a, sizeof a) | listen(s, 1);
    printf("%d %s %d\\n", r, dlsym(RTLD_DEFAULT, "malloc") == (void*)malloc ? "own" : "foreign", calls > before);
    return 0;
}
"""

if not os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so")):
    print("SKIP: libshunt_preload.so is not built")
    sys.exit(77)


def command(*program, link=f"memif:start{os.getpid()}", log="warning"):
    return [SHUNT, "--link", link, "--ip", "10.98.0.1/24", "--log", log, "--", *program]


def run(*arguments, **more):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, env=CLEAN, **more)


class Start(unittest.TestCase):
    def test_a_port_that_is_not_there_is_one_clear_line(self):
        for link, words in (
            ("pci:0000:ff:1f.7", "there is no such device"),
            ("packet:nosuchport", "there is no interface nosuchport"),
            ("xdp:nosuchport", "there is no interface nosuchport"),
            ("dpdk:net_nosuchdriver0", "are DPDK's device arguments right?"),
        ):
            with self.subTest(link=link):
                result = run(*command(sys.executable, "-c", BIND, link=link))
                self.assertRegex(result.stderr, rf"\Ashunt: error: --link {link}: .*{words.replace('?', '[?]')}[^\n]*\n\Z")
                self.assertEqual((result.stdout, result.returncode), ("Network is down\n", 0))

    def test_said_once_however_many_sockets(self):
        result = run(*command(sys.executable, "-c", BIND + "\n" + BIND, link="packet:nosuchport"))
        self.assertEqual((result.stderr.count("\n"), result.stdout), (1, "Network is down\n" * 2))

    def test_a_healthy_start_says_nothing(self):
        result = run(*command(sys.executable, "-c", BIND))
        self.assertEqual((result.stdout, result.stderr, result.returncode), ("bound\n", "", 0))

    def test_ways_past_the_shim_are_refused_with_a_line(self):
        result = run(*command(sys.executable, "-c", REFUSED, log="info"))
        self.assertEqual(result.stdout, "-1 38\n-38\n-1 38\n")
        self.assertEqual(result.stderr.count("io_uring is refused"), 1, result.stderr)
        self.assertEqual(result.stderr.count("aio is refused"), 1, result.stderr)

    def test_the_launcher_becomes_the_program(self):
        with subprocess.Popen(command("sh", "-c", "echo $$"), stdout=subprocess.PIPE, text=True, env=CLEAN) as process:
            self.assertEqual(process.communicate(timeout=60)[0], f"{process.pid}\n")

    def test_a_signal_that_ends_the_program_is_told_as_a_shell_tells_it(self):
        words = " ".join(f"'{word}'" for word in command("sh", "-c", "kill -KILL $$"))
        self.assertEqual(run("sh", "-c", f"{words}; echo $?").stdout, "137\n")

    def test_a_child_forked_before_the_link_uses_it(self):
        wire = f"memif:forks{os.getpid()}"
        with subprocess.Popen(command(sys.executable, "-c", FORKS, link=wire), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=CLEAN) as server:
            self.assertEqual(server.stdout.readline(), "listens\n")
            subprocess.run([SHUNT, "--link", wire, "--ip", "10.98.0.2/24", "--", sys.executable, "-c", CONNECTS], env=CLEAN, timeout=30)
            try:
                said, errors = server.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                self.fail("the child waits for ever")
        self.assertEqual((said, errors), ("accepted\n", ""))

    def test_a_program_with_its_own_malloc_keeps_it(self):
        program = os.path.join(BUILD, "test", "own_malloc")
        built = run("gcc", "-x", "c", "-", "-o", program, "-fno-builtin", input=MALLOC)
        self.assertEqual(built.returncode, 0, built.stderr)
        result = run(*command(program))
        self.assertEqual((result.stdout, result.stderr, result.returncode), ("0 own 1\n", "", 0))


if __name__ == "__main__":
    unittest.main()
