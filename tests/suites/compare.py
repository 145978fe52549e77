"""Runs the cases of a suite on the kernel and over `shunt --link loop`, or at the own address of a memif port, each side in a network namespace of its own
and at the same time, and tells where the outcomes differ.

A case is what one command runs; it gives the outcome of one test or of many: {"CASE" or "CASE: TEST": "passed" | "failed" | "skipped"}.
What differs is run again on both, since many of these tests measure time on a machine that may be busy: it counts when it differs each time.
"""
import contextlib
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "apps"))
import harness

SHUNT = [str(harness.BUILD / "bin" / "shunt")]
LOOP = [*SHUNT, "--link", "loop", "--"]
AGAIN = 2


class Suite:
    """cases() lists them; command(case) is run in `folder`, or in an empty one; outcomes(case, status, output) says what came of it.

    The status is None when the command did not end within `seconds`. Without `ipv6` there is no ::1: what names localhost goes to 127.0.0.1, which is Shunt's.
    With an `address` its programs talk there and not at 127.0.0.1: it is a port's, to which nobody is connected, and localhost's.
    """

    def __init__(self, cases, command, outcomes, folder=None, environment=None, seconds=120, ipv6=False, address=None):
        self.cases, self.command, self.outcomes = cases, command, outcomes
        self.folder, self.environment, self.seconds, self.ipv6, self.address = folder, environment or {}, seconds, ipv6, address

    def prefix(self):
        return LOOP if self.address is None else [*SHUNT, "--link", f"memif:suites-{os.getpid()}", "--ip", f"{self.address}/24", "--"]


def run(suite, case, prefix):
    """The status and output of one case, and the end of all that it has started."""
    with tempfile.TemporaryDirectory(prefix="suites") as empty, tempfile.TemporaryFile() as output:
        environment = harness.environment() | suite.environment
        process = subprocess.Popen([*prefix, *suite.command(case)], cwd=suite.folder or empty, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=harness.die_with_parent)
        try:
            status = process.wait(suite.seconds)
        except subprocess.TimeoutExpired:
            status = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        harness.end_orphans()
        output.seek(0)
        return status, re.sub(r"\x1b\[[0-9;]*m", "", output.read().decode(errors="replace"))


def kernel_packets():
    """What the kernel's TCP and UDP have received in this namespace."""
    lines = [line.split() for line in pathlib.Path("/proc/self/net/snmp").read_text().splitlines()]
    counters = {names[0] + name: int(value) for names, values in zip(lines[::2], lines[1::2]) for name, value in zip(names[1:], values[1:])}
    return counters["Tcp:InSegs"] + counters["Udp:InDatagrams"]


def without_ipv6():
    for name in ("all", "default", "lo"):
        pathlib.Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")


def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise harness.Skipped(f"no {name}: {os.strerror(ctypes.get_errno())}")


def name_localhost(address):
    """In a mount namespace of this process's own: localhost, and this host's name, are `address`."""
    new_mounts, bind, recursive, private = 0x20000, 0x1000, 0x4000, 0x40000
    call("unshare", new_mounts)
    call("mount", b"none", b"/", None, recursive | private, None)
    with tempfile.NamedTemporaryFile("w", prefix="hosts") as hosts:
        hosts.write(f"{address} localhost {os.uname().nodename}\n")
        hosts.flush()
        os.chmod(hosts.name, 0o644)
        call("mount", hosts.name.encode(), b"/etc/hosts", None, bind, None)


def move_to_own_address(address, is_kernels):
    if os.getuid() != 0:
        raise harness.Skipped("needs root")
    name_localhost(address)
    if is_kernels:
        harness.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        harness.ip("addr", "add", f"{address}/24", "dev", "veth0")
        harness.ip("link", "set", "veth0", "up")


def run_side(suite, cases, prefix, log):
    """Outcomes of all cases, and how many packets were the kernel's."""
    harness.die_with_parent()
    harness.adopt_orphans()
    harness.enter_new_namespace()
    if not suite.ipv6:
        without_ipv6()
    if suite.address:
        move_to_own_address(suite.address, is_kernels=not prefix)
    found = {}
    with open(log, "a") as file:
        for case in cases:
            before, start = kernel_packets(), time.monotonic()
            status, output = run(suite, case, prefix)
            file.write(f"=== {case}: status {status}, {time.monotonic() - start:.1f} s, {kernel_packets() - before} packets were the kernel's\n{output}\n")
            file.flush()
            found |= suite.outcomes(case, status, output)
    return found, kernel_packets()


def start_side(*arguments):
    """In a child process, for its namespace: its id, and the pipe that the result comes through."""
    sys.stdout.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child != 0:
        os.close(writer)
        return child, reader
    status = 1
    try:
        result = run_side(*arguments)
        with open(writer, "w") as pipe:
            json.dump(result, pipe)
        status = 0
    except harness.Skipped as reason:
        print(f"SKIP: {reason}", flush=True)
        status = 77
    except Exception as reason:
        print(f"{type(reason).__name__}: {reason}", file=sys.stderr, flush=True)
    os._exit(status)


def both_sides(suite, cases, logs):
    """What run_side() gives for the kernel and for Shunt."""
    sides = [start_side(suite, cases, prefix, log) for prefix, log in zip(([], suite.prefix()), logs)]
    results = []
    for child, reader in sides:
        with open(reader) as pipe:
            text = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != 0:
            sys.exit(status)
        results.append(json.loads(text))
    return results


def differences(kernel, ours):
    return {name: (kernel.get(name), ours.get(name)) for name in sorted({*kernel, *ours}) if kernel.get(name) != ours.get(name)}


def compare(name, suite, cases):
    """Prints what differs, and returns whether something does."""
    folder = harness.OUTPUT.parent / "suites"
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"{name}.{path}.log" for path in ("kernel", "shunt")]
    for log in logs:
        log.write_text("")
    (kernel, packets), (ours, left) = both_sides(suite, cases, logs)
    found = differences(kernel, ours)
    for _ in range(AGAIN):
        if found:
            print(f"again: {found}", flush=True)
            (kernel_again, _), (ours_again, _) = both_sides(suite, sorted({test.partition(": ")[0] for test in found}), logs)
            found = {test: pair for test, pair in differences(kernel_again, ours_again).items() if test in found}
    passed = [sum(outcome == "passed" for outcome in outcomes.values()) for outcomes in (kernel, ours)]
    print(f"{name}: {len({*kernel, *ours})} tests, passed on the kernel {passed[0]}, on Shunt {passed[1]}; {len(found)} differ; "
          f"packets of the kernel's: {packets}, and {left} beside Shunt")
    for test, (on_kernel, on_shunt) in found.items():
        print(f"  {test}: {on_kernel} on the kernel, {on_shunt} on Shunt")
    if left >= packets > 0:
        print("  the kernel carried as much beside Shunt: was anything accelerated?")
    return bool(found) or left >= packets > 0
