"""The published transformer (``results/embedded/transformer.md``), trained and scored by the commands of its page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cambench.baselines.contracts import BACKBONES
from cambench.bench.cli import app as cli
from cambench.results.records.load import load_run

PAGE = Path(__file__).parents[3] / "results" / "embedded" / "transformer.md"
SHORT = "extends: slim_vit.yaml\nepochs: 1\nbatch_size: 6\n"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page gives, and a shorter recipe of each kind."""
    files = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    assert set(files) == {"slim_vit.py", "slim_vit.yaml"}
    head = "name: short\nextends: synthbirds\nepochs: 2\nbatch_size: 6\n"
    for name, text in {**files, "short.yaml": SHORT, "head.yaml": head}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    BACKBONES.names()
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    monkeypatch.setattr(BACKBONES, "_origin", dict(BACKBONES._origin))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _cambench(monkeypatch: pytest.MonkeyPatch, line: str, data: tuple[Path, Path]) -> None:
    where = ["--dataset", "wsol", "--root", str(data[0]), "--metadata", str(data[1]), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["cambench", *line.split(), *where, "--workers", "1"])
    code: object = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code
    assert not code, line


def test_a_transformer_is_trained_and_scored_from_the_command_line(
    page: Path, blobs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[Any]
) -> None:
    net = "--backbone slim_vit --plugin slim_vit.py --evaluate"
    _cambench(monkeypatch, f"train backbone {net} none --recipe short.yaml --out net.safetensors", blobs)
    files = "--branch semantic --weights net.safetensors --out tscam.safetensors"
    _cambench(monkeypatch, f"train head {net} test --recipe head.yaml {files}", blobs)
    shown = capsys.readouterr().out
    assert "top-1 of the semantic head on wsol test" in shown
    assert "top-1 of the softmax head on wsol test" in shown

    body, head = load_file("net.safetensors"), load_file("tscam.safetensors")
    tails = {k: v for k, v in head.items() if ".tail." in f".{k}"}
    assert tails, "the head keeps the block that it reads"
    for key, value in tails.items():
        assert torch.equal(value, body[f"heads.softmax.{key}"]), f"{key} is the trained network's, frozen"

    triples = "--triples slim_vit/{rollout,gradcam,random}/softmax --triples slim_vit/tscam/token_semantic"
    weights = "--weights net.safetensors --head-weights slim_vit:semantic=tscam.safetensors"
    _cambench(monkeypatch, f"run --plugin slim_vit.py {triples} {weights} --limit 4 --out run", blobs)
    manifest = load_run(page / "run").manifest
    network = manifest.backbones["slim_vit"]
    assert network.weights_source == "file net.safetensors"
    assert network.branches["semantic"].provenance == "file tscam.safetensors"
    assert network.feature_layer == "blocks.3.norm1"
    assert {"rollout", "gradcam", "random", "tscam"} <= set(manifest.cams)
