"""Stored maps without their networks: exported and given back, and scored under another protocol."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cambench.bench.engine.planning.config import RunConfig
from cambench.bench.engine.run import run
from cambench.bench.host.errors import RunError, UsageError
from cambench.bench.stored.export_maps import export_maps
from cambench.bench.stored.rescore import rescore
from cambench.bench.stored.stored_requests import ExportMapsRequest, RescoreRequest
from cambench.protocol import PROTOCOLS, MapRule
from cambench.results.records.load import Run, load_run
from cambench.results.scores.merge import merge_runs
from cambench.results.scores.shown import score_run

TRIPLES = ("slim_resnet/{gradcam,gradcam++,center}/softmax",)
CAM = "slim_resnet/gradcam/softmax"
PLUS = "slim_resnet/gradcam++/softmax"

PROTOCOLS.add(
    "test-other",
    PROTOCOLS.get("wsoleval").model_copy(
        update={
            "name": "test-other",
            "map_rule": MapRule(sign="relu", kernel="bilinear", low_res_min_max=True, normalisation="ivr(45)"),
            "loc_threshold": "fixed",
            "loc_reference": "percentile",
            "no_contour": "whole",
            "iou_thresholds": (0.4, 0.6),
            "pointing_tolerance": 3,
        }
    ),
    origin=__name__,
)


@pytest.fixture
def stored(settings: Any) -> Path:
    run(RunConfig.create(**{**settings, "triples": TRIPLES, "protocol": "wsoleval"}))
    return Path(settings["out"])


def same(ours: Run, theirs: Run, triple: str, other: str = "", without: tuple[str, ...] = ()) -> None:
    names = set(ours.columns(triple)) - set(without)
    assert names == set(theirs.columns(other or triple)) - set(without)
    for name in names:
        np.testing.assert_array_equal(ours.column(triple, name), theirs.column(other or triple, name), name)


def test_exported_maps_given_back_have_the_same_scores(settings: Any, stored: Path, tmp_path: Path) -> None:
    said: list[str] = []
    folders = export_maps(ExportMapsRequest(run=stored, out=tmp_path / "maps"), said.append)
    assert folders[0] == tmp_path / "maps" / "slim_resnet" / "gradcam" / "softmax"
    assert np.load(folders[0] / "test" / "000.jpg.npy").shape == (14, 14)
    assert said == [
        "slim_resnet/center/softmax: its maps are masks, which a run takes as they are; given with --maps they are "
        "normalised as all maps are"
    ]
    again = {**settings, "out": tmp_path / "again", "triples": (CAM,), "protocol": "wsoleval"}
    back = run(RunConfig.create(**again, maps={"one": folders[0], "two": folders[1]})).records
    first = load_run(stored)
    same(first, back, CAM, "slim_resnet/one/softmax")
    same(first, back, PLUS, "slim_resnet/two/softmax")
    assert score_run(back).scores["slim_resnet/one/softmax"] == score_run(first).scores[CAM]


def test_pictures_hold_the_map_to_16_bits(stored: Path, tmp_path: Path) -> None:
    from PIL import Image

    (folder,) = export_maps(ExportMapsRequest(run=stored, out=tmp_path, triples=(CAM,), format="png"))
    levels = np.asarray(Image.open(folder / "test" / "003.jpg.png")).astype(float)
    values = load_run(stored).column(CAM, "map")[3].astype(float)
    np.testing.assert_allclose(levels / 65535, (values - values.min()) / np.ptp(values), atol=1e-5)


def test_heads_that_share_a_methods_weights_are_scored_again(settings: Any, tmp_path: Path) -> None:
    """Their methods were asked for the weights, which need a network: all of them were lost."""
    both = {**settings, "triples": ("slim_resnet/gradcam/{softmax,softmax_clamped}",), "protocol": "wsoleval"}
    run(RunConfig.create(**both))
    found = rescore(RescoreRequest(run=Path(both["out"]), protocol="test-other", out=tmp_path / "b"))
    fresh = run(RunConfig.create(**{**both, "protocol": "test-other", "out": tmp_path / "c"})).records
    assert len(found.records.triples) == 2
    for triple in fresh.triples:
        same(found.records, fresh, triple)


def test_a_rescored_run_is_a_fresh_run(settings: Any, stored: Path, tmp_path: Path) -> None:
    found = rescore(RescoreRequest(run=stored, protocol="test-other", out=tmp_path / "b", box_threads=1, workers=1))
    assert not found.said
    fresh = run(
        RunConfig.create(**{**settings, "triples": TRIPLES, "protocol": "test-other", "out": tmp_path / "c"})
    ).records
    assert found.records.triples == fresh.triples
    for triple in fresh.triples:
        same(found.records, fresh, triple)
        assert found.records.manifest.record_key(triple) == fresh.manifest.record_key(triple)
    merged = merge_runs([found.records, fresh])
    assert merged.scores == score_run(fresh).scores


def test_fidelity_stays_only_where_it_is_the_same(stored: Path, tmp_path: Path) -> None:
    other = PROTOCOLS.get("wsoleval").model_copy(update={"name": "test-mean", "fidelity_space": "normalised"})
    PROTOCOLS.add("test-mean", other, origin=__name__)
    found = rescore(RescoreRequest(run=stored, protocol="test-mean", out=tmp_path / "b"))
    assert found.said == ("fidelity is left out: test-mean has another fidelity_space, which needs the network",)
    scores = score_run(found.records).scores[CAM]
    assert "average_drop" not in scores
    assert scores["gt_known_loc"] == score_run(load_run(stored)).scores[CAM]["gt_known_loc"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 192}, "it needs another frame: the networks saw images of 224×224 pixels, test-bad has 192×192"),
        ({"crop_from": 256}, "test-bad has 224×224 pixels, the centre of 256×256"),
        ({"target": "predicted"}, "of 10 maps are of another class than test-bad draws"),
        ({"score_channels": 3}, "its maps were made with score_channels=None"),
    ],
)
def test_what_the_maps_do_not_hold_is_refused(stored: Path, tmp_path: Path, changes: Any, words: str) -> None:
    bad = PROTOCOLS.get("wsoleval").model_copy(update={"name": "test-bad", **changes})
    PROTOCOLS.add("test-bad", bad, origin=__name__)
    with pytest.raises(RunError, match=words):
        rescore(RescoreRequest(run=stored, protocol="test-bad", out=tmp_path / "b", triples=(CAM,)))
    assert not (tmp_path / "b").exists()


def test_dropped_values_and_missing_maps_are_refused(settings: Any, tmp_path: Path) -> None:
    run(RunConfig.create(**{**settings, "triples": (CAM,)}))
    with pytest.raises(RunError, match="keeps negative values, which paper dropped before the maps were stored"):
        rescore(RescoreRequest(run=settings["out"], protocol="wsoleval", out=tmp_path / "b"))
    with pytest.raises(UsageError, match="has no triple slim_vgg"):
        rescore(RescoreRequest(run=settings["out"], protocol="paper", out=tmp_path / "b", triples=("slim_vgg/cam/*",)))
    bare = {**settings, "triples": (CAM,), "keep_maps": False, "out": tmp_path / "bare"}
    run(RunConfig.create(**bare))
    with pytest.raises(RunError, match="gradcam/softmax are not stored; run again with --keep-maps"):
        export_maps(ExportMapsRequest(run=tmp_path / "bare", out=tmp_path / "maps"))


def given_run(settings: Any, folder: Path, **fields: Any) -> Run:
    """A run of signed maps of two sizes, with a network and without: nothing of them is stored."""
    (folder / "test").mkdir(parents=True, exist_ok=True)
    for i in range(10):
        np.save(folder / "test" / f"{i:03d}.npy", np.random.default_rng(i).normal(size=(7 + i % 2, 9)))
    triples = ("slim_resnet/theirs/softmax", "maps/theirs/softmax")
    return run(RunConfig.create(**{**settings, "triples": triples, "maps": {"theirs": folder}, **fields})).records


def test_maps_made_elsewhere_are_read_again_from_their_files(settings: Any, tmp_path: Path) -> None:
    first = given_run(settings, tmp_path / "theirs")
    assert not first.has_column("maps/theirs/softmax", "map")
    found = rescore(RescoreRequest(run=settings["out"], protocol="ivr", out=tmp_path / "b"))
    fresh = given_run(settings, tmp_path / "theirs", protocol="ivr", out=tmp_path / "c")
    triple = "maps/theirs/softmax"
    assert triple in found.records.triples
    same(found.records, fresh, triple)
    assert (first.column(triple, "hits_multi") != fresh.column(triple, "hits_multi")).any()
    (tmp_path / "theirs").rename(tmp_path / "moved")
    for where, words in (
        ({}, "no such folder; say where its files are with --maps theirs=DIR"),
        ({"other": tmp_path}, "has no maps of this name"),
    ):
        with pytest.raises((RunError, UsageError), match=words):
            rescore(RescoreRequest(run=settings["out"], protocol="ivr", out=tmp_path / "d", maps=where))
    moved = RescoreRequest(run=settings["out"], protocol="ivr", out=tmp_path / "d", maps={"theirs": tmp_path / "moved"})
    same(rescore(moved).records, fresh, triple)
    np.save(tmp_path / "moved" / "test" / "003.npy", np.eye(7))
    with pytest.raises(UsageError, match="have changed since the run read them"):
        rescore(moved)
