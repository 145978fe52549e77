"""Each house rule notices the offence it is there for: a small house with one offence a rule, and the same house mended."""
import os
import subprocess
import sys
import tempfile
import unittest

HOUSE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "house.py")
OPENING = "// What it is.\n#pragma once\n"


def body(lines):
    return "\n".join("    step();" for _ in range(lines))


OFFENCES = {
    "layers": ("src/wire/a.hpp", OPENING + '#include "tcp/tcp.hpp"\n'),
    "rte": ("src/tcp/a.hpp", OPENING + "inline void f() { rte_pause(); }\n"),
    "environment": ("pmd/a.cpp", 'auto x = getenv("HOME");\n'),
    "under_the_lock": ("src/tcp/a.cpp", "#include <vector>\n"),
    "file_length": ("src/base/a.cpp", "int x;\n" * 601),
    "function_length": ("src/base/a.cpp", "namespace a {\nclass B {\n  B(int x = {}) noexcept : a_{x}, b_{} {\n" + body(60) + "\n  }\n};\n}\n"),
    "headers": ("src/base/a.hpp", "#pragma once\n"),
    "paths": ("docs/a.md", "See /home" + "/somebody/notes.\n"),
    "drop_reasons": ("src/base/counters.hpp", '#define SHUNT_DROP_REASONS(X) \\\n    X(fell_off_the_table, "...")\n'),
    "options": ("src/config/options.hpp", '    {.name = "untested", .placeholder = "N"},\n'),
    "tunables": ("src/config/sysctl.cpp", '    {.name = "net.ipv4.a", .number = &Tunables::a},\n'),
    "exceptions": ("tests/house/exceptions.txt", "layers | src/wire/none.hpp | it was needed once upon a time\n"),
}
# The same words where they are no offence.
HARMLESS = {
    "src/base/words.cpp": '// rte_pause, getenv\nconst char* text = "rte_pause getenv {{{";\nlong big = 1\'000\'000;\n'
                          "struct Long {\n" + "    int x;\n" * 70 + "};\nint table[] = {\n" + "    f(1),\n" * 70 + "};\n",
    "src/base/counters.hpp": "#define SHUNT_DROP_REASONS(X) \\\n    X(known, \"...\")\n",
    "src/config/options.hpp": '    {.name = "known", .placeholder = "N"},\n',
    "src/config/sysctl.cpp": "    {&Tunables::a, .is_followed = false},\n    {&Tunables::b},\n",
    "src/tcp/b.cpp": "int x = tunables.b;\n",
    "tests/some/test.cpp": 'check(known); check("--known");\n',
    "tests/house/exceptions.txt": "# none\n",
}


class House(unittest.TestCase):
    def check(self, name, files):
        with tempfile.TemporaryDirectory() as source:
            for file, text in files.items():
                path = os.path.join(source, file)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as stream:
                    stream.write(text)
            return subprocess.run([sys.executable, "-B", HOUSE, name], capture_output=True, text=True,
                                  env={**os.environ, "SHUNT_TEST_SOURCE_DIR": source})

    def test_each_offence_is_noticed_with_its_place(self):
        for name, (file, text) in OFFENCES.items():
            with self.subTest(rule=name):
                result = self.check(name, {**HARMLESS, file: text})
                self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
                self.assertIn(file + ":", result.stdout)

    def test_what_is_harmless_is_left_alone(self):
        files = {file: OPENING + text if file.endswith(".hpp") else text for file, text in HARMLESS.items()}
        for name in OFFENCES:
            with self.subTest(rule=name):
                result = self.check(name, files)
                self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_an_exception_excuses(self):
        file, text = OFFENCES["layers"]
        excuse = f"layers | {file} | for as long as this test needs it\n"
        for name in ("layers", "exceptions"):
            result = self.check(name, {**HARMLESS, file: text, "tests/house/exceptions.txt": excuse})
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
