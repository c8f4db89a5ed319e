"""``cambench time --stage load``: what is measured and shown, and what stops it. No figure is asserted."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cambench.bench.cli.app import app
from cambench.bench.engine.planning.config import RunConfig
from cambench.bench.host.errors import RunError
from cambench.bench.timing import stage_times as timing
from cambench.bench.timing.load_times import LOAD_BATCHES
from cambench.bench.timing.stage_times import show_timings, time_pass


def timed(triples, *, stage, batches, **fields):
    return time_pass(RunConfig.create(triples=triples, out="out", **fields), stage=stage, batches=batches)


@pytest.fixture
def call(blobs):
    root, metadata = blobs
    return {
        "dataset": "wsol", "root": root, "options": {"metadata": str(metadata)}, "stage": "load", "batch_size": 2,
        "batches": 2, "device": "cpu", "dtype": "float32", "protocol": "paper", "pretrained": False,
    }  # fmt: skip


def test_load_and_forward_are_measured_in_turns(call):
    report = timed(["slim_resnet/gradcam/softmax", "slim_vgg/gradcam/softmax"], **call)
    assert list(report.load) == ["slim_resnet", "slim_vgg"]
    for name, load in report.load.items():
        assert load.rounds == 2
        assert load.images_per_s > 0
        assert load.forward_images_per_s > 0
        assert load.ratio == report.load_forwards[name]
        assert load.ratio > 0
    assert report.load_images_per_s == report.load["slim_vgg"].images_per_s
    assert not report.timings.backbones


def test_every_round_starts_the_pipeline_anew(call, monkeypatch):
    seen = []
    real = timing.load_rate

    def record(table, config, first, batches):
        seen.append((first, batches))
        return real(table, config, first, batches)

    monkeypatch.setattr("cambench.bench.timing.stage_times.load_rate", record)
    monkeypatch.setattr("cambench.bench.timing.load_times.load_rate", record)
    timed(["slim_resnet/gradcam/softmax"], **call)
    step = LOAD_BATCHES * 2
    assert seen[2:] == [(0, LOAD_BATCHES), (step, LOAD_BATCHES), (2 * step, LOAD_BATCHES)]


def test_an_unreadable_image_stops_the_timing_with_its_name(call):
    (call["root"] / "test" / "000.jpg").write_bytes(b"no image")
    with pytest.raises(RunError, match=r"test/000\.jpg cannot be read; time on readable images"):
        timed(["slim_resnet/gradcam/softmax"], **call)


def test_command_shows_both_rates_and_their_ratio(blobs, tmp_path, monkeypatch):
    root, metadata = blobs
    monkeypatch.setattr("cambench.bench.cli.time.out.width", 200)
    words = ["time", "--stage", "load", "--triples", "slim_resnet/gradcam/softmax", "--no-pretrained", "--dataset"]
    words += ["wsol", "--root", root, "--metadata", metadata, "--batch-size", "2", "--batches", "2"]
    result = CliRunner().invoke(app, [*map(str, words), "--device", "cpu", "--out", str(tmp_path / "t.json")])
    assert result.exit_code == 0, result.output
    for head in ("wsol at 224×224", "load, images/s", "forward, images/s", "load / forward"):
        assert head in result.output
    written = json.loads((tmp_path / "t.json").read_text())
    assert f"{written['load']['slim_resnet']['ratio']:.1f}" in result.output


def test_the_whole_pass_still_names_the_pipelines_rate(call, capsys):
    from rich.console import Console

    report = timed(["slim_resnet/gradcam/softmax"], **{**call, "stage": "all"})
    assert report.load == {}
    show_timings(report, Console(width=200))
    shown = capsys.readouterr().out
    assert "input pipeline alone" in shown
    assert shown.rstrip().splitlines()[-1] == f"slim_resnet: {report.bottleneck['slim_resnet']}"
    assert report.load_forwards["slim_resnet"] > 0
