"""The keeper: a process that lives beside a program's stack and outlives the program. What it does for the dead, as a kernel would; what it costs; and that
nobody notices it otherwise. Real programs at both ends of a memif wire, which are told line by line what to do."""
import contextlib
import ctypes
import json
import os
import pathlib
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from keepers import Process, keepers_of, let_rest

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
SHUNT = os.path.join(BUILD, "bin", "shunt")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}
SERVER, PEER, PORT = "10.98.0.1", "10.98.0.2", 7000
KEEPER_RSS_MAX_KIB, KEEPER_PRIVATE_MAX_KIB = 24 << 10, 4 << 10
LEAVES_WITHIN_S = 2.0
# A program that carries out what comes in lines on its standard input, and prints `out` after each.
AGENT = r"""
import contextlib, ctypes, errno, gc, json, mmap, os, random, select, signal, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None)
PERIOD = 1_000_003  # bytes; a stream repeats this, so that a piece at the wrong place is noticed
twice = memoryview(random.Random(5).randbytes(PERIOD) * 2)
def piece(at, size): return twice[at % PERIOD:at % PERIOD + min(size, PERIOD)]
def outcome(call):
    try: return call()
    except OSError as error: return errno.errorcode.get(error.errno, "timeout")
def receive(s, limit=1 << 40, seconds=10):
    "How many bytes came, how it ended (EOF, an error, or 'enough'), and where the first wrong one was, or True."
    s.settimeout(seconds)
    got, right = 0, True
    while got < limit:
        data = outcome(lambda: s.recv(min(1 << 18, limit - got)))
        if isinstance(data, str): return got, data, right
        if not data: return got, "EOF", right
        if right is True and data != piece(got, len(data)): right = got + next(i for i, b in enumerate(piece(got, len(data))) if b != data[i])
        got += len(data)
    return got, "enough", right
def fill(s, total, quiet_ms):
    "Sends until the total, or until nothing has been taken for a while. What was taken."
    s.setblocking(False)
    wait, sent = select.poll(), 0
    wait.register(s, select.POLLOUT)
    while sent < total and wait.poll(quiet_ms):
        with contextlib.suppress(BlockingIOError): sent += s.send(piece(sent, min(65536, total - sent)))
    return sent
def serve(*sockets, seconds=60):
    "Echoes on each socket and on what a listener among them accepts."
    signal.alarm(seconds)
    known, wait = {}, select.poll()
    for each in sockets: known[each.fileno()] = each; wait.register(each, select.POLLIN)
    while True:
        for fd, _ in wait.poll():
            if known[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                new = known[fd].accept()[0]
                known[new.fileno()] = new
                wait.register(new, select.POLLIN)
            elif not (data := known[fd].recv(65536)): wait.unregister(fd); known.pop(fd).close()
            else: known[fd].sendall(data)
def echoes(s, text=b"hello"):
    s.settimeout(10)
    def talk(): s.sendall(text); return s.recv(99) == text
    return outcome(talk)
def ends(sockets, seconds):
    "How the other side of each closed, and when the last of them did."
    found, end = [], time.monotonic() + seconds
    for each in sockets:
        each.settimeout(max(end - time.monotonic(), 0.001))
        data = outcome(lambda: each.recv(1))
        found.append(data if isinstance(data, str) else "data" if data else "EOF")
    return sorted(set(found)), time.monotonic()
out = None
while line := sys.stdin.readline():
    out = None
    exec(json.loads(line), globals())
    print(json.dumps(out), flush=True)
"""

if not os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so")):
    print("SKIP: libshunt_preload.so is not built")
    sys.exit(77)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def wait_until(happened, seconds):
    end = time.monotonic() + seconds
    while not (found := happened()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


class Guest:
    """A program under Shunt at one end of a wire."""

    def __init__(self, test, address, *options, agent=AGENT):
        self.test, self.errors = test, tempfile.TemporaryFile()
        others = keepers_of(test.wire)
        self.program = subprocess.Popen([SHUNT, "--link", f"memif:{test.wire}", "--ip", f"{address}/24", *options, "--", sys.executable, "-c", agent],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=CLEAN, start_new_session=True,
                                        preexec_fn=die_with_parent, bufsize=0)
        test.guests.append(self)
        self.keeper, self.others, self.rest = None, others, b""

    @property
    def pid(self):
        return self.program.pid

    def begin(self, code):
        self.program.stdin.write(json.dumps(code).encode() + b"\n")

    def line(self, seconds=30):
        """One line of what it prints, or None at its end."""
        end = time.monotonic() + seconds
        while b"\n" not in self.rest:
            if not select.select([self.program.stdout], [], [], max(end - time.monotonic(), 0))[0]:
                self.test.fail(f"no answer within {seconds} s; {self.said()}")
            data = os.read(self.program.stdout.fileno(), 65536)
            if not data:
                return None
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def answer(self, seconds=30):
        line = self.line(seconds)
        self.test.assertIsNotNone(line, f"it ended by itself; {self.said()}")
        return json.loads(line)

    def do(self, code, seconds=30):
        self.begin(code)
        return self.answer(seconds)

    def start_stack(self, address):
        """Its first socket; its keeper comes with it."""
        self.do(f"first = socket.socket(); first.bind(('{address}', 0)); first.close()")
        found = wait_until(lambda: keepers_of(self.test.wire) - self.others, 2)
        if found:
            (self.keeper,) = found
        return self

    def need_keeper(self):
        self.test.assertIsNotNone(self.keeper, f"no process called shunt-keeper holds the wire {self.test.wire}")
        return self.keeper

    def kill(self):
        """kill -9. When it was done."""
        self.program.kill()
        at = time.monotonic()
        self.program.wait(10)
        return at

    def finish(self):
        """Its input ends, and so it. Its exit status."""
        self.program.stdin.close()
        return self.program.wait(10)

    def said(self):
        self.errors.seek(0)
        return f"status {self.program.poll()}, standard error: {self.errors.read().decode(errors='replace') or '(nothing)'}"

    def close(self):
        if self.program.poll() is None:
            self.program.kill()
        self.program.wait(10)
        for stream in (self.program.stdin, self.program.stdout, self.errors):
            with contextlib.suppress(OSError):
                stream.close()


class Keeper(unittest.TestCase):
    count = 0

    def setUp(self):
        Keeper.count += 1
        self.wire = f"keeper{os.getpid()}x{Keeper.count:03}"
        self.guests, self.strays = [], []

    def tearDown(self):
        for guest in self.guests:
            guest.close()
        for process in self.strays:
            process.kill()
        for _ in range(3):  # a keeper that is killed has a spare
            keepers = keepers_of(self.wire)
            for process in keepers:
                process.kill()
            wait_until(lambda: not keepers & keepers_of(self.wire), 1)

    # --- What the cases are made of -------------------------------------------------------------------------------------------------
    def server(self):
        return Guest(self, SERVER).start_stack(SERVER)

    def pair(self):
        server = self.server()
        server.do(f"listener = socket.create_server(('{SERVER}', {PORT}), backlog=256)")
        return server, Guest(self, PEER).start_stack(PEER)

    def connect(self, server, peer, count=1):
        peer.begin(f"c = [socket.create_connection(('{SERVER}', {PORT}), 10) for _ in range({count})]")
        server.do(f"a = [listener.accept()[0] for _ in range({count})]")
        peer.answer()

    def serve_in_a_child(self):
        """A server whose child serves the listener and a connection that the parent has accepted; and the peer."""
        server, peer = self.pair()
        self.connect(server, peer)
        self.strays.append(Process(server.do("out = os.fork()\nif not out: serve(listener, a[0])")))
        return server, peer

    def expect_service(self, peer):
        self.assertEqual(peer.do("out = echoes(c[0])"), True, "the connection that was accepted before")
        self.assertEqual(peer.do(f"d = socket.create_connection(('{SERVER}', {PORT}), 5); out = echoes(d)"), True, "a new one")

    def kill_at_rest(self, process):
        """Outside the stack's lock: inside, its death would reset connections."""
        self.assertTrue(let_rest(process.pid), "it does not come to rest")
        process.kill()

    def leave_time_wait(self, server, peer):
        """The server's side closes first."""
        server.do("a[0].close(); listener.close()")
        self.assertEqual(peer.do("out = receive(c[0]); c[0].close()"), [0, "EOF", True])

    def expect_departure(self, keeper, seconds=LEAVES_WITHIN_S):
        self.assertTrue(wait_until(lambda: not keeper.is_alive(), seconds), f"the keeper is there after {seconds} s")

    # --- What the dead had written, read and held -------------------------------------------------------------------------------------
    def test_of_a_killed_sender_every_byte_that_was_taken_arrives_and_then_fin(self):
        half, total, window = 60 << 20, 100 << 20, 1 << 20
        server, peer = self.pair()
        self.connect(server, peer)
        peer.do(f"c[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, {window})")
        server.do("a[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)")
        peer.begin(f"out = receive(c[0], {half})")
        sent = server.do(f"out = fill(a[0], {total}, quiet_ms=500)")
        self.assertEqual(peer.answer(), [half, "enough", True])
        self.assertLess(sent, total, "killed in the middle")
        self.assertGreater(sent - half, 3 * window, "more was under way than the peer's buffer holds")
        server.kill()
        time.sleep(1.5)  # the window stays closed, so it is asked for
        # The peer's stream began at `half` for the second time: what is right is counted from there.
        rest = peer.do(f"twice = memoryview(bytes(piece({half}, PERIOD)) * 2); out = receive(c[0])")
        self.assertEqual(rest, [sent - half, "EOF", True])

    def test_whenever_a_sender_is_killed_its_connection_ends(self):
        """Inside the stack's lock the connection may be reset; outside nothing that was taken may be lost."""
        seed, size = 7, 65536
        choose = random.Random(seed)
        peer = None
        for number in range(5):
            with self.subTest(seed=seed, round=number), tempfile.NamedTemporaryFile() as progress:
                progress.write(bytes(8))
                progress.flush()
                server = self.server()
                server.do(f"listener = socket.create_server(('{SERVER}', {PORT})); m = mmap.mmap(os.open('{progress.name}', os.O_RDWR), 8)")
                peer = peer or Guest(self, PEER).start_stack(PEER)
                self.connect(server, peer)
                peer.begin("out = receive(c[0])")
                server.begin(f"sent = 0\nwhile True:\n sent += a[0].send(piece(sent, {size}))\n m[:] = sent.to_bytes(8, 'little')")

                def sent():
                    return int.from_bytes(pathlib.Path(progress.name).read_bytes(), "little")
                enough = choose.randrange(1 << 20, 100 << 20)
                self.assertTrue(wait_until(lambda: sent() >= enough, 20), f"{sent()} bytes in 20 s")
                server.kill()
                got, end, right = peer.answer()
                self.assertIn(end, ("EOF", "ECONNRESET"))
                self.assertIs(right, True, f"the first wrong byte of {got}, of which {sent()} had been taken for sure; then {end}")
                if end == "EOF":
                    self.assertTrue(sent() <= got <= sent() + size, f"{got} arrived, {sent()} were taken")

    def test_unread_data_of_the_dead_reset_and_nothing_unread_is_an_end(self):
        server, peer = self.pair()
        self.connect(server, peer, 3)
        peer.do(f"c[0].sendall(b'unread'); c[2].sendall(b'read'); c.append(socket.create_connection(('{SERVER}', {PORT}), 10))")
        self.assertEqual(server.do("out = len(select.select(a, [], [], 10)[0]) and a[2].recv(9).decode()"), "read")
        self.assertEqual(server.do("out = len(select.select([a[0]], [], [], 10)[0]), len(select.select([listener], [], [], 10)[0])"), [1, 1])
        server.kill()
        answers = peer.do("out = [receive(each, seconds=4)[1] for each in c]")
        self.assertEqual(answers, ["ECONNRESET", "EOF", "EOF", "ECONNRESET"], "unread, idle, read, not accepted")
        # Two of them are half closed as long as the peer does not close, so somebody must be there and say that nobody listens.
        self.assertEqual(peer.do(f"out = outcome(lambda: socket.create_connection(('{SERVER}', {PORT}), 5))"), "ECONNREFUSED")

    def test_a_killed_program_with_datagrams_only_is_gone_and_its_port_free(self):
        server, peer = self.server(), Guest(self, PEER).start_stack(PEER)
        bind = f"u = socket.socket(type=socket.SOCK_DGRAM); u.bind(('{SERVER}', {PORT})); u.settimeout(10)"
        send = f"v = socket.socket(type=socket.SOCK_DGRAM); out = v.sendto(b'hello', ('{SERVER}', {PORT}))"
        send_for_a_second = f"{send}\nfor _ in range(9): time.sleep(0.1); out = v.sendto(b'hello', ('{SERVER}', {PORT}))"  # the link may just be coming up
        keeper = server.need_keeper()
        for _ in range(2):
            server.do(bind)
            peer.do(send_for_a_second)
            self.assertEqual(server.do("out = u.recv(9).decode()"), "hello")
            peer.do(send)  # stays unread
            server.kill()
            server = self.server()
        self.expect_departure(keeper)

    def test_idle_connections_of_the_dead_are_closed_within_a_second(self):
        for count in (1, 200):
            with self.subTest(connections=count):
                self.tearDown()
                self.setUp()
                server, peer = self.pair()
                self.connect(server, peer, count)
                peer.begin("out = ends(c, 10)")
                time.sleep(0.5)
                at = server.kill()
                how, last = peer.answer()
                self.assertEqual(how, ["EOF"])
                self.assertLess(last - at, 1.0)

    def test_a_program_that_ends_with_data_under_way_ends_at_once_and_they_arrive(self):
        server, peer = self.pair()
        self.connect(server, peer)
        sent = server.do("out = fill(a[0], 100 << 20, quiet_ms=500)")
        begin = time.monotonic()
        self.assertEqual(server.finish(), 0)
        self.assertLess(time.monotonic() - begin, 1)
        self.assertEqual(peer.do("out = receive(c[0])"), [sent, "EOF", True])

    def test_of_two_dead_ends_nothing_remains(self):
        server, peer = self.pair()
        self.connect(server, peer, 2)
        server.do("fill(a[0], 100 << 20, quiet_ms=500)")
        peer.do("fill(c[1], 100 << 20, quiet_ms=500)")  # so each end has unread data, and resets: no TIME_WAIT
        server.need_keeper()
        for guest in (server, peer):
            guest.kill()
        self.expect_departure(server.keeper)
        self.expect_departure(peer.need_keeper())

    def test_a_program_that_becomes_another_gives_up_what_it_does_not_hand_on(self):
        server, peer = self.pair()
        self.connect(server, peer)
        server.begin("os.execvp('sleep', ['sleep', '30'])")
        self.assertEqual(peer.do("out = receive(c[0])"), [0, "EOF", True])
        self.assertIsNone(server.program.poll())

    @unittest.skipIf(os.geteuid(), "needs root")
    def test_a_dead_program_that_had_become_another_user_elsewhere_is_buried_as_well(self):
        server, peer = self.pair()
        server.do("os.chroot('/proc'); os.chdir('/'); os.setgroups([]); os.setgid(65534); os.setuid(65534)")
        self.connect(server, peer)
        sent = server.do("out = fill(a[0], 100 << 20, quiet_ms=500)")
        server.kill()
        self.assertEqual(peer.do("out = receive(c[0]); c[0].close()"), [sent, "EOF", True])

    # --- Families -----------------------------------------------------------------------------------------------------------------------
    def test_a_child_goes_on_when_its_parent_has_ended(self):
        server, peer = self.serve_in_a_child()
        self.assertEqual(server.finish(), 0)
        self.expect_service(peer)
        time.sleep(0.5)  # nobody polls now but the keeper, or nobody
        self.expect_service(peer)

    def test_a_child_goes_on_when_its_parent_was_killed(self):
        server, peer = self.serve_in_a_child()
        server.kill()
        self.expect_service(peer)
        self.kill_at_rest(self.strays[0])
        self.assertEqual(peer.do("out = [receive(each, seconds=4)[1] for each in (c[0], d)]"), ["EOF", "EOF"], "and when the child was killed as well")

    def test_a_parent_goes_on_when_its_child_was_killed(self):
        server, peer = self.serve_in_a_child()
        self.assertEqual(peer.do("out = echoes(c[0])"), True)
        self.kill_at_rest(self.strays[0])
        server.begin("serve(listener, a[0])")
        self.expect_service(peer)

    def test_whenever_a_child_is_killed_nobody_hangs(self):
        """Inside the stack's lock connections may be reset; whoever asks learns it."""
        seed = 3
        choose = random.Random(seed)
        for number in range(6):
            with self.subTest(seed=seed, round=number):
                self.tearDown()
                self.setUp()
                server, peer = self.serve_in_a_child()
                self.assertEqual(peer.do("out = echoes(c[0])"), True)
                time.sleep(choose.choice((0, 0, 0.0001, 0.001)))
                self.strays[0].kill()
                server.begin("serve(listener, a[0])")
                self.assertIn(peer.do("out = echoes(c[0])"), (True, False, "ECONNRESET", "EPIPE"))

    def daemonise(self, way, peer):
        """A daemon that keeps its listener only, as 3, sleeps for a while and serves then. What was known of it, and its keeper."""
        server = self.server()
        peer = peer and Guest(self, PEER).start_stack(PEER)
        if peer:  # the link is up
            self.assertEqual(peer.do(f"out = outcome(lambda: socket.create_connection(('{SERVER}', {PORT}), 5))"), "ECONNREFUSED")
        server.begin(f"""
listener = socket.create_server(('{SERVER}', {PORT}))
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True)
os.chdir("/")
number = listener.detach()
if number != 3: os.dup2(number, 3)
for each in range(3): os.dup2(os.open("/dev/null", os.O_RDWR), each)
{way}
time.sleep(2)
serve(socket.socket(fileno=3))
""")
        daemon = Process(server.answer())
        self.strays.append(daemon)
        self.assertIsNone(server.line(), "it has let go of the standard output")
        self.assertEqual(server.program.wait(10), 0)
        return server.need_keeper(), daemon, peer or Guest(self, PEER).start_stack(PEER)

    def check_daemon(self, keeper, daemon, peer):
        self.assertTrue(keeper.is_alive())
        self.assertTrue(peer.do(f"b = time.monotonic(); c = [socket.create_connection(('{SERVER}', {PORT}), 5)]; out = time.monotonic() - b < 1"),
                        "the keeper answers while the daemon sleeps")
        self.expect_service(peer)
        self.assertTrue(keeper.is_alive() and daemon.is_alive())
        self.kill_at_rest(daemon)
        self.assertEqual(peer.do("out = receive(c[0])[1]"), "EOF")

    def test_a_daemon_that_has_closed_all_but_its_listener_serves(self):
        for way in ("libc.close_range(4, ctypes.c_uint(0xffffffff), 0)", "libc.closefrom(4)", "for each in range(4, 20_000): outcome(lambda: os.close(each))"):
            with self.subTest(way=way):
                self.tearDown()
                self.setUp()
                self.check_daemon(*self.daemonise(way, peer=True))

    def test_a_daemon_that_was_there_before_its_link_came_up_serves(self):
        self.check_daemon(*self.daemonise("libc.close_range(4, ctypes.c_uint(0xffffffff), 0)", peer=False))

    # --- When it leaves -----------------------------------------------------------------------------------------------------------------
    def test_when_the_peer_has_closed_first_the_keeper_leaves_with_the_program(self):
        for ending in (Guest.finish, Guest.kill):
            with self.subTest(ending=ending.__name__):
                self.tearDown()
                self.setUp()
                server, peer = self.pair()
                self.connect(server, peer)
                keeper = server.need_keeper()
                peer.do("c[0].close()")
                self.assertEqual(server.do("out = receive(a[0])"), [0, "EOF", True])
                self.assertTrue(keeper.is_alive())
                ending(server)
                self.expect_departure(keeper)

    def test_a_wire_in_time_wait_is_had_at_once_by_the_next_program(self):
        server, peer = self.pair()
        self.connect(server, peer)
        old = server.need_keeper()
        self.leave_time_wait(server, peer)
        self.assertEqual(server.finish(), 0)
        time.sleep(LEAVES_WITHIN_S + 0.5)
        self.assertTrue(old.is_alive(), "it serves TIME_WAIT")
        new = Guest(self, SERVER)
        self.assertLess(new.do(f"b = time.monotonic(); listener = socket.create_server(('{SERVER}', {PORT})); out = time.monotonic() - b"), 1)
        self.assertFalse(old.is_alive())
        self.connect(new, peer)
        new.begin("serve(a[0])")
        self.assertEqual(peer.do("out = echoes(c[0])"), True)

    # --- That nobody notices it -----------------------------------------------------------------------------------------------------
    def test_the_keeper_has_none_of_the_programs_descriptors(self):
        server, peer = self.pair()
        self.connect(server, peer)
        self.leave_time_wait(server, peer)
        ends = {os.readlink(f"/proc/{server.program.pid}/fd/{each}") for each in (0, 1, 2)}
        held = {os.readlink(each) for each in pathlib.Path(f"/proc/{server.need_keeper().pid}/fd").iterdir()}
        self.assertEqual(ends & held, set())
        server.begin("os._exit(0)")
        self.assertIsNone(server.line(seconds=1), "the end of its standard output")
        server.program.wait(1)
        with self.assertRaises(BrokenPipeError):
            server.begin("")
        self.assertTrue(server.keeper.is_alive())

    def test_the_keeper_is_in_no_group_or_session_of_the_programs(self):
        server, peer = self.pair()
        self.connect(server, peer)
        keeper = server.need_keeper()
        self.assertNotEqual(keeper.stat()[2], str(server.program.pid), "its process group")
        self.assertNotEqual(keeper.stat()[3], str(server.program.pid), "its session")
        sent = server.do("out = fill(a[0], 100 << 20, quiet_ms=500)")
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.program.pid, number)
        self.assertLess(server.program.wait(10), 0)
        self.assertTrue(keeper.is_alive())
        self.assertEqual(peer.do("out = receive(c[0])"), [sent, "EOF", True])

    def test_the_program_does_not_wait_for_its_keeper(self):
        server = self.server()
        keeper = server.need_keeper()
        self.assertEqual(server.do("out = outcome(os.wait), outcome(lambda: os.waitpid(-1, os.WNOHANG)), outcome(lambda: os.waitpid(0, 0))"), ["ECHILD"] * 3)
        self.assertEqual(server.do("p = subprocess.Popen(['true']); out = os.wait()[0] == p.pid, outcome(os.wait)"), [True, "ECHILD"])
        server.do("told = []; signal.signal(signal.SIGCHLD, lambda *_: told.append(1))")
        keeper.kill()
        self.expect_departure(keeper)
        self.assertEqual(server.do("time.sleep(0.2); out = told, outcome(os.wait)"), [[], "ECHILD"], "nor when it was killed")

    def test_the_keeper_does_not_hold_the_programs_memory(self):
        server = Guest(self, SERVER)
        server.do("""
size = 512 << 20
mapped = mmap.mmap(-1, size)
for at in range(0, size, 4096): mapped[at] = 1
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
large = libc.malloc(size // 2)
ctypes.memset(large, 1, size // 2)
small = [b"x" * 65000 + bytes([i % 256]) for i in range(size // 2 // 65000)]
""")
        server.start_stack(SERVER)
        pid = server.need_keeper().pid
        self.assertGreater(self.memory_kib(server.program.pid)["Rss"], 1 << 20)
        # It is born with the program's memory, and lets go of it while the program goes on.
        wait_until(lambda: self.memory_kib(pid)["Rss"] < KEEPER_RSS_MAX_KIB, 1)
        keeper = self.memory_kib(pid)
        self.assertLess(keeper["Rss"], KEEPER_RSS_MAX_KIB)
        self.assertLess(keeper["Private_Clean"] + keeper["Private_Dirty"], KEEPER_PRIVATE_MAX_KIB)
        server.do("for at in range(0, size, 4096): mapped[at] = 2", 60)
        self.assertLess(self.memory_kib(server.keeper.pid)["Rss"], KEEPER_RSS_MAX_KIB, "after the program has written to it again")

    @staticmethod
    def memory_kib(pid):
        return {name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)}

    def test_a_killed_keeper_is_replaced(self):
        server, peer = self.pair()
        self.connect(server, peer)
        server.do("threading.Thread(target=lambda: serve(listener, a[0]), daemon=True).start()")
        for number in range(3):
            time.sleep(0.3)  # a keeper has a spare when its links have been at rest for a moment
            killed = server.need_keeper()
            killed.kill()
            found = wait_until(lambda: keepers_of(self.wire) - {killed, peer.keeper}, 2)
            self.assertTrue(found, f"nobody has come after keeper {number}")
            (server.keeper,) = found
            self.expect_service(peer)
        # The new one sees to the link and buries the dead, as the first would have done.
        peer.kill()
        peer.keeper.kill()
        other = Guest(self, PEER).start_stack(PEER)
        self.assertEqual(other.do(f"d = socket.create_connection(('{SERVER}', {PORT}), 10); out = echoes(d)"), True, "by a link that has come up anew")
        self.kill_at_rest(server)
        self.assertEqual(other.do("out = receive(d)[1]"), "EOF")

    def test_a_program_whose_keeper_was_killed_goes_on_and_ends_its_own_way(self):
        for whose in ("server", "peer"):  # the end of the wire that has waited for the other, and the other
            with self.subTest(whose=whose):
                self.tearDown()
                self.setUp()
                server, peer = self.pair()
                self.connect(server, peer)
                keeper = (server if whose == "server" else peer).need_keeper()
                keeper.kill()
                self.expect_departure(keeper)
                time.sleep(0.5)
                # The thread that serves spins and sleeps in the stack; the program ends by another.
                server.do("threading.Thread(target=lambda: [a[0].sendall(a[0].recv(99)) for _ in range(3)], daemon=True).start()")
                for _ in range(3):
                    self.assertEqual(peer.do("out = echoes(c[0])"), True)
                server.begin("sys.stdout.write('its last words\\n'); sys.stdout.flush(); sys.exit(7)")
                self.assertEqual(server.line(), "its last words")
                self.assertIsNone(server.line())
                self.assertEqual(server.program.wait(10), 7, server.said())


if __name__ == "__main__":
    unittest.main(verbosity=2)
