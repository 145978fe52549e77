"""Connections side by side: echo_client.py ADDRESS PORT CONNECTIONS MEGABYTES [TRAILER]

Each sends its bytes, then the end of file, and must get the same bytes back, then TRAILER, then the end of file.
"""
import os
import socket
import sys
import threading
import time

from connecting import connect


def send(connection, data):
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def talk(address, port, data, trailer, results, index):
    try:
        with connect(address, port, timeout_s=30) as connection:
            sender = threading.Thread(target=send, args=(connection, data))
            sender.start()
            got = bytearray()
            while part := connection.recv(65536):
                got += part
            sender.join()
        wanted = data + trailer
        if got != wanted:
            same = next((at for at, (one, other) in enumerate(zip(got, wanted)) if one != other), min(len(got), len(wanted)))
            results[index] = f"{len(got)} bytes came of {len(wanted)}, the first {same} as sent"
        else:
            results[index] = ""
    except OSError as error:
        results[index] = str(error)


def main(address, port, connections, megabytes, trailer=""):
    data = os.urandom(int(float(megabytes) * (1 << 20)))
    results = ["no end"] * int(connections)
    connect(address, int(port), timeout_s=30).close()
    begin = time.monotonic()
    threads = [threading.Thread(target=talk, args=(address, int(port), data, trailer.encode(), results, index), daemon=True)
               for index in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.1, begin + 40 - time.monotonic()))
    if wrong := [f"{index}: {result}" for index, result in enumerate(results) if result]:
        sys.exit(f"{len(wrong)} of {len(results)} connections went wrong: " + "; ".join(wrong))
    print(f"{len(results)} connections of {megabytes} MB each way intact in {time.monotonic() - begin:.1f} s")


main(*sys.argv[1:])
