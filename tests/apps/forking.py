"""Servers of several processes in their packaged shape: masters that reload under load, a process a connection, daemons, killed workers."""
import os
import pathlib
import re
import resource
import signal
import tempfile
import time

import cases
from cases import CASES, CTEST_PATHS, PORT, PYTHON, number
from harness import HERE, SECONDS, Failed

LOAD = max(2, int(SECONDS))
PAGE = b"x" * 1024


def case(name, *arguments):
    """Only where the server, which is what this is about, runs under shunt."""
    def register(function):
        CASES[name] = lambda run: function(run, *arguments)
        CTEST_PATHS[name] = ("memif", "tap-server")
        return function
    return register


# --- Processes ----------------------------------------------------------------------------------------------------------------------
def children(pid):
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def workers(pid, pattern):
    """Children whose command line matches. The keeper is a child of the first process, and called as it is."""
    return [child for child in children(pid) if re.search(pattern, command_of(child))]


def wait_for(run, happened, what, seconds=10):
    end = time.monotonic() + seconds
    while not (value := happened()):
        if time.monotonic() > end:
            raise Failed(f"after {seconds} s still not: {what}")
        run.sleep(0.02)
    return value


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return 0


def has_ended(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def stop_daemon(run, pid, number=signal.SIGTERM, seconds=10):
    os.kill(pid, number)
    wait_for(run, lambda: has_ended(pid), f"the end of {pid} after signal {number}", seconds)


def while_loaded(run, client, log, act, interval, most=1000, least=2):
    """Acts at intervals while the client works, from when the server's log shows that it does. Returns how often."""
    def is_under_way():
        return log.exists() and log.stat().st_size > 0 or client.process.poll() is not None
    wait_for(run, is_under_way, f"requests in {log.name}", 30)
    done = 0
    run.sleep(interval)
    while client.process.poll() is None and done < most:
        act(done)
        done += 1
        run.sleep(interval)
    if done < least:
        raise Failed(f"the load was over after {done} of {least} interruptions: {client.last_line()}")
    return done


# --- nginx --------------------------------------------------------------------------------------------------------------------------
NGINX_WORKERS = 4


def nginx(run):
    """As packaged, less the daemon: a master and four workers, which give up root."""
    run.need("nginx", "wrk")
    run.file("small", PAGE)
    paths = "".join(f"{kind}_temp_path {run.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = run.file("nginx.conf", f"""
        daemon off; worker_processes {NGINX_WORKERS}; pid {run.folder}/nginx.pid; error_log stderr notice;
        events {{ worker_connections 512; }}
        http {{ {paths} access_log {run.folder}/access.log; keepalive_requests 1000000000;
                server {{ listen {run.listen}:{PORT} backlog=511; root {run.folder}; }} }}""")
    server = run.server("nginx", "-p", run.folder, "-e", "stderr", "-c", config, ready=rf"start worker process \d+(?s:.*start worker process){{{NGINX_WORKERS - 1}}}")
    master = int((run.folder / "nginx.pid").read_text())
    return server, config, master


def nginx_workers(master):
    return workers(master, r"nginx: worker process$")


def wrk(run, *options, name="client"):
    return run.start_client("wrk", "-t", 1, "-c", 64, "-d", f"{2 * LOAD}s", "--timeout", "10s", *options, f"http://{run.address}:{PORT}/small", name=name)


def wrk_errors(text):
    found = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return [int(count) for count in found.groups()] if found else [0, 0, 0, 0]


def nginx_is_well(server):
    if trouble := re.search(r".*\[(alert|emerg|crit)\].*", server.text()):
        raise Failed(trouble[0])


@case("nginx-reload")
def nginx_reload(run):
    """New workers twice a second under load: a request a connection, so that none may fail; nginx closes kept connections at any moment."""
    server, config, master = nginx(run)
    first = set(nginx_workers(master))
    client = wrk(run, "-H", "Connection: close")

    def reload(i):
        run.beside(f"reload{i}", "nginx", "-p", run.folder, "-e", "stderr", "-c", config, "-s", "reload").wait(10)
    reloads = while_loaded(run, client, run.folder / "access.log", reload, 0.4)
    text = run.finish(client)
    if any(errors := wrk_errors(text)) or "Non-2xx" in text:
        raise Failed(f"failed requests (connect, read, write, timeout): {errors}")
    wait_for(run, lambda: len(nginx_workers(master)) == NGINX_WORKERS, f"{NGINX_WORKERS} workers")
    if first & set(nginx_workers(master)):
        raise Failed("a worker of before is still there")
    server.stop(signal.SIGQUIT)
    nginx_is_well(server)
    return f"{number(r'Requests/sec: +([0-9.]+)', text, 'rate'):.0f} requests/s, none failed in {reloads} reloads"


@case("nginx-killed-worker")
def nginx_killed_worker(run):
    """A worker killed under load costs its own connections no more than once each; the others go on and the master replaces it."""
    server, config, master = nginx(run)
    client = wrk(run)
    killed = []

    def kill(_):
        killed.append(max(nginx_workers(master), key=descriptors))
        os.kill(killed[-1], signal.SIGKILL)
    while_loaded(run, client, run.folder / "access.log", kill, 0.7, most=2)
    text = run.finish(client)
    wait_for(run, lambda: len(nginx_workers(master)) == NGINX_WORKERS, f"{NGINX_WORKERS} workers")
    errors = wrk_errors(text)
    if errors[3] or "Non-2xx" in text or not 0 < sum(errors) <= 64 * len(killed):
        raise Failed(f"failed requests (connect, read, write, timeout): {errors}")
    again = run.client("wrk", "-t", 1, "-c", 64, "-d", "1s", f"http://{run.address}:{PORT}/small", name="again")
    if any(wrk_errors(again)) or "Non-2xx" in again:
        raise Failed(f"failed requests after it (connect, read, write, timeout): {wrk_errors(again)}")
    server.stop(signal.SIGQUIT)
    return f"{number(r'Requests/sec: +([0-9.]+)', text, 'rate'):.0f} requests/s, {sum(errors)} connections of 2 killed workers lost"


# --- Apache -------------------------------------------------------------------------------------------------------------------------
@case("apache-prefork")
def apache_prefork(run):
    """mpm_prefork with its own numbers of processes, restarted gracefully three times under ab."""
    run.need("apache2", "ab")
    with tempfile.TemporaryDirectory(dir="/tmp") as documents:  # www-data must get there, whoever may enter the build
        os.chmod(documents, 0o755)
        (pathlib.Path(documents) / "small").write_bytes(PAGE)
        return serve_by_apache(run, documents)


def serve_by_apache(run, documents):
    modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in ("mpm_prefork", "authz_core"))
    config = run.file("apache.conf", f"""{modules}ServerName test\nServerRoot {run.folder}\nPidFile {run.folder}/pid\nListen {run.listen}:{PORT}
        User www-data\nGroup www-data\nErrorLog {run.folder}/error.log\nCustomLog {run.folder}/access.log %s\nDocumentRoot {documents}\nDefaultRuntimeDir {run.folder}
        <Directory {documents}>\nRequire all granted\n</Directory>\n""")
    server = run.server("apache2", "-f", config, "-D", "FOREGROUND", ready=PORT)
    master = wait_for(run, lambda: (run.folder / "pid").exists() and int((run.folder / "pid").read_text() or 0), "a pid file")
    client = run.start_client("ab", "-q", "-t", LOAD, "-n", 10_000_000, "-c", 32, f"http://{run.address}:{PORT}/small")
    restarts = while_loaded(run, client, run.folder / "access.log", lambda _: os.kill(master, signal.SIGUSR1), 0.4)
    text = run.finish(client, 60)
    if trouble := re.search(r"Failed requests: +[1-9].*|Non-2xx.*", text):
        raise Failed(trouble[0])
    server.stop(signal.SIGTERM, seconds=10)
    log = (run.folder / "error.log").read_text()
    if not 2 <= log.count("resuming normal operations") <= 1 + restarts or re.search(r"core:(alert|emerg|crit)|exit signal", log):
        raise Failed("error.log: " + log[-400:])
    return f"{number(r'Requests per second: +([0-9.]+)', text, 'rate'):.0f} requests/s, none failed in {restarts} graceful restarts"


# --- gunicorn -----------------------------------------------------------------------------------------------------------------------
@case("gunicorn-workers")
def gunicorn(run):
    """A master with four workers, all replaced by SIGHUP under load."""
    run.need("gunicorn", "ab")
    server = run.server("gunicorn", "--chdir", HERE / "programs", "-w", 4, "-p", run.folder / "pid", "--access-logfile", run.folder / "access.log", "-b", f"{run.listen}:{PORT}",
                        "application", ready=r"(?s)Booting worker(.*Booting worker){3}")
    master = int((run.folder / "pid").read_text())
    client = run.start_client("ab", "-q", "-t", LOAD, "-n", 10_000_000, "-c", 16, f"http://{run.address}:{PORT}/")
    restarts = while_loaded(run, client, run.folder / "access.log", lambda _: os.kill(master, signal.SIGHUP), 0.5, most=5, least=1)
    text = run.finish(client, 60)
    if trouble := re.search(r"Failed requests: +[1-9].*|Non-2xx.*", text):
        raise Failed(trouble[0])
    # A worker of gunicorn's that is asked to end while it is being born does not hear it.
    wait_for(run, lambda: len(children(master)) >= 4 and server.text().count("Booting worker") == 4 * (1 + restarts), "all workers are there")
    run.sleep(1)
    server.stop(signal.SIGTERM, seconds=10)
    if trouble := re.search(r".*(Traceback|Error|WORKER TIMEOUT).*", server.text()):
        raise Failed(trouble[0])
    return f"{number(r'Requests per second: +([0-9.]+)', text, 'rate'):.0f} requests/s, none failed in {restarts} changes of all workers"


# --- redis --------------------------------------------------------------------------------------------------------------------------
@case("redis-daemon")
def redis_daemon(run):
    """daemonize yes, BGSAVE twice under load, and a start from what it has saved."""
    run.need("redis-server", "redis-benchmark", "redis-cli")
    command = ("redis-server", "--bind", run.listen, "--port", PORT, "--daemonize", "yes", "--pidfile", run.folder / "pid", "--logfile",
               run.folder / "redis.log", "--protected-mode", "no", "--dir", run.folder, "--save", "")
    run.daemon(*command)
    pid = wait_for(run, lambda: (run.folder / "pid").exists() and int((run.folder / "pid").read_text() or 0), "a pid file")
    wait_for(run, lambda: "Ready to accept" in (run.folder / "redis.log").read_text(), "redis is ready")
    cli = ("redis-cli", "-h", run.address, "-p", PORT)
    count = int(2000 * SECONDS)
    # Keys by number, so that the number of keys is known.
    load = run.start_client("sh", "-ec", f"redis-benchmark -h {run.address} -p {PORT} -c 50 -n {count} -d 64 -t set,get --csv; "
                            f"redis-benchmark -h {run.address} -p {PORT} -c 1 -n 200 -r 1000000000 -q lpush jobs __rand_int__; "
                            + f"for i in 1 2; do redis-cli -h {run.address} -p {PORT} bgsave; "
                            f"redis-benchmark -h {run.address} -p {PORT} -c 50 -n {count} -d 64 -t set,get --csv; done; "
                            f"redis-cli -h {run.address} -p {PORT} llen jobs; redis-cli -h {run.address} -p {PORT} set last word")
    text = run.finish(load, SECONDS * 20 + 100)
    rates = re.findall(r'^"(?:SET|GET)","([0-9.]+)"', text, re.MULTILINE)
    if len(rates) != 6 or "Background saving started" not in text:
        raise Failed(f"{len(rates)} of 6 measurements: {text[-300:]}")
    log = (run.folder / "redis.log").read_text()
    if log.count("Background saving terminated with success") < 1:
        raise Failed("no background saving has ended well: " + log[-300:])
    run.client(*cli, "shutdown", "save", name="shutdown")
    wait_for(run, lambda: has_ended(pid), "redis has ended")
    run.daemon(*command, name="second")
    wait_for(run, lambda: (run.folder / "redis.log").read_text().count("Ready to accept") == 2, "redis is ready again")
    again = run.client(*cli, "get", "last", name="again")
    if again.strip() != "word":
        raise Failed(f"after the second start: {again.strip()}")
    return f"{min(map(float, rates)) / 1000:.0f}k/s at the least"


# --- socat --------------------------------------------------------------------------------------------------------------------------
@case("socat-exec", "EXEC:cat", "")
@case("socat-system", "SYSTEM:cat; echo end", "end\n")
def socat(run, address, trailer):
    """A process and a program for each connection: what is sent comes back, end of file both ways."""
    run.need("socat")
    # socat's own patience with the second direction, half a second, is too short for a busy machine.
    server = run.server("socat", "-t", 20, f"TCP-LISTEN:{PORT},bind={run.listen},fork,reuseaddr", address, ready=PORT)
    text = run.client(PYTHON, HERE / "echo_client.py", run.address, PORT, 20, 1, trailer, timeout=60)
    server.stop()
    return text.strip()


# --- A server that dies ----------------------------------------------------------------------------------------------------------------
def kill_crowded_server(run, count, attempt):
    """Returns when the first and the last of the peers heard of it, in seconds after the kill."""
    server = run.server(PYTHON, HERE / "crowd.py", "server", run.listen, PORT, 4, ready="(?s)listens.*listens.*listens.*listens")
    client = run.start_client(PYTHON, HERE / "crowd.py", "client", run.address, PORT, count, name=f"client{attempt}")
    wait_for(run, lambda: "connected" in client.output.read_text() or client.process.poll() is not None, f"{count} connections", 60)
    killed_at = time.monotonic()
    os.killpg(server.process.pid, signal.SIGKILL)  # its session, to which the keeper does not belong
    first, last, ended = run.finish(client, 90).split()[-3:]
    if int(ended) != count:
        raise Failed(f"{ended} of {count} connections ended")
    server.process.wait(5)
    run.programs.remove(server)
    return float(first) - killed_at, float(last) - killed_at


@case("killed-server")
def killed_server(run):
    """All of a server's four processes killed at once: its 10,000 idle peers, or as many as there may be, hear of it within a second."""
    count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200)
    begin, tries = time.monotonic(), []
    # The machine may be doing something else just then, which a kernel's peers would feel as well.
    while len(tries) < 3 and time.monotonic() < begin + 60 and (not tries or tries[-1][1] > 1):
        tries.append(kill_crowded_server(run, count, len(tries)))
    said = " then ".join(f"{first:.3f} to {last:.3f}" for first, last in tries)
    if tries[-1][1] > 1:
        raise Failed(f"{count} connections ended {said} s after their server")
    return f"{count} connections ended {said} s after their server"


# --- PostgreSQL -----------------------------------------------------------------------------------------------------------------------
POSTGRES = pathlib.Path("/usr/lib/postgresql/15/bin")


def postgres(run, *command, capabilities=True):
    """A command as PostgreSQL's user; with what a tap's opener needs."""
    capabilities = ["--inh-caps=+net_admin,+net_raw", "--ambient-caps=+net_admin,+net_raw"] if capabilities else []
    return ["setpriv", "--reuid=postgres", "--clear-groups", *(capabilities if os.getuid() == 0 else []), *map(str, command)]


SUMS = ("select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history) and (select sum(bbalance) from pgbench_branches) = "
        "(select sum(delta) from pgbench_history) and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)")


@case("postgresql-restart")
def postgresql(run):
    """pgbench with 20 clients, its sums checked; pg_ctl restart, a killed backend, and pgbench again after each."""
    run.need(str(POSTGRES), "pgbench", "psql")
    database, log = run.folder / "db", run.folder / "postgres.log"
    run.beside("prepare", "sh", "-ec", f"install -d -o postgres {database}; install -o postgres /dev/null {log}; "
               + " ".join(postgres(run, POSTGRES / "initdb", "-D", database, "-A", "trust", capabilities=False)) + " > /dev/null; "
               f"echo 'host all all 0.0.0.0/0 trust' >> {database}/pg_hba.conf").wait(60)
    control = postgres(run, POSTGRES / "pg_ctl", "-D", database, "-l", log, "-w", "-t", "30", "-o", f"-k {database} -h {run.listen} -p {PORT}", "-m", "fast")
    where = ("-h", run.address, "-p", PORT, "-U", "postgres")

    def bench(name, *options):
        text = run.client("pgbench", *where, "-n", "-c", 20, "-T", LOAD, *options, "postgres", name=name, timeout=LOAD + 30)
        if trouble := re.search(r"number of failed transactions: [1-9].*", text):
            raise Failed(trouble[0])
        if (sums := run.client("psql", *where, "-Atc", SUMS, "postgres", name=f"sums-{name}").strip()) != "t":
            raise Failed(f"the sums of {name} differ: {sums}")
        return number(r"^tps = ([0-9.]+)", text, "rate")

    run.daemon(*control, "start")
    run.client("pgbench", "-q", "-i", *where, "postgres", name="tables", timeout=60)
    rates = [bench("first")]
    run.daemon(*control, "restart", name="restart")
    rates.append(bench("second"))
    master = int((database / "postmaster.pid").read_text().split()[0])
    sleeper = run.start_client("psql", *where, "-c", "select pg_sleep(60)", "postgres", name="sleeper")
    backend = wait_for(run, lambda: workers(master, "pg_sleep|SELECT"), "a backend that sleeps")[0]
    os.kill(backend, signal.SIGKILL)
    wait_for(run, lambda: sleeper.process.poll() is not None, "the client of the killed backend hears of it", 5)
    wait_for(run, lambda: "all server processes terminated; reinitializing" in log.read_text(), "the server starts anew", 20)
    wait_for(run, lambda: log.read_text().count("database system is ready") == 3, "the server is ready again", 20)
    rates.append(bench("third"))
    run.daemon(*control, "stop", name="stop")
    return ", ".join(f"{rate:.0f}" for rate in rates) + " transactions/s: before, after restart, after a killed backend"
