"""docs/options.md is what the table of options says."""
import os
import subprocess
import sys

build, source = os.environ["SHUNT_TEST_BUILD_DIR"], os.environ["SHUNT_TEST_SOURCE_DIR"]
expected = subprocess.run([os.path.join(build, "test", "options_doc")], check=True, capture_output=True, text=True).stdout
with open(os.path.join(source, "docs", "options.md"), encoding="utf-8") as file:
    actual = file.read()
if actual != expected:
    sys.exit("docs/options.md is out of date; write it anew: build/release/test/options_doc > docs/options.md")
