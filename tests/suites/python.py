"""Python's own socket tests, which nobody here wrote, on the kernel and over `shunt --link loop` in the same minutes: the outcomes must be the same.

usage: python.py MODULE | --list

Both run in a network namespace of their own. What fails on Shunt and not on the kernel is run again on both, since many of these tests measure time
on a machine that may be busy; it counts when it fails on Shunt each time and passes on the kernel each time.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "apps"))
import harness

PYTHON = "/usr/bin/python3.11"  # whose tests Debian packages
# Module: options, on both sides. Tests over AF_VSOCK wait for ever where there is a vsock module and no peer; "network" means this host's here.
MODULES = {
    "test_socket": ["-i", "*VSOCK*"],
    "test_asynchat": [],
    "test_asyncio": [],
    "test_asyncore": [],
    "test_epoll": [],
    "test_ftplib": [],
    "test_httplib": [],
    "test_httpservers": [],
    "test_imaplib": [],
    "test_poplib": [],
    "test_smtplib": [],
    "test_socketserver": ["-u", "network"],
    "test_ssl": [],
    "test_telnetlib": [],
    "test_urllib2_localnet": [],
    "test_wsgiref": [],
    "test_xmlrpc": [],
}
AGAIN = 2
SECONDS = 400


def packaged():
    return subprocess.run([PYTHON, "-c", "import test.test_socket"], check=False, capture_output=True).returncode == 0


def outcomes(prefix, module, options):
    """{test: "passed"|"skipped"|"failed"}, and what was printed."""
    with tempfile.TemporaryDirectory(prefix="suites") as folder:
        report = pathlib.Path(folder) / "report.xml"
        command = [*prefix, PYTHON, "-m", "test", "--timeout", str(SECONDS), "--junit-xml", str(report), *options, module]
        process = subprocess.Popen(command, cwd=folder, env=harness.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace", start_new_session=True, preexec_fn=harness.die_with_parent)
        output, _ = process.communicate(timeout=SECONDS + 60)
        if not report.exists():
            sys.exit(f"{' '.join(command)} ended with status {process.returncode} and without a report:\n{output[-4000:]}")
        found = {}
        for case in xml.etree.ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            bad = {"failure", "error"} & kinds
            found[case.get("name")] = "failed" if bad else "skipped" if "skipped" in kinds or case.find("skipped") is not None else "passed"
        return found, output


def differences(module, options):
    """{test: (on the kernel, on Shunt)}, and how many were compared."""
    kernel, _ = outcomes([], module, options)
    ours, output = outcomes([str(harness.BUILD / "bin" / "shunt"), "--link", "loop", "--log", "info"], module, options)
    if " accelerated" not in output:
        sys.exit(f"{module}: no socket was accelerated, so nothing was compared")
    names = sorted({*kernel, *ours})
    return {name: (kernel.get(name), ours.get(name)) for name in names if kernel.get(name) != ours.get(name)}, len(names)


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(MODULES))
        return 0
    if len(arguments) != 1 or arguments[0] not in MODULES:
        print(__doc__, file=sys.stderr)
        return 2
    if not packaged():
        print("SKIP: libpython3.11-testsuite is not installed")
        return 77
    try:
        harness.enter_new_namespace()
    except harness.Skipped as reason:
        print(f"SKIP: {reason}")
        return 77
    module = arguments[0]
    found, count = differences(module, MODULES[module])
    for _ in range(AGAIN):
        if found:
            print(f"again, because of {found}")
            chosen = [*MODULES[module], *(word for name in found for word in ("-m", name))]
            found = {name: pair for name, pair in differences(module, chosen)[0].items() if name in found}
    print(f"{module}: {count} tests, {len(found)} differ from the kernel's")
    for name, (kernel, ours) in found.items():
        print(f"  {name}: {kernel} on the kernel, {ours} on Shunt")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
