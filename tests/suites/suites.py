"""Socket test suites that nobody here wrote, on the kernel and over `shunt --link loop` or memif: the outcomes must be the same (docs/suites.md).

usage: suites.py SUITE FOLDER [CASE...]    in FOLDER are the suite's sources or programs, see the suites below; all cases, or those
       suites.py python MODULE...          Python's, as Debian packages them
       suites.py own-address MODULE...     Python's, where localhost and 127.0.0.1 are the own address of a memif port
       suites.py --list [own-address]      the modules of Python that ctest runs
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import compare

PYTHON = "/usr/bin/python3.11"  # whose tests Debian packages
# Module: options. Tests over AF_VSOCK wait for ever where there is a vsock module and no peer; "network" means this host's here.
PYTHON_MODULES = {
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
OWN_ADDRESS = "10.98.0.1"
OWN_ADDRESS_MODULES = ("test_socket", "test_epoll", "test_selectors")  # the others take longer, and are run by hand


# --- Ways to tell what came of a case ------------------------------------------------------------------------------------------------
def by_status(case, status, output, skipped=r"(?i)# skip"):
    return {case: "failed" if status != 0 else "skipped" if re.search(skipped, output) else "passed"}


def by_lines(pattern, words, skipped=r"(?i)# skip"):
    """`pattern` finds the name and the word of each test in the output; what is not among `words` has failed."""
    def outcomes(case, status, output):
        found = {f"{case}: {match['name'].strip()}": words.get(match["word"], "failed") for match in re.finditer(pattern, output, re.M)}
        return found | by_status(f"{case}: it ends well", status, output, skipped)
    return outcomes


def tap(case, status, output):
    """The lines of the Test Anything Protocol."""
    found = {}
    for bad, number, what in re.findall(r"^\s*(not )?ok (\d+)(?: - | )?(.*)", output, re.M):
        name = f"{case}: {number} {what.partition('#')[0]}".strip()
        found[name] = "failed" if bad and "# TODO" not in what else "skipped" if "# skip" in what.lower() else "passed"
    return found | by_status(f"{case}: it ends well", status, output, r"1\.\.0")


# --- What there is in a folder -------------------------------------------------------------------------------------------------------
def first_words(*command, **environment):
    output = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | environment).stdout
    return [line.split()[0] for line in output.splitlines() if line.strip()]


def programs_in(folder, name=r"[^.]+(\.select)?"):
    return sorted(path.name for path in folder.iterdir() if path.is_file() and os.access(path, os.X_OK) and re.fullmatch(name, path.name))


def files_in(folder, folders, pattern):
    return sorted(str(path.relative_to(folder)) for each in folders for path in (folder / each).glob(pattern))


# --- The suites ----------------------------------------------------------------------------------------------------------------------
def copy_for_address(folder, address):
    """Python's tests, with `address` where they say 127.0.0.1."""
    source = subprocess.run([PYTHON, "-c", "import test; print(test.__path__[0])"], check=True, capture_output=True, text=True).stdout.strip()
    shutil.copytree(source, folder / "test", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder / "test").rglob("*.py"):
        content = path.read_bytes()
        if b"127.0.0.1" in content:
            path.write_bytes(content.replace(b"127.0.0.1", address.encode()))


def python(environment=None, address=None):
    def outcomes(case, status, output):
        _, mark, report = output.partition("<?xml")
        try:
            cases = xml.etree.ElementTree.fromstring(mark + report).iter("testcase")
        except xml.etree.ElementTree.ParseError:
            return {f"{case}: it ends with a report": "failed"}
        found = {}
        for test in cases:
            kinds = {child.tag for child in test}
            found[f"{case}: {test.get('name')}"] = "failed" if {"failure", "error"} & kinds else "skipped" if "skipped" in kinds else "passed"
        return found

    def command(case):
        # UDP-Lite is the kernel's, which does not have the address of a port of Shunt's.
        options = " ".join(f"'{word}'" for word in [*PYTHON_MODULES.get(case, []), *(["-i", "*UDPLITE*"] if address else [])])
        return ["sh", "-c", f"{PYTHON} -m test --timeout 400 --junit-xml $PWD/report {options} {case}; echo; echo '<?xml version=\"1.0\"?>'; cat report"]
    return compare.Suite(PYTHON_MODULES, command, outcomes, environment=environment, seconds=460, ipv6=True, address=address)


def libuv(folder):
    """FOLDER has uv_run_tests, built with forked.h."""
    def outcomes(case, status, output):
        return {case: "skipped" if "# SKIP" in output else "passed" if status == 0 else "failed"}
    program = str(folder / "uv_run_tests")
    return compare.Suite(lambda: first_words(program, "--list", UV_RUN_AS_ROOT="1"), lambda case: [program, case], outcomes, folder, {"UV_RUN_AS_ROOT": "1"})


def libevent(folder):
    """FOLDER has bin/regress; each test by epoll, by poll and by select."""
    program = str(folder / "bin/regress")
    methods = {"epoll": [], "poll": ["EVENT_NOEPOLL=1"], "select": ["EVENT_NOEPOLL=1", "EVENT_NOPOLL=1"]}

    def cases():
        names = [word for word in first_words(program, "--list-tests") if "/" in word]
        return [f"{name}:{method}" for method in methods for name in names]

    def command(case):
        name, _, method = case.partition(":")
        return ["env", *methods[method], program, name]
    return compare.Suite(cases, command, lambda case, status, output: by_status(case, status, output, "SKIPPED|DISABLED"), folder)


def node(folder):
    """FOLDER has the sources of Node.js; the program is NODE of the environment, or else the node of PATH."""
    kinds = "net|dgram|http|https|http2|tls|socket|tcp|cluster|child-process"

    def cases():
        return [name for name in files_in(folder / "test", ("parallel", "sequential"), "test-*.*js") if re.match(f".*/test-({kinds})[-.]", name)]

    def command(case):
        flags = re.search(r"^// Flags: (.*)", (folder / "test" / case).read_text(errors="replace"), re.M)
        return [os.environ.get("NODE", "node"), *(flags[1].split() if flags else []), str(folder / "test" / case)]
    return compare.Suite(cases, command, lambda case, status, output: by_status(case, status, output, r"1\.\.0 # Skipped"), folder / "test", seconds=60)


def perl(folder):
    """FOLDER is a distribution of Perl modules, with t/; the modules are those that are installed."""
    return compare.Suite(lambda: files_in(folder, ["t"], "**/*.t"), lambda case: ["perl", case], tap, folder)


def ruby(folder):
    """FOLDER has Ruby's sources."""
    def outcomes(case, status, output):
        names = re.findall(r"^\[ *\d+/\d+\] (\S+#\S+) = ", output, re.M)
        bad = re.findall(r"^ *\d+\) (Failure|Error|Skipped):\n(\w\S*#\w+[?!]?)", output, re.M)
        told = {name: "skipped" if kind == "Skipped" else "failed" for kind, name in bad}
        # What fails makes the status bad, so that what could not be read above is not lost.
        return {f"{case}: {name}": told.get(name, "passed") for name in names} | by_status(f"{case}: it ends well", status, output)
    folders = ("socket", "net", "drb", "open-uri", "openssl", "io/wait", "io/nonblock", "fiber")
    runner = ["ruby", "-I", "tool/lib", "-I", "test/lib", "test/runner.rb", "-v", "--show-skip"]
    return compare.Suite(lambda: files_in(folder / "test", folders, "**/test_*.rb"), lambda case: [*runner, f"test/{case}"], outcomes, folder, seconds=300)


def tcl(folder):
    """FOLDER has Tcl's sources."""
    names = ("chanio", "event", "http", "http11", "httpPipeline", "httpold", "io", "ioCmd", "socket")
    lines = by_lines(r"^(?:\+\+\+\+|====) (?P<name>\S+) .*?(?P<word>PASSED|FAILED|SKIPPED:)", {"PASSED": "passed", "SKIPPED:": "skipped"})
    program = ["tclsh8.6", str(folder / "tests/all.tcl"), "-tmpdir", ".", "-verbose", "pse"]  # each side in a folder of its own, for what the tests write
    return compare.Suite(lambda: [f"{name}.test" for name in names], lambda case: [*program, "-file", case], lines, seconds=300)


def php(folder):
    """FOLDER has PHP's sources; its own run-tests.php runs each test."""
    folders = [f"ext/{name}" for name in ("sockets", "standard/tests/network", "standard/tests/streams", "standard/tests/http")]
    runner = ["php", "run-tests.php", "-q", "-p", "/usr/bin/php"]

    def outcomes(case, status, output):
        words = re.findall(r"(PASS|FAIL|SKIP|XFAIL|BORK|WARN|LEAK)\b.* \[\S+\]", output)
        return {case: {"PASS": "passed", "SKIP": "skipped"}.get(words[-1] if words else "", "failed")}
    return compare.Suite(lambda: files_in(folder, folders, "**/*.phpt"), lambda case: [*runner, case], outcomes, folder)


def glib(folder):
    """FOLDER has the programs of Debian's libglib2.0-tests."""
    names = "socket.*|proxy.*|network-.*|pollable|gsocketclient-.*|gdbus-peer|gdbus-server-auth|unix-.*|tls-.*|io-.*|mainloop|srvtarget|inet-address"
    return compare.Suite(lambda: programs_in(folder, names), lambda case: [str(folder / case), "--tap"], tap, folder)


def unity(folder):
    """FOLDER has programs that are written with Unity, as those of ZeroMQ's tests/, built."""
    lines = by_lines(r"^\S+?:\d+:(?P<name>\w+):(?P<word>PASS|FAIL|IGNORE)", {"PASS": "passed", "IGNORE": "skipped"})
    return compare.Suite(lambda: programs_in(folder, r"test_\w+"), lambda case: [str(folder / case)], lines, folder)


def rust(folder):
    """FOLDER has programs built by `rustc --test`, such as the tests of std::net out of the package rust-src."""
    lines = by_lines(r"^test (?P<name>\S+) \.\.\. (?P<word>ok|FAILED|ignored)", {"ok": "passed", "ignored": "skipped"})
    return compare.Suite(lambda: programs_in(folder), lambda case: [str(folder / case)], lines, folder, ipv6=True)


def programs(folder):
    """Each program in FOLDER is a test, such as those of Boost.Asio, built."""
    return compare.Suite(lambda: programs_in(folder), lambda case: [str(folder / case)], by_status, folder)


SUITES = {suite.__name__: suite for suite in (libuv, libevent, node, perl, ruby, tcl, php, glib, unity, rust, programs)}


def main(arguments):
    if arguments[:1] == ["--list"]:
        print("\n".join(OWN_ADDRESS_MODULES if arguments[1:] == ["own-address"] else PYTHON_MODULES))
        return 0
    if len(arguments) < 2 or arguments[0] not in {*SUITES, "python", "own-address"}:
        print(__doc__, file=sys.stderr)
        return 2
    if arguments[0] in ("python", "own-address"):
        if subprocess.run([PYTHON, "-c", "import test.test_socket"], check=False, capture_output=True).returncode != 0:
            print("SKIP: libpython3.11-testsuite is not installed")
            return 77
        if arguments[0] == "own-address":
            with tempfile.TemporaryDirectory(prefix="suites") as copy:
                copy_for_address(pathlib.Path(copy), OWN_ADDRESS)
                return compare.compare("own-address." + "+".join(arguments[1:]), python({"PYTHONPATH": copy}, OWN_ADDRESS), arguments[1:])
        return compare.compare("python." + "+".join(arguments[1:]), python(), arguments[1:])
    folder = pathlib.Path(arguments[1]).resolve()
    suite = SUITES[arguments[0]](folder)
    return compare.compare(f"{arguments[0]}.{folder.name}", suite, arguments[2:] or list(suite.cases()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
