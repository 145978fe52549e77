"""Idle connections by the thousand, whose server dies: crowd.py server ADDRESS PORT PROCESSES | client ADDRESS PORT CONNECTIONS

The server's processes share a listener and keep what they accept. The client prints "connected" when each connection has had its byte, then waits for all of
them to end, by whatever the server's death sends, and prints when, on the monotonic clock, the first and the last one did.
"""
import os
import resource
import select
import socket
import sys
import time

from connecting import connect

AT_ONCE, PATIENCE_S = 200, 60


def allow_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(address, port, processes):
    allow_descriptors()
    listener = socket.create_server((address, port), backlog=4096)
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    print("listens", flush=True)
    kept = []
    while True:
        kept.append(listener.accept()[0])
        kept[-1].send(b"!")


def wait_for_ends(open_ones):
    """Returns when each of them ended; fails when some have not after PATIENCE_S."""
    epoll, ends = select.epoll(), []
    for fd in open_ones:
        epoll.register(fd, select.EPOLLIN)
    end = time.monotonic() + PATIENCE_S
    while open_ones and time.monotonic() < end:
        for fd, _ in epoll.poll(1.0, 1024):
            connection = open_ones.pop(fd)
            try:
                data = connection.recv(16)
            except ConnectionResetError:
                data = b""
            if data:
                sys.exit("a connection had more than its byte")
            ends.append(time.monotonic())
            connection.close()
    if open_ones:
        sys.exit(f"{len(open_ones)} connections have not ended after {PATIENCE_S} s")
    return ends


def crowd(address, port, count):
    allow_descriptors()
    open_ones = {}
    connect(address, port, timeout_s=10).close()
    for start in range(0, count, AT_ONCE):
        group = [connect(address, port, timeout_s=10) for _ in range(min(AT_ONCE, count - start))]
        for connection in group:
            if connection.recv(1) != b"!":
                sys.exit("a connection ended before the server was killed")
            open_ones[connection.fileno()] = connection
    print("connected", flush=True)
    ends = wait_for_ends(open_ones)
    print(f"{min(ends)} {max(ends)} {len(ends)}", flush=True)


if sys.argv[1] == "server":
    serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    crowd(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
