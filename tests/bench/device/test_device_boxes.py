"""The box engine of a run on an accelerator: equal records, its proof on the first batch, and what is recorded."""

import numpy as np
import pytest
import torch
from map_kinds import make_map
from simulated_device import SIM

from cambench.bench.engine.scoring import pass_boxes as run_boxes
from cambench.bench.engine.scoring.clock import StageClock
from cambench.bench.engine.scoring.pass_boxes import BoxEngine, Boxes
from cambench.bench.notebook.runs import run
from cambench.metrics.functional.boxes import level_ious
from cambench.metrics.functional.host_copies import HostCopies
from cambench.metrics.functional.localisation import pack_hits
from cambench.triple import Triple

TRIPLES = ("slim_resnet/{gradcam,gradcam++,layercam}/softmax",)
IOUS = (0.3, 0.5, 0.7)


def parts(out):
    return {p.relative_to(out): p.read_bytes() for p in sorted((out / "records").rglob("*.parquet"))}


def test_records_are_the_same_whichever_engine(settings):
    settings |= {"triples": TRIPLES}
    run(**settings)
    other = settings["out"].with_name("tensor")
    found = run(**{**settings, "box_engine": "tensor", "out": other})
    assert parts(other) == parts(settings["out"])
    made = found.run.manifest.settings
    assert made["box_engine"] == "tensor"
    assert sum(made["boxes_by"].values()) == 30
    assert made["boxes_by"]["tensor"] > 15


def test_an_engine_that_is_wrong_is_found_out_and_left(settings, simulated, monkeypatch):
    settings |= {"triples": TRIPLES}
    run(**settings)
    right = run_boxes.device_curves

    def broken(levels, truth, engine):
        curves, served = right(levels, truth, engine)
        # One bit of one level of one map.
        curves[1, 2, 100] = curves[1, 2, 100] + 2**-40
        return curves, served

    monkeypatch.setattr(run_boxes, "device_curves", broken)
    there = settings["out"].with_name("sim")
    with pytest.warns(
        RuntimeWarning, match="'tensor' differs from the CPU's on 1 of [34] maps.*computed on the CPU from"
    ):
        found = run(**{**settings, "device": "sim", "out": there})
    assert (there / "tables" / "scores.csv").read_bytes() == (settings["out"] / "tables" / "scores.csv").read_bytes()
    assert found.run.manifest.settings["boxes_by"] == {"cpu": 30}
    assert any("differs from the CPU's" in note for note in found.run.manifest.settings["notes"])


def test_an_engine_that_fails_loses_no_map(settings, simulated, monkeypatch):
    def fails(levels, truth, engine):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(run_boxes, "device_curves", fails)
    with pytest.warns(RuntimeWarning, match=r"'tensor' failed \(no kernel image is available\): boxes are computed on"):
        found = run(**{**settings, "triples": TRIPLES, "device": "sim"})
    assert found.run.manifest.settings["boxes_by"] == {"cpu": 30}


@pytest.mark.parametrize("no_contour", ["zero", "whole"])
def test_crowded_maps_go_to_the_cpu_in_the_same_batch(simulated, no_contour):
    rng = np.random.default_rng(8)
    levels = torch.from_numpy(np.stack([make_map(kind, rng, 64, 64) for kind in ("cam", "noise", "zero")]))
    gt = [np.array([[3, 4, 40, 50], [1, 1, 9, 9]]), np.array([[0, 0, 30, 30]]), np.zeros((0, 4), np.int64)]
    expected = level_ious(levels, gt, no_contour=no_contour, engine="cpu")
    boxes = Boxes(BoxEngine("auto", SIM), 1, no_contour, IOUS, StageClock(torch.device("cpu")))
    names = [Triple("net", cam, "softmax") for cam in ("cam", "gradcam")]
    try:
        for proved in (False, True):
            assert boxes.engine.proved is proved
            work = boxes.batch(gt)
            for name in names:
                work.add(name, levels.to(SIM))
            copied = {}
            for (name, column), values in HostCopies(work.on_device()).wait().items():
                copied.setdefault(name, {})[column] = values.numpy()
            for name in names:
                found = work.finish(name, copied[name])
                for rule in ("multi", "single", "single_first"):
                    assert np.array_equal(found[f"hits_{rule}"], pack_hits(getattr(expected, rule), IOUS).numpy())
            tally = boxes.engine.since()
            assert dict(tally.served) == {"tensor": 4, "cpu": 2}
            assert not tally.notes
    finally:
        boxes.pool.close()


def test_a_device_without_float64_is_said_once():
    engine = BoxEngine("tensor", torch.device("mps"))
    assert engine.name == "cpu"
    assert "boxes are computed on the CPU: level_ious: mps has no float64" in str(engine.since().notes)
    assert not engine.since().notes


def test_an_engine_that_is_missing_makes_way_for_the_next_best(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for device, name, said in [("cpu", "cpu", "on the CPU"), ("xpu", "tensor", "by the engine 'tensor'")]:
        engine = BoxEngine("triton", torch.device(device))
        assert engine.name == name
        (note,) = engine.since().notes
        assert note.startswith(f"boxes are computed {said}: level_ious: the engine 'triton' needs ")
