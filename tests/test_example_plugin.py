"""The package in ``examples/``, installed beside cambench: its CAM and metric are in lists, runs and tables."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cambench.metrics.functional.maps import min_max, resize_maps
from cambench.results.records.load import load_run

ROOT = Path(__file__).parents[1]
SCRIPT = """
import json, sys
from typer.testing import CliRunner
from cambench.bench.cli.app import app

def say(*words):
    answer = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output

listed = {kind: say("ls", kind) for kind in ("cams", "metrics")}
card = say("ls", "cams", "posgradcam", "-v")
say("run", "--dataset", "folder", "--root", "images", "--triples", "slim_vgg/{posgradcam,gradcam}/softmax",
    "--out", "out", "--keep-maps", "--workers", "1", "--device", "cpu")
say("leaderboard", "out", "--dest", "tables", "--no-intervals")
print(json.dumps({**listed, "card": card}))
"""


@pytest.fixture
def installed(tmp_path):
    """Folder that the example is installed into, from a copy: a build leaves its folders beside the sources."""
    pytest.importorskip("pip")
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(ROOT / "examples" / "cambench-example", source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def write_images(root):
    rng = np.random.default_rng(0)
    for label in range(12):
        (root / f"class{label:02d}").mkdir(parents=True)
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"class{label:02d}" / "0.png")


def test_an_installed_plugin_is_listed_run_and_ranked(installed, tmp_path):
    write_images(tmp_path / "images")
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    said = json.loads(answer.stdout.splitlines()[-1])
    assert "Positive Grad-CAM" in said["cams"]
    assert "Map area" in said["metrics"]
    assert "relu(G_i)" in said["card"]
    table = pd.read_csv(tmp_path / "tables" / "scores.csv").set_index("cam")
    assert set(table.index) == {"posgradcam", "gradcam"}
    assert table["map_area"].between(0, 100).all()
    assert table.loc["posgradcam", "map_area"] != table.loc["gradcam", "map_area"]
    for cam, score in table["map_area"].items():
        maps = torch.from_numpy(load_run(tmp_path / "out").column(f"slim_vgg/{cam}/softmax", "map"))
        norm, _ = min_max(resize_maps(maps, 224, "bicubic"))
        assert score == pytest.approx(100 * float((norm >= 0.5).double().mean()), abs=1e-6)
    assert "Map area ↓" in (tmp_path / "tables" / "leaderboard.md").read_text()
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert len(manifest["cams"]["posgradcam"]["code_sha256"]) == 64
    assert len(manifest["metrics"]["map_area"]["code_sha256"]) == 64, "its code is part of the records' key"
