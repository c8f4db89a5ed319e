"""What fails loses itself alone: methods, metrics and networks of the user, and maps that are not finite."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import cambench
from cambench.baselines.backbones import open_backbone
from cambench.baselines.cams.method import CAMS
from cambench.bench.cli.app import app, main
from cambench.bench.engine.scoring.onepass import OnePass
from cambench.bench.host.errors import RunError
from cambench.bench.notebook.runs import IncompleteRunError, run
from cambench.bench.training.checkpoint import save_network
from cambench.metrics.spec import METRICS
from cambench.results.records.load import load_run
from cambench.results.report.page import write_report
from cambench.results.scores.shown import score_run

GOOD = ("slim_resnet/gradcam/softmax", "slim_resnet/center/softmax")
MINE = "slim_resnet/my_cam/softmax"
HEAD = """
import torch
from cambench import register_cam, register_metric
from cambench.metrics.spec import MetricSpec
"""
BODIES = {
    "raises": ('raise ValueError("no luck")', r"image test/005\.jpg: ValueError: no luck \(my_cam\.py, line 10\)"),
    "exits": ("raise SystemExit(4)", r"image test/005\.jpg: SystemExit: 4 \(my_cam\.py, line 10\)"),
    "shape": (
        "return w[:, :, 0]",
        r"image test/005\.jpg: CAM method 'my_cam' returned weights of shape \(4, 96, 1\); .* \(my_cam\.py, line 6\)",
    ),
    "array": ("return w.numpy()", r"returned a ndarray; expected a tensor"),
    "sparse": ("return w.to_sparse()", r"returned a sparse tensor; expected a dense one"),
    "features in place": (
        "e.features.mul_(0)",
        r"image test/005\.jpg: it changes e\.features in place, which all methods share: e\.features\.clone\(\) first",
    ),
    "gradients in place": (
        "e.gradients.copy_(e.gradients * 2)",
        r"005\.jpg: (it changes e\.gradients in|RuntimeError)",
    ),
    "complex": ("return w.to(torch.complex64)", r"returned complex numbers"),
    "dtype": ("return w > 0", r"CAM method .my_cam. returned a tensor of torch.bool; expected floating-point numbers"),
    "device": ('return w.to("meta")', r"a tensor on meta; expected it on cpu"),
}


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    for registry, name in ((CAMS, "my_cam"), (CAMS, "other"), (METRICS, "my_metric")):
        registry._entries.pop(name, None)
        registry._origin.pop(name, None)


def method(file: Path, body: str, *, only: str = "test/005.jpg") -> Path:
    """A plug-in whose method is Grad-CAM, but for batches that hold an image."""
    lines = f"""
    @register_cam("my_cam")
    def my_cam(e):
        w = e.gradients.mean((-2, -1), keepdim=True)
        if {only!r} in e.image_ids:
            {body}
        return w
    """
    file.write_text(HEAD + "\n" + dedent(lines).strip() + "\n")
    return file


def parts(out: Path, but: str = "my_cam") -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("part-*")) if but not in str(p)}


@pytest.mark.parametrize("case", BODIES)
def test_a_method_that_fails_at_an_image_loses_itself_alone(settings: Any, tmp_path: Path, case: str) -> None:
    body, said = BODIES[case]
    plugin = method(tmp_path / "my_cam.py", body)
    whole = {**settings, "triples": GOOD, "out": tmp_path / "whole"}
    run(**whole)
    fields = {**settings, "triples": (*GOOD, MINE), "plugins": (plugin,)}
    with pytest.raises(IncompleteRunError, match=said) as caught:
        run(**fields)
    assert list(caught.value.lost) == [MINE]
    found = caught.value.result.run
    assert (found.triples, found.pending, len(found.index)) == (list(GOOD), [MINE], 10)
    assert list(found.lost) == [MINE]
    assert parts(settings["out"]) == parts(whole["out"])
    assert (settings["out"] / "tables" / "scores.csv").read_bytes() == (
        whole["out"] / "tables" / "scores.csv"
    ).read_bytes()
    assert not json.loads((settings["out"] / "run.json").read_text())["finished"]


def test_maps_of_another_size_in_a_later_batch_lose_the_method_alone(settings: Any, tmp_path: Path) -> None:
    """They ended the run in a traceback of NumPy."""
    plugin = tmp_path / "my_cam.py"
    plugin.write_text(
        HEAD + '@register_cam("my_cam", returns="map")\ndef my_cam(e):\n    m = e.features.sum(1)\n'
        '    return m[:, :5] if "test/005.jpg" in e.image_ids else m\n'
    )
    with pytest.raises(
        IncompleteRunError, match=r"returned maps of \(5, 14\) cells, and of \(14, 14\) for earlier images"
    ):
        run(**{**settings, "triples": (*GOOD, MINE), "plugins": (plugin,)})
    assert load_run(settings["out"]).triples == list(GOOD)


def test_a_metric_that_changes_its_batch_in_place_loses_itself_alone(settings: Any, tmp_path: Path) -> None:
    plugin = tmp_path / "my_metric.py"
    plugin.write_text(
        HEAD + '@register_metric("my_metric", kind="localisation")\ndef my_metric(b):\n    '
        "return b.maps.mul_(0).sum((1, 2))\n"
    )
    fields = {**settings, "triples": GOOD, "metrics": ("my_metric", "pointing_game"), "plugins": (plugin,)}
    with pytest.raises(
        IncompleteRunError, match="it changes maps of its batch in place, which all metrics read"
    ) as caught:
        run(**fields)
    whole = run(**{**settings, "triples": GOOD, "metrics": ("pointing_game",), "out": tmp_path / "whole"}).run
    for name in whole.columns(GOOD[0]):
        np.testing.assert_array_equal(caught.value.result.run.column(GOOD[0], name), whole.column(GOOD[0], name), name)


def test_a_repaired_method_goes_on_where_it_failed(settings: Any, tmp_path: Path) -> None:
    plugin = method(tmp_path / "my_cam.py", 'raise ValueError("no luck")')
    fields = {**settings, "triples": (*GOOD, MINE), "plugins": (plugin,)}
    with pytest.raises(IncompleteRunError):
        run(**fields)
    before = {p: p.stat().st_mtime_ns for p in settings["out"].rglob("part-*")}
    assert sum("my_cam" in str(p) for p in before) == 1, "the first of three shards was whole"
    method(plugin, "pass")
    found = run(**fields).run
    assert set(found.triples) == {*GOOD, MINE}
    assert not found.lost
    assert not found.problems
    assert {p: p.stat().st_mtime_ns for p in before if "my_cam" not in str(p)} == {
        p: at for p, at in before.items() if "my_cam" not in str(p)
    }, "only the method's own records were made"
    for name in ("o", "degenerate", "hits_multi"):
        np.testing.assert_array_equal(found.column(MINE, name), found.column(GOOD[0], name))
    whole = {**fields, "out": tmp_path / "whole"}
    run(**whole)
    assert parts(settings["out"], "nothing") == parts(whole["out"], "nothing")


@pytest.mark.parametrize("value", ["nan", "inf", "1e300"])
def test_one_cell_that_is_not_finite_is_an_empty_map(settings: Any, tmp_path: Path, value: str) -> None:
    plugin = tmp_path / "my_cam.py"
    plugin.write_text(
        HEAD + '@register_cam("my_cam", returns="map")\ndef my_cam(e):\n    m = e.features.sum(1).double()\n'
        f'    for i, name in enumerate(e.image_ids):\n        if name == "test/005.jpg":\n            '
        f'm[i, 0, 0] = float("{value}")\n    return m\n'
    )
    whole = {**settings, "triples": GOOD, "out": tmp_path / "whole"}
    run(**whole)
    fields = {**settings, "triples": (*GOOD, MINE), "plugins": (plugin,)}
    found = run(**fields).run
    assert found.column(MINE, "degenerate").tolist() == [0] * 5 + [2] + [0] * 4
    assert found.column(MINE, "peak")[5] == 0
    # A black picture is what an empty map leaves of the image, as for the other empty maps.
    assert np.isfinite(found.column(MINE, "o")).all()
    [note] = [n for n in found.notes if "NaN" in n]
    assert note == f"slim_resnet: {MINE} made maps that hold NaN or infinity, scored as empty maps (1 image)"
    settings_said = json.loads((settings["out"] / "run.json").read_text())["settings"]["notes"]
    assert any("my_cam" in note for note in settings_said)
    assert "softmax made maps that hold NaN or infinity" in (settings["out"] / "tables" / "leaderboard.md").read_text()
    assert parts(settings["out"]) == parts(whole["out"])


def test_a_network_too_sure_for_average_drop_keeps_all_other_scores(settings: Any, tmp_path: Path) -> None:
    """Its probability of the label is 0 in float32; the other network and every table are as they are without it."""
    network = open_backbone("slim_resnet")
    with torch.no_grad():
        network.head().linear.weight.mul_(1e4)
    save_network(tmp_path / "sure.safetensors", network, {})
    other, sure = "slim_vgg/gradcam/softmax", GOOD
    fields = {**settings, "protocol": "wsoleval"}
    alone = run(**{**fields, "triples": (other,), "out": tmp_path / "alone"})
    fields |= {"triples": (*sure, other), "weights": {"slim_resnet": tmp_path / "sure.safetensors"}}
    both = run(**fields)
    assert (both.run.column(sure[0], "y") == 0).any()
    [note] = [n for n in both.run.notes if "Average Drop" in n]
    assert note.startswith("slim_resnet: Average Drop is left out, as it is a share of the image's class score, which")
    scores = score_run(both.run).scores
    assert scores[other] == score_run(alone.run).scores[other]
    assert "average_drop" in scores[other]
    assert {"average_drop"} == set(scores[other]) - set(scores[sure[0]])
    table = (settings["out"] / "tables" / "leaderboard.md").read_text()
    assert "Average Drop is left out" in table
    assert "average_drop" not in set(both.compare(*sure, resamples=20).frame["metric"])
    write_report(both.run, tmp_path / "page.html", resamples=20)
    assert (tmp_path / "page.html").stat().st_size > 100_000


def test_a_metric_that_fails_loses_its_column_alone(settings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    plugin = tmp_path / "my_metric.py"

    def metric(body: str) -> None:
        plugin.write_text(
            HEAD + f"def mine(batch):\n    {body}\n    return batch.maps.mean((1, 2))\n"
            'register_metric(MetricSpec("my_metric", "Mine", True, "%", "a test", per_image=mine))\n'
        )

    metric('assert "test/006.jpg" not in batch.image_ids, "not this one"')
    fields = {**settings, "triples": GOOD, "plugins": (plugin,)}
    said = (
        r"metric my_metric: on the maps of slim_resnet/gradcam/softmax, image test/006\.jpg: AssertionError: "
        r"not this one \(my_metric\.py, line 6\)"
    )
    with pytest.raises(IncompleteRunError, match=said) as caught:
        run(**fields)
    found = caught.value.result.run
    assert found.triples == list(GOOD)
    assert "extra:my_metric" not in found.columns(GOOD[0])
    assert "my_metric" not in (settings["out"] / "tables" / "scores.csv").read_text()
    assert "GT-known" in (settings["out"] / "tables" / "scores.md").read_text()
    metric("pass")
    scored = spy_on_scores(monkeypatch)
    found = run(**fields).run
    assert not found.lost
    assert len(found.column(GOOD[0], "extra:my_metric")) == 10
    assert "my_metric" in (settings["out"] / "tables" / "scores.csv").read_text()
    assert not scored, "boxes, pixels and fidelity stay as they are"
    whole = {**fields, "out": tmp_path / "whole"}
    run(**whole)
    assert parts(settings["out"]) == parts(whole["out"])


def spy_on_scores(monkeypatch: Any) -> list[Any]:
    scored: list[Any] = []
    own = OnePass._own_columns
    monkeypatch.setattr(OnePass, "_own_columns", lambda *args: scored.append(args[2]) or own(*args))
    return scored


def test_what_is_repaired_in_a_file_of_several_is_computed_alone(
    settings: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    plugin = tmp_path / "my_cam.py"

    def write(cam: str, metric: str) -> None:
        method(plugin, cam)
        plugin.write_text(
            plugin.read_text() + f"\n\ndef mine(batch):\n    {metric}\n    return batch.maps.mean((1, 2))\n\n"
            '@register_cam("other")\ndef other(e):\n    return e.gradients.mean((-2, -1), keepdim=True)\n\n'
            'register_metric(MetricSpec("my_metric", "Mine", True, "%", "a test", per_image=mine))\n'
        )

    other = "slim_resnet/other/softmax"
    fields = {**settings, "triples": (*GOOD, MINE, other), "plugins": (plugin,)}
    write('raise ValueError("no luck")', "1 / 0")
    with pytest.raises(IncompleteRunError) as caught:
        run(**fields)
    assert set(caught.value.lost) == {MINE, "metric my_metric"}
    scored = spy_on_scores(monkeypatch)
    write("pass", "1 / 0")
    with pytest.raises(IncompleteRunError) as caught:
        run(**fields)
    assert list(caught.value.lost) == ["metric my_metric"]
    assert set(scored) == {MINE}, "the file's other method is as it was"
    scored.clear()
    write("pass", "pass")
    found = run(**fields).run
    assert not found.lost
    assert not scored
    np.testing.assert_array_equal(found.column(MINE, "extra:my_metric"), found.column(other, "extra:my_metric"))
    write("pass", "batch = batch")
    mends = spy_on_scores(monkeypatch)
    run(**fields)
    assert not mends, "an edited metric is computed anew alone"


def test_a_network_that_fails_loses_itself_alone(settings: Any, tmp_path: Path) -> None:
    armed = []

    class Fragile(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if armed and len(x) == 2:
                raise IndexError("two are too few")
            return torch.relu(x[:, :, ::16, ::16])

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 12))
    cambench.wrap(name="fragile", features=Fragile(), head=head, mean=(0.5,) * 3, std=(0.2,) * 3)
    armed.append(True)
    whole = {**settings, "triples": GOOD, "out": tmp_path / "whole"}
    run(**whole)
    fields = {**settings, "triples": ("fragile/{gradcam,center}/softmax", *GOOD)}
    with pytest.raises(IncompleteRunError, match=r"fragile/gradcam/softmax: .*IndexError: two are too few \(test_"):
        run(**fields)
    found = load_run(settings["out"])
    assert found.triples == list(GOOD)
    assert len(found.index) == 10
    assert parts(settings["out"], "fragile") == parts(whole["out"])
    with pytest.raises(RunError, match="nothing could be computed: fragile/gradcam/softmax"):
        run(**{**fields, "triples": fields["triples"][:1], "out": tmp_path / "alone"})


def test_the_command_says_it_in_a_sentence(settings: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    plugin = method(tmp_path / "my_cam.py", 'raise ValueError("no luck")')
    root, metadata = settings["root"], settings["options"]["metadata"]
    words = ["run", "--dataset", "wsol", "--root", root, "--metadata", metadata]
    words += ["--triples", GOOD[1], "--triples", MINE]
    words += ["--out", settings["out"], "--batch-size", "4", "--workers", "1", "--device", "cpu", "--plugin", plugin]
    assert CliRunner().invoke(app, list(map(str, words))).exit_code == 1
    monkeypatch.setattr("sys.argv", ["cambench", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert f"{MINE}: image test/005.jpg: ValueError: no luck (my_cam.py, line 10)" in said.err
    assert "Center" in said.out, "the table of what there is"
    assert "wrote" in said.out
