"""Scenarios of a bad wire: faults, a narrow way, a reader that sleeps, half-closes. Shunt and Linux in both roles, data in both directions."""
import math
import time

from groups import KIB, MIB, ROLES, SETTINGS, check, scenario, together
from pair import PORT, Pair, both


# --- A bad wire -----------------------------------------------------------------------------------------------------------------------
def carry(pair, client, sender, size, stream):
    """One connection, data one way to their end; seconds."""
    name = f"{client} to {sender} {stream}"
    opener, listener = both(pair, client)
    source, sink = both(pair, sender)
    opener.connect(name, listener)
    begin = time.monotonic()
    sent, received = source.begin("send", name, stream, 0, size), sink.begin("receive", name, stream, 0)
    sent.result(90)
    source.do("shutdown", name)
    count = received.result(90)
    check(count == size, f"{count} of {size} bytes came from {sender}, {client} was the client")
    seconds = time.monotonic() - begin
    for agent in (sink, source):
        agent.do("close", name)
    return seconds


def carry_all(pair, size):
    """Both roles and both directions at the same time; the figures."""
    cases = [(client, sender) for sender in ROLES for client in ROLES]
    seconds = together(lambda client, sender, stream: carry(pair, client, sender, size, stream), [(*case, i) for i, case in enumerate(cases)])
    rates = [f"{size / MIB / figure:.2f}" for figure in seconds]
    return f"{size / MIB:g} MiB four times; Shunt sends, as client and server: {rates[0]}, {rates[1]} MiB/s; it receives: {rates[2]}, {rates[3]} MiB/s"


# Counters of Linux: losses of what it sends, of what it receives; the rest is of what it receives.
RETRANSMITTED, OUT_OF_ORDER, CORRUPTED, TWICE = ("Tcp", "RetransSegs"), ("TcpExt", "TCPOFOQueue"), ("Tcp", "InCsumErrors"), ("TcpExt", "TCPDSACKOldSent")


@scenario("faults", "no loss", "drop=0", 32 * MIB)
@scenario("faults", "1 % loss", "drop=0.01", 16 * MIB, RETRANSMITTED, OUT_OF_ORDER)
@scenario("faults", "5 % loss", "drop=0.05", 16 * MIB, RETRANSMITTED, OUT_OF_ORDER)
@scenario("faults", "10 % loss", "drop=0.1", 4 * MIB, RETRANSMITTED, OUT_OF_ORDER)
@scenario("faults", "20 % loss", "drop=0.2", MIB // 8, RETRANSMITTED, OUT_OF_ORDER)
@scenario("faults", "5 % duplicated", "duplicate=0.05", 16 * MIB, TWICE)
@scenario("faults", "5 % reordered", "reorder=0.05", 16 * MIB, OUT_OF_ORDER)
@scenario("faults", "1 % corrupted", "corrupt=0.01", 4 * MIB, RETRANSMITTED, CORRUPTED)
@scenario("faults", "10 ms of delay, all of it", "drop=0.01,duplicate=0.01,reorder=0.02,corrupt=0.005,delay_us=5000,jitter_us=1000", MIB,
          RETRANSMITTED, OUT_OF_ORDER, CORRUPTED)
def bad_wire(fault, size, *signs):
    """`signs`: counters of Linux that show the faults."""
    with Pair("shunt", fault) as pair:
        figures = carry_all(pair, size)
        for sign in signs:
            count = pair.linux_counter(*sign)
            check(count > 0, f"no {sign[1]}: where are the faults?")
            figures += f"; {sign[1]} {count}"
        return figures


@scenario("faults", "short connections, 10 % loss", "drop=0.1", 40)
def short_connections(fault, count):
    """Opening and closing under loss; both roles, and either end closes first."""
    with Pair("shunt", fault) as pair:
        cases = [(pair, client, sender, KIB, 1000 + number) for number, (client, sender) in enumerate([(c, s) for c in ROLES for s in ROLES] * (count // 4))]
        seconds = together(carry, cases)
        return f"{count} connections of 1 KiB each; the slowest took {max(seconds):.1f} s after it was open"


# --- A way that is narrower in one direction --------------------------------------------------------------------------------------------
@scenario("mtu", "1200 towards Linux, ICMP", "far", True)
@scenario("mtu", "1200 towards Linux, black hole", "far", False)
@scenario("mtu", "1200 towards Shunt, ICMP", "near", True)
@scenario("mtu", "1200 towards Shunt, black hole", "near", False)
def narrow_way(towards, is_told):
    with Pair("shunt", sysctls={"net.ipv4.tcp_mtu_probing": 0 if is_told else 1}, routed=True) as pair:
        pair.narrow(towards, 1200, is_told)
        figures = carry_all(pair, 2 * MIB)
        refused, told = pair.linux_counter("Ip", "FragFails"), pair.linux_counter("Icmp", "OutDestUnreachs")
        check(refused > 0, "the way was not narrow")
        check((told > 0) == is_told, f"the router sent {told} ICMP errors")
        return f"{figures}; {refused} packets were too large"


# --- A peer that reads nothing ------------------------------------------------------------------------------------------------------------
def count_probes(frames, of_reader, of_source):
    """Segments with the byte before the edge of a closed window; each argument: who sends, and its ports."""
    probes, edge = 0, None
    for frame in frames:
        if frame[:3] == of_reader:
            edge = frame.ack if frame.window == 0 else None
        elif frame[:3] == of_source and edge is not None and (edge - frame.seq) % (1 << 32) == 1:
            probes += 1
    return probes


def closed_window(pair, watcher, client, sender, stream, seconds):
    """One connection whose reader sleeps; how many window probes the sender sent."""
    name, size = f"{client} from {sender}", 8 * MIB
    opener, listener = both(pair, client)
    source, sink = both(pair, sender)
    port = opener.connect(name, listener)
    reader = "far" if sender == "near" else "near"
    of_reader = (reader, *((port, PORT) if client == reader else (PORT, port)))
    of_source = (sender, *((port, PORT) if client == sender else (PORT, port)))
    sent = source.begin("send", name, stream, 0, size)
    watcher.wait(lambda frame: frame[:3] == of_reader and frame.window == 0, 20)
    time.sleep(seconds)
    check(not sent.done(), f"{size} bytes fitted into the buffers")
    probes = count_probes(list(watcher.frames), of_reader, of_source)
    received = sink.begin("receive", name, stream, 0)
    sent.result(60)
    source.do("shutdown", name)
    count = received.result(60)
    check(count == size, f"{count} of {size} bytes came from {sender}")
    back = source.begin("receive", name, stream, size)  # and the other way still goes
    sink.do("send", name, stream, size, MIB)
    sink.do("shutdown", name)
    check(back.result(60) == MIB, "the other way lost bytes")
    return probes


@scenario("window", "a peer that reads nothing")
def window_closed():
    seconds = SETTINGS["closed_seconds"]
    cases = [(client, sender) for sender in ROLES for client in ROLES]
    with Pair("shunt", receive_buffer=64 * KIB) as pair:
        watcher = pair.watch()
        probes = together(lambda *case: closed_window(pair, watcher, *case, seconds), [(*case, i) for i, case in enumerate(cases)])
    check(min(probes) >= int(math.log2(seconds / 0.2 + 1)) - 1, f"window probes: {probes}")  # they double from 200 ms on
    return f"{seconds:g} s; window probes of Shunt, as client and server: {probes[0]}, {probes[1]}, of Linux: {probes[2]}, {probes[3]}"


# --- Half-closes ----------------------------------------------------------------------------------------------------------------------------
def half_close(pair, client, closer, stream):
    """One end sends a little and says that this was all; the other goes on for long. Seconds of this."""
    name, little, much = f"{client} half-closed by {closer}", MIB // 2, 16 * MIB
    opener, listener = both(pair, client)
    first, last = both(pair, closer)
    opener.connect(name, listener)
    received = last.begin("receive", name, stream, 0)
    first.do("send", name, stream, 0, little)
    first.do("shutdown", name)
    check(received.result(60) == little, "bytes before the FIN are missing")
    check(first.says("send", name, stream, 0, 1) == "EPIPE", "a send after shutdown should fail")
    begin = time.monotonic()
    sent, received = last.begin("send", name, stream, little, much), first.begin("receive", name, stream, little)
    sent.result(60)
    last.do("shutdown", name)
    check(received.result(60) == much, "bytes after the FIN of the other end are missing")
    for agent in (first, last):
        agent.do("close", name)
    return time.monotonic() - begin


@scenario("half_close", "data for long after the other end's FIN", "drop=0.002,delay_us=5000", 64 * KIB)
def half_closes(fault, receive_buffer):
    cases = [(client, closer) for closer in ROLES for client in ROLES]
    with Pair("shunt", fault, receive_buffer=receive_buffer) as pair:
        seconds = together(lambda *case: half_close(pair, *case), [(*case, i) for i, case in enumerate(cases)])
    return "16 MiB each; Shunt reads, as client and server: {:.1f}, {:.1f} s; it writes: {:.1f}, {:.1f} s".format(*seconds)
