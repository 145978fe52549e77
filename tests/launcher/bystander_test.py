"""A program under shunt that uses no socket of ours behaves as without: same output, own malloc, no EAL, no delay, no words."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
SHUNT = os.path.join(BUILD, "bin", "shunt")
LAUNCH = [SHUNT, "--link", "memif:bystander_test", "--ip", "10.99.0.1/24"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}

if not os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so")):
    print("SKIP: libshunt_preload.so is not built")
    sys.exit(77)


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=CLEAN, **more)


class Bystanders(unittest.TestCase):
    def same(self, *command):
        plain, shunted = run(*command), run(*LAUNCH, *command)
        self.assertEqual((shunted.stdout, shunted.stderr, shunted.returncode), (plain.stdout, plain.stderr, plain.returncode))

    def test_ordinary_programs_do_the_same(self):
        self.same("ls", "-l", "/etc")
        self.same("ls", "/no/such/folder")
        self.same("sh", "-c", "echo out; echo err >&2; exit 3")
        self.same("sh", "-c", "seq 1 1000 | sort -rn | head -3")
        self.same("find", "/usr/include", "-maxdepth", "1", "-name", "s*.h")
        self.same(sys.executable, "-c", "import threading; t = threading.Thread(target=lambda: print(1)); t.start(); t.join()")

    def test_kernel_only_sockets_do_the_same(self):
        self.same(sys.executable, "-c", "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))")

    def test_no_eal_is_started(self):
        script = "import threading, os; print(len(os.listdir('/proc/self/task')), [os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2)] and sorted(os.listdir('/proc/self/fd')))"
        self.same(sys.executable, "-c", script)
        maps = run(*LAUNCH, "cat", "/proc/self/maps").stdout
        self.assertNotRegex(maps, r"rte|hugepage|memfd:")
        # The arena is reserved when a socket needs it, not before.
        sizes = [int(b, 16) - int(a, 16) for a, b in re.findall(r"^(\w+)-(\w+) ", maps, re.M)]
        self.assertLess(sum(sizes), 256 << 20)

    def test_affinity_and_signal_mask_are_the_programs(self):
        self.same("grep", "-E", "^(Cpus_allowed|SigBlk|SigIgn|SigCgt|Threads)", "/proc/self/status")

    def test_malloc_is_the_programs_own(self):
        script = ("import ctypes; d = ctypes.CDLL(None);\n"
                  "class I(ctypes.Structure): _fields_ = [('file', ctypes.c_char_p), ('base', ctypes.c_void_p), ('name', ctypes.c_char_p), ('at', ctypes.c_void_p)]\n"
                  "i = I()\n"
                  "for n in ('malloc', 'free', 'calloc', 'realloc', 'posix_memalign'):\n"
                  "    d.dladdr(ctypes.cast(getattr(d, n), ctypes.c_void_p), ctypes.byref(i)); print(n, i.file.decode())\n")
        self.same(sys.executable, "-c", script)
        self.assertIn("libc.so.6", run(*LAUNCH, sys.executable, "-c", script).stdout)

    def test_another_malloc_stays_in_place(self):
        library = next((path for path in ("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0")
                        if os.path.exists(path)), None)
        if library is None:
            self.skipTest("neither jemalloc nor mimalloc is here")
        result = subprocess.run([*LAUNCH, "sh", "-c", "seq 1 100000 | sort -n | tail -1"], capture_output=True, text=True, timeout=60,
                                env={**CLEAN, "LD_PRELOAD": library})
        self.assertEqual((result.stdout, result.returncode), ("100000\n", 0))

    def test_start_up_costs_nothing_to_speak_of(self):
        def seconds(*command):
            start = time.monotonic()
            run(*command)
            return time.monotonic() - start
        plain = min(seconds("true") for _ in range(5))
        self.assertLess(min(seconds(*LAUNCH, "true") for _ in range(5)) - plain, 0.1)

    def test_the_environment_goes_on_to_children_and_their_children(self):
        self.assertIn("libshunt_preload", run(*LAUNCH, "sh", "-c", "sh -c 'cat /proc/self/maps'").stdout)

    def test_a_compiler_runs(self):
        if shutil.which("gcc") is None:
            self.skipTest("no compiler")
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "a")
            result = run(*LAUNCH, "gcc", "-O2", "-x", "c", "-", "-o", program, input="int main(void){return 7;}")
            self.assertEqual((result.stderr, result.returncode), ("", 0))
            self.assertEqual(run(program).returncode, 7)


if __name__ == "__main__":
    unittest.main()
