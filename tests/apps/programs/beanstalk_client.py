"""beanstalk_client.py ADDRESS PORT SECONDS: puts, reserves and deletes jobs, 100 at a time; each comes back as it was put."""
import os
import socket
import sys
import time

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
stream = connection.makefile("rwb")
done, end = 0, time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    jobs = {}
    for _ in range(100):
        body = os.urandom(1 + done % 5000)
        stream.write(b"put 0 0 60 %d\r\n%s\r\n" % (len(body), body))
        stream.flush()
        jobs[stream.readline().split()[1]] = body
    for _ in range(100):
        stream.write(b"reserve\r\n")
        stream.flush()
        word, number, size = stream.readline().split()
        assert word == b"RESERVED" and stream.read(int(size) + 2)[:-2] == jobs.pop(number)
        stream.write(b"delete %s\r\n" % number)
        stream.flush()
        assert stream.readline() == b"DELETED\r\n"
        done += 1
print(f"{done / float(sys.argv[3]):.0f} jobs per second")
