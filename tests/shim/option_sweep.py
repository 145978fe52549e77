"""Every socket option, in every state of a socket, with many lengths and values (option_sweep), on the kernel and on Shunt: the same, line by line, under each
default congestion control (as root, in a network namespace), else under the host's."""
import ctypes
import os
import pathlib
import re
import subprocess
import sys

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
PROGRAM = os.path.join(BUILD, "test", "option_sweep")
SHUNT = os.path.join(BUILD, "bin", "shunt")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}
# Differences that are known (a pattern of "state level.option get|set"), each with its reason; docs/sockets.md has them too.
OURS = "(tcp-|tcp6-|udp-|udp6-).*"
KNOWN = {
    OURS + r" IP\.(4|21|23|25|51) set": "IP_OPTIONS, IP_MINTTL, IP_CHECKSUM, IP_RECVFRAGSIZE, IP_LOCAL_PORT_RANGE are refused",
    OURS + r" IP\.1[67] set": "IPsec policies are refused, without a value as well",
    r"tcp-inherits SOCKET\.(42|47|62|63|64|65|75) get": "what is refused, or kept differently, is not inherited either",
    r"tcp-inherits IP\.(4|21|23|33|51) get": "what is refused, or kept differently, is not inherited either",
    r"tcp-inherits TCP\.(19|27|33|37) get": "what is refused, or kept differently, is not inherited either",
    r"tcp-accepted IP\.33 (get|set)": "IP_MULTICAST_TTL of an accepted connection is that of the peer's SYN, by an accident of Linux's",
    r"tcp6-connected IPV6\.(1|61) (get|set)": "IPV6_ADDRFORM and IPV6_PATHMTU are refused",
    OURS + r" IPV6\.24 set": "IPV6_MTU cannot be set",
    OURS + r" SOCKET\.(25|62) set": "SO_BINDTODEVICE, SO_BINDTOIFINDEX are refused",
    r"udp6?-.* SOCKET\.37 set": "SO_TIMESTAMPING of what a datagram socket sends is refused",
    OURS + r" SOCKET\.47 set": "SO_MAX_PACING_RATE is kept as a float, and 0 is 1 byte a second",
    OURS + r" SOCKET\.(42|60|61|63|64|65|75) set": "SO_PEEK_OFF, SO_ZEROCOPY of datagrams, SO_TXTIME, the time stamps of 32-bit programs, SO_RCVMARK are refused",
    OURS + r" TCP\.11 get": "TCP_INFO is Linux 6.1's",
    r"tcp-peer-closed TCP\.12 set": "TCP_QUICKACK is off at once only when an ACK waits",
    OURS + r" TCP\.(19|21|27|37) set": "TCP_REPAIR, TCP_SAVE_SYN, TCP_TX_DELAY are refused",
    OURS + r" TCP\.33 (get|set)": "a kernel that has not needed the Fast Open key yet has none",
    OURS + r" UDP\.100 set": "UDP_ENCAP is refused",
}


def lines_of(*command):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=CLEAN, check=False)
    if result.returncode != 0:
        sys.exit(f"{command[0]}: exit status {result.returncode}")
    return dict(line.split(": ", 1) for line in result.stdout.splitlines())


def compare():
    kernel = lines_of(PROGRAM, "127.0.0.1")
    ours = lines_of(SHUNT, "--link", "loop", "--", PROGRAM, "127.0.0.1")
    used, unknown = set(), 0
    for name in kernel:
        if kernel[name] == ours.get(name):
            continue
        known = {pattern for pattern in KNOWN if re.fullmatch(pattern, name)}
        used |= known
        if not known:
            unknown += 1
            print(f"{name}: {difference(kernel[name], ours.get(name, ''))}")
    print(f"{len(kernel)} lines, {unknown} unknown differences")
    if unknown or len(used) < len(KNOWN) or not kernel:
        sys.exit(f"unknown differences: {unknown}; known ones that are gone: {sorted(set(KNOWN) - used)}")


def difference(kernel, ours):
    pairs = [(a, b) for a, b in zip(kernel.split(), ours.split()) if a != b]
    return "; ".join(f"{a} on the kernel, {b} on Shunt" for a, b in pairs[:3]) + (f"; {len(pairs) - 3} more" if len(pairs) > 3 else "")


def main():
    if not os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so")):
        print("SKIP: libshunt_preload.so is not built")
        sys.exit(77)
    if os.geteuid() != 0:
        compare()
        return
    clone_newnet = 0x4000_0000
    if ctypes.CDLL(None).unshare(clone_newnet) != 0:
        sys.exit("no network namespace of its own: unshare failed")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    sysctls = pathlib.Path("/proc/sys/net/ipv4")
    for algorithm in sysctls.joinpath("tcp_available_congestion_control").read_text(encoding="ascii").split():
        if algorithm in ("cubic", "bbr"):
            try:
                sysctls.joinpath("tcp_congestion_control").write_text(algorithm, encoding="ascii")
            except PermissionError:
                print(f"left out: {algorithm} is not in this host's tcp_allowed_congestion_control, which a namespace cannot change")
                continue
            print(f"default congestion control: {algorithm}")
            compare()


main()
