"""A program that does with its sockets what it is told: a line of JSON for each command, and a line for its answer. Every command has a thread of its own.

    [number, command, argument, ...]  ->  [number, "ok", value], or [number, "ECONNRESET", text]

Sockets have names. Bytes are checked by where they stand: byte i of stream k is known to both ends (see stretch).
"""
import array
import errno
import fcntl
import json
import select
import socket
import struct
import sys
import termios
import threading
import time

BLOCK = 1 << 16
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, SEND_QUEUE = 19, 20, 21, 2
EVENTS = {"IN": select.POLLIN, "OUT": select.POLLOUT, "ERR": select.POLLERR, "HUP": select.POLLHUP, "RDHUP": select.POLLRDHUP}


def stretch(stream, first, count):
    """Bytes `first` to first + count of a stream: words that count, each another than all others of all streams."""
    word, skip = divmod(first, 8)
    begin = (stream << 40) + word
    return array.array("Q", range(begin, begin + (skip + count + 7) // 8)).tobytes()[skip:skip + count]


class WrongBytes(Exception):
    pass


class Agent:
    def __init__(self):
        self.sockets = {}

    def listen(self, name, address, port, receive_buffer=0):
        listener = self._open(name, receive_buffer)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(64)

    def accept(self, name, listener):
        """The port that the peer has."""
        self.sockets[name], peer = self.sockets[listener].accept()
        return peer[1]

    def connect(self, name, address, port, receive_buffer=0, source=None, isn=None):
        """`source`: the address and port to come from. `isn`: the sequence number that the SYN is to have; Linux only."""
        connection = self._open(name, receive_buffer)
        if isn is not None:
            self._in_repair(connection, 1)
            connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, SEND_QUEUE)
            connection.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, isn)
            self._in_repair(connection, 0)
        if source:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.bind(tuple(source))
        connection.connect((address, port))
        return connection.getsockname()[1]

    def send(self, name, stream, first, count):
        connection, end = self.sockets[name], first + count
        while first < end:
            first += connection.send(stretch(stream, first, min(BLOCK, end - first)))

    def receive(self, name, stream, first, count=None):
        """Without a count: until the end of file. Returns how many bytes there were."""
        connection, at = self.sockets[name], first
        while data := connection.recv(min(BLOCK, first + count - at) if count is not None else BLOCK):
            if data != stretch(stream, at, len(data)):
                raise WrongBytes(f"bytes {at} to {at + len(data)} of stream {stream}")
            at += len(data)
        return at - first

    def wait(self, name, events, seconds):
        """What poll says as soon as one of the events is there."""
        poll = select.poll()
        poll.register(self.sockets[name], sum(EVENTS[event] for event in events))
        happened = poll.poll(seconds * 1000)
        return [event for event in EVENTS if happened and happened[0][1] & EVENTS[event]]

    def wait_acknowledged(self, name):
        while struct.unpack("i", fcntl.ioctl(self.sockets[name], termios.TIOCOUTQ, b"    "))[0]:
            time.sleep(0.002)

    def wait_readable_bytes(self, name, count):
        while struct.unpack("i", fcntl.ioctl(self.sockets[name], termios.FIONREAD, b"    "))[0] < count:
            time.sleep(0.002)

    def take_error(self, name):
        return errno.errorcode.get(self.sockets[name].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "none")

    def shutdown(self, name):
        self.sockets[name].shutdown(socket.SHUT_WR)

    def close(self, name):
        self.sockets.pop(name).close()

    def reset(self, name):
        self.sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close(name)

    def vanish(self, name):
        """Closes without a word to the peer; Linux only."""
        self._in_repair(self.sockets[name], 1)
        self.close(name)

    def _open(self, name, receive_buffer):
        self.sockets[name] = made = socket.socket()
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        return made

    @staticmethod
    def _in_repair(connection, on):
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, on)


def obey(agent, number, command, *arguments):
    try:
        answer = ["ok", getattr(agent, command)(*arguments)]
    except OSError as error:
        answer = [errno.errorcode.get(error.errno, "none"), str(error)]
    except Exception as error:
        answer = [type(error).__name__, str(error)]
    sys.stdout.write(json.dumps([number, *answer]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    this = Agent()
    for line in sys.stdin:
        threading.Thread(target=obey, args=(this, *json.loads(line)), daemon=True).start()
