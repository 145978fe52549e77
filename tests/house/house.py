"""The house rules that a program can check. Usage: house.py RULE; the rules are the functions marked @rule.

A rule yields complaints as (file, line, text). A line in exceptions.txt excuses a file from a rule.
"""
import os
import re
import sys

SOURCE = os.environ.get("SHUNT_TEST_SOURCE_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
FILE_LINES_MAX, FUNCTION_LINES_MAX = 600, 60
CODE_FOLDERS = ("src", "pmd", "preload", "include", "examples", "bench", "tests")
CODE_ENDINGS = (".cpp", ".hpp", ".c", ".h")
TEXT_ENDINGS = CODE_ENDINGS + (".py", ".sh", ".md", ".cmake", ".txt", ".in", ".map", ".json", ".toml")

# What a folder may include of ours, besides itself. Downwards only, see docs/architecture.md.
BELOW_STACK = {"base", "wire", "pmd", "link", "ip"}
LAYERS = {
    "base": set(),
    "wire": {"base"},
    "pmd": {"base"},
    "link": {"base", "wire", "pmd"},
    "ip": BELOW_STACK,
    "udp": BELOW_STACK,
    "tcp": BELOW_STACK,
    "stack": BELOW_STACK | {"udp", "tcp"},
    "config": {"base", "pmd"},
    "socket": BELOW_STACK | {"udp", "tcp", "stack", "config"},
    "native": BELOW_STACK | {"udp", "tcp", "stack", "config", "socket", "shunt"},
    "preload": BELOW_STACK | {"udp", "tcp", "stack", "config", "socket"},
    "launcher": {"base", "config", "pmd"},
}

RULES = {}


def rule(function):
    RULES[function.__name__] = function
    return function


def files(folders, endings):
    for folder in folders:
        for path, subfolders, names in os.walk(os.path.join(SOURCE, folder)):
            subfolders[:] = sorted(name for name in subfolders if name != "__pycache__")
            for name in sorted(names):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(path, name), SOURCE)


def read(file):
    with open(os.path.join(SOURCE, file), encoding="utf-8") as stream:
        return stream.read()


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def bare(text):
    """C++ text with comments and literals blanked, line by line as before. 1'000 is no literal."""
    text = re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "0", text)
    return TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def matches(text, pattern):
    for number, line in enumerate(text.split("\n"), 1):
        for match in re.finditer(pattern, line):
            yield number, match


def folder_of(file):
    parts = file.split(os.sep)
    return parts[1] if parts[0] == "src" else parts[0]


@rule
def layers():
    """Include only downwards."""
    for file in files(("src", "pmd", "preload"), CODE_ENDINGS):
        folder = folder_of(file)
        if folder not in LAYERS:
            yield file, 1, f"the folder {folder} is in no layer; see LAYERS in tests/house/house.py"
            continue
        for number, match in matches(read(file), r'^\s*#\s*include\s+"([^"/]+)/'):
            target = match.group(1)
            if target != folder and target not in LAYERS[folder]:
                yield file, number, f"{folder} must not know {target}"


@rule
def rte():
    """DPDK's names stay in pmd/."""
    for file in files(("src", "preload", "include", "examples"), CODE_ENDINGS):
        text = read(file)
        for number, match in matches(bare(text), r"\b(rte|RTE)_\w+"):
            yield file, number, f"{match.group()} outside pmd/"
        for number, match in matches(text, r"#\s*include\s+<rte_\w+"):
            yield file, number, "a DPDK header outside pmd/"


@rule
def environment():
    """The environment is read in one place."""
    for file in files(("src", "pmd", "preload", "include"), CODE_ENDINGS):
        if file != os.path.join("src", "config", "environment.cpp"):
            for number, match in matches(bare(read(file)), r"\b(secure_)?getenv\b|\benviron\b"):
                yield file, number, f"{match.group()} outside src/config/environment.cpp"


@rule
def under_the_lock():
    """Below the stack's lock: no heap, no clock, no randomness but what is passed in, no code pointers in shared memory."""
    folders = tuple(os.path.join("src", name) for name in ("wire", "link", "ip", "udp", "tcp", "stack"))
    headers = r"#\s*include\s+<(string|vector|map|set|unordered_map|deque|list|functional|memory|iostream|fstream|random|thread|mutex)>"
    words = r"\b(steady_clock|system_clock|high_resolution_clock|clock_gettime|gettimeofday|random_device|getrandom|rand)\b|\bvirtual\b|\bthrow\b|\bmalloc\b"
    for file in files(folders, CODE_ENDINGS):
        text = read(file)
        for number, match in matches(text, headers):
            yield file, number, f"{match.group()} below the lock"
        for number, match in matches(bare(text), words):
            yield file, number, f"{match.group()} below the lock"


@rule
def file_length():
    """A file can be read in one sitting."""
    for file in files(CODE_FOLDERS + ("cmake", ".ci"), CODE_ENDINGS + (".py", ".sh", ".cmake")):
        lines = read(file).count("\n")
        if lines > FILE_LINES_MAX:
            yield file, 1, f"{lines} lines, more than {FILE_LINES_MAX}"


def functions(text):
    """(first line, last line, header) of each function body: braces whose surroundings are namespaces and types only."""
    text = re.sub(r"^\s*#(?:[^\n\\]|\\.|\\\n)*", lambda m: re.sub(r"[^\n]", " ", m.group()), bare(text), flags=re.M)
    stack, start, line, header_line = [], 0, 1, None
    for position, letter in enumerate(text):
        if letter == "\n":
            line += 1
        elif letter == "{":
            header = text[start:position].strip()
            outer = all(kind != "body" for kind, _, _ in stack)
            if in_parentheses(text, start, position) or re.search(r"\)[^:]*(?<!:):(?!:).*[\w>]$", header, re.S):
                stack.append(("value", 0, None))  # a default argument, or a member's first value: the header goes on
                continue
            if re.match(r'(inline\s+)?namespace\b|extern\b\s*$', header) or (re.search(r"\b(class|struct|union|enum)\b", header) and "(" not in re.sub(r"alignas\s*\([^)]*\)|\[\[.*?\]\]|template\s*<[^{]*>", "", header)):
                kind = "scope"
            elif outer and "(" in header and not header.endswith(("=", ",")):
                kind = "function"
            else:
                kind = "body"
            stack.append(("body" if kind == "function" else kind, header_line or line, header if kind == "function" else None))
            start, header_line = position + 1, None
        elif letter == "}" and stack:
            kind, first, header = stack.pop()
            if kind == "value":
                continue
            if header is not None:
                yield first, line, header
            start, header_line = position + 1, None
        elif letter == ";" and not in_parentheses(text, start, position):
            start, header_line = position + 1, None
        elif header_line is None and not letter.isspace():
            header_line = line


def in_parentheses(text, start, position):
    piece = text[start:position]
    return piece.count("(") > piece.count(")")


@rule
def function_length():
    """A function fits on a screen."""
    for file in files(CODE_FOLDERS, CODE_ENDINGS):
        for first, last, header in functions(read(file)):
            if last - first + 1 > FUNCTION_LINES_MAX:
                name = re.search(r"([\w:~]+|operator\S+)\s*\(", header)
                yield file, first, f"{name.group(1) if name else header[:40]}: {last - first + 1} lines, more than {FUNCTION_LINES_MAX}"


@rule
def headers():
    """A header says what it is, and is included once."""
    for file in files(("src", "pmd", "preload", "include"), (".hpp", ".h")):
        text = read(file)
        if not text.startswith(("//", "/*")):
            yield file, 1, "does not open with a comment that says what it is"
        if "#pragma once" not in text:
            yield file, 1, "lacks #pragma once"


@rule
def paths():
    """Nothing in here knows somebody's machine."""
    pattern = r"(?<![\w.])/(home|root|work|Users)/[\w.]+"
    top = [name for name in sorted(os.listdir(SOURCE)) if os.path.isfile(os.path.join(SOURCE, name)) and name.endswith(TEXT_ENDINGS)]
    for file in top + list(files(CODE_FOLDERS + ("cmake", "docs", ".ci"), TEXT_ENDINGS)):
        for number, match in matches(read(file), pattern):
            yield file, number, f"{match.group()} is a path of one machine"


def tests_text():
    return "\n".join(read(file) for file in files(("tests",), (".cpp", ".hpp", ".py", ".sh", ".c", ".txt"))
                     if not file.startswith(os.path.join("tests", "house")))


@rule
def drop_reasons():
    """Every reason to drop a packet has a test that names it."""
    file = os.path.join("src", "base", "counters.hpp")
    table = re.search(r"#define SHUNT_DROP_REASONS\(X\)((?:[^\n]*\\\n)*[^\n]*)", read(file))
    if not table:
        yield file, 1, "SHUNT_DROP_REASONS(X) is not there"
        return
    tests = tests_text()
    for name in re.findall(r"\bX\(\s*(\w+)", table.group(1)):
        if not re.search(rf"\b{name}\b", tests):
            yield file, 1, f"no test mentions the drop reason {name}"


@rule
def options():
    """Every option is in a test."""
    file = os.path.join("src", "config", "options.hpp")
    tests = tests_text()
    for name in re.findall(r'\{\.name = "([\w-]+)"', read(file)):
        variable = "SHUNT_" + name.upper().replace("-", "_")
        if not re.search(rf'--{name}\b|"{name}"|\b{variable}\b', tests):
            yield file, 1, f"no test mentions --{name}"


@rule
def tunables():
    """A tunable is followed by something below src/config, or the table says that it is not."""
    file = os.path.join("src", "config", "sysctl.cpp")
    folders = tuple(os.path.join("src", name) for name in ("link", "ip", "udp", "tcp", "stack", "socket", "native"))
    code = "\n".join(bare(read(each)) for each in files(folders, CODE_ENDINGS))
    for number, match in matches(read(file), r"&Tunables::(\w+)(.*)"):
        is_followed = ".is_followed = false" not in match.group(2)
        if is_followed != bool(re.search(rf"(\.|->)\s*{match.group(1)}\b", code)):
            yield file, number, f"{match.group(1)}: " + ("nothing follows it" if is_followed else "something follows it by now")


def read_exceptions():
    file = os.path.join("tests", "house", "exceptions.txt")
    found = {}
    for number, line in enumerate(read(file).split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            fields = [field.strip() for field in line.split("|")]
            found[tuple(fields[:2])] = (number, fields[2] if len(fields) == 3 else "")
    return file, found


@rule
def exceptions():
    """Each exception names a rule and a file that still needs it, and says why."""
    file, excused = read_exceptions()
    for (name, excused_file), (number, reason) in excused.items():
        if name not in RULES or len(reason) < 10:
            yield file, number, "not of the form: rule | file | reason"
        elif not any(complaint[0] == excused_file for complaint in RULES[name]()):
            yield file, number, f"{excused_file} keeps the rule {name} by now; take the exception out"


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in RULES:
        sys.exit(f"usage: house.py RULE, one of: {' '.join(RULES)}")
    name = sys.argv[1]
    _, excused = read_exceptions()
    complaints = [c for c in RULES[name]() if (name, c[0]) not in excused]
    for file, line, text in complaints:
        print(f"{file}:{line}: {text}")
    if complaints:
        sys.exit(f"{len(complaints)} against the rule: {RULES[name].__doc__}")


main()
