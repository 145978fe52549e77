"""One TCP connection that carries as much as it can for some seconds; the receiver checks every byte and prints the goodput.

    flow.py server ADDRESS PORT                       prints "listens"; then, for each connection, bytes a second
    flow.py client ADDRESS PORT SECONDS CONGESTION    sends
"""
import socket
import sys
import time

PATTERN = bytes(range(251)) * 1044  # 251: no power of two, so that a block out of place shows


def serve(address, port):
    listener = socket.create_server((address, port))
    print("listens", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            begin, total = time.monotonic(), 0
            buffer = bytearray(65536)
            while count := connection.recv_into(buffer):
                at = total % 251
                if buffer[:count] != PATTERN[at:at + count]:
                    print("the bytes are not those that were sent", flush=True)
                    raise SystemExit(1)
                total += count
            print(f"goodput {total / (time.monotonic() - begin):.0f}", flush=True)


def send(address, port, seconds, congestion):
    with socket.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        connection.settimeout(10)
        connection.connect((address, port))
        end, total = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            at = total % 251
            total += connection.send(PATTERN[at:at + 32768])
        used = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
        print(f"sent {total} by {used}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
