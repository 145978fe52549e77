"""Rules: whose a socket is, by program, address and port; what the log says of it; and what --require makes of it."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
SHUNT = os.path.join(BUILD, "bin", "shunt")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}
# Binds to the address and port given, connects to itself, and says how that went.
TALK = """
import socket, sys
host, kind = sys.argv[1], sys.argv[2]
one = socket.socket(type=socket.SOCK_DGRAM if kind == 'udp' else socket.SOCK_STREAM)
other = socket.socket(type=one.type)
try:
    one.bind((host, int(sys.argv[3])))
    if kind == 'tcp': one.listen()
    other.connect(('127.0.0.1', one.getsockname()[1]))
    other.send(b'x')
    print((one.accept()[0] if kind == 'tcp' else one).recv(1).decode())
except OSError as error:
    print(error.strerror)
"""

if not os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so")):
    print("SKIP: libshunt_preload.so is not built")
    sys.exit(77)


def talk(*options, host="127.0.0.1", kind="tcp", port=0):
    result = subprocess.run([SHUNT, "--link", "loop", "--log", "info", *options, "--", sys.executable, "-c", TALK, host, kind, str(port)],
                            capture_output=True, text=True, timeout=60, env=CLEAN)
    lines = [re.sub(r"fd \d+|:\d+\b", lambda m: "fd N" if m[0].startswith("fd") else ":P", line) for line in result.stderr.splitlines()]
    return result.stdout.strip(), lines


OURS = "shunt: fd N: tcp 127.0.0.1:P accelerated"


def by_rule(rule):
    return f'shunt: fd N: kernel (127.0.0.1:P), because the rule "{rule}" says so'


class Rules(unittest.TestCase):
    def test_without_rules_addresses_decide(self):
        said, lines = talk()
        self.assertEqual((said, lines.count(OURS)), ("x", 2))

    def test_a_rule_gives_both_ends_to_the_kernel(self):
        said, lines = talk("--rule", "kernel tcp")
        self.assertEqual((said, lines), ("x", [by_rule("kernel tcp")] * 2))
        said, lines = talk("--rule", "kernel tcp", kind="udp")
        self.assertEqual((said, lines.count(OURS.replace("tcp", "udp"))), ("x", 2))

    def test_one_end_only(self):
        said, lines = talk("--rule", "kernel peer=127.0.0.0/8")
        self.assertEqual((said, lines), ("Connection refused", [OURS, by_rule("kernel peer=127.0.0.0/8")]))

    def test_listen_without_bind_asks_as_well(self):
        code = "import socket; s = socket.socket(); s.listen(); print(s.getsockname()[0])"
        result = subprocess.run([SHUNT, "--link", "loop", "--log", "info", "--rule", "kernel local=*", "--", sys.executable, "-c", code],
                                capture_output=True, text=True, timeout=60, env=CLEAN)
        self.assertEqual(result.stdout, "0.0.0.0\n")
        self.assertRegex(result.stderr, r'^shunt: fd \d+: kernel \(0\.0\.0\.0:0\), because the rule "kernel local=\*" says so\n$')

    def test_the_first_match_in_the_file_wins_and_the_command_line_replaces_it(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write('link = "loop"\nrule = ["shunt program=python3*", "kernel"]\n')
            file.flush()
            said, lines = talk("--config", file.name)
            self.assertEqual((said, lines.count(OURS)), ("x", 2))
            said, lines = talk("--config", file.name, "--rule", "kernel program=python3*")
            self.assertEqual((said, lines), ("x", [by_rule("kernel program=python3*")] * 2))

    def test_require_refuses_a_fall_back_but_not_a_rule(self):
        self.assertEqual(talk("--require", host="127.0.0.1")[0], "x")
        said, lines = talk("--require", "--ip", "10.98.0.1/24", host="0.0.0.0", kind="tcp")
        self.assertEqual(said, "x")
        code = "import socket\ns = socket.socket(socket.AF_INET6)\ntry: s.bind(('::1', 0)); print('bound')\nexcept OSError as error: print(error.strerror)"
        result = subprocess.run([SHUNT, "--link", "loop", "--require", "--", sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=CLEAN)
        self.assertEqual(result.stdout, "Cannot assign requested address\n")
        self.assertEqual(talk("--require", "--rule", "kernel tcp")[0], "x")

    def test_a_rule_that_is_none_ends_before_the_program_starts(self):
        result = subprocess.run([SHUNT, "--link", "loop", "--rule", "kernel prt=22", "--", "true"], capture_output=True, text=True, timeout=60, env=CLEAN)
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertRegex(result.stderr, r'^shunt: error: --rule kernel prt=22: "prt=22" is not understood; .*\n$')


if __name__ == "__main__":
    unittest.main(verbosity=2)
