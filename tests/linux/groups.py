"""The list of scenarios: a group is a test of ctest, a scenario prints a line."""
import collections
import concurrent.futures
import time
import traceback

KIB, MIB = 1 << 10, 1 << 20
ROLES = ("near", "far")
GROUPS = collections.defaultdict(list)
SETTINGS = {"closed_seconds": 20}


class Failed(Exception):
    pass


def scenario(group, name, *arguments):
    """The function returns the figures of its line, or raises."""
    def register(function):
        GROUPS[group].append((name, lambda: function(*arguments)))
        return function
    return register


def check(condition, message):
    if not condition:
        raise Failed(message)


def together(function, cases):
    """The results of function(*case) for all cases, at the same time."""
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        return [job.result() for job in [pool.submit(function, *case) for case in cases]]


def run(name, function):
    begin = time.monotonic()
    try:
        word, figures = "ok", function()
    except Failed as failed:
        word, figures = "FAILED", failed.args[0]
    except Exception:
        word, figures = "FAILED", traceback.format_exc()
    print(f"{word:6} {name:42} {time.monotonic() - begin:5.1f} s  {figures}", flush=True)
    return word == "ok"
