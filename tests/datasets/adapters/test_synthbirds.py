"""synthbirds as a data set: schema, determinism, cache."""

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cambench.datasets.adapters.synthbirds.species import CLASS_NAMES
from cambench.datasets.adapters.synthbirds.synthbirds import COUNTS, load
from cambench.datasets.adapters.synthbirds.worker import CHUNK, Job, draw_row, draw_rows
from cambench.datasets.schema import DATASETS, DatasetError, SampleTable, sample_features

SMALL = {"size": 64, "count": 26}

LOAD_IN_ANOTHER_PROCESS = """
import sys
from cambench.datasets.adapters.synthbirds.synthbirds import load
print(load(None, "val", {"size": 64, "count": 26}).fingerprint)
"""


@pytest.fixture
def bird_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "datasets" / "synthbirds").iterdir())


def start_loader(cache: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "CAMBENCH_CACHE": str(cache)}
    return subprocess.Popen([sys.executable, "-c", LOAD_IN_ANOTHER_PROCESS], env=env, stdout=subprocess.PIPE, text=True)


def test_it_is_registered_and_needs_no_folder() -> None:
    spec = DATASETS.get("synthbirds")
    assert not spec.needs_root
    assert spec.num_classes == 12
    assert dict(spec.counts) == {"train": 2400, "val": 240, "test": 300}
    assert set(spec.metrics) == {"boxes", "masks", "evidence"}
    assert all(count % 12 == 0 for count in COUNTS.values())


def test_rows_follow_the_schema(bird_cache: Path) -> None:
    table = load(None, "test", SMALL)
    assert isinstance(table, SampleTable)
    assert table.rows.features == sample_features(list(CLASS_NAMES))
    assert (len(table), table.has_boxes, table.has_masks, table.has_evidence) == (26, True, True, True)
    assert len(set(table.rows["image_id"])) == 26
    for row in table.rows:
        picture = Image.open(io.BytesIO(row["image"]["bytes"]))
        mask = np.asarray(Image.open(io.BytesIO(row["masks"][0]["bytes"])))
        evidence = np.asarray(Image.open(io.BytesIO(row["evidence"]["bytes"])))
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (64, 64))
        assert (row["width"], row["height"], row["ignore"]) == (64, 64, None)
        assert mask.shape == evidence.shape == (64, 64)
        ys, xs = np.nonzero(mask)
        assert row["boxes"] == [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]
        assert not ((evidence > 0) & (mask == 0)).any()


def test_the_same_bytes_in_another_process_and_from_the_cache(bird_cache: Path, tmp_path: Path) -> None:
    other = start_loader(tmp_path / "other")
    table = load(None, "val", SMALL)
    again = load(None, "val", SMALL)
    assert other.communicate()[0].strip() == table.fingerprint == again.fingerprint
    ours, theirs = (next(e.glob("rows.arrow")) for c in (bird_cache, tmp_path / "other") for e in entries(c))
    assert hashlib.sha256(ours.read_bytes()).digest() == hashlib.sha256(theirs.read_bytes()).digest()
    assert len(entries(bird_cache)) == 1


def test_a_row_does_not_depend_on_order_workers_or_count() -> None:
    job = Job(seed=3, split="train", side=48, count=2 * CHUNK + 1)
    alone, together = ([row for chunk in draw_rows(job, workers) for row in chunk] for workers in (1, 2))
    assert alone == together
    assert len(alone) == job.count
    assert draw_row(Job(3, "train", 48, 999), 20) == alone[20]


def test_seed_split_and_index_change_the_picture() -> None:
    base = draw_row(Job(0, "test", 48, 99), 0)["image"]["bytes"]
    others = [
        draw_row(Job(1, "test", 48, 99), 0)["image"]["bytes"],
        draw_row(Job(0, "val", 48, 99), 0)["image"]["bytes"],
        draw_row(Job(0, "test", 48, 99), 12)["image"]["bytes"],
    ]
    assert len({base, *others}) == 4


def test_the_fingerprint_covers_what_was_asked(bird_cache: Path) -> None:
    small = {"size": 32, "count": 3}
    asked = [small, {**small, "seed": 1}, {**small, "count": 4}, {**small, "size": 33}]
    prints = {load(None, "test", o).fingerprint for o in asked} | {load(None, "val", small).fingerprint}
    assert len(prints) == 5
    assert load(None, "test", {"size": "32", "count": "3"}).fingerprint == load(None, "test", small).fingerprint


def test_the_drawing_is_said_once(bird_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(None, "val", {"size": 32, "count": 3})
    assert capsys.readouterr().err.splitlines()[0] == "drawing synthbirds val, once: 3 images"
    load(None, "val", {"size": 32, "count": 3})
    assert not capsys.readouterr().err


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no description", "garbled description", "no rows"])
def test_a_damaged_cache_is_drawn_again(bird_cache: Path, damage: str) -> None:
    small = {"size": 32, "count": 5}
    before = load(None, "test", small).fingerprint
    (entry,) = entries(bird_cache)
    rows, meta = entry / "rows.arrow", entry / "meta.json"
    content = rows.read_bytes()
    if damage == "truncated":
        rows.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 2
        rows.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif damage == "no description":
        meta.unlink()
    elif damage == "garbled description":
        meta.write_text(json.dumps({"rows": 5}))
    else:
        rows.unlink()
    table = load(None, "test", small)
    assert table.fingerprint == before
    assert len(table.rows) == 5
    assert rows.read_bytes() == content
    assert entries(bird_cache) == [entry]


def test_two_processes_may_start_at_once(bird_cache: Path) -> None:
    loaders = [start_loader(bird_cache) for _ in range(2)]
    printed = [loader.communicate()[0].strip() for loader in loaders]
    assert [loader.returncode for loader in loaders] == [0, 0]
    assert printed[0] == printed[1] == load(None, "val", SMALL).fingerprint
    assert len(entries(bird_cache)) == 1


def test_an_interrupted_drawing_leaves_nothing_behind(bird_cache: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert (done, total) == (CHUNK, 26)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(None, "test", {**SMALL, "on_progress": stop})
    assert entries(bird_cache) == []


def test_progress_is_told(bird_cache: Path) -> None:
    told: list[tuple[int, int]] = []
    load(None, "test", {**SMALL, "on_progress": lambda done, total: told.append((done, total))})
    assert told == [(12, 26), (24, 26), (26, 26)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sede": 1}, "no option 'sede'; did you mean 'seed'"),
        ({"seed": -1}, "seed=-1; expected a whole number from 0"),
        ({"size": "big"}, "size='big'; expected a whole number from 32 to 1024"),
        ({"count": 0}, "count=0; expected a whole number from 1"),
        ({"count": 2.5}, "count=2.5"),
    ],
)
def test_bad_options_are_explained(bird_cache: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load(None, "test", options)


def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("CAMBENCH_CACHE", str(blocked))
    with pytest.raises(DatasetError, match="CAMBENCH_CACHE"):
        load(None, "test", {"size": 32, "count": 2})
