"""Tar shards of samples, as the WebDataset library writes them, beside the same pictures in folders."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from cambench.datasets.adapters.webdataset import split_in
from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError, MissingSplitError

WNID = "n01440764"


def picture(seed, size=(40, 30)):
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def shard(path, samples):
    """A tar of samples: key -> ending -> bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, members in samples.items():
            for ending, data in members.items():
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def described(label, filename=""):
    return json.dumps({"label": label, "filename": filename, "height": 30, "width": 40}).encode()


@pytest.fixture
def shards(tmp_path):
    """Two validation shards and one of train; labels in .cls, in .json, and in both."""
    folder = tmp_path / "shards"
    one = {f"a{i}": {"jpg": picture(i), "cls": str(i % 2).encode(), "seg.png": b"no picture of it"} for i in range(3)}
    two = {f"b/c{i}": {"json": described(i % 2, f"ILSVRC2012_val_{i:08d}.JPEG"), "jpg": picture(9 + i)} for i in (0, 1)}
    shard(folder / "set-validation-00.tar", one)
    shard(folder / "set-validation-01.tar", two)
    shard(folder / "set-train-0000.tar", {"t": {"jpg": picture(99), "cls": b"1"}})
    return folder


def test_samples_are_those_of_the_same_pictures_in_folders(shards, tmp_path):
    table = open_table("webdataset", shards)
    assert table.rows["image_id"] == ["a0", "a1", "a2", "b/c0", "b/c1"]
    assert table.rows["label"] == [0, 1, 0, 0, 1]
    assert len(open_table("webdataset", shards, "train")) == 1
    for key, label, seed in zip(table.rows["image_id"], table.rows["label"], (0, 1, 2, 9, 10), strict=True):
        file = tmp_path / "folders" / str(label) / f"{key.replace('/', '_')}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(seed))
    plain = open_table("folder", tmp_path / "folders")
    order = [name.rpartition("/")[2] for name in plain.rows["image_id"]]
    (theirs,) = load_batches(plain, range(5), 24, 8, 0)
    rows = [order.index(f"{key.replace('/', '_')}.jpg") for key in table.rows["image_id"]]
    (ours,) = load_batches(table, range(5), 24, 8, 0)
    assert torch.equal(ours.images, theirs.images[rows])
    assert torch.equal(ours.labels, theirs.labels[rows])


def test_kaggles_boxes_join_by_the_pictures_name(shards, tmp_path):
    listed = "\n".join(f"ILSVRC2012_val_{i:08d},{WNID} {i} 2 30 20 {WNID} 1 1 5 5" for i in range(2))
    solution = tmp_path / "LOC_val_solution.csv"
    solution.write_text(f"ImageId,PredictionString\n{listed}\n")
    table = open_table("webdataset", shards, labels="network", boxes=str(solution))
    assert table.has_boxes
    assert table.rows["boxes"][:3] == [[], [], []]
    assert table.rows["boxes"][4] == [[1, 2, 30, 20], [1, 1, 5, 5]]
    assert any("3 samples have no box" in str(f) for f in table.facts["findings"])
    solution.write_text(f"ImageId,PredictionString\nother,{WNID} 1 2 3 4\n")
    with pytest.raises(DatasetError, match=r"no sample's name is listed, neither its key nor `filename`"):
        open_table("webdataset", shards, boxes=str(solution))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("imagenet1k-train-0000.tar", "train"),
        ("imagenet-val-000000.tar", "val"),
        ("imagenet1k-validation-00.tar", "val"),
        ("test/0.tar", "test"),
        ("train/shard_00.tar.gz", "train"),
        ("training_data/validation-1.tar", "val"),
        ("contrast-00.tar", None),
    ],
)
def test_splits_are_said_by_words(name, split):
    assert split_in(name) == split


def test_validation_shards_are_val_where_some_are_called_test(shards):
    with pytest.raises(MissingSplitError, match="no shard of val below .* the validation shards are the split test"):
        open_table("webdataset", shards, "val")
    shard(shards / "set-test-00.tar", {"u": {"jpg": picture(3), "cls": b"0"}})
    assert open_table("webdataset", shards).rows["image_id"] == ["u"]
    assert len(open_table("webdataset", shards, "val")) == 5


def test_pictures_without_labels(tmp_path):
    shard(tmp_path / "0.tar", {"x": {"png": picture(0)}, "y": {"webp": picture(1)}})
    table = open_table("webdataset", tmp_path / "0.tar")
    assert table.rows["label"] == [-1, -1]
    assert table.facts["label_space"] == "none"


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ({"x": {"jpg": picture(0), "cls": b"1"}, "y": {"jpg": picture(1)}}, "1 samples have no label: y"),
        ({"x": {"jpg": picture(0), "cls": b"1.5"}}, "labels must be whole numbers or names; found the numbers 1.5"),
        ({"x": {"jpg": picture(0), "json": b"{broken"}}, "1 samples' labels cannot be read: x"),
        ({"x": {"jpg": picture(0), "cls": b"\xff\xfe"}}, "1 samples' labels cannot be read: x"),
    ],
)
def test_damaged_samples_are_said(samples, said, tmp_path):
    shard(tmp_path / "0.tar", samples)
    with pytest.raises(DatasetError) as error:
        open_table("webdataset", tmp_path)
    assert said in " ".join(str(error.value).split())


def test_what_is_no_shard_is_said(shards, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="webdataset: no tar file below"):
        open_table("webdataset", tmp_path / "empty")
    whole = (shards / "set-validation-01.tar").read_bytes()
    (shards / "set-validation-01.tar").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DatasetError, match=r"set-validation-01\.tar: not a complete tar archive"):
        open_table("webdataset", shards)
    shard(shards / "set-validation-01.tar", {"a0": {"jpg": picture(0), "cls": b"0"}})
    with pytest.raises(DatasetError, match="1 keys occur more than once"):
        open_table("webdataset", shards)
