"""Two ends and what is between them: Linux in a network namespace of its own (far), and Shunt on a tap, or Linux for comparison (near)."""
import collections
import concurrent.futures
import ctypes
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from compare import HERE, LAUNCHER, Namespace, start
from groups import Failed

NEAR, FAR, PORT = "10.79.0.1", "10.79.0.2", 7100
ROUTER_NEAR, ROUTER_FAR, FAR_BEHIND_ROUTER = FAR, "10.79.1.1", "10.79.1.2"
SECONDS_MAX = 90  # for one command
CLONE_NEWNET = 0x40000000

Frame = collections.namedtuple("Frame", "sender source destination seq ack flags window size")
FIN, SYN, RST, ACK = 1, 2, 4, 16
PACKET_OUTGOING, SO_RCVBUFFORCE = 4, 33


class Agent:
    """A process that does with sockets what it is told, see agent.py. It listens on its address from the start."""

    def __init__(self, prefix, address, port=PORT, receive_buffer=0):
        self.address, self.port, self.receive_buffer = address, port, receive_buffer
        self.process = start([*prefix, sys.executable, HERE / "agent.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pending, self.number, self.lock, self.opening = {}, 0, threading.Lock(), threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()
        self.do("listen", "listener", address, port, receive_buffer)

    def begin(self, command, *arguments):
        """A future of the answer: what `do` would return."""
        future = concurrent.futures.Future()
        with self.lock:
            self.number += 1
            self.pending[self.number] = (future, f"{command}{arguments}")
            self.process.stdin.write(json.dumps([self.number, command, *arguments]) + "\n")
            self.process.stdin.flush()
        return future

    def do(self, command, *arguments):
        return self.begin(command, *arguments).result(SECONDS_MAX)

    def says(self, command, *arguments):
        """What it returns, or the name of the error."""
        try:
            return self.do(command, *arguments)
        except Failed as failed:
            return failed.args[1]

    def connect(self, name, server):
        """To another agent; both call the connection `name` then. Returns our port."""
        with server.opening:  # one at a time, so that the server knows which it accepts
            accepted = server.begin("accept", name, "listener")
            self.do("connect", name, server.address, server.port, self.receive_buffer)
            return accepted.result(SECONDS_MAX)

    def end(self):
        """As a program ends that does not close its sockets."""
        self.process.stdin.close()
        self.process.wait(10)

    def kill(self):
        self.process.kill()
        self.process.wait(5)

    def _read(self):
        for line in self.process.stdout:
            number, word, value = json.loads(line)
            future, what = self.pending.pop(number)
            if word == "ok":
                future.set_result(value)
            else:
                future.set_exception(Failed(f"{what}: {value}", word))
        for future, what in list(self.pending.values()):
            future.set_exception(Failed(f"{what}: the program ended", "ended"))


class Watcher:
    """The TCP segments that pass the near device, in order."""

    def __init__(self, space, device, outgoing):
        """`outgoing`: whose are those that leave by the device, near or far."""
        self.frames, self.changed = [], threading.Condition()
        self.senders = (outgoing, "far" if outgoing == "near" else "near")
        self.socket = in_namespace(space, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.socket.bind((device, 3))  # ETH_P_ALL
        threading.Thread(target=self._watch, daemon=True).start()

    def wait(self, wanted, seconds, at=0):
        """Until a segment, number `at` or later, has come for which this is true."""

        def has_come():
            nonlocal at
            at, seen = len(self.frames), at
            return any(map(wanted, self.frames[seen:]))

        with self.changed:
            if not self.changed.wait_for(has_come, seconds):
                raise Failed(f"a segment that should come did not, within {seconds} s")

    def _watch(self):
        while True:
            try:
                data, origin = self.socket.recvfrom(64)
            except OSError:
                return  # the device has gone
            if len(data) < 40 or data[0] >> 4 != 4 or data[9] != 6:
                continue
            at = (data[0] & 15) * 4
            source, destination, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", data, at)
            size = int.from_bytes(data[2:4]) - at - (offset >> 4) * 4
            with self.changed:
                self.frames.append(Frame(self.senders[origin[2] != PACKET_OUTGOING], source, destination, seq, ack, flags, window, size))
                self.changed.notify_all()


def in_namespace(space, function):
    """What `function` returns, called by a thread in that namespace: sockets stay where they were made."""
    def there():
        with open(f"/proc/{space.holder.pid}/ns/net") as net:
            if ctypes.CDLL(None, use_errno=True).setns(net.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return function()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(there).result()


class Pair:
    """`kind` of the near end: shunt or linux. `fault`: for --fault, both ways. `sysctls`: for both ends, by name.
    `routed`: a router between the ends, `space`, for `narrow`. `receive_buffer`: SO_RCVBUF of all sockets."""

    def __init__(self, kind, fault=None, sysctls=(), routed=False, receive_buffer=0):
        self.kind, self.fault, self.sysctls, self.receive_buffer = kind, fault, dict(sysctls), receive_buffer
        self.space = Namespace()
        self.spaces = [self.space]
        self.near = self.far = None
        self.far_address = FAR_BEHIND_ROUTER if routed else FAR
        far_space = self._add_space() if routed or kind == "linux" else self.space
        self.far_space, self.device = far_space, "near" if kind == "shunt" else "wire"
        if routed:
            self._connect(self.space, "inside", ROUTER_FAR, far_space, "outside", FAR_BEHIND_ROUTER)
            self.ip(far_space, "route", "add", "default", "via", ROUTER_FAR)
            self.set_sysctl(self.space, "net.ipv4.ip_forward", 1)
        elif kind == "linux":
            self._connect(self.space, "wire", NEAR, far_space, "wire", FAR)
        for space in {self.space, far_space}:
            for name, value in self.sysctls.items():
                self.set_sysctl(space, name, value)
        self.start_near()
        self.far = self.new_far(PORT)

    def start_near(self):
        prefix = list(self.space.enter)
        if self.kind == "shunt":
            prefix += [LAUNCHER, "--link", f"tap:{self.device}", "--ip", f"{NEAR}/24", "--gateway", FAR]
            prefix += [word for name, value in self.sysctls.items() for word in ("--sysctl", f"{name}={value}")]
            prefix += ["--fault", f"{self.fault},seed=1,side=both"] if self.fault else []
            prefix += ["--"]
        self.near = Agent(prefix, NEAR, PORT, self.receive_buffer)
        if self.kind == "shunt":
            self.ip(self.space, "addr", "add", f"{FAR}/24", "dev", self.device)
            self.ip(self.space, "link", "set", self.device, "up")

    def new_far(self, port):
        return Agent(self.far_space.enter, self.far_address, port, self.receive_buffer)

    def watch(self):
        return Watcher(self.space, self.device, outgoing="near" if self.kind == "linux" else "far")

    def narrow(self, towards, mtu, is_told):
        """The router's way towards near or far takes packets of `mtu` bytes only; `is_told`: it says so by ICMP."""
        address, device = (NEAR, self.device) if towards == "near" else (FAR_BEHIND_ROUTER, "inside")
        self.ip(self.space, "route", "add", f"{address}/32", "dev", device, "mtu", "lock", str(mtu))
        if not is_told:
            self.ip(self.space, "rule", "add", "pref", "1", "iif", "lo", "blackhole")  # nothing of the router's own leaves it

    def linux_counter(self, protocol, name):
        """Of Linux in the near namespace: the far end's, or with a router the router's."""
        text = in_namespace(self.space, lambda: "".join(pathlib.Path("/proc/thread-self/net", file).read_text() for file in ("snmp", "netstat")))
        names, values = [line.split() for line in text.splitlines() if line.startswith(protocol + ": ")]
        return int(values[names.index(name)])

    def restart_near(self):
        """Shunt ends without a word and starts again."""
        self.ip(self.space, "link", "set", self.device, "down")
        self._sweep(self.space, {self.space.holder.pid, self.far.process.pid})
        self.near.process.wait(5)
        self.start_near()

    def close(self):
        for space in self.spaces:
            self._sweep(space, set())
            space.holder.wait(5)
        for agent in (self.near, self.far):
            if agent:
                agent.process.wait(5)

    @staticmethod
    def _sweep(space, spared):
        """Kills what lives in the namespace: the keeper of a stack outlives its programs."""
        held = os.stat(f"/proc/{space.holder.pid}/ns/net").st_ino
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if int(process.name) not in spared and os.stat(process / "ns/net").st_ino == held:
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                pass  # has just ended, or is none of ours

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _add_space(self):
        self.spaces.append(Namespace())
        return self.spaces[-1]

    def _connect(self, left, left_name, left_address, right, right_name, right_address):
        self.ip(left, "link", "add", left_name, "type", "veth", "peer", "name", right_name, "netns", str(right.holder.pid))
        for space, name, address in ((left, left_name, left_address), (right, right_name, right_address)):
            self.ip(space, "addr", "add", f"{address}/24", "dev", name)
            self.ip(space, "link", "set", name, "up")

    @staticmethod
    def ip(space, *arguments):
        subprocess.run([*space.enter, "ip", *arguments], check=True, timeout=10, env=os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"})

    @staticmethod
    def set_sysctl(space, name, value):
        def write():
            pathlib.Path("/proc/sys", *name.split(".")).write_text(str(value))
        in_namespace(space, write)


def both(pair, client):
    """The agents: the client and the server."""
    return (pair.near, pair.far) if client == "near" else (pair.far, pair.near)
