"""Random sequences of socket calls, on Linux and on Shunt, compared step by step.

usage: differential.py run [--first SEED] [--seeds N] [--steps N] [--seconds S] [--keep-going] [--jobs N]
       differential.py show SEED [--steps N]      both logs of one seed
       differential.py play FILE                  both logs of a plan
       differential.py kept                       every plan in kept/, which must show no difference
--kernel    Linux against Linux, which must show no difference: what does not stand still is not Shunt's
--shunt     what the launcher is told, in place of "--link loop"
"""
import argparse
import contextlib
import os
import pathlib
import re
import select
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("SHUNT_TEST_BUILD_DIR", HERE.parent.parent / "build/release"))
PROGRAM, LAUNCHER = BUILD / "test/differential", BUILD / "bin/shunt"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}
STEPS = 60
SLOW_PACES_US = (300, 5000)  # a difference that is gone when steps are given time was not one
SILENT_SECONDS_MAX = 20


class System:
    """The program on one of the two systems. Started at need, and again when it has died or hangs."""

    def __init__(self, name, prefix, addresses):
        self.name, self.command = name, [*map(str, prefix), str(PROGRAM), *addresses]
        self.process, self.buffer = None, b""

    def ask(self, command):
        """Sends a command; its log comes by `answer`."""
        if self.process is None or self.process.poll() is not None:
            self.end()
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=CLEAN, start_new_session=True)
            self.buffer = b""
        try:
            self.process.stdin.write(command.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # answer() tells how it ended

    def answer(self):
        """The lines of a log. One that ends in the middle has a last line that says so."""
        while not self.buffer.endswith(b"end\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], SILENT_SECONDS_MAX)
            piece = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not piece:
                lines = self.buffer.decode(errors="replace").splitlines()
                lines.append(f"!! ended with status {self.process.wait()}" if ready else "!! hangs")
                self.end()
                return lines
            self.buffer += piece
        lines, self.buffer = self.buffer[:-4].decode(errors="replace").splitlines(), b""
        return lines

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
            self.process = None


class Pair:
    def __init__(self, options):
        shunt = options.shunt.split()
        addresses = ["127.0.0.1", "127.0.0.2"] if "loop" in shunt else ["10.9.0.1", "10.9.0.2"]
        self.linux = System("linux", [], ["127.0.0.1", "127.0.0.2"])
        self.shunt = System("linux again", [], ["127.0.0.1", "127.0.0.2"]) if options.kernel else System("shunt", [LAUNCHER, *shunt, "--"], addresses)

    def logs(self, command):
        self.linux.ask(command)
        self.shunt.ask(command)
        return self.linux.answer(), self.shunt.answer()

    def differs(self, plan, pace_us):
        """The first step that differs, or None."""
        logs = self.logs(f"pace {pace_us}\nplan\n" + "\n".join(plan) + "\n.\n")
        self.linux.ask("pace 0\n")
        self.shunt.ask("pace 0\n")
        return first_difference(*logs)

    def differs_slowly(self, plan):
        """As differs, where it stays at every pace and in a fresh program."""
        for pace_us in SLOW_PACES_US:
            self.end()
            difference = self.differs(plan, pace_us)
            if difference is None:
                return None
        return difference

    def end(self):
        self.linux.end()
        self.shunt.end()


def first_difference(one, other):
    for index in range(max(len(one), len(other))):
        left, right = (lines[index] if index < len(lines) else "(nothing)" for lines in (one, other))
        if left != right:
            return index, left, right
    return None


def plan_of(seed, steps):
    return subprocess.run([PROGRAM, "--print", str(seed), str(steps)], capture_output=True, text=True, check=True).stdout.splitlines()


def minimised(pair, plan, difference):
    plan = plan[:difference[0] + 1]
    quickly = shortened(pair, plan, 0)
    return quickly if pair.differs_slowly(quickly) is not None else shortened(pair, plan, SLOW_PACES_US[0])


def shortened(pair, plan, pace_us):
    """Leaves out steps as long as the last one still differs; halves first, then one by one."""
    size = len(plan) // 2
    while size >= 1:
        at = len(plan) - 1 - size
        while at >= 0:
            shorter = plan[:at] + plan[at + size:]
            found = pair.differs(shorter, pace_us)
            if found is not None:
                plan = shorter[:found[0] + 1]
            at = min(at - size, len(plan) - 1 - size)
        size //= 2
    return plan


def explanations():
    """explained.txt: a pattern that a plan's few steps match, and behind a tab why Linux and Shunt differ there."""
    lines = (HERE / "explained.txt").read_text().splitlines()
    return [(re.compile(pattern), why) for pattern, why in (line.split("\t", 1) for line in lines if line and not line.startswith("#"))]


def why_explained(plan):
    text = "; ".join(plan)
    return next((why for pattern, why in explanations() if pattern.search(text)), None)


def report(pair, seed, plan, difference, name):
    """Prints the difference with as few steps as show it, and says what kind it is. One that has gone in the meantime was the machine's, busy with something else."""
    plan = minimised(pair, plan, difference)
    why = why_explained(plan)
    if why is not None:
        print(f"--- seed {seed}: explained: {why}", flush=True)
        return "explained"
    left, right = pair.logs("pace 1500\nplan\n" + "\n".join(plan) + "\n.\n")
    if left == right:
        return "unsteady"
    text = [f"--- seed {seed}: differential.py show {seed}; as few steps, also in {name}"]
    for index, line in enumerate(left):
        other = right[index] if index < len(right) else "(nothing)"
        text.append(f"  {line}" if line == other else f"  linux  {line}\n  {pair.shunt.name:<6} {other}")
    print("\n".join(text), flush=True)
    name.parent.mkdir(parents=True, exist_ok=True)
    name.write_text("\n".join(plan) + "\n")
    return "found"


class Run:
    """Seeds one after the other, by one thread or several with a pair of programs each."""

    def __init__(self, options):
        self.options, self.end = options, time.monotonic() + options.seconds
        self.seeds = iter(range(options.first, options.first + options.seeds))
        self.lock, self.is_over = threading.Lock(), False
        self.steps = self.plans = 0
        self.count = {"found": 0, "explained": 0, "unsteady": 0}

    def next_seed(self):
        with self.lock:
            return None if self.is_over or time.monotonic() > self.end else next(self.seeds, None)

    def work(self):
        pair = Pair(self.options)
        while (seed := self.next_seed()) is not None:
            logs = pair.logs(f"seed {seed} {self.options.steps}\n")
            difference = first_difference(*logs)
            kind = None if difference is None else self.judge(pair, seed, difference)
            with self.lock:
                self.steps += len(logs[0])
                self.plans += 1
                if kind is not None:
                    self.count[kind] += 1
                self.is_over = self.is_over or (kind == "found" and not self.options.keep_going)
        pair.end()

    def judge(self, pair, seed, difference):
        plan = plan_of(seed, self.options.steps)
        slow = pair.differs_slowly(plan)
        kind = "unsteady" if slow is None else report(pair, seed, plan, slow, pathlib.Path(self.options.output) / f"{seed}.plan")
        if kind == "unsteady" and self.options.verbose:
            print(f"unsteady: seed {seed}\n  linux  {difference[1]}\n  {pair.shunt.name:<6} {difference[2]}", flush=True)
        return kind


def run(options):
    run = Run(options)
    threads = [threading.Thread(target=run.work) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{run.steps} steps in {run.plans} plans from seed {options.first}: {run.count['found']} with a difference, "
          f"{run.count['explained']} with one that is explained, {run.count['unsteady']} that differed only when hurried")
    return run.count["found"] != 0


def show(options, plan):
    pair = Pair(options)
    left, right = pair.logs("pace 1500\nplan\n" + "\n".join(plan) + "\n.\n")
    for index in range(max(len(left), len(right))):
        one, other = (lines[index] if index < len(lines) else "(nothing)" for lines in (left, right))
        print(f"  {one}" if one == other else f"! linux  {one}\n! {pair.shunt.name:<6} {other}")
    pair.end()
    return first_difference(left, right) is not None


def kept(options):
    pair, failed = Pair(options), []
    plans = sorted((HERE / "kept").glob("*.plan"))
    for file in plans:
        plan = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        if pair.differs(plan, 0) is not None and pair.differs_slowly(plan) is not None:
            failed.append(file.name)
    pair.end()
    print(f"{len(plans)} kept plans" + (f"; these differ: {' '.join(failed)}" if failed else ", all the same"))
    return bool(failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "show", "play", "kept"))
    parser.add_argument("which", nargs="?")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=10**9)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="so many seeds at a time")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--kernel", action="store_true")
    parser.add_argument("--shunt", default="--link loop")
    parser.add_argument("--output", default=str(BUILD / "differential"))
    options = parser.parse_args()
    if not LAUNCHER.exists() and not options.kernel:
        print("SKIP: bin/shunt is not built")
        sys.exit(77)
    if options.what == "run":
        sys.exit(run(options))
    if options.what == "kept":
        sys.exit(kept(options))
    plan = plan_of(int(options.which), options.steps) if options.what == "show" else pathlib.Path(options.which).read_text().splitlines()
    sys.exit(show(options, plan))


main()
