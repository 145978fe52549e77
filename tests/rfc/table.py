"""docs/rfc.md, the sources and the tests agree: every row is complete, what it names is there, and every test that it names can fail.

A row: what | requirement | section | state | where | test.
- what: MUST-1, SHLD-1, MAY-1, REC-1 (RFC 9293's own labels), or MUST, MUST NOT, SHOULD, SHOULD NOT, MAY, or a dash.
- state: done | deviates: why | not done: why | not yet: why | no matter: why. The first two need a place and a test.
- where: FILE: NAME, NAME; FILE: NAME. Files below src/, or from the top folder; a name is anything that the file's code mentions.
- test: names of scripts (FOLDER/NAME) and of GoogleTest cases (SUITE.NAME), separated by commas.
And the other way round: each script's first line names what it is held to, and an RFC named there has a row for that section.
"""
import os
import re
import sys

SOURCE = os.environ.get("SHUNT_TEST_SOURCE_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TABLE = "docs/rfc.md"
SCRIPTS = "tests/packetdrill/scripts"
KNOWN_FAILURES = "tests/packetdrill/known_failures.txt"
# RFC 9293, Appendix B: the labels run without a gap.
LABELS = {"MUST": 69, "SHLD": 31, "MAY": 18, "REC": 1}
WORDS = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "-")
PROVEN, UNPROVEN = ("done", "deviates"), ("not done", "not yet", "no matter")
COLUMNS = ["what", "requirement", "section", "state", "where", "test"]
AUTHORITIES = re.compile(r"// (?:RFC \d+|Linux|POSIX)\b")
COMMENT_OR_TEXT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.S)


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as stream:
        return stream.read()


def exists(path):
    return os.path.isfile(os.path.join(SOURCE, path))


def find(folder, ending):
    for path, subfolders, names in os.walk(os.path.join(SOURCE, folder)):
        subfolders.sort()
        for name in sorted(names):
            if name.endswith(ending):
                yield os.path.relpath(os.path.join(path, name), SOURCE)


class Row:
    def __init__(self, rfc, line, cells):
        self.rfc, self.line = rfc, line
        self.what, self.requirement, self.section, state, self.where, self.test = cells
        self.state, _, self.why = (part.strip() for part in state.partition(":"))


def rows_of(text, complain):
    """The rows of all tables below headings that begin with "RFC n" or a draft's name; another heading has none."""
    rfc, header_due = None, True
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#"):
            match = re.match(r"#+ (?:RFC (\d+)\b|(draft-[\w-]+))", line)
            rfc, header_due = match and (match.group(1) or match.group(2)), True
        elif rfc is not None and line.startswith("|"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if set(line) <= set("|-: "):
                continue
            if header_due:
                header_due = False
                if cells != COLUMNS:
                    complain(number, f"the columns are {' | '.join(COLUMNS)}")
            elif len(cells) != len(COLUMNS) or not all(cells):
                complain(number, f"a row has {len(COLUMNS)} columns, none of them empty")
            else:
                yield Row(rfc, number, cells)


def check_labels(rows, complain):
    seen = {}
    for row in rows:
        match = re.fullmatch(r"(MUST|SHLD|MAY|REC)-(\d+)", row.what)
        if match is None:
            if row.what not in WORDS:
                complain(row.line, f"'{row.what}' is neither a label of RFC 9293 nor a key word")
        elif row.rfc != "9293" or not 1 <= int(match.group(2)) <= LABELS[match.group(1)]:
            complain(row.line, f"RFC {row.rfc} has no {row.what}")
        elif row.what in seen:
            complain(row.line, f"{row.what} has a row already, in line {seen[row.what]}")
        else:
            seen[row.what] = row.line
    for kind, last in LABELS.items():
        for number in range(1, last + 1):
            if f"{kind}-{number}" not in seen:
                complain(1, f"{kind}-{number} of RFC 9293 has no row")


def check_state(row, complain):
    if row.state not in PROVEN + UNPROVEN:
        complain(row.line, f"'{row.state}' is no state: {', '.join(PROVEN + UNPROVEN)}")
    elif row.state != "done" and not row.why:
        complain(row.line, f"'{row.state}' says why: '{row.state}: ...'")
    elif row.state in PROVEN and "-" in (row.where, row.test):
        complain(row.line, f"what is {row.state} has a place and a test")


def check_where(row, complain):
    if row.where == "-":
        return
    for place in row.where.split(";"):
        file, _, names = (part.strip() for part in place.partition(":"))
        path = next((each for each in ("src/" + file, file) if exists(each)), None)
        if path is None:
            complain(row.line, f"there is no file {file}")
            continue
        code = COMMENT_OR_TEXT.sub(" ", read(path))
        for name in filter(None, (name.strip() for name in names.split(","))):
            if re.search(rf"\b{re.escape(name)}\b", code) is None:
                complain(row.line, f"{path} has no {name}")


def check_tests(row, cases, scripts, failing, complain):
    if row.test == "-":
        return
    for test in (test.strip() for test in row.test.split(",")):
        if "/" in test:
            if test not in scripts:
                complain(row.line, f"there is no script {test}")
            elif test in failing:
                complain(row.line, f"{test} is one of the known failures: it proves nothing")
        elif test not in cases:
            complain(row.line, f"there is no test {test}")


def check_scripts(rows, scripts, complain):
    """Who reads a script finds the row: the RFC and section that its first line names are in the table."""
    sections = {}
    for row in rows:
        sections.setdefault(row.rfc, set()).update(part.strip() for part in row.section.split(","))
    for name, path in scripts.items():
        first = read(path).split("\n", 1)[0]
        if AUTHORITIES.match(first) is None:
            complain(1, "the first line says what the script is held to: '// RFC n, section: ...', '// Linux...' or '// POSIX...'", path)
        for rfc, section in re.findall(r"RFC (\d+)(?:, (\d+(?:\.\d+)*))?", first.partition(":")[0]):
            known = sections.get(rfc, set())
            if not known:
                complain(1, f"{TABLE} has no row of RFC {rfc}", path)
            elif section and not any((each + ".").startswith(section + ".") or (section + ".").startswith(each + ".") for each in known):
                complain(1, f"{TABLE} has no row of RFC {rfc}, section {section}", path)


def main():
    complaints = []

    def complain(line, text, path=TABLE):
        complaints.append(f"{path}:{line}: {text}")

    rows = list(rows_of(read(TABLE), complain))
    cases = {f"{suite}.{name}" for path in find("tests", ".cpp")
             for suite, name in re.findall(r"^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)", read(path), re.M)}
    scripts = {os.path.relpath(path, SCRIPTS)[:-len(".pkt")]: path for path in find(SCRIPTS, ".pkt")}
    failing = {line.split()[0][:-len(".pkt")] for line in read(KNOWN_FAILURES).split("\n") if line.strip() and not line.startswith("#")}
    check_labels(rows, complain)
    for row in rows:
        check_state(row, complain)
        check_where(row, complain)
        check_tests(row, cases, scripts, failing, complain)
    check_scripts(rows, scripts, complain)
    print("\n".join(complaints) or f"{len(rows)} rows, {len(scripts)} scripts")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
