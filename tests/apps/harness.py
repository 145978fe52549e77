"""Starts programs on a path (kernel, memif, tap), watches them, ends what it started, and keeps the logs of what failed.

All of it happens in a network namespace of its own, where nothing but the path under test leads anywhere: a program that is not carried
by Shunt on the memif path reaches nobody, and on a tap the frames are counted.
"""
import ctypes
import fcntl
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PATHS = ("kernel", "memif", "tap-server", "tap-client")
SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
TAP = "shunt0"

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("SHUNT_TEST_BUILD_DIR", HERE.parent.parent / "build/release"))
OUTPUT = pathlib.Path(os.environ.get("SHUNT_APPS_OUTPUT", BUILD / "apps"))
SECONDS = float(os.environ.get("SHUNT_APPS_SECONDS", "2"))
OPTIONS = os.environ.get("SHUNT_APPS_OPTIONS", "").split()  # for every launcher, e.g. "--profile latency --log info"
PROGRAM_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


# --- Network namespaces ---------------------------------------------------------------------------------------------------------
def enter_new_namespace():
    """This process, and so all it starts, into an empty network namespace. Not root: inside a user namespace that keeps our id."""
    uid, gid = os.getuid(), os.getgid()
    new_user, new_net = 0x10000000, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(new_net if uid == 0 else new_user | new_net) != 0:
        raise Skipped(f"no network namespace to be had: {os.strerror(ctypes.get_errno())}")
    if uid != 0:
        pathlib.Path("/proc/self/setgroups").write_text("deny")
        pathlib.Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        pathlib.Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:  # lo up: SIOCSIFFLAGS, IFF_UP
        fcntl.ioctl(control, 0x8914, struct.pack("16sh22x", b"lo", 1))


def ip(*arguments, prefix=()):
    subprocess.run([*prefix, "ip", *arguments], check=True, capture_output=True, timeout=10, env=environment())


def environment():
    """Ours, less what is meant for the tests: the shim warns of SHUNT_ names that it does not know."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHUNT_")}
    return kept | {"PATH": PROGRAM_PATH, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def adopt_orphans():
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def end_orphans():
    """What the programs have started and left behind, such as daemons in sessions of their own."""
    children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children")
    for _ in range(1000):
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


# --- Programs ---------------------------------------------------------------------------------------------------------------------
class Program:
    """A started program. The server's output goes through a terminal, so that it comes line by line."""

    def __init__(self, run, name, command, terminal=False, stdin=None, stdout=None):
        self.run, self.name = run, name
        self.log = run.folder / f"{name}.log"
        self.output = stdout or self.log
        (run.folder / f"{name}.command").write_text(" ".join(map(str, command)) + "\n")
        self.drain = None
        with open(stdin or os.devnull, "rb") as source, open(self.log, "wb") as errors, open(self.output, "ab") as sink:
            if terminal:
                master, slave = pty.openpty()
            self.process = subprocess.Popen([str(word) for word in command], stdin=source, env=environment(), cwd=run.folder,
                                            stdout=slave if terminal and not stdout else sink, stderr=slave if terminal else errors,
                                            start_new_session=True, preexec_fn=die_with_parent)
        if terminal:
            os.close(slave)
            self.drain = threading.Thread(target=self._drain, args=(master,), daemon=True)
            self.drain.start()

    def _drain(self, master):
        with open(self.log, "ab", buffering=0) as log:
            try:
                while data := os.read(master, 65536):
                    log.write(data.replace(b"\r\n", b"\n"))
            except OSError:
                pass  # the last holder of the terminal has gone
        os.close(master)

    def text(self):
        if self.drain and self.process.poll() is not None:
            self.drain.join(1)
        return self.log.read_text(errors="replace")

    def wait_for_line(self, pattern, seconds=30):
        self.wait_until(lambda: re.search(pattern, self.text()), f"print /{pattern}/", seconds)

    def wait_until(self, happened, what, seconds):
        end = time.monotonic() + seconds
        while not happened():
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with status {self.process.returncode} before it listened: {self.last_line()}")
            if time.monotonic() > end:
                raise Failed(f"{self.name} did not {what} within {seconds} s")
            self.run.watch()
            time.sleep(0.01)

    def wait_for_port(self, port, is_on_kernel, seconds=60):
        """Until something is bound there: Shunt's log or the kernel's tables tell."""
        def is_bound():
            if not is_on_kernel:
                return re.search(rf"(:|port ){port} accelerated", self.text())
            tables = (pathlib.Path("/proc/self/net") / name for name in ("tcp", "tcp6", "udp", "udp6"))
            return any(re.search(rf":{port:04X} \S+:0000 0[A7] ", table.read_text()) for table in tables)
        self.wait_until(is_bound, f"bind port {port}", seconds)

    def wait(self, seconds):
        """Until it ends by itself; fails when it does not, or with another status than 0."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise Failed(f"{self.name} did not end within {seconds:.0f} s")
            self.run.watch()
            time.sleep(0.01)
        if self.process.returncode != 0:
            raise Failed(f"{self.name} ended with status {self.process.returncode}: {self.last_line()}")

    def last_line(self):
        lines = [line for line in self.text().splitlines() if line.strip()]
        return lines[-1][:160] if lines else "it said nothing"

    def stop(self, number=signal.SIGTERM, seconds=5):
        """Asks it to end. What a server must not do: be dead already, not end, or end by another signal than ours."""
        status = self.process.poll()
        if status is not None and status != 0:
            raise Failed(f"{self.name} ended by itself with status {status}: {self.last_line()}")
        if status is None:
            self.process.send_signal(number)
            try:
                status = self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise Failed(f"{self.name} did not end within {seconds} s of signal {number}") from None
            if status < 0 and status != -number:
                raise Failed(f"{self.name} died of signal {-status}")

    def kill(self):
        """The whole session that this program leads; nothing else."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            print(f"{self.name} ({self.process.pid}) cannot be killed", file=sys.stderr)


# --- One case on one path -----------------------------------------------------------------------------------------------------------
class Run:
    """What a case works with: server(), client(), and the address the client is to use."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder
        self.address = SERVER
        # On the kernel's end of a tap the address is there only when the program at the other end has made the tap.
        self.listen = "0.0.0.0" if path == "tap-client" else SERVER
        self.programs = []
        self.fault = None  # for --fault, without the seed
        self.tap_frames = None
        self.tap_index = 0
        self._peer = None  # prefix that runs a command in the client's namespace

    def set_up(self):
        if self.path != "kernel" and not (BUILD / "bin/shunt").exists():
            raise Skipped(f"no bin/shunt in {BUILD.name}")
        if self.path != "memif":
            if os.getuid() != 0:
                raise Skipped("needs root")
            self.need("ip")
        enter_new_namespace()
        if self.path == "kernel":
            holder = self._start("namespace", ["unshare", "--net", "sleep", "3600"])
            ours = os.readlink("/proc/self/ns/net")
            while os.readlink(f"/proc/{holder.process.pid}/ns/net") == ours:
                time.sleep(0.005)
            self._peer = ["nsenter", f"--net=/proc/{holder.process.pid}/ns/net"]
            ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", str(holder.process.pid))
            ip("addr", "add", f"{SERVER}/24", "dev", "veth0")
            ip("link", "set", "veth0", "up")
            ip("addr", "add", f"{CLIENT}/24", "dev", "veth1", prefix=self._peer)
            ip("link", "set", "veth1", "up", prefix=self._peer)

    def need(self, *programs):
        missing = [name for name in programs if not (os.path.isdir(name) or shutil.which(name, path=PROGRAM_PATH))]
        if missing:
            raise Skipped(f"not installed: {' '.join(missing)}")

    def built(self, name):
        program = BUILD / "test" / name
        if not program.exists():
            raise Skipped(f"not built: {name}")
        return program

    def file(self, name, content):
        path = self.folder / name
        (path.write_bytes if isinstance(content, bytes) else path.write_text)(content)
        return path

    def server(self, *command, ready, **streams):
        """ready: what it prints when it listens, or its port."""
        options = ["--log", "info"] if isinstance(ready, int) else []
        server = self._start("server", self._on_path(command, SERVER, "tap-server", options), terminal=True, **streams)
        if isinstance(ready, int):
            server.wait_for_port(ready, self.path in ("kernel", "tap-client"))
        else:
            server.wait_for_line(ready)
        return server

    def beside(self, name, *command):
        """On the kernel, where the server is."""
        return self._start(name, command, terminal=True)

    def client(self, *command, timeout=None, **streams):
        """Runs the client to its end and returns what it printed."""
        return self.finish(self.start_client(*command, **streams), timeout)

    def start_client(self, *command, name="client", **streams):
        prefix = self._peer if self.path == "kernel" else []
        return self._start(name, prefix + self._on_path(command, CLIENT, "tap-client"), stdout=streams.pop("stdout", None) or
                           self.folder / f"{name}.out", **streams)

    def finish(self, client, timeout=None):
        client.wait(timeout or SECONDS + 20)
        return client.output.read_bytes().decode(errors="replace") if client.output.suffix == ".out" else ""

    def daemon(self, *command, name="server"):
        """A program that goes on in the background: started when its first process has ended with status 0."""
        starter = self._start(name, self._on_path(command, SERVER, "tap-server"))
        starter.wait(30)
        return starter

    def sleep(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.watch()
            time.sleep(min(0.01, seconds))

    def _start(self, name, command, **streams):
        program = Program(self, name, command, **streams)
        self.programs.append(program)
        return program

    def _on_path(self, command, address, tap_role, options=()):
        if self.path == "kernel" or self.path.startswith("tap") and self.path != tap_role:
            return list(command)
        link = f"tap:{TAP}" if self.path.startswith("tap") else f"memif:apps-{os.getpid()}"
        faults = ["--fault", f"{self.fault},seed={1 if address == SERVER else 2}"] if self.fault else []
        return [BUILD / "bin/shunt", "--link", link, "--ip", f"{address}/24", *faults, *options, *OPTIONS, "--", *command]

    def watch(self):
        """Called all the time: gives the tap its address as soon as it is there, and counts its frames."""
        if not self.path.startswith("tap"):
            return
        for line in pathlib.Path("/proc/self/net/dev").read_text().splitlines():
            name, _, counters = line.partition(":")
            if name.strip() == TAP:
                index = socket.if_nametoindex(TAP)
                if index != self.tap_index:  # each program on it makes it anew
                    self.tap_index = index
                    ip("addr", "add", f"{CLIENT if self.path == 'tap-server' else SERVER}/24", "dev", TAP)
                    ip("link", "set", TAP, "up")
                fields = counters.split()
                self.tap_frames = max(int(fields[1]) + int(fields[9]), self.tap_frames or 0)  # a server of datagrams may only receive

    def check(self):
        if self.path.startswith("tap") and (self.tap_frames or 0) < 10:
            raise Failed(f"{self.tap_frames or 0} frames came over the tap: Shunt did not carry this")
        for program in self.programs:
            found = re.search(r".*(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:).*", program.text())
            if found:
                raise Failed(f"{program.name}: {found[0]}")


def run(name, case, path):
    """Runs a case in a child process (for its network namespace) and prints its line. Returns ok, FAILED or skipped."""
    sys.stdout.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            die_with_parent()
            adopt_orphans()
            os.close(reader)
            word, figure, seconds = _run_here(name, case, path)
            os.write(writer, f"{word:7} {name:34} {path:10} {seconds:6.1f} s  {figure}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        line = pipe.read().decode() or f"FAILED  {name} {path} the harness died"
    os.waitpid(child, 0)
    print(line, flush=True)
    word = line.split()[0]
    if word == "skipped":
        print(f"SKIP: {line.split(' s  ', 1)[-1]}", flush=True)
    return word


def _run_here(name, case, path):
    OUTPUT.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}.{path}.", dir=OUTPUT))
    folder.chmod(0o755)
    this = Run(path, folder)
    begin = time.monotonic()
    try:
        this.set_up()
        begin = time.monotonic()
        word, figure = "ok", case(this)
        this.check()
    except Skipped as reason:
        word, figure = "skipped", str(reason)
    except Failed as reason:
        word, figure = "FAILED", str(reason)
    except Exception:
        word, figure = "FAILED", "the harness: " + traceback.format_exc()
    seconds = time.monotonic() - begin
    for program in reversed(this.programs):
        program.kill()
    end_orphans()
    kept = OUTPUT / f"{name}.{path}"
    shutil.rmtree(kept, ignore_errors=True)
    if word == "FAILED":
        for large in folder.rglob("*"):
            if large.is_file() and large.stat().st_size > 10_000_000:
                large.unlink()
        figure += f"\n        logs: {kept}"
        for program in this.programs:
            tail = "\n".join("        | " + line for line in program.text().splitlines()[-8:])
            figure += f"\n        {program.name}:\n{tail}" if tail else ""
        folder.rename(kept)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return word, figure, seconds
