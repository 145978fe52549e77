"""What our shared objects need to be loaded is what pmd/README.md lists: each more is a machine more that they are not loaded on."""
import os
import re
import struct
import sys

SOURCE = os.environ.get("SHUNT_TEST_SOURCE_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
DT_NULL, DT_NEEDED, DT_STRTAB, PT_LOAD, PT_DYNAMIC = 0, 1, 5, 1, 2
SANITIZERS = re.compile(r"lib(asan|ubsan|tsan)\.so")


def needed(path):
    """The DT_NEEDED names of a 64-bit ELF file."""
    with open(path, "rb") as stream:
        data = stream.read()
    at, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", data, at + i * size) for i in range(count)]
    start, length = next((h[2], h[5]) for h in headers if h[0] == PT_DYNAMIC)
    entries = [struct.unpack_from("<qQ", data, start + 16 * i) for i in range(length // 16)]
    entries = entries[:entries.index((DT_NULL, 0))]
    table = dict(entries)[DT_STRTAB]
    strings = next(table - h[3] + h[2] for h in headers if h[0] == PT_LOAD and h[3] <= table < h[3] + h[5])
    for tag, value in entries:
        if tag == DT_NEEDED:
            yield data[strings + value:data.index(b"\0", strings + value)].decode()


def listed():
    with open(os.path.join(SOURCE, "pmd", "README.md"), encoding="utf-8") as stream:
        section = re.search(r"^## What is loaded with us$(.*?)(?=^## )", stream.read(), re.M | re.S).group(1)
    return {name for line in section.split("\n") if line.startswith("| `") for name in re.findall(r"`([^`]*)`", line.split("|")[1])}


def complaints():
    known, seen = listed(), set()
    for name in ("libshunt.so", "libshunt_preload.so"):
        found = {library for library in needed(os.path.join(BUILD, "lib", name)) if not SANITIZERS.match(library)}
        seen |= found
        for library in sorted(found - known):
            yield f"{name} needs {library}, which pmd/README.md does not list"
    for library in sorted(known - seen):
        yield f"pmd/README.md lists {library}, which nothing needs"


if __name__ == "__main__":
    found = list(complaints())
    print("\n".join(found))
    sys.exit(1 if found else 0)
