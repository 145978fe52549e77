"""Who may bind to which port, and what happens when the ports of net.ipv4.ip_local_port_range run out, as Linux has it: the same program over the loop and, where
a network namespace can be had, on the kernel."""
import os
import subprocess
import sys

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
SHUNT = os.path.join(BUILD, "bin", "shunt")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}
RANGE = "40000 40003"
PROGRAM = """
import errno, socket
held = []
def say(name, call):
    try: call(); print(name, "ok")
    except OSError as error: print(name, errno.errorcode[error.errno])
def bind(address="127.0.0.1", port=0, kind=socket.SOCK_STREAM, reuse=False, share=False):
    held.append(socket.socket(socket.AF_INET, kind))
    if reuse: held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share: held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held[-1].bind((address, port))
    return held[-1]
def connect(port=5001, kind=socket.SOCK_STREAM):
    held.append(socket.socket(socket.AF_INET, kind))
    held[-1].connect(("127.0.0.1", port))
def close():
    while held: held.pop().close()
server = socket.create_server(("127.0.0.1", 5001))
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for _ in range(4): say("bind", lambda: bind(kind=kind))
    print(sorted(each.getsockname()[1] for each in held))
    say("bind when all are taken", lambda: bind(kind=kind))
    say("the same, with SO_REUSEADDR", lambda: bind(kind=kind, reuse=True))
    say("at another address", lambda: bind("127.0.0.2", kind=kind))
    say("connect when all are taken", lambda: connect(kind=kind))
    close()
for _ in range(5): say("connect", connect)
other = socket.create_server(("127.0.0.1", 5002))
say("connect elsewhere", lambda: connect(5002))
say("bind when all are connected", bind)
say("to a connected one's port", lambda: bind(port=40001))
say("the same, with SO_REUSEADDR", lambda: bind(port=40001, reuse=True))
close()
bind(port=6001)
say("bound twice", lambda: bind(port=6001))
say("to every address", lambda: bind("0.0.0.0", 6001))
say("to another address", lambda: bind("127.0.0.2", 6001))
say("one has SO_REUSEADDR", lambda: bind(port=6001, reuse=True))
first = bind(port=6002, reuse=True)
say("both have SO_REUSEADDR", lambda: bind(port=6002, reuse=True))
second = held[-1]
first.listen()
say("one of them listens", lambda: bind(port=6002, reuse=True))
say("the other listens as well", second.listen)
for _ in range(2): say("both have SO_REUSEPORT", lambda: bind(port=6005, share=True).listen())
client = bind(port=6003)
client.connect(("127.0.0.1", 5001))
say("to the port of a bound client", lambda: bind(port=6003))
client.close()
say("when it is in FIN_WAIT", lambda: bind(port=6003))
accepted = server.accept()[0]
bind(port=6004).close()
say("that was bound and not used", lambda: bind(port=6004))
"""


def lines_of(*command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=CLEAN, check=False)
    return result.stdout.splitlines() if result.returncode == 0 else [f"exit status {result.returncode}: {result.stderr}"]


def main():
    if not os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so")):
        print("SKIP: libshunt_preload.so is not built")
        sys.exit(77)
    inside = ["unshare", "--net", "--map-root-user", "sh", "-c", f'ip link set lo up && echo {RANGE} > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"', "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode != 0:
        print("SKIP: no network namespace to be had, and so no range of ports on the kernel")
        sys.exit(77)
    kernel = lines_of(*inside, sys.executable, "-c", PROGRAM)
    ours = lines_of(SHUNT, "--link", "loop", "--sysctl", f"net.ipv4.ip_local_port_range={RANGE}", "--", sys.executable, "-c", PROGRAM)
    for number in range(max(len(kernel), len(ours))):
        pair = [(lines[number] if number < len(lines) else "(nothing)") for lines in (kernel, ours)]
        if pair[0] != pair[1]:
            print(f"line {number + 1}: {pair[0]} on the kernel, {pair[1]} on Shunt")
    sys.exit(0 if kernel == ours and len(kernel) > 30 else 1)


main()
