#!/usr/bin/env python3
"""Shunt on a tap with Linux at its other end, when the wire or the peer is bad. Every byte is checked.

    scenarios.py [--closed SECONDS] [--only TEXT] GROUP...

Groups: faults mtu window half_close (wire.py), resets (resets.py), restarts (restarts.py). A line for each scenario. --closed: how long a reader
sleeps in `window`. --only: scenarios whose name has this. Root only; 77 when not.
"""
import argparse
import os
import sys

import resets  # noqa: F401, they register themselves
import restarts  # noqa: F401
import wire  # noqa: F401
from compare import LAUNCHER
from groups import GROUPS, SETTINGS, run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closed", type=float, default=20, metavar="SECONDS")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("groups", nargs="+", choices=GROUPS)
    options = parser.parse_args()
    if os.getuid() != 0 or not LAUNCHER.exists():
        print("SKIP: needs root" if os.getuid() else f"SKIP: not built: {LAUNCHER}")
        return 77
    SETTINGS["closed_seconds"] = options.closed
    chosen = [each for group in options.groups for each in GROUPS[group] if options.only in each[0]]
    return 0 if all([run(*each) for each in chosen]) else 1


if __name__ == "__main__":
    sys.exit(main())
