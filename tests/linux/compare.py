#!/usr/bin/env python3
"""Goodput of Shunt against Linux's own over the same bad wire (relay.cpp): a sender, one of both, and a receiver on Linux.

    compare.py [--seconds N] [--rounds N] [--loss PERCENT,...] [--delay MS] [--congestion NAME,...] [--parallel N] [--floor SHARE] [--csv FILE]

Each round takes both senders in turn with the same seed. Prints the medians with their spread, and Shunt's share of Linux's. --floor: fails when
a share is below it. Root only (taps, network namespaces); 77 when not.
"""
import argparse
import concurrent.futures
import ctypes
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("SHUNT_TEST_BUILD_DIR", HERE.parent.parent / "build/release"))
RELAY, LAUNCHER = BUILD / "test/relay", BUILD / "bin/shunt"
SENDER, RECEIVER, PORT = "10.78.0.1", "10.78.0.2", 7001
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SHUNT_")} | {
    "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


def die_with_parent():
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)


class Namespace:
    """An empty network namespace, held by a process of its own."""

    def __init__(self):
        self.holder = start(["unshare", "--net", "sleep", "3600"])
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == ours:
            time.sleep(0.005)
        self.enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    def adopt(self, device, address, home):
        subprocess.run([*home.enter, "ip", "link", "set", device, "netns", str(self.holder.pid)], check=True, timeout=10)
        for command in (["addr", "add", f"{address}/24", "dev", device], ["link", "set", device, "up"]):
            subprocess.run([*self.enter, "ip", *command], check=True, timeout=10)


def start(command, **streams):
    return subprocess.Popen([str(word) for word in command], env=ENVIRONMENT, preexec_fn=die_with_parent,
                            **{"stdin": subprocess.DEVNULL} | streams)


def expect(process, pattern, seconds=20):
    """The next line of its output that has the pattern."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{process.args[0]} ended with status {process.wait(5)}")
        if found := re.search(pattern, line):
            return found
    raise RuntimeError(f"no line /{pattern}/ of {process.args[0]} within {seconds} s")


def measure(sender, congestion, faults, seed, seconds, number):
    """Bytes a second that one connection of `sender` (linux or shunt) brings over the wire."""
    processes = []
    try:
        middle, far, near = Namespace(), Namespace(), Namespace()
        processes += [space.holder for space in (middle, far, near)]
        piped = {"stdout": subprocess.PIPE, "text": True}
        link = f"memif:compare-{os.getpid()}-{number}"
        relay = start([*middle.enter, RELAY, link if sender == "shunt" else "tap:near", "tap:far", faults, seed, int(seconds) + 60], **piped)
        processes.append(relay)
        expect(relay, "relays")
        far.adopt("far", RECEIVER, middle)
        receiver = start([*far.enter, sys.executable, HERE / "flow.py", "server", RECEIVER, PORT], **piped)
        processes.append(receiver)
        expect(receiver, "listens")
        client = [sys.executable, HERE / "flow.py", "client", RECEIVER, PORT, seconds, congestion]
        home = near
        if sender == "shunt":
            home = middle  # a memif's meeting place belongs to a network namespace
            client = [LAUNCHER, "--link", link, "--ip", f"{SENDER}/24", "--", *client]
        else:
            near.adopt("near", SENDER, middle)
        program = start([*home.enter, *client], **piped)
        processes.append(program)
        if used := expect(program, r"sent \d+ by (\w+)", seconds + 30)[1]:
            assert used == congestion, f"{used} ran in place of {congestion}"
        return float(expect(receiver, r"goodput (\d+)", 60)[1])
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait(5)


def spread(figures):
    return f"{statistics.median(figures) / 1e6:7.3f} MB/s ({min(figures) / 1e6:.3f} to {max(figures) / 1e6:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loss", default="0,1,5")
    parser.add_argument("--delay", type=float, default=10, help="ms each way")
    parser.add_argument("--congestion", default="cubic")
    parser.add_argument("--parallel", type=int, default=1, help="measurements at a time")
    parser.add_argument("--floor", type=float)
    parser.add_argument("--csv", type=pathlib.Path)
    options = parser.parse_args()
    if os.getuid() != 0 or not LAUNCHER.exists() or not RELAY.exists():
        print("SKIP: needs root" if os.getuid() else f"SKIP: not built: {LAUNCHER} and {RELAY}")
        return 77
    rows, is_good, number = [], True, 0
    print(f"a round trip of {2 * options.delay:g} ms, {options.rounds} rounds of {options.seconds:g} s; medians (least to most)", flush=True)
    for congestion in options.congestion.split(","):
        for loss in options.loss.split(","):
            faults = f"drop={float(loss) / 100:g},delay_us={options.delay * 1000:.0f}"
            with concurrent.futures.ThreadPoolExecutor(options.parallel) as pool:
                jobs = []
                for seed in range(1, options.rounds + 1):
                    for sender in ("linux", "shunt"):
                        number += 1
                        jobs.append((sender, pool.submit(measure, sender, congestion, faults, seed, options.seconds, number)))
                figures = {sender: [job.result() for name, job in jobs if name == sender] for sender in ("linux", "shunt")}
            share = statistics.median(figures["shunt"]) / statistics.median(figures["linux"])
            is_good = is_good and (options.floor is None or share >= options.floor)
            print(f"{congestion:6} {loss:>4} % loss: Linux {spread(figures['linux'])}, Shunt {spread(figures['shunt'])}, share {share:.2f}", flush=True)
            rows += [f"{congestion},{loss},{options.delay:g},{sender},{figure:.0f}" for sender in figures for figure in figures[sender]]
    if options.csv:
        options.csv.write_text("congestion,loss_percent,delay_ms,sender,bytes_per_second\n" + "\n".join(rows) + "\n")
    if not is_good:
        print(f"FAILED: a share is below {options.floor}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
