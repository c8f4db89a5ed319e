"""A cached table says what is on disk, or it is built again: overwritten files, flipped bytes, shared folders."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cambench.datasets.batches.loading import load_batches
from cambench.datasets.doctor.examine import doctor
from cambench.datasets.open import open_table
from cambench.datasets.schema import SampleTable
from cambench.datasets.tables import cache, stamps

CHANGED = "speaks of files that have changed since; it was built again"
DAMAGED = "is damaged: its bytes are not those that were written; it was built again"


@pytest.fixture
def boxes(own_cache: Path, tmp_path: Path) -> Path:
    """Two pictures of 400×300 with a box each."""
    base = tmp_path / "set"
    base.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (400, 300)).save(base / name)
    (base / "b.csv").write_text("image,label,x0,y0,x1,y1\na.png,0,100,100,200,200\nb.png,0,100,100,200,200\n")
    return base


def opened(base: Path, **options: str) -> SampleTable:
    return open_table("folder", base, "test", annotations="b.csv", **options)


def gt_box(table: SampleTable) -> list[int]:
    (batch,) = load_batches(table, [0], 224, 1, 0)
    return batch.gt_boxes[0][0].tolist()


def entry_of(own_cache: Path, name: str = "folder") -> Path:
    (entry,) = (own_cache / "datasets" / name).iterdir()
    return entry


def test_an_image_overwritten_in_place_gives_its_own_box(boxes: Path) -> None:
    first = opened(boxes)
    assert gt_box(first) == [56, 74, 112, 149]
    Image.new("RGB", (800, 600)).save(boxes / "a.png")
    second = opened(boxes)
    assert second.rows[0]["width"] == 800
    assert gt_box(second) == [28, 37, 56, 74]
    assert any(CHANGED in w for w in second.warnings)
    assert second.fingerprint != first.fingerprint
    assert not any("built again" in w for w in opened(boxes).warnings)


def test_a_label_file_edited_in_place_in_a_folder_below(own_cache: Path, tmp_path: Path) -> None:
    """Only the uppermost folder of labels was looked at: labels/train, as Ultralytics has it, gave its old boxes."""
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder / "train").mkdir(parents=True)
    Image.new("RGB", (100, 100)).save(tmp_path / "set" / "images" / "train" / "a.png")
    label = tmp_path / "set" / "labels" / "train" / "a.txt"
    found = []
    for side in ("0.4", "0.6"):
        label.write_text(f"0 0.5 0.5 {side} {side}\n")
        # Tools may give an edited file its old time back.
        os.utime(label, ns=(10**18, 10**18))
        table = open_table("folder", tmp_path / "set", annotations="labels", images="images")
        found.append(table.rows[0]["boxes"][0])
    assert found == [pytest.approx([30, 30, 70, 70]), pytest.approx([20, 20, 80, 80])]


def test_a_change_of_the_time_alone_is_noticed(boxes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number of bytes: an editor that keeps the size of a BMP."""
    first = opened(boxes)
    os.utime(boxes / "b.png", ns=(0, 1_000_000_000))
    second = opened(boxes)
    assert any(CHANGED in w for w in second.warnings)
    assert second.fingerprint == first.fingerprint


def test_masks_are_watched_too(own_cache: Path, cub_replica: Path, cub_masks: Path) -> None:
    first = open_table("cub", cub_replica)
    mask = Path(first.rows[0]["masks"][0]["path"])
    mask.write_bytes(mask.read_bytes() + b"\0")
    assert any(CHANGED in w for w in open_table("cub", cub_replica).warnings)


def test_files_written_while_the_table_was_built_are_looked_at_again(
    boxes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(boxes / "b.png", ns=(2**62, 2**62))
    assert gt_box(opened(boxes)) == [56, 74, 112, 149]
    assert any(CHANGED in w for w in opened(boxes).warnings)


@pytest.mark.parametrize("file", [cache.ROWS, cache.META])
def test_any_flipped_byte_is_noticed(own_cache: Path, boxes: Path, file: str) -> None:
    first = opened(boxes)
    rows, fingerprint = first.rows[:], first.fingerprint
    del first
    path = entry_of(own_cache) / file
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(whole), 12).tolist():
        if whole[at] in b" \n":
            continue
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        table = opened(boxes)
        assert table.rows[:] == rows
        assert table.fingerprint == fingerprint
        told = [w for w in table.warnings if "built again" in w]
        assert len(told) == 1, at
        assert DAMAGED in told[0] or CHANGED in told[0]
        assert not opened(boxes).facts["findings"] or not any("built again" in w for w in opened(boxes).warnings)


def test_a_label_changed_with_the_description_intact(own_cache: Path, boxes: Path) -> None:
    opened(boxes)
    path = entry_of(own_cache) / cache.META
    meta = json.loads(path.read_text())
    meta["class_names"] = ["another"]
    path.write_text(json.dumps(meta, indent=1))
    table = opened(boxes)
    assert table.class_names == ("0",)
    assert any(DAMAGED in w for w in table.warnings)


def test_the_doctor_shows_it(own_cache: Path, boxes: Path) -> None:
    opened(boxes)
    (entry_of(own_cache) / cache.ROWS).write_bytes(b"junk")
    (report,) = doctor("folder", boxes, splits=("test",), annotations="b.csv").splits
    assert any(DAMAGED in f.what for f in report.findings)


def test_large_tables_are_sampled_evenly(boxes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "LIMIT", 1)
    table = opened(boxes)
    stamp = stamps.stamp_files(table.rows)
    assert (stamp["compared"], stamp["of"]) == (1, 2)


def test_a_cache_that_others_may_write_to_is_said_once(
    own_cache: Path, boxes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_told", set())
    own_cache.mkdir(mode=0o700)
    assert not any("other users" in w for w in opened(boxes).warnings)
    own_cache.chmod(0o777)
    (told,) = (f for f in opened(boxes).facts["findings"] if "other users" in f["what"])
    assert told["what"].startswith(f"the cache folder {own_cache} may be written by other users")
    assert not any("other users" in w for w in opened(boxes).warnings)


@pytest.mark.parametrize(("mode", "open_to_others"), [(0o700, False), (0o755, False), (0o757, True), (0o1777, True)])
def test_who_may_write(tmp_path: Path, mode: int, open_to_others: bool) -> None:
    tmp_path.chmod(mode)
    assert stamps.others_may_write(tmp_path) is open_to_others
