"""zmq_client.py server ADDRESS PORT | client ADDRESS PORT SECONDS: libzmq's REP and REQ, then PUB and SUB with a count, on PORT and PORT + 1."""
import hashlib
import sys
import time

import zmq

role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
context = zmq.Context()


def server():
    answers, news = context.socket(zmq.REP), context.socket(zmq.PUSH)
    answers.bind(f"tcp://{address}:{port}")
    news.bind(f"tcp://{address}:{port + 1}")
    print("listens", flush=True)
    while True:
        question = answers.recv()
        if question == b"pour":
            answers.send(b"")
            for number in range(100_000):
                news.send(b"%08d" % number + b"x" * 92)
        else:
            answers.send(hashlib.sha256(question).digest())


def client(seconds):
    questions, news = context.socket(zmq.REQ), context.socket(zmq.PULL)
    questions.connect(f"tcp://{address}:{port}")
    news.connect(f"tcp://{address}:{port + 1}")
    asked = poured = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for size in (1, 100, 10_000, 1_000_000):
            question = bytes([asked % 256]) * size
            questions.send(question)
            assert questions.recv() == hashlib.sha256(question).digest()
            asked += 1
        if asked % 100 == 0 or not poured:
            questions.send(b"pour")
            questions.recv()
            for number in range(100_000):
                assert int(news.recv()[:8]) == number
            poured += 100_000
    print(f"{asked} questions answered right, {poured} messages in order")
    context.destroy(0)


server() if role == "server" else client(float(sys.argv[4]))
