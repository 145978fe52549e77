#!/usr/bin/env python3
"""kill -9 of random processes under load, by seed: children, parent and keeper of a server over memif, at any moment. Nobody hangs, no byte is wrong, no
packet is lost from the pool; a survivor's connections stay, unless the dead one was in the middle of a change of the stack, which the stack tells: then they are reset.

  random_kills_test.py [KILLS [SEED]]     40 kills unless told; 1,000 take some ten minutes
"""
import collections
import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

from keepers import Process, keepers_of

BUILD = os.environ.get("SHUNT_TEST_BUILD_DIR", "build/release")
SHUNT = os.path.join(BUILD, "bin/shunt")
SERVER, PEER, PORT = "10.97.0.1", "10.97.0.2", 7000
CHILDREN, CONNECTIONS = 4, 24
HANGS_AFTER_S, PIECE = 15, 3000
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("SHUNT_")}


def byte_pattern(start, size):
    return bytes((i * 131 + (i >> 8) * 7) & 0xff for i in range(start, start + size))


PATTERN = byte_pattern(0, 1 << 16) * 2


# --- The server: a parent that replaces its children, which echo; each tells a new connection who it is --------------------------------
def echo(listener):
    epoll, open_ones = select.epoll(), {}
    listener.setblocking(False)
    epoll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll():
            try:
                if fd == listener.fileno():
                    connection = listener.accept()[0]
                    connection.setblocking(True)
                    connection.sendall(b"%8d" % os.getpid())
                    open_ones[connection.fileno()] = connection
                    epoll.register(connection, select.EPOLLIN)
                    continue
                data = open_ones[fd].recv(65536)
                if data:
                    open_ones[fd].sendall(data)
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            if fd in open_ones:
                epoll.unregister(fd)
                open_ones.pop(fd).close()


def serve():
    listener = socket.create_server((SERVER, PORT), backlog=256)
    children = set()
    while True:
        while len(children) < CHILDREN:
            child = os.fork()
            if child == 0:
                try:
                    echo(listener)
                finally:
                    os._exit(1)
            children.add(child)
            print("child", child, flush=True)
        children.discard(os.wait()[0])


# --- The peer: sends on all connections and compares what comes back ------------------------------------------------------------------
class Connection:
    """Sends pieces of a pattern, one at a time, and wants them back."""

    def __init__(self, epoll):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex((SERVER, PORT))
        self.owner, self.at, self.got, self.since = None, 0, b"", time.monotonic()
        epoll.register(self.socket, select.EPOLLIN | select.EPOLLOUT)

    def send(self, epoll):
        self.got, self.since = b"", time.monotonic()
        self.socket.setblocking(True)
        self.socket.sendall(PATTERN[self.at % 65536:self.at % 65536 + PIECE])
        self.socket.setblocking(False)
        epoll.modify(self.socket, select.EPOLLIN)

    def hear(self, epoll):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.got += data
        if self.owner is None and len(self.got) >= 8:
            self.owner, self.got = int(self.got[:8]), self.got[8:]
            print("owner", self.owner, flush=True)
            self.send(epoll)
        elif len(self.got) == PIECE:
            if self.got != PATTERN[self.at % 65536:self.at % 65536 + PIECE]:
                sys.exit("a wrong byte")
            self.at += PIECE
            self.send(epoll)


def drive():
    epoll, open_ones = select.epoll(), {}
    while True:
        while len(open_ones) < CONNECTIONS:
            connection = Connection(epoll)
            open_ones[connection.socket.fileno()] = connection
        for fd, events in epoll.poll(0.5):
            connection = open_ones[fd]
            try:
                if events & ~select.EPOLLOUT:
                    connection.hear(epoll)
                else:
                    epoll.modify(connection.socket, select.EPOLLIN)
            except (EOFError, OSError):
                print("end", connection.owner or 0, flush=True)
                epoll.unregister(fd)
                open_ones.pop(fd).socket.close()
        now = time.monotonic()
        for connection in open_ones.values():
            if now - connection.since > HANGS_AFTER_S:
                sys.exit(f"a connection to {connection.owner} hangs at {connection.at}, {len(connection.got)} bytes of a piece have come")


# --- The test -------------------------------------------------------------------------------------------------------------------------
class Program:
    def __init__(self, wire, address, role):
        self.errors, self.rest = tempfile.TemporaryFile(), b""
        self.process = subprocess.Popen([SHUNT, "--link", f"memif:{wire}", "--ip", f"{address}/24", "--packets", "2048", "--", sys.executable, os.path.abspath(__file__), role],
                                        stdout=subprocess.PIPE, stderr=self.errors, env=CLEAN, start_new_session=True)
        os.set_blocking(self.process.stdout.fileno(), False)

    def take_lines(self):
        try:
            while data := os.read(self.process.stdout.fileno(), 65536):
                self.rest += data
        except BlockingIOError:
            pass
        *lines, self.rest = self.rest.split(b"\n")
        return [line.decode().split() for line in lines]

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")


class Trial:
    def __init__(self, seed):
        self.choose = random.Random(seed)
        self.wire = f"kills{os.getpid()}"
        self.children, self.owners, self.ended, self.counts = [], collections.Counter(), collections.Counter(), collections.Counter()
        self.peer = self.server = None
        try:
            self.peer = Program(self.wire, PEER, "drive")
            self.wait(lambda: len(keepers_of(self.wire)) == 1, "the peer's keeper is there")
            (self.peers_keeper,) = keepers_of(self.wire)
            self.start_server()
        except BaseException:
            self.end()
            raise

    def start_server(self):
        self.server = Program(self.wire, SERVER, "serve")
        self.wait(lambda: len(self.children) == CHILDREN and self.keepers() and sum(self.owners.values()) == CONNECTIONS, "the server is at work")

    def keepers(self):
        return keepers_of(self.wire) - {self.peers_keeper}

    def look(self):
        self.children = [each for each in self.children if each.is_alive()]
        for words in self.server.take_lines() if self.server else []:
            with contextlib.suppress(FileNotFoundError):
                self.children.append(Process(int(words[1])))
        for what, owner in self.peer.take_lines():
            self.owners[int(owner)] += 1 if what == "owner" else -1 if int(owner) else 0
            self.ended[int(owner)] += what == "end"
        if self.peer.process.poll() is not None:
            raise AssertionError(f"the peer has ended: {self.peer.said()[-400:]}")
        if self.server and self.server.process.poll() is not None and self.server.process.returncode != -signal.SIGKILL:
            raise AssertionError(f"the server has ended: {self.server.said()[-400:]}")

    def wait(self, condition, what):
        end = time.monotonic() + HANGS_AFTER_S
        self.look()
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {HANGS_AFTER_S} s: {what}; {len(self.children)} children, connections by owner {dict(+self.owners)}")
            time.sleep(0.005)
            self.look()

    def kill(self):
        """One of them, at any moment; and what is to be seen of it then."""
        time.sleep(self.choose.random() * 0.02)
        self.look()
        self.ended.clear()
        before = +self.owners
        kind = self.choose.choices(("child", "keeper", "parent"), (8, 3, 1))[0]
        victim = {"child": lambda: self.choose.choice(self.children), "keeper": lambda: next(iter(self.keepers())), "parent": lambda: self.server.process}[kind]()
        victim.kill()
        self.counts[kind] += 1
        if kind == "keeper":
            self.wait(lambda: self.keepers() - {victim}, "another keeper has come")
        elif kind == "child":
            self.wait(lambda: self.owners[victim.pid] == 0, f"the connections of {victim.pid} have ended")
        pause = time.monotonic() + 0.15
        self.wait(lambda: time.monotonic() > pause, "a pause")
        survivors = {owner: count for owner, count in before.items() if owner and (kind != "child" or owner != victim.pid)}
        lost = sum(self.ended[owner] for owner in survivors)
        if lost >= sum(survivors.values()):
            self.counts["died inside"] += 1
        elif lost:
            raise AssertionError(f"{lost} connections of survivors ended when a {kind} was killed, of {survivors}: {dict(self.ended)}")
        if kind == "parent":
            self.replace_server()
        self.wait(lambda: len(self.children) == CHILDREN and sum((+self.owners).values()) == CONNECTIONS, "all is as before")

    def replace_server(self):
        self.server.process.wait()
        for child in self.choose.sample(self.children, len(self.children)):
            time.sleep(self.choose.random() * 0.01)
            child.kill()
            self.counts["orphan"] += 1
        self.wait(lambda: not self.children and not +self.owners, "the orphans' connections have ended")
        self.start_server()

    def end(self):
        for program in (self.server, self.peer):
            if program:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(program.process.pid, signal.SIGKILL)
                program.process.wait()
        for _ in range(3):  # a keeper that is killed has a spare
            for keeper in keepers_of(self.wire):
                keeper.kill()
            time.sleep(0.1)


def main(kills=40, seed=1):
    trial = Trial(seed)
    try:
        for number in range(kills):
            trial.kill()
            if number % 100 == 99:
                print(f"{number + 1} kills: {dict(trial.counts)}", flush=True)
    except AssertionError as failure:
        sys.exit(f"seed {seed}, kill {sum(trial.counts[each] for each in ('child', 'keeper', 'parent'))}: {failure}\n{trial.server.said()[-600:] if trial.server else ''}")
    finally:
        trial.end()
    print(f"seed {seed}, {kills} kills: {dict(trial.counts)}")


if __name__ == "__main__":
    if sys.argv[1:] in (["serve"], ["drive"]):
        {"serve": serve, "drive": drive}[sys.argv[1]]()
    else:
        main(*map(int, sys.argv[1:]))
