"""Small questions and answers, on one connection that stays and on ones that come and go.

    talk.py server ADDRESS PORT                  prints "listens"
    talk.py client ADDRESS PORT SECONDS          prints "talks" when the first answer is there; at the end how many of each there were, and how long the
                                                 slowest took, in milliseconds
"""
import socket
import sys
import threading
import time


def answer(connection):
    with connection:
        connection.settimeout(30)
        while question := connection.recv(64):
            connection.sendall(question)


def serve(address, port):
    listener = socket.create_server((address, port), backlog=128)
    print("listens", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def ask(connection):
    begin = time.monotonic()
    connection.sendall(b"?" * 64)
    left = 64
    while left:
        data = connection.recv(left)
        if not data:
            raise ConnectionError("end of file in place of an answer")
        left -= len(data)
    return (time.monotonic() - begin) * 1000


def talk(address, port, seconds):
    stays = socket.create_connection((address, port), timeout=10)
    ask(stays)
    print("talks", flush=True)
    end, answers, connects, failures = time.monotonic() + seconds, [], [], 0
    while time.monotonic() < end:
        answers.append(ask(stays))
        begin = time.monotonic()
        try:
            with socket.create_connection((address, port), timeout=10) as comes:
                ask(comes)
            connects.append((time.monotonic() - begin) * 1000)
        except OSError as error:
            print(error, file=sys.stderr)
            failures += 1
        time.sleep(0.02)
    print(f"answers {len(answers)} slowest {max(answers):.1f} connections {len(connects)} slowest {max(connects, default=0):.1f} failed {failures}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        talk(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
