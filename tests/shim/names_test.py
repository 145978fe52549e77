"""docs/sockets.md against the shim: the names in the table of calls are the names that are exported, no more and no fewer. A missing twin goes past us to
the kernel's socket, silently."""
import os
import re
import subprocess
import sys

LIBRARY = os.path.join(os.environ["SHUNT_TEST_BUILD_DIR"], "lib", "libshunt_preload.so")
TABLE = os.path.join(os.environ["SHUNT_TEST_SOURCE_DIR"], "docs", "sockets.md")


def exported():
    listing = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], check=True, capture_output=True, text=True).stdout
    return {line.split()[2].split("@")[0] for line in listing.splitlines()}


def documented():
    with open(TABLE, encoding="utf-8") as file:
        section = file.read().split("## Calls")[1].split("Not exported")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def main():
    if not os.path.exists(LIBRARY):
        print("SKIP: libshunt_preload.so is not built")
        sys.exit(77)
    there, wanted = exported(), documented()
    if there != wanted:
        sys.exit(f"in the table, not answered: {sorted(wanted - there)}; answered, not in the table: {sorted(there - wanted)}")


main()
