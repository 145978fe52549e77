"""Resets in the middle. What the programs see must be the same with Shunt and with Linux in its place."""
from groups import MIB, ROLES, check, scenario, together
from pair import Pair, both

RESETS = {}
TALK = 1000


def reset_case(name):
    def register(function):
        RESETS[name] = function
        return function
    return register


def seen(agent, waiting=0, first="receive"):
    """What a program sees of a connection `c` that is dead: poll, `waiting` bytes that came before, then its calls, `first` first."""
    calls = {"receive": ("receive", "c", 1, waiting, 1), "send": ("send", "c", 2, 0, 1), "take_error": ("take_error", "c")}
    outcome = [agent.do("wait", "c", [], 10), agent.do("wait", "c", ["IN", "OUT", "RDHUP"], 0)]
    if waiting:
        outcome.append(agent.says("receive", "c", 1, 0, waiting))
    for name in (first, first, *calls):
        outcome.append(f"{name}: {agent.says(*calls[name])}")
    return outcome


@reset_case("reset, bytes wait to be read")
def _(near, far):
    far.do("send", "c", 1, 0, 30000)
    far.do("wait_acknowledged", "c")
    far.do("reset", "c")
    return seen(near, 30000)


@reset_case("reset, a send comes first")
def _(near, far):
    far.do("reset", "c")
    return seen(near, first="send")


@reset_case("reset, SO_ERROR comes first")
def _(near, far):
    far.do("reset", "c")
    return seen(near, first="take_error")


@reset_case("reset while a send is blocked")
def _(near, far):
    sent = near.begin("send", "c", 1, 0, 64 * MIB)
    far.do("wait_readable_bytes", "c", 30000)
    far.do("reset", "c")
    return [str(sent.exception(30).args[1]), *seen(near)]


@reset_case("reset while a receive is blocked")
def _(near, far):
    received = near.begin("receive", "c", 1, 0)
    far.do("send", "c", 1, 0, 30000)
    far.do("wait_acknowledged", "c")
    far.do("reset", "c")
    return [str(received.exception(30).args[1]), *seen(near)]


@reset_case("reset after our FIN")
def _(near, far):
    near.do("shutdown", "c")
    far.do("receive", "c", 1, 0)
    far.do("reset", "c")
    return seen(near)


@reset_case("reset after the peer's FIN")
def _(near, far):
    far.do("shutdown", "c")
    end = near.do("receive", "c", 1, 0)
    far.do("reset", "c")
    return [end, *seen(near)]


@reset_case("the peer closes with bytes unread")
def _(near, far):
    near.do("send", "c", 1, 0, 30000)
    far.do("wait_readable_bytes", "c", 30000)
    far.do("close", "c")
    return seen(near, first="send")


@reset_case("we reset, bytes wait to be read")
def _(near, far):
    near.do("send", "c", 1, 0, 30000)
    far.do("wait_readable_bytes", "c", 30000)
    near.do("reset", "c")
    return seen(far, 30000)


@reset_case("we reset while the peer's send is blocked")
def _(near, far):
    sent = far.begin("send", "c", 1, 0, 64 * MIB)
    near.do("wait_readable_bytes", "c", 30000)
    near.do("reset", "c")
    return [str(sent.exception(30).args[1]), *seen(far)]


@reset_case("we close with bytes unread")
def _(near, far):
    far.do("send", "c", 1, 0, 30000)
    near.do("wait_readable_bytes", "c", 30000)
    near.do("close", "c")
    return seen(far)


@reset_case("reset before accept")
def _(near, far):
    far.do("connect", "d", near.address, near.port)
    far.do("send", "d", 1, 0, TALK)
    far.do("wait_acknowledged", "d")
    far.do("reset", "d")
    near.do("accept", "d", "listener")
    return [near.says("receive", "d", 1, 0, TALK), near.says("receive", "d", 1, TALK, 1), near.says("send", "d", 2, 0, 1)]


@reset_case("nobody listens")
def _(near, far):
    far.do("close", "listener")
    near.do("close", "listener")
    return [near.says("connect", "d", far.address, far.port), far.says("connect", "e", near.address, near.port)]


@reset_case("the peer is killed, idle")
def _(near, far):
    far.kill()
    end = near.do("receive", "c", 1, 0)
    return [end, near.do("wait", "c", ["IN", "OUT", "RDHUP"], 0), near.says("send", "c", 2, 0, 1), *seen(near, first="send")]


@reset_case("the peer is killed while we send")
def _(near, far):
    sent = near.begin("send", "c", 1, 0, 64 * MIB)
    far.do("wait_readable_bytes", "c", 30000)
    far.kill()
    return [str(sent.exception(30).args[1]), *seen(near)]


@reset_case("the peer is killed while it sends")
def _(near, far):
    far.begin("send", "c", 1, 0, 64 * MIB)
    near.do("wait_readable_bytes", "c", 30000)
    far.kill()
    return [near.do("receive", "c", 1, 0) > 30000, near.says("send", "c", 2, 0, 1), *seen(near)]


@reset_case("our program ends, idle")
def _(near, far):
    near.end()
    return [far.do("receive", "c", 1, 0)]


@reset_case("our program ends, bytes wait to be read")
def _(near, far):
    far.do("send", "c", 1, 0, 30000)
    near.do("wait_readable_bytes", "c", 30000)
    near.end()
    return seen(far)


def reset_outcome(kind, client, name):
    """With a pair of its own, since programs are killed."""
    with Pair(kind) as pair:
        opener, listener = both(pair, client)
        opener.connect("c", listener)
        return RESETS[name](pair.near, pair.far)


def compare_resets(name):
    cases = [(kind, client) for client in ROLES for kind in ("linux", "shunt")]
    results = dict(zip(cases, together(lambda *case: reset_outcome(*case, name), cases)))
    for client in ROLES:
        linux, shunt = results["linux", client], results["shunt", client]
        check(linux == shunt, f"the client is {client}; Linux: {linux}, Shunt: {shunt}")
    return str(results["linux", "near"]).replace("'", "")


for _name in RESETS:
    scenario("resets", _name, _name)(compare_resets)
