"""Each driver that pmd/CMakeLists.txt links has its row in pmd/README.md, and each row its driver."""
import os
import re
import sys

SOURCE = os.environ.get("SHUNT_TEST_SOURCE_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
COLUMNS = ["driver", "device", "tried", "checksum, receive", "checksum, send", "TSO", "receive interrupt", "to know"]
TRIED = {"here", "lab", "no"}


def read(file):
    with open(os.path.join(SOURCE, "pmd", file), encoding="utf-8") as stream:
        return stream.read()


def linked(text):
    found = re.search(r"^set\(drivers\s+([^)]*)\)", text, re.M)
    return [name for name in found.group(1).split() if name.startswith("net_")] if found else []


def rows(text):
    section = re.search(r"^## Drivers$(.*?)(?=^## |\Z)", text, re.M | re.S)
    lines = [line for line in (section.group(1) if section else "").split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def complaints(cmake, readme):
    drivers, (head, _, *table) = linked(cmake), rows(readme) or [[], []]
    if not drivers:
        yield "pmd/CMakeLists.txt: no set(drivers ...) with a net_ driver in it"
    if head != COLUMNS:
        yield f"pmd/README.md: the columns are {head}, not {COLUMNS}"
    described = [row[0].strip("`") for row in table]
    for name in sorted(set(drivers) - set(described)):
        yield f"pmd/README.md: {name} is linked and has no row"
    for name in sorted(set(described) - set(drivers)):
        yield f"pmd/README.md: {name} has a row and is not linked"
    for row in table:
        if len(row) != len(COLUMNS) or not all(row[:-1]):
            yield f"pmd/README.md: the row of {row[0]} lacks something: {row}"
        elif row[2] not in TRIED:
            yield f"pmd/README.md: {row[0]} was tried '{row[2]}', which is none of {sorted(TRIED)}"


def self_test():
    cmake, readme = read("CMakeLists.txt"), read("README.md")
    for name, broken in (("a missing row", (cmake, readme.replace("| `net_sfc`", "| `net_xyz`"))),
                         ("a driver too many", (cmake.replace("net_sfc", "net_sfc net_xyz"), readme)),
                         ("a strange word", (cmake, readme.replace("| lab |", "| perhaps |", 1)))):
        if not list(complaints(*broken)):
            yield f"tests/pmd/drivers_test.py does not notice {name}"


if __name__ == "__main__":
    found = list(complaints(read("CMakeLists.txt"), read("README.md"))) or list(self_test())
    print("\n".join(found))
    sys.exit(1 if found else 0)
