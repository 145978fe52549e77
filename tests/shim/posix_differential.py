"""One plain POSIX program (posix_checks), on the kernel and on Shunt; what it prints must be the same, line by line.

Under Shunt it talks to itself, so no second process is needed: on a port's own address, or without a port on the loopback network.
usage: posix_differential.py memif|loop [name of a check...]
"""
import os
import subprocess
import sys

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
PROGRAM = os.path.join(BUILD, "test", "posix_checks")
SHUNT = os.path.join(BUILD, "bin", "shunt")
LINKS = {
    "memif": (["--link", f"memif:shim{os.getpid()}", "--ip", "10.9.0.1/24"], "10.9.0.1"),
    "loop": (["--link", "loop"], "127.0.0.1"),
}
# Differences that are known, each with its reason. One that is gone fails the test: take it out of here.
KNOWN = {}
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}


def lines_of(*command):
    result = subprocess.run([*command, *sys.argv[2:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=CLEAN, check=False)
    lines = dict(line.split(":", 1) for line in result.stdout.splitlines() if ":" in line)
    return lines, result.returncode


def main():
    if not os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so")):
        print("SKIP: libshunt_preload.so is not built")
        sys.exit(77)
    kernel, kernel_status = lines_of(PROGRAM, "127.0.0.1")
    options, address = LINKS[sys.argv[1]]
    ours, our_status = lines_of(SHUNT, *options, "--", PROGRAM, address)
    differences = [name for name in kernel if kernel[name] != ours.get(name)]
    for name in differences:
        print(f"{name}{' (known: ' + KNOWN[name] + ')' if name in KNOWN else ''}\n  kernel:{kernel[name]}\n  shunt: {ours.get(name, ' (nothing)')}")
    print(f"{len(kernel) - len(differences)} of {len(kernel)} checks are the same")
    unknown = [name for name in differences if name not in KNOWN]
    mended = [name for name in KNOWN if name in kernel and name not in differences]
    if unknown or mended or kernel_status != 0 or our_status != 0 or not kernel:
        sys.exit(f"unknown differences: {unknown}; known ones that are gone: {mended}; exit status {kernel_status} on the kernel, {our_status} on Shunt")


main()
