#!/usr/bin/env python3
"""A SYN flood at the link's full rate from random sources: a program under Shunt keeps its connection, new ones get through, and its memory stays.

    flood.py [SECONDS]

Prints one line; fails when an answer or a connection took longer than SLOWEST_MS, when one failed, or when memory grew. Root only; 77 when not.
"""
import os
import re
import subprocess
import sys

from compare import HERE, LAUNCHER, RECEIVER, RELAY, SENDER, Namespace, expect, start

PORT = 7002
SLOWEST_MS = 9000          # a SYN may be lost in the crush, and Linux sends it again after 1, 3 and 7 s; by then the flood is over
GROWTH_MAX_KIB = 64 * 1024
SYNS_MIN = 10_000          # fewer a second are no flood


def resident_kib(process):
    with open(f"/proc/{process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


def main(seconds):
    if os.getuid() != 0 or not LAUNCHER.exists() or not RELAY.exists():
        print("SKIP: needs root" if os.getuid() else f"SKIP: not built: {LAUNCHER} and {RELAY}")
        return 77
    processes = []
    try:
        middle, far = Namespace(), Namespace()
        processes += [middle.holder, far.holder]
        piped = {"stdout": subprocess.PIPE, "text": True}
        link = f"memif:flood-{os.getpid()}"
        server = start([*middle.enter, LAUNCHER, "--link", link, "--ip", f"{SENDER}/24", "--gateway", RECEIVER, "--",
                        sys.executable, HERE / "talk.py", "server", SENDER, PORT], **piped)
        processes.append(server)
        expect(server, "listens")
        relay = start([*middle.enter, RELAY, link, "tap:far", "drop=0", 1, seconds + 40, SENDER, PORT, seconds], **piped)
        processes.append(relay)
        expect(relay, "relays")
        far.adopt("far", RECEIVER, middle)
        client = start([*far.enter, sys.executable, HERE / "talk.py", "client", SENDER, PORT, seconds], **piped)
        processes.append(client)
        expect(client, "talks")
        before = resident_kib(server)
        said = expect(client, r"answers (\d+) slowest ([\d.]+) connections (\d+) slowest ([\d.]+) failed (\d+)", seconds + 30)
        growth = resident_kib(server) - before
        syns = int(expect(relay, r"flooded (\d+)")[1]) / seconds
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait(5)
    print(f"{syns:.0f} SYNs a second for {seconds} s: {said[0]} (ms); memory grew by {growth} KiB")
    answers, slowest, connections, slowest_connection, failed = map(float, said.groups())
    good = answers > 3 and connections > 3 and failed == 0 and max(slowest, slowest_connection) < SLOWEST_MS and growth < GROWTH_MAX_KIB and syns > SYNS_MIN
    print("ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
