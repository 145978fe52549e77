"""The test of docs/rfc.md notices each fault it is there for: a small table that is right, and the same with one fault each."""
import os
import subprocess
import sys
import tempfile
import unittest

CHECK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "table.py")
LABELS = [f"{kind}-{number}" for kind, last in (("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)) for number in range(1, last + 1)]
ROW = "| {} | it works | 3.1 | done | tcp/a.cpp: step; tests/b.py: other | open/a, Suite.case |"
HEADER = "| what | requirement | section | state | where | test |\n|---|---|---|---|---|---|\n"
GOOD = "# Table\n\n| a | word |\n\n## RFC 9293: TCP\n" + HEADER + "\n".join(ROW.format(label) for label in LABELS) + (
    "\n\n## RFC 1337: TIME_WAIT\n" + HEADER + "| - | rests | 3 | not done: no use | - | - |\n")
HOUSE = {
    "docs/rfc.md": GOOD,
    "src/tcp/a.cpp": "// unused\nvoid step() {}\n",
    "tests/b.py": "def other():\n",
    "tests/stack/a_test.cpp": "TEST_F(Suite, case) {}\n",
    "tests/packetdrill/scripts/open/a.pkt": "// RFC 9293, 3.1 and Linux: it works.\n",
    "tests/packetdrill/scripts/open/b.pkt": "// Linux: it does not.\n",
    "tests/packetdrill/known_failures.txt": "# why\nopen/b.pkt  # because\n",
}


def in_first_row(old, new):
    return {"docs/rfc.md": GOOD.replace(ROW.format("MUST-1"), ROW.format("MUST-1").replace(old, new))}


FAULTS = {
    "a label without a row": ({"docs/rfc.md": GOOD.replace(ROW.format("SHLD-31") + "\n", "")}, "SHLD-31 of RFC 9293 has no row"),
    "a label twice": (in_first_row("MUST-1", "MUST-2"), "MUST-2 has a row already"),
    "a label that is none": (in_first_row("MUST-1", "MUST-70"), "RFC 9293 has no MUST-70"),
    "a label of another RFC": ({"docs/rfc.md": GOOD + "| MUST-1 | x | 1 | not done: no | - | - |\n"}, "RFC 1337 has no MUST-1"),
    "a word that is none": ({"docs/rfc.md": GOOD + "| OUGHT | x | 1 | not done: no | - | - |\n"}, "neither a label"),
    "other columns": ({"docs/rfc.md": GOOD.replace("| where | test |", "| test | where |", 1)}, "the columns are"),
    "a column that is missing": (in_first_row("| open/a, Suite.case ", ""), "a row has 6 columns"),
    "a column that is empty": (in_first_row("it works", ""), "a row has 6 columns"),
    "a state that is none": (in_first_row("done", "nearly"), "'nearly' is no state"),
    "no reason": (in_first_row("done", "deviates"), "says why"),
    "done nowhere": (in_first_row("tcp/a.cpp: step; tests/b.py: other", "-"), "has a place and a test"),
    "done without a test": (in_first_row("open/a, Suite.case", "-"), "has a place and a test"),
    "a file that is not there": (in_first_row("tcp/a.cpp", "tcp/c.cpp"), "there is no file tcp/c.cpp"),
    "a function that is not there": (in_first_row("step;", "leap;"), "src/tcp/a.cpp has no leap"),
    "a function in a comment only": (in_first_row("step;", "unused;"), "src/tcp/a.cpp has no unused"),
    "a case that is not there": (in_first_row("Suite.case", "Suite.cases"), "there is no test Suite.cases"),
    "a script that is not there": (in_first_row("open/a", "open/c"), "there is no script open/c"),
    "a script that is known to fail": (in_first_row("open/a", "open/b"), "known failures"),
    "a script that names nothing": ({"tests/packetdrill/scripts/open/b.pkt": "// It just works.\n"}, "open/b.pkt:1: the first line says"),
    "a script of an RFC without rows": ({"tests/packetdrill/scripts/open/b.pkt": "// RFC 793, 3.1: it works.\n"}, "no row of RFC 793"),
    "a script of a section without rows": ({"tests/packetdrill/scripts/open/b.pkt": "// RFC 1337, 4: it works.\n"}, "no row of RFC 1337, section 4"),
    "a section that only begins alike": ({"tests/packetdrill/scripts/open/b.pkt": "// RFC 1337, 30: it works.\n"}, "no row of RFC 1337, section 30"),
}


class Table(unittest.TestCase):
    def check(self, changes):
        with tempfile.TemporaryDirectory() as source:
            for file, text in {**HOUSE, **changes}.items():
                path = os.path.join(source, file)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as stream:
                    stream.write(text)
            return subprocess.run([sys.executable, "-B", CHECK], capture_output=True, text=True, env={**os.environ, "SHUNT_TEST_SOURCE_DIR": source})

    def test_a_good_table_is_left_alone(self):
        result = self.check({})
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_each_fault_is_noticed(self):
        for name, (changes, complaint) in FAULTS.items():
            with self.subTest(fault=name):
                result = self.check(changes)
                self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
                self.assertIn(complaint, result.stdout)

    def test_a_section_stands_for_those_below_it_and_is_reached_by_them(self):
        for section in ("3", "3.1", "3.1.2"):
            result = self.check({"tests/packetdrill/scripts/open/b.pkt": f"// RFC 9293, {section}: it works.\n"})
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
