"""Sends and receives MEGABYTES over one TCP connection in each mode given, and compares SHA-256 sums.

    transfer.py server ADDRESS PORT
    transfer.py client ADDRESS PORT MEGABYTES MODE...      MODE: up, down, or both (at the same time)
"""
import hashlib
import random
import socket
import struct
import sys
import threading
import time

MEGABYTE = 1 << 20
REQUEST = struct.Struct("!4sI")  # mode, megabytes


def receive_exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise SystemExit(f"transfer: end of file after {len(data)} of {count} bytes")
        data += more
    return data


def send(connection, megabytes, seed):
    """The bytes, then their sum; a sum cannot match by bytes that come at the wrong place, as every megabyte is different."""
    block = bytearray(random.Random(seed).randbytes(MEGABYTE))
    total = hashlib.sha256()
    for index in range(megabytes):
        struct.pack_into("!Q", block, 0, index)
        total.update(block)
        connection.sendall(block)
    connection.sendall(total.digest())


def receive(connection, megabytes):
    total = hashlib.sha256()
    buffer = bytearray(256 * 1024)
    left = megabytes * MEGABYTE
    while left:
        count = connection.recv_into(buffer, min(left, len(buffer)))
        if not count:
            raise SystemExit(f"transfer: end of file, {left} bytes are missing")
        total.update(memoryview(buffer)[:count])
        left -= count
    if receive_exactly(connection, 32) != total.digest():
        raise SystemExit("transfer: the checksums differ")


def run(connection, sends, receives, megabytes, seed):
    sender = threading.Thread(target=send, args=(connection, megabytes, seed), daemon=True) if sends else None
    if sender:
        sender.start()
    if receives:
        receive(connection, megabytes)
    if sender:
        sender.join()


def serve(address, port):
    listener = socket.create_server((address, port))
    print("listens", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            mode, megabytes = REQUEST.unpack(receive_exactly(connection, REQUEST.size))
            mode = mode.rstrip(b"\0").decode()
            run(connection, mode != "up", mode != "down", megabytes, "server")
            connection.sendall(b"!")  # all has arrived here
            assert connection.recv(1) == b"", "the client sent more than it said"


def connect(address, port):
    for attempt in range(20):
        try:
            return socket.create_connection((address, port), timeout=None)
        except OSError as error:
            print(f"attempt {attempt}: {error}", file=sys.stderr)
            time.sleep(0.25)
    raise SystemExit("transfer: cannot connect")


def request(address, port, megabytes, modes):
    figures = []
    for mode in modes:
        with connect(address, port) as connection:
            connection.sendall(REQUEST.pack(mode.encode(), megabytes))
            begin = time.monotonic()
            run(connection, mode != "down", mode != "up", megabytes, "client")
            if receive_exactly(connection, 1) != b"!":
                raise SystemExit("transfer: a byte too many")
            figures.append(f"{mode} {megabytes / (time.monotonic() - begin):.1f} MB/s")
    print(", ".join(figures))


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        request(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
