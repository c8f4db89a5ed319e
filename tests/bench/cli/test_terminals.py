"""Terminals that lack characters: what is printed is spelled out, never a traceback."""

import os
import subprocess
import sys

CODE = """
import sys
from cambench.bench.cli.app import main
sys.argv = ["cambench", "--version"]
try:
    main()
except SystemExit:
    pass
print("F \\u2265 0")
"""


def test_an_ascii_terminal_shows_what_it_lacks_as_escapes(tmp_path):
    environment = {**os.environ, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, env=environment, timeout=200)
    assert done.stderr == b""
    assert done.stdout.decode("ascii").splitlines()[-1] == r"F \u2265 0"
