"""The README's own CAM in ten lines, exactly as printed."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cambench.baselines.base import CAMS
from cambench.bench.cli import app
from cambench.results.load import load_run

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(marker):
    found = re.search(rf"<!-- {re.escape(marker)} -->\n```\w+\n(.*?)```", README, re.S)
    assert found, f"README has no block marked {marker}"
    return found.group(1)


@pytest.fixture
def _forget_my_cam():
    yield
    CAMS._entries.pop("my_cam", None)
    CAMS._origin.pop("my_cam", None)


@pytest.mark.usefixtures("_forget_my_cam")
def test_my_cam_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = block("my_cam.py")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    Path("my_cam.py").write_text(code)
    command = shlex.split(block("my_cam command").replace("\\\n", " "))
    assert command[0] == "cambench"
    answer = CliRunner().invoke(app, [*command[1:], "--limit", "16"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    triples = load_run("runs/mine").triples
    assert {"slim_vgg/my_cam/softmax", "slim_vgg/my_cam/sigmoid", "slim_vgg/random/softmax"} <= set(triples)
    assert "My-CAM" in Path("runs/mine/scores.md").read_text()
