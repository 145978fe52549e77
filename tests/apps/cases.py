"""The cases: a function each, which gets a harness.Run and returns a figure to print."""
import hashlib
import json
import os
import re
import signal
import sys

from harness import HERE, SECONDS, Failed

PORT = 7100
PYTHON = os.path.realpath(sys.executable)  # not a wrapper script
CASES = {}
BY_HAND = set()  # cases that ctest does not play
CTEST_PATHS = {}  # where ctest plays a case, if not on all paths


def case(name, *arguments):
    def register(function):
        CASES[name] = lambda run: function(run, *arguments)
        return function
    return register


def number(pattern, text, what):
    found = re.findall(pattern, text, re.MULTILINE)
    if not found or float(found[-1]) <= 0:
        raise Failed(f"no {what} in what it printed")
    return float(found[-1])


def random_file(run, name, megabytes):
    return run.file(name, os.urandom(megabytes << 20))


def compare(sent, arrived):
    sums = []
    for path in (sent, arrived):
        with open(path, "rb") as file:
            sums.append(hashlib.file_digest(file, "sha256").hexdigest())
    if sums[0] != sums[1]:
        raise Failed(f"{arrived.stat().st_size} of {sent.stat().st_size} bytes arrived, the checksums differ")


# --- sockperf -------------------------------------------------------------------------------------------------------------------------
def sockperf(run, mode, protocol, multiplexer):
    """multiplexer: '' for recvfrom on one socket, else a feed file of three sockets under s(elect), p(oll), e(poll) or r(ecvfrom)."""
    run.need("sockperf")
    tcp = ["--tcp"] if protocol == "tcp" and not multiplexer else []

    def where(name, address):
        if not multiplexer:
            return ["-i", address, "-p", PORT]
        letter = "T" if protocol == "tcp" else "U"
        feed = run.file(name, "".join(f"{letter}:{address}:{PORT + i}\n" for i in range(3)))
        return ["-f", feed, "-F", multiplexer]

    server = run.server("sockperf", "server", *tcp, *where("server.feed", run.listen), ready=r"using \w+\(\)|to block on socket")
    seconds = max(1, int(SECONDS / 2))
    # sockperf gives up when more messages come than it has records for, 600,000 a second unless told otherwise.
    records = ["--mps=2000000"] if mode == "ping-pong" else []
    text = run.client("sockperf", mode, *tcp, *where("client.feed", run.address), "-t", seconds, "-m", "64", *records,
                      timeout=seconds + 15)
    server.stop(signal.SIGINT)  # prints its count only when EINTR reaches it
    received = number(r"Total (\d+) messages received", server.text(), "count of messages")
    if mode == "throughput":
        rate = number(r"Message Rate is (\d+)", text, "message rate")
        return f"{rate:.0f} messages/s sent, {received:.0f} received in all"
    return f"half round trip p50 {number(r'percentile 50.000 = +([0-9.]+)', text, 'latency'):.2f} us"


for mode_ in ("ping-pong", "throughput"):
    for protocol_ in ("tcp", "udp"):
        for label, letter_ in (("recvfrom", ""), ("select", "s"), ("poll", "p"), ("epoll", "e")):
            case(f"sockperf-{mode_}-{protocol_}-{label}", mode_, protocol_, letter_)(sockperf)


# --- iperf3 and iperf2 ---------------------------------------------------------------------------------------------------------------
def iperf3(run, streams, reverse):
    run.need("iperf3")
    server = run.server("iperf3", "-s", "-1", "-B", run.listen, "-p", PORT, "--forceflush", ready="Server listening")
    text = run.client("iperf3", "-c", run.address, "-p", PORT, "-t", max(1, int(SECONDS)), "-P", streams, "-J", *reverse)
    server.wait(5)
    end = json.loads(text)["end"]
    if not all(stream["receiver"]["bytes"] > 0 for stream in end["streams"]) or len(end["streams"]) != streams:
        raise Failed("a stream carried nothing")
    return f"{end['sum_received']['bits_per_second'] / 1e9:.2f} Gb/s"


def iperf2(run, streams, reverse):
    run.need("iperf")
    server = run.server("iperf", "-s", "-B", run.listen, "-p", PORT, ready="Server listening")
    text = run.client("iperf", "-c", run.address, "-p", PORT, "-t", max(1, int(SECONDS)), "-P", streams, "-f", "m", *reverse)
    server.stop(signal.SIGTERM)
    return f"{number(r'([0-9.]+) Mbits/sec', text, 'rate') / 1000:.2f} Gb/s"


for tool in (iperf3, iperf2):
    for streams_ in (1, 8):
        case(f"{tool.__name__}-{streams_}", streams_, [])(tool)
        case(f"{tool.__name__}-{streams_}-reverse", streams_, ["-R"])(tool)


# --- Servers and their usual clients --------------------------------------------------------------------------------------------
@case("redis-1", 1)
@case("redis-16", 16)
def redis(run, pipeline):
    run.need("redis-server", "redis-benchmark")
    server = run.server("redis-server", "--bind", run.listen, "--port", PORT, "--save", "", "--appendonly", "no", "--protected-mode",
                        "no", "--dir", run.folder, ready="Ready to accept connections")
    text = run.client("redis-benchmark", "-h", run.address, "-p", PORT, "-c", 50, "-P", pipeline, "-t", "ping_mbulk,set,get", "-n",
                      int(20_000 * SECONDS * (4 if pipeline > 1 else 1)), "-d", 64, "--csv", timeout=SECONDS * 5 + 20)
    rates = dict(re.findall(r'^"(\w+)","([0-9.]+)"', text, re.MULTILINE))
    if set(rates) != {"PING_MBULK", "SET", "GET"}:
        raise Failed(f"redis-benchmark measured {sorted(rates)}")
    server.stop()
    return ", ".join(f"{name} {float(rate) / 1000:.0f}k/s" for name, rate in rates.items())


def nginx(run):
    run.need("nginx")
    paths = "".join(f"{kind}_temp_path {run.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = run.file("nginx.conf", f"""
        master_process off; daemon off; worker_processes 1; pid {run.folder}/nginx.pid; error_log stderr notice;
        events {{ worker_connections 512; }}
        http {{ {paths} access_log off; keepalive_requests 1000000000;
                server {{ listen {run.listen}:{PORT} backlog=511; root {run.folder}; }} }}""")
    return run.server("nginx", "-p", run.folder, "-e", "stderr", "-c", config, ready=r'using the "epoll" event method')


@case("nginx-wrk")
def nginx_wrk(run):
    run.need("wrk")
    run.file("small", b"x" * 1024)
    server = nginx(run)
    text = run.client("wrk", "-t", 1, "-c", 64, "-d", f"{max(1, int(SECONDS))}s", f"http://{run.address}:{PORT}/small")
    if trouble := re.search(r"Socket errors.*|Non-2xx.*", text):
        raise Failed(trouble[0])
    server.stop()
    return f"{number(r'Requests/sec: +([0-9.]+)', text, 'rate'):.0f} requests/s"


CURL = ("curl", "-sS", "--fail", "--retry", 5, "--retry-connrefused", "--connect-timeout", 10)


@case("nginx-curl")
def nginx_curl(run):
    run.need("curl")
    large = random_file(run, "large", 100)
    server = nginx(run)
    text = run.client(*CURL, "-o", run.folder / "arrived", "-w", "%{speed_download}", f"http://{run.address}:{PORT}/large", timeout=60)
    server.stop()
    compare(large, run.folder / "arrived")
    return f"100 MB intact, {number('([0-9.]+)$', text, 'speed') / 1e6:.0f} MB/s"


@case("http.server-curl")
def http_server(run):
    run.need("curl")
    large = random_file(run, "large", 20)
    small = run.file("small", b"a few bytes")
    server = run.server(PYTHON, "-u", "-m", "http.server", PORT, "--bind", run.listen, "--directory", run.folder,
                        ready="Serving HTTP on")
    url = f"http://{run.address}:{PORT}"
    many = [word for i in range(50) for word in ("-o", run.folder / f"small.{i}", f"{url}/small")]
    run.client(*CURL, *many, "-o", run.folder / "arrived", f"{url}/large", timeout=40)
    server.stop()
    compare(large, run.folder / "arrived")
    for i in range(50):
        compare(small, run.folder / f"small.{i}")
    return "50 small files and 20 MB intact"


@case("memcached")
def memcached(run):
    run.need("memcached")
    server = run.server("memcached", "-u", "root", "-l", run.listen, "-p", PORT, "-U", 0, "-t", 2, "-vv",
                        ready="server listening")
    text = run.client(PYTHON, HERE / "memcached_client.py", run.address, PORT, 100, SECONDS)
    server.stop()
    return text.strip()


@case("asyncio-echo")
def asyncio_echo(run):
    server = run.server(PYTHON, HERE / "asyncio_echo.py", "server", run.listen, PORT, ready="listens")
    text = run.client(PYTHON, HERE / "asyncio_echo.py", "client", run.address, PORT, 200, int(10 * SECONDS), timeout=SECONDS * 5 + 20)
    server.stop()
    return text.strip()


@case("netcat-to-server")
def netcat_to_server(run):
    run.need("nc.openbsd")
    sent, arrived = random_file(run, "sent", 20), run.folder / "arrived"
    server = run.server("nc.openbsd", "-nvl", run.listen, PORT, stdout=arrived, ready="Listening on")
    run.client("nc.openbsd", "-nN", run.address, PORT, stdin=sent)
    server.wait(10)
    compare(sent, arrived)
    return "20 MB intact"


@case("netcat-from-server")
def netcat_from_server(run):
    run.need("nc.openbsd")
    sent, arrived = random_file(run, "sent", 20), run.folder / "arrived"
    server = run.server("nc.openbsd", "-nvNl", run.listen, PORT, stdin=sent, ready="Listening on")
    run.client("nc.openbsd", "-nd", run.address, PORT, stdout=arrived)
    server.wait(10)
    compare(sent, arrived)
    return "20 MB intact"


@case("quickfix")
def quickfix(run):
    acceptor, initiator = run.built("quickfix_acceptor"), run.built("quickfix_initiator")
    orders = int(1000 * SECONDS)
    server = run.server(acceptor, run.listen, PORT, run.folder / "acceptor", ready="acceptor listens")
    text = run.client(initiator, run.address, PORT, run.folder / "initiator", orders, timeout=SECONDS * 5 + 20)
    server.stop(seconds=8)
    if f"{orders} orders, 1 logons, 1 logouts" not in server.text():
        raise Failed(f"the acceptor saw: {server.last_line()}")
    return text.strip()


# --- Transfers through the fault injector, and connections by the thousand ---------------------------------------------------
@case("transfer", None, 100, ("up", "down", "both"))
@case("transfer-1-percent", "drop=0.01,duplicate=0.01,reorder=0.01,corrupt=0.001", min(100, 10 * SECONDS), ("up", "down"))
@case("transfer-10-percent", "drop=0.1", SECONDS if SECONDS < 10 else 100, ("up", "down"))
def transfer(run, fault, megabytes, modes):
    run.fault = fault
    megabytes = max(1, int(megabytes))
    server = run.server(PYTHON, HERE / "transfer.py", "server", run.listen, PORT, ready="listens")
    text = run.client(PYTHON, HERE / "transfer.py", "client", run.address, PORT, megabytes, *modes, timeout=60 + megabytes * 20)
    server.stop()
    return f"{megabytes} MB intact: {text.strip()}"


@case("short-connections")
def short_connections(run):
    program, ports, count = run.built("short_connections"), 8, 100_000
    server = run.server(program, "server", run.listen, PORT, ports, count, ready="listens")
    text = run.client(program, "client", run.address, PORT, ports, count, timeout=150)
    server.wait(10)
    return text.strip()


# --- Rest ---------------------------------------------------------------------------------------------------------------------------
@case("idle")
def idle(run):
    """In the balanced profile an idle server must use less than 1 % of a core."""
    program = HERE / "idle_echo.py"
    seconds = 2 * SECONDS
    server = run.server(PYTHON, program, "server", run.listen, PORT, ready="listens")
    text = run.client(PYTHON, program, "client", run.address, PORT, seconds, 200, timeout=seconds + 30)
    server.wait(10)
    if float(text.split()[0]) >= 1:
        raise Failed(f"an idle server used {text.strip()}")
    return text.strip()
