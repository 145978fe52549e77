"""What an idle server costs, and how soon it wakes: idle_echo.py server ADDRESS PORT | client ADDRESS PORT SECONDS MESSAGES

The server waits in epoll_wait for a hundred connections. Between the client's "b" and "e" nothing is said; the answer to "e" is the processor time that the
server's process, all its threads, has used meanwhile. Then messages come one by one, so far apart that everybody sleeps in between.
"""
import select
import socket
import statistics
import sys
import time

CONNECTIONS = 100


def serve(address, port):
    listener = socket.create_server((address, port), backlog=CONNECTIONS)
    epoll, clients, before = select.epoll(), {}, 0.0
    epoll.register(listener, select.EPOLLIN)
    print("listens", flush=True)
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                client, _ = listener.accept()
                clients[client.fileno()] = client
                epoll.register(client, select.EPOLLIN)
                continue
            word = clients[fd].recv(16)
            if word == b"b":
                before = time.process_time()
            if word == b"e":
                word = f"{time.process_time() - before:.6f}".encode()
            if not word:
                epoll.unregister(fd)
                clients.pop(fd).close()
                if not clients:
                    return
                continue
            clients[fd].sendall(word)


def ask(address, port, seconds, messages):
    sockets = [socket.create_connection((address, port)) for _ in range(CONNECTIONS)]
    for one in sockets:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(one, word):
        one.sendall(word)
        return one.recv(64)

    for one in sockets:
        exchange(one, b"x")
    exchange(sockets[0], b"b")
    time.sleep(seconds)
    used = float(exchange(sockets[0], b"e"))
    trips = []
    for i in range(messages):
        time.sleep(0.005)
        begin = time.perf_counter()
        exchange(sockets[i % CONNECTIONS], b"x")
        trips.append((time.perf_counter() - begin) * 1e6)
    trips.sort()
    print(f"{100 * used / seconds:.3f} % of a core idle, {statistics.median(trips):.1f} us there and back awakening both, p99 {trips[len(trips) * 99 // 100]:.1f} us")


if sys.argv[1] == "server":
    serve(sys.argv[2], int(sys.argv[3]))
else:
    ask(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
