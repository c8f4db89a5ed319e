"""A pipe that closes early ends a verb quietly."""

import os
import subprocess
import sys


def test_a_pipe_that_closes_early_ends_quietly(tmp_path):
    line = [sys.executable, "-m", "cambench", "ls", "-v"]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ), cwd=tmp_path
    ) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert b"Traceback" not in said
    assert b"BrokenPipe" not in said
