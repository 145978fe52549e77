"""Restarts: the same ports again, and what the old connection has left behind (RFC 9293, 3.5.1; RFC 5961; RFC 6191; RFC 1337).

Each is done by Linux at both ends first; what the programs see, how long it takes and what goes over the wire must be the same with Shunt.
"""
import time

from groups import check, scenario, together
from pair import ACK, FIN, RST, SYN, Pair

FIRST_ISN, TALK = 1_000_000_000, 1000
FLAGS = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (ACK, "ACK"))


def is_syn_ack(frame):
    return frame.flags & SYN and frame.flags & ACK


def talk(client, server, name):
    for source, sink, stream in ((client, server, 1), (server, client, 2)):
        source.do("send", name, stream, 0, TALK)
        sink.do("receive", name, stream, 0, TALK)


def open_from(port, client, server, name, isn=None):
    """Connects from that very port; what connect gave."""
    accepted = server.begin("accept", name, "listener")
    result = client.says("connect", name, server.address, server.port, 0, [client.address, port], isn)
    if result != port:
        return result
    accepted.result(10)
    talk(client, server, name)
    return "open"


def reopen(watcher, port, client, server, isn=None):
    """The outcome, the time to a second, and the segments up to the SYN-ACK."""
    time.sleep(0.01)  # the clock of the timestamps, in ms, moves on
    seen, begin = len(watcher.frames), time.monotonic()
    outcome = [open_from(port, client, server, "new", isn), f"{time.monotonic() - begin:.0f} s"]
    if outcome[0] == "open":
        watcher.wait(is_syn_ack, 5, seen)
    opening = watcher.frames[seen:]
    while opening and not opening[0].flags & SYN:
        opening.pop(0)  # the end of the old connection
    for frame in opening:
        outcome.append(f"{frame.sender} {'-'.join(name for bit, name in FLAGS if frame.flags & bit)}")
        if is_syn_ack(frame):
            break
    return outcome


def finish(first, last, name, how="close"):
    """`first` closes first, and so keeps TIME_WAIT."""
    first.do(how, name)
    last.do("receive", name, 0, 0)
    last.do("close", name)


# --- The peer is a client that comes again from the same port, and chooses its sequence number -------------------------------------------
def peer_comes_again(kind, state, offset, timestamps):
    with Pair(kind, sysctls={"net.ipv4.tcp_timestamps": timestamps}) as pair:
        near, far, watcher = pair.near, pair.far, pair.watch()
        open_from(6000, far, near, "old", FIRST_ISN)
        watcher.wait(is_syn_ack, 5)
        if state == "ESTABLISHED":
            far.do("vanish", "old")
        else:
            finish(near, far, "old", "close" if state == "TIME_WAIT" else "shutdown")
        outcome = reopen(watcher, 6000, far, near, FIRST_ISN + TALK + 1 + offset)
        if state == "ESTABLISHED":
            outcome.append(f"old: {near.says('receive', 'old', 1, TALK, 1)}")
        return outcome


def same_as_linux(function, *arguments):
    linux, shunt = "", None
    for _ in range(2):  # on a busy machine either may be a second late, by a SYN sent again, but hardly twice
        if linux != shunt:
            linux, shunt = together(function, [("linux", *arguments), ("shunt", *arguments)])
    check(linux == shunt, f"Linux: {linux}, Shunt: {shunt}")
    return str(linux).replace("'", "")


for _state in ("ESTABLISHED", "TIME_WAIT", "TIME_WAIT, not closed"):
    for _where, _offset in (("older", -500_000_000), ("in the window", 5_000), ("newer", 500_000_000)):
        for _timestamps in (1, 0):
            scenario("restarts", f"{_state}, {_where}{'' if _timestamps else ', no timestamps'}", peer_comes_again, _state, _offset, _timestamps)(same_as_linux)


# --- We are the client that comes again ------------------------------------------------------------------------------------------------------
@scenario("restarts", "we come again, the server has TIME_WAIT", "far")
@scenario("restarts", "we come again, TIME_WAIT is ours", "near")
def we_come_again(keeper):
    return same_as_linux(come_again_from_time_wait, keeper)


def come_again_from_time_wait(kind, keeper):
    with Pair(kind) as pair:
        near, far, watcher = pair.near, pair.far, pair.watch()
        open_from(6000, near, far, "old")
        watcher.wait(is_syn_ack, 5)
        finish(*((near, far) if keeper == "near" else (far, near)), "old")
        return reopen(watcher, 6000, near, far)


@scenario("restarts", "we restart, the server does not know")
def we_restart():
    return same_as_linux(restart_near)


def forget_near(pair, name):
    if pair.kind == "linux":
        pair.near.do("vanish", name)
    else:
        pair.restart_near()


def restart_near(kind):
    with Pair(kind) as pair:
        open_from(6000, pair.near, pair.far, "old")
        forget_near(pair, "old")
        watcher = pair.watch()
        outcome = reopen(watcher, 6000, pair.near, pair.far)
        return [*outcome, f"old: {pair.far.says('receive', 'old', 1, TALK, 1)}"]


@scenario("restarts", "we restart, the client sends")
def we_restart_as_server():
    return same_as_linux(restart_near_server)


def restart_near_server(kind):
    with Pair(kind) as pair:
        pair.far.connect("old", pair.near)
        forget_near(pair, "old")
        outcome = [pair.far.says("send", "old", 1, 0, 1), pair.far.says("receive", "old", 2, 0)]
        pair.far.connect("new", pair.near)
        talk(pair.far, pair.near, "new")
        return outcome


@scenario("restarts", "the server restarts, we send")
def server_restarts():
    return same_as_linux(restart_far)


def restart_far(kind):
    with Pair(kind) as pair:
        near, far = pair.near, pair.far
        near.connect("old", far)
        far.do("vanish", "old")
        outcome = [near.says("send", "old", 1, 0, 1), near.says("receive", "old", 2, 0)]
        near.connect("new", far)
        talk(near, far, "new")
        return outcome
