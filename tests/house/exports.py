"""What our shared libraries let out: the library namespace shunt only, the shim names of libc only. Neither lets out DPDK."""
import os
import re
import subprocess
import sys

REFUSED = {"io_uring_queue_init", "io_uring_queue_init_params"}  # liburing's names, which the shim answers to refuse them
LIB = os.path.join(os.environ["SHUNT_TEST_BUILD_DIR"], "lib")


def exported(library):
    listing = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return sorted({line.split()[2].split("@")[0] for line in listing.splitlines() if len(line.split()) == 3})


def libc_names():
    listing = subprocess.run(["ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    path = re.search(r"libc\.so\.6 .*x86-64.* => (\S+)", listing).group(1)
    return set(exported(path))


def main():
    complaints = []
    library, shim = os.path.join(LIB, "libshunt.so"), os.path.join(LIB, "libshunt_preload.so")
    if not os.path.exists(library) and not os.path.exists(shim):
        print("SKIP: no library is built yet")
        sys.exit(77)
    if os.path.exists(library):
        # _ZN5shunt, _ZNK5shunt: names in the namespace; _ZTI, _ZTS, _ZTV: its types' tables.
        complaints += [f"libshunt.so: {name}" for name in exported(library) if not re.match(r"_ZT?[ISV]?N?[KR]*5shunt", name)]
    if os.path.exists(shim):
        libc = libc_names()
        complaints += [f"libshunt_preload.so: {name}" for name in exported(shim) if name not in libc | REFUSED]
    if complaints:
        sys.exit("these names should not leave the library:\n" + "\n".join(complaints))


main()
