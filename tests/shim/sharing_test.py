"""Programs that share a stack without having been forked from one another: those of one launch over the loop, those that name one link and have one
address, those that are executed with a socket, those that are sent one in a message."""
import json
import os
import subprocess
import sys
import unittest

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
SHUNT = os.path.join(BUILD, "bin", "shunt")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("SHUNT_") and name != "LD_PRELOAD"}
SECONDS = 30

SERVER = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listens", flush=True)
peer, _ = listener.accept()
while data := peer.recv(65536): peer.sendall(data)
"""

CLIENT = """
import os, socket, sys
block = os.urandom(300000)
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=15) as s:
    for _ in range(10):
        s.sendall(block)
        got = b""
        while len(got) < len(block): got += s.recv(65536)
        assert got == block
print("echoed")
"""

# One of several that share a port: says which of them it is.
ONE_OF_MANY = """
import os, socket, sys, threading
listener, datagrams = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
for each in (listener, datagrams):
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    each.bind((sys.argv[1], int(sys.argv[2])))
listener.listen()
def answer():
    while True: datagrams.sendto(b"%d" % os.getpid(), datagrams.recvfrom(9)[1])
threading.Thread(target=answer, daemon=True).start()
print("listens", flush=True)
while True:
    with listener.accept()[0] as peer: peer.sendall(b"%d" % os.getpid())
"""

# From how many flows each of them is heard; and each flow hears one only.
ASKS_MANY = """
import collections, json, socket, sys
to, counts = (sys.argv[1], int(sys.argv[2])), [collections.Counter(), collections.Counter()]
for _ in range(120):
    with socket.create_connection(to, timeout=15) as s: counts[0][s.recv(99).decode()] += 1
    with socket.socket(type=socket.SOCK_DGRAM) as u:
        u.settimeout(15)
        answers = set()
        for _ in range(3):
            u.sendto(b"who?", to)
            answers.add(u.recv(99).decode())
        assert len(answers) == 1, answers
        counts[1][answers.pop()] += 1
print(json.dumps([sorted(each.values()) for each in counts]))
"""

# A connection of its own to itself; the accepted end goes to another program, which answers.
PASSES = """
import array, os, socket, subprocess, sys
ANSWERS = "import socket; s = socket.socket(fileno=0); s.sendall(b'answer to ' + s.recv(100) + b' from %d' % s.getpeername()[1])"
def executed(peer):
    if os.fork() == 0:
        os.dup2(peer.fileno(), 0)
        os.execve(sys.executable, [sys.executable, "-c", ANSWERS], {})
def spawned(peer): subprocess.Popen([sys.executable, "-c", ANSWERS], stdin=peer)
def spawned_by_libc(peer): os.posix_spawn(sys.executable, [sys.executable, "-c", ANSWERS], {}, file_actions=[(os.POSIX_SPAWN_DUP2, peer.fileno(), 0)])
def sent(peer):
    here, there = socket.socketpair()
    if os.fork() == 0:
        here.close(); os.close(peer.fileno())
        message, control, _, _ = there.recvmsg(1, 100)
        s = socket.socket(fileno=array.array("i", control[0][2])[0])
        s.sendall(b'answer to ' + s.recv(100) + b' from %d' % s.getpeername()[1])
        os._exit(0)
    socket.send_fds(here, [b"x"], [peer.fileno()])
def listening(listener, client):
    if os.fork() == 0:
        os.set_inheritable(listener.fileno(), True)
        code = "import socket; l = socket.socket(fileno=%d); s, _ = l.accept(); s.sendall(b'answer to ' + s.recv(100) + b' from %d' % s.getpeername()[1])"
        os.execv(sys.executable, [sys.executable, "-c", code.replace("%d", str(listener.fileno()), 1)])
listener = socket.create_server((sys.argv[2], int(sys.argv[3])))
client = socket.create_connection(listener.getsockname(), timeout=15)
if sys.argv[1] == "listening": listening(listener, client)
else:
    peer, _ = listener.accept()
    globals()[sys.argv[1]](peer)
    peer.close()
listener.close()
client.sendall(b"this")
got = b""
while data := client.recv(100): got += data
print(got.decode().replace(str(client.getsockname()[1]), "you"))
"""


def python(code, *arguments, link="loop", address=None):
    own = ["--ip", f"{address}/24"] if address else []
    return [SHUNT, "--link", link, *own, "--", sys.executable, "-c", code, *map(str, arguments)]


class Sharing(unittest.TestCase):
    def setUp(self):
        self.wire = f"memif:sharing{os.getpid()}{self._testMethodName[-8:]}"

    def run_to_end(self, command):
        done = subprocess.run(command, env=CLEAN, capture_output=True, text=True, timeout=SECONDS)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def start_server(self, *arguments, code=SERVER, **options):
        server = subprocess.Popen(python(code, *arguments, **options), env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(server.communicate, timeout=SECONDS)
        self.addCleanup(server.kill)
        self.assertEqual(server.stdout.readline(), "listens\n")

    def test_the_programs_of_one_launch_share_a_loop(self):
        words = [SHUNT, "--link", "loop", "--", "sh", "-c", '"$0" -c "$1" 127.0.0.1 7100 & sleep 1; "$0" -c "$2" 127.0.0.1 7100; wait', sys.executable, SERVER, CLIENT]
        self.assertEqual(self.run_to_end(words), "listens\nechoed\n")

    def test_those_of_two_launches_do_not(self):
        self.start_server("127.0.0.1", 7101)
        done = subprocess.run(python(CLIENT, "127.0.0.1", 7101), env=CLEAN, capture_output=True, text=True, timeout=SECONDS)
        self.assertIn("ConnectionRefusedError", done.stderr)

    def test_programs_with_one_address_share_a_wire(self):
        for port in (7001, 7002, 7003):
            self.start_server("10.97.0.1", port, link=self.wire, address="10.97.0.1")
        for port in (7003, 7001, 7002):
            self.assertEqual(self.run_to_end(python(CLIENT, "10.97.0.1", port, link=self.wire, address="10.97.0.2")), "echoed\n")

    def test_programs_that_share_a_port_share_its_flows(self):
        for _ in range(3):
            self.start_server("10.97.0.1", 7001, code=ONE_OF_MANY, link=self.wire, address="10.97.0.1")
        for counts in json.loads(self.run_to_end(python(ASKS_MANY, "10.97.0.1", 7001, link=self.wire, address="10.97.0.2"))):
            self.assertEqual((len(counts), sum(counts)), (3, 120))
            self.assertGreater(counts[0], 20, counts)

    def test_one_that_joined_may_connect_and_outlive_the_first(self):
        self.start_server("10.97.0.1", 7001, link=self.wire, address="10.97.0.1")
        self.start_server("10.97.0.2", 7001, link=self.wire, address="10.97.0.2")
        self.assertEqual(self.run_to_end(python(CLIENT, "10.97.0.2", 7001, link=self.wire, address="10.97.0.1")), "echoed\n")

    def check_passing(self, how, *where, **options):
        self.assertEqual(self.run_to_end(python(PASSES, how, *where, **options)), "answer to this from you\n")

    def test_a_program_that_is_executed_with_a_connection_uses_it(self):
        self.check_passing("executed", "127.0.0.1", 7102)

    def test_also_one_that_vfork_has_made(self):
        self.check_passing("spawned", "127.0.0.1", 7103)

    def test_also_one_that_posix_spawn_has_made(self):
        self.check_passing("spawned_by_libc", "127.0.0.1", 7107)

    def test_also_with_a_listener(self):
        self.check_passing("listening", "127.0.0.1", 7104)

    def test_a_connection_in_a_message_is_one_for_who_receives_it(self):
        self.check_passing("sent", "127.0.0.1", 7105)

    def test_a_connection_goes_to_another_program_beside_a_port(self):
        for how in ("executed", "spawned", "spawned_by_libc", "sent", "listening"):
            with self.subTest(how=how):
                self.check_passing(how, "10.97.0.1", 7106, link=self.wire + how, address="10.97.0.1")


if __name__ == "__main__":
    unittest.main()
