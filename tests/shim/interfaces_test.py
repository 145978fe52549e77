"""What a program learns of interfaces under Shunt: our ports among the kernel's, by every door; and sockets bound to one of them."""
import json
import os
import subprocess
import sys
import unittest

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
SHUNT = os.path.join(BUILD, "bin", "shunt")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}
INDEX = 2**31 - 1
PROLOGUE = """
import ctypes, errno, fcntl, json, os, socket, struct, sys, threading
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
IP_PKTINFO = 8
def ioctl(request, name=b"shunt/0", number=0, fd=s):
    try: return fcntl.ioctl(fd, request, struct.pack("16si20x", name, number))
    except OSError as error: return errno.errorcode[error.errno]
def address(reply): return socket.inet_ntoa(reply[20:24])
def number(reply): return struct.unpack_from("i", reply, 16)[0]
def is_started(): return any("shunt" in open(f"/proc/self/task/{t}/comm").read() for t in os.listdir("/proc/self/task"))
class Ifaddrs(ctypes.Structure): pass
Ifaddrs._fields_ = [("next", ctypes.POINTER(Ifaddrs)), ("name", ctypes.c_char_p), ("flags", ctypes.c_uint), ("addr", ctypes.c_void_p), ("mask", ctypes.c_void_p),
                    ("broad", ctypes.c_void_p), ("data", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
def inet(at):
    raw = ctypes.string_at(at, 8) if at else b"\\0" * 8
    return socket.inet_ntoa(raw[4:8]) if raw[0] == socket.AF_INET else None
def addresses():
    head = ctypes.POINTER(Ifaddrs)()
    assert libc.getifaddrs(ctypes.byref(head)) == 0
    found, at = [], head
    while at:
        found.append((at.contents.name.decode(), inet(at.contents.addr), inet(at.contents.mask), inet(at.contents.broad)))
        at = at.contents.next
    libc.freeifaddrs(head)
    return found
"""

if not os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so")):
    print("SKIP: libshunt_preload.so is not built")
    sys.exit(77)


def command(program, *options):
    return [SHUNT, *options, "--", sys.executable, "-c", PROLOGUE + program]


def memif(last=1, wire="a"):
    return ["--link", f"memif:if{wire}{os.getpid()}", "--ip", f"10.98.0.{last}/24"]


def run(program, *options):
    """What `program` puts into `out`, and its log."""
    result = subprocess.run(command(program + "\nprint(json.dumps(out))", *options), capture_output=True, text=True, timeout=60, env=CLEAN, check=False)
    if result.returncode != 0:
        raise AssertionError(result.stderr)
    return json.loads(result.stdout), result.stderr


class Interfaces(unittest.TestCase):
    def test_getifaddrs_has_ours_in_front_and_the_kernels_behind(self):
        out, _ = run("for _ in range(100): out = addresses()\nout = out, is_started()", *memif(), "--ip", "10.98.7.1/16")
        (ours, started) = out
        self.assertEqual(ours[:3], [["shunt/0", None, None, None], ["shunt/0", "10.98.0.1", "255.255.255.0", "10.98.0.255"],
                                    ["shunt/0", "10.98.7.1", "255.255.0.0", "10.98.255.255"]])
        self.assertIn(["lo", "127.0.0.1"], [entry[:2] for entry in ours])
        self.assertFalse(started, "asking starts nothing")

    def test_names_and_indices(self):
        out, _ = run("out = [socket.if_nameindex(), socket.if_nametoindex('shunt/0'), socket.if_indextoname(2**31 - 1), socket.if_nametoindex('lo')]\n"
                     "try: socket.if_nametoindex('shunt/1')\nexcept OSError: out.append('none')", *memif())
        self.assertIn([INDEX, "shunt/0"], out[0])
        self.assertIn([1, "lo"], out[0])
        self.assertEqual(out[1:], [INDEX, "shunt/0", 1, "none"])

    def test_ioctls(self):
        out, _ = run("""
out = [address(ioctl(0x8915)), address(ioctl(0x891b)), address(ioctl(0x8919)), ioctl(0x8913)[16] & 3, number(ioctl(0x8921)), number(ioctl(0x8933))]
out.append(fcntl.ioctl(s, 0x8910, struct.pack("16si20x", b"", 2**31 - 1))[:8].decode())
out += [ioctl(0x8915, b"shunt/1"), address(ioctl(0x8915, b"lo")), ioctl(0x8915, fd=open("/dev/null"))]
""", *memif(), "--mtu", "1400")
        self.assertEqual(out, ["10.98.0.1", "255.255.255.0", "10.98.0.255", 3, 1400, INDEX, "shunt/0\0", "ENODEV", "127.0.0.1", "ENOTTY"])

    def test_the_hardware_address_is_the_ports(self):
        out, _ = run("b = socket.socket(); b.bind(('10.98.0.1', 0)); out = ioctl(0x8927)[18:24].hex()", *memif(), "--mac", "02:00:00:00:00:17")
        self.assertEqual(out, "020000000017")

    def test_siocgifconf_counts_and_lists_ours(self):
        out, _ = run("""
def conf(room):
    buffer = ctypes.create_string_buffer(room) if room else None
    request = struct.pack("iP", room, ctypes.addressof(buffer) if buffer else 0)
    length = struct.unpack("iP", fcntl.ioctl(s, 0x8912, request))[0]
    names = [buffer.raw[at:at + 16].rstrip(b"\\0").decode() + " " + socket.inet_ntoa(buffer.raw[at + 20:at + 24]) for at in range(0, length, 40)] if buffer else []
    return length, names
length, _ = conf(0)
exact, all_names = conf(length)
less, names = conf(length - 40)
out = [length == exact, all_names[-1], length - less, "shunt/0 10.98.0.1" in names]
""", *memif())
        self.assertEqual(out, [True, "shunt/0 10.98.0.1", 40, False])

    def test_a_socket_bound_to_our_interface_is_ours_alone(self):
        out, log = run("""
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"shunt/0")
s.bind(("0.0.0.0", 4711))
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
other.setsockopt(socket.SOL_SOCKET, 62, 2**31 - 1)
taken = libc.socket(2, 2, 0)
kernels = struct.pack("HH4s8x", 2, socket.htons(4711), b"\\0" * 4)
free = os.system("exec env -u LD_PRELOAD " + sys.executable + " -c 'import socket; socket.socket(2, 2).bind((\\"0.0.0.0\\", 4711))'")
out = [s.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).decode(), other.getsockopt(socket.SOL_SOCKET, 62), free]
try: s.sendto(b"x", ("127.0.0.1", 9))
except OSError as error: out.append(errno.errorcode[error.errno])
""", *memif(), "--log", "info")
        self.assertEqual(out, ["shunt/0\0", INDEX, 0, "ENETUNREACH"], log)

    def test_a_socket_bound_to_an_interface_of_the_kernels_is_the_kernels(self):
        out, log = run("""
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
try: s.connect(("10.98.0.2", 9)); out = "connected"
except OSError as error: out = errno.errorcode[error.errno]
""", *memif(), "--log", "info")
        self.assertIn("kernel (no address), because it was given an option", log)
        self.assertNotIn("accelerated", log)

    def test_on_the_loop_lo_is_ours_as_well(self):
        out, log = run("""
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
s.bind(("127.0.0.1", 0))
t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
t.bind(("10.98.0.1", 0))
t.sendto(b"hello", s.getsockname())
out = [s.recv(9).decode(), s.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).decode(), [entry for entry in addresses() if entry[1] == "10.98.0.1"],
       [name for _, name in socket.if_nameindex()].count("lo")]
""", "--link", "loop", "--ip", "10.98.0.1/24", "--log", "info")
        self.assertEqual(out, ["hello", "lo\0", [["lo", "10.98.0.1", "255.255.255.0", "10.98.0.255"]], 1])
        self.assertEqual(log.count("accelerated"), 2, log)

    def test_a_datagram_to_ourselves_came_in_by_the_interface_of_its_address(self):
        out, _ = run("""
s.bind(("", 4713)); s.setsockopt(0, IP_PKTINFO, 1); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); s.settimeout(20)
out = []
for to in "10.98.0.1", "10.98.0.3", "10.98.0.255":
    s.sendto(b"hello", (to, 4713))
    _, control, _, source = s.recvmsg(64, 256)
    index, here, there = struct.unpack("i4s4s", control[0][2])
    out.append([index, socket.inet_ntoa(here), socket.inet_ntoa(there), source[0]])
""", *memif(1), "--ip", "10.98.0.3/24")
        first, second, everybody = "10.98.0.1", "10.98.0.3", "10.98.0.255"
        self.assertEqual(out, [[INDEX, first, first, first], [INDEX, second, second, first], [INDEX, first, everybody, first]])

    def test_a_socket_may_be_bound_to_our_broadcast_address(self):
        out, log = run("""
s.bind(("10.98.0.255", 4714)); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); s.settimeout(20)
s.sendto(b"hello", ("10.98.0.255", 4714))
data, source = s.recvfrom(64)
out = [data.decode(), list(source), list(s.getsockname())]
""", *memif(1), "--log", "info")
        self.assertEqual(out, ["hello", ["10.98.0.1", 4714], ["10.98.0.255", 4714]])
        self.assertIn("10.98.0.255:4714 accelerated", log)

    def test_a_datagram_from_the_wire_came_in_by_our_interface(self):
        receiver = subprocess.Popen(command("""
s.bind(("10.98.0.1", 4712)); s.setsockopt(0, IP_PKTINFO, 1); s.settimeout(20)
print("ready", flush=True)
data, control, _, _ = s.recvmsg(64, 256)
print(struct.unpack("i4s4s", control[0][2]), flush=True)
""", *memif(1, "b")), stdout=subprocess.PIPE, text=True, env=CLEAN)
        self.assertEqual(receiver.stdout.readline(), "ready\n")
        run("""
import time
cmsg = (0, IP_PKTINFO, struct.pack("i8x", 2**31 - 1))
out = s.sendmsg([b"hello"], [cmsg], 0, ("10.98.0.1", 4712))
try: s.sendmsg([b"hello"], [(0, IP_PKTINFO, struct.pack("i8x", 77))], 0, ("10.98.0.1", 4712)); out = "sent"
except OSError as error: out = errno.errorcode[error.errno]
time.sleep(1)
assert out == "ENODEV", out
""", *memif(2, "b"))
        self.assertEqual(receiver.communicate(timeout=30)[0], f"({INDEX}, b'\\nb\\x00\\x01', b'\\nb\\x00\\x01')\n")


unittest.main()
