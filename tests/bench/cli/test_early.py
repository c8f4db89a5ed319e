"""Wrong use is answered before any network or data library is imported."""

import os
import subprocess
import sys

import pytest

from cambench.datasets.schema import DATASETS

HEAVY = ("torch", "timm", "scipy", "pandas", "datasets", "pyarrow", "matplotlib")
PROGRAM = f"""
import sys
from cambench.bench.cli.app import main
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print("loaded:", *(name for name in {HEAVY!r} if name in sys.modules))
sys.exit(code)
"""


def answer(folder, *args, **env):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *args],
        capture_output=True, text=True, cwd=folder, timeout=120, env={**os.environ, **env},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--version"], 0, "cambench "),
        (["run", "--help"], 0, "--triples"),
        (["run", "--root", "nowhere"], 2, "--dataset and --out missing"),
        (["run", "--dataset", "cub", "--out", "x", "--root", "nowhere"], 1, "cub: root nowhere does not exist"),
        (["run", "--dataset", "cubb", "--out", "x"], 2, "unknown data set 'cubb'; did you mean 'cub'?"),
        (["run", "--dataset", "cub", "--out", "x", "--protocol", "papr"], 2, "unknown protocol 'papr'; did you mean"),
        (["run", "--dataset", "cub", "--out", "x", "--triples", "a/b"], 2, "triple 'a/b': expected backbone/cam/head"),
        (["run", "--dataset", "cub", "--out", "x", "--triples", "a/{b/c"], 2, "a/{b/c"),
        (["run", "--config", "run.yaml"], 2, "colour"),
    ],
)
def test_wrong_use_loads_no_heavy_library(tmp_path, args, code, said):
    (tmp_path / "run.yaml").write_text("dataset: cub\nout: x\ncolour: red\n")
    found = answer(tmp_path, *args)
    assert (found.returncode, found.stdout.splitlines()[-1].split()) == (code, ["loaded:"]), found.stderr
    assert said in found.stdout + found.stderr
    assert not (tmp_path / "x").exists()


def test_the_shipped_names_of_data_sets_are_those_that_are_registered():
    shipped = {name for name in DATASETS if DATASETS.origin(name).startswith("cambench.datasets.")}
    assert set(DATASETS._shipped) == shipped
