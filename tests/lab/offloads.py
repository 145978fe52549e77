"""offloads.py INTERFACE MAC: sends frames with good and with bad checksums to a port under tests/lab/offloads.cpp and looks at
the checksums of those that come back. Every good frame must come back, with good checksums, no bad one may."""
import socket
import struct
import sys
import time

TCP, UDP, ETHERTYPE = 6, 17, 0x0800
SOURCE, DESTINATION = socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")


def checksum(data):
    """RFC 1071; 0 over data that include a good checksum."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def pseudo_header(source, destination, protocol, size):
    return source + destination + struct.pack("!BBH", 0, protocol, size)


def segment(protocol, port, payload, spoil):
    """A TCP segment (an ACK) or a datagram from `port` to `port`."""
    if protocol == TCP:
        head, at = struct.pack("!HHIIBBHHH", port, port, 1000, 2000, 5 << 4, 0x10, 1024, 0, 0), 16
    else:
        head, at = struct.pack("!HHHH", port, port, 8 + len(payload), 0), 6
    whole = head + payload
    value = checksum(pseudo_header(SOURCE, DESTINATION, protocol, len(whole)) + whole) ^ (0x0101 if spoil else 0)
    return whole[:at] + struct.pack("!H", value or 0xffff) + whole[at + 2:]


def packet(protocol, port, size, spoil=None):
    body = segment(protocol, port, bytes(i * 7 & 0xff for i in range(size)), spoil == "l4")
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), port, 0, 64, protocol, 0, SOURCE, DESTINATION)
    value = checksum(head) ^ (0x0101 if spoil == "ip" else 0)
    return head[:10] + struct.pack("!H", value) + head[12:] + body


def replies(wire, own_mac, seconds):
    """(protocol, port, complaint or None) of each frame that comes back."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        wire.settimeout(left)
        try:
            frame = wire.recv(65536)
        except TimeoutError:
            return
        ip = frame[14:]
        if frame[:6] != own_mac or frame[12:14] != b"\x08\0" or ip[9] not in (TCP, UDP):
            continue
        body = ip[20:struct.unpack("!H", ip[2:4])[0]]
        wrong = []
        if checksum(ip[:20]) != 0:
            wrong.append("IPv4")
        if checksum(pseudo_header(ip[12:16], ip[16:20], ip[9], len(body)) + body) != 0:
            wrong.append("TCP" if ip[9] == TCP else "UDP")
        yield ip[9], struct.unpack("!H", body[:2])[0], wrong


def main():
    interface, mac = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", ""))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    wire.bind((interface, ETHERTYPE))
    own_mac = wire.getsockname()[4]
    ethernet = mac + own_mac + struct.pack("!H", ETHERTYPE)

    sizes = (0, 1, 2, 17, 18, 19, 64, 511, 1400, 1459)
    good = {(protocol, 100 + i): packet(protocol, 100 + i, size) for protocol in (TCP, UDP) for i, size in enumerate(sizes)}
    bad = [packet(protocol, 200 + i, size, spoil) for protocol in (TCP, UDP) for i, size in enumerate(sizes) for spoil in ("ip", "l4")]
    missing, complaints = set(good), []
    for _ in range(10):   # a frame may be lost on the way
        for each in sorted(missing):
            wire.send(ethernet + good[each])
        for each in bad:
            wire.send(ethernet + each)
        for protocol, port, wrong in replies(wire, own_mac, 0.7):
            missing.discard((protocol, port))
            if port >= 200:
                wrong = wrong + ["a frame that was bad came back"]
            if wrong:
                complaints.append(f"protocol {protocol} port {port}: wrong: {', '.join(wrong)}")
        if not missing:
            break
    for port in (10, 10, 10, 9, 9, 9):   # to see that Linux counts bad checksums; the end
        wire.send(ethernet + packet(UDP, port, 10))
        time.sleep(0.02)
    print(f"{len(good) - len(missing)} of {len(good)} good frames came back")
    print("\n".join(complaints))
    return 1 if missing or complaints else 0


if __name__ == "__main__":
    sys.exit(main())
