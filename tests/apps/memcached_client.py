"""A memcached client: set, get, multi-get, large values, and many connections at once.

    memcached_client.py ADDRESS PORT CONNECTIONS SECONDS
"""
import random
import socket
import sys
import time


class Client:
    def __init__(self, address, port):
        for attempt in range(20):
            try:
                self.socket = socket.create_connection((address, port), timeout=15)
                break
            except OSError as error:
                print(f"attempt {attempt}: {error}", file=sys.stderr)
                time.sleep(0.25)
        else:
            raise SystemExit("memcached_client: cannot connect")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def set(self, key, value):
        self.socket.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
        expect(self.file.readline(), b"STORED\r\n")

    def get(self, *keys):
        self.socket.sendall(b"get " + b" ".join(keys) + b"\r\n")
        found = {}
        while (line := self.file.readline()) != b"END\r\n":
            word, key, _, length = line.split()
            expect(word, b"VALUE")
            found[key] = self.file.read(int(length))
            expect(self.file.readline(), b"\r\n")
        return found

    def close(self):
        self.file.close()
        self.socket.close()


def expect(got, wanted):
    if got != wanted:
        raise SystemExit(f"memcached_client: got {got[:60]!r} ({len(got)} bytes), not {wanted[:60]!r} ({len(wanted)} bytes)")


def main(address, port, connections, seconds):
    dice = random.Random(7)
    clients = [Client(address, port) for _ in range(connections)]

    for index, client in enumerate(clients):
        client.set(b"key%d" % index, b"value %d" % index)
    keys = [b"key%d" % index for index in range(connections)]
    expect(clients[-1].get(*keys), {key: b"value %d" % index for index, key in enumerate(keys)})
    expect(clients[0].get(b"absent"), {})

    for size in (1_400, 1_500, 65_536, 1_000_000):
        value = dice.randbytes(size)
        clients[0].set(b"large", value)
        expect(clients[1].get(b"large")[b"large"], value)

    count = 0
    value = dice.randbytes(100)
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        client = clients[count % connections]
        client.set(b"one", value)
        expect(client.get(b"one")[b"one"], value)
        count += 2
    rate = count / (time.monotonic() - begin)
    for client in clients:
        client.close()
    print(f"{rate:.0f} operations/s, one at a time, over {connections} connections")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
