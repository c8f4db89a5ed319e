"""ImageNet as publishers pack it: the tar of tars, the Hugging Face hub's Parquet shards, boxes in their archives."""

from __future__ import annotations

import io
import shutil
import tarfile

import datasets as hf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError, MissingSplitError

pytestmark = pytest.mark.usefixtures("own_cache")
WNIDS, LABELS = ("n01440764", "n01443537", "n15075141"), (0, 1, 999)


def pack_train(base):
    with tarfile.open(base / "ILSVRC2012_img_train.tar", "w") as outer:
        for folder in sorted((base / "train").iterdir(), reverse=True):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for path in sorted(folder.iterdir()):
                    tar.add(path, arcname=path.name)
            info = tarfile.TarInfo(f"{folder.name}.tar")
            info.size = len(inner.getvalue())
            outer.addfile(info, io.BytesIO(inner.getvalue()))


def pixels(table):
    return next(load_batches(table, range(len(table)), 32, len(table), 2)).images.numpy()


@pytest.mark.parametrize("kind", ["tar", "shards"])
def test_packed_train_gives_the_rows_of_the_folders(imagenet_replica, hub_shards, kind):
    imagenet_replica.train()
    base = imagenet_replica.base
    splits = (("train", {}), ("val", {"val_fraction": 0.4}), ("train", {"train": "minus_val"}))
    expected = [open_table("imagenet", base, split, **options) for split, options in splits]
    wanted = [pixels(t) for t in expected]
    if kind == "tar":
        pack_train(base)
    else:
        every = [(p, LABELS[WNIDS.index(p.parent.name)]) for p in sorted((base / "train").rglob("*.JPEG"))]
        hub_shards(base, "train", every)
    shutil.rmtree(base / "train")
    for (split, options), peer, images in zip(splits, expected, wanted, strict=True):
        table = open_table("imagenet", base, split, **options)
        assert "read in place" in table.facts["variant"]
        assert table.rows["image_id"] == peer.rows["image_id"]
        assert table.rows["label"] == peer.rows["label"]
        assert np.array_equal(pixels(table), images)
    assert sorted(p.name for p in base.iterdir()) == (["ILSVRC2012_img_train.tar"] if kind == "tar" else ["data"])


def test_damaged_train_tar(imagenet_replica):
    imagenet_replica.train()
    pack_train(imagenet_replica.base)
    shutil.rmtree(imagenet_replica.base / "train")
    path = imagenet_replica.base / "ILSVRC2012_img_train.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DatasetError, match=r"ILSVRC2012_img_train\.tar: not a complete tar archive .*unfinished"):
        open_table("imagenet", imagenet_replica.base, "train")
    inner = whole.index(b"n01440764_0.JPEG") + 124
    path.write_bytes(whole[:inner] + b"77777777777" + whole[inner + 11 :])
    with pytest.raises(DatasetError, match=r"\(the tar at byte [\d,]+\): not a complete tar archive"):
        open_table("imagenet", imagenet_replica.base, "train")
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("cats.tar"))
    with pytest.raises(DatasetError, match=r"1 tars are no wnids: cats"):
        open_table("imagenet", imagenet_replica.base, "train")


@pytest.fixture
def hub_validation(imagenet_replica, hub_shards):
    imagenet_replica.flat()
    base = imagenet_replica.base
    files = [
        (base / "val" / f"{s}.JPEG", n) for s, n in zip(imagenet_replica.stems, imagenet_replica.labels, strict=True)
    ]
    hub_shards(base, "validation", files)
    imagenet_replica.solution()
    expected = open_table("imagenet", base)
    images = pixels(expected)
    shutil.rmtree(base / "val")
    return imagenet_replica, expected, images


def test_the_hubs_validation_shards(hub_validation):
    replica, expected, images = hub_validation
    table = open_table("imagenet", replica.base.parent)
    assert table.facts["variant"] == "Hugging Face hub's shards read in place, LOC_val_solution.csv boxes"
    for column in ("image_id", "label", "boxes", "width", "height"):
        assert table.rows[column] == expected.rows[column]
    assert np.array_equal(pixels(table), images)
    (replica.base / "LOC_val_solution.csv").unlink()
    assert not open_table("imagenet", replica.base).has_boxes


def test_damaged_shards(hub_validation):
    replica, _, _ = hub_validation
    first, second = sorted((replica.base / "data").iterdir())
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"validation-00001-of-00002\.parquet: not a complete Parquet shard"):
        open_table("imagenet", replica.base)
    second.unlink()
    with pytest.raises(DatasetError, match=r"1 of 2 shards validation-… are missing.*validation-00001-of-00002"):
        open_table("imagenet", replica.base)
    hf.Dataset.from_dict({"text": ["a"]}).to_parquet(second)
    with pytest.raises(DatasetError, match="not a complete Parquet shard with image and label"):
        open_table("imagenet", replica.base)
    second.write_bytes(whole)
    table = open_table("imagenet", replica.base)
    first.write_bytes(b"gone")
    batch = next(load_batches(table, range(6), 32, 6, 2))
    assert len(batch) == 3
    assert "cannot be read" in batch.failures[0].reason


def test_names_that_carry_their_wnid_label_a_flat_folder(imagenet_replica):
    imagenet_replica.flat()
    for stem, label in zip(imagenet_replica.stems, imagenet_replica.labels, strict=True):
        path = imagenet_replica.base / "val" / f"{stem}.JPEG"
        path.rename(path.with_name(f"{stem}_{WNIDS[LABELS.index(label)]}.JPEG"))
    table = open_table("imagenet", imagenet_replica.base)
    assert table.rows["image_id"] == [f"val/{s}.JPEG" for s in imagenet_replica.stems]
    assert table.rows["label"] == imagenet_replica.labels


def test_validation_boxes_in_their_archive(imagenet_replica):
    imagenet_replica.by_class()
    imagenet_replica.xml("val_xml/val")
    base = imagenet_replica.base
    expected = open_table("imagenet", base, boxes=base / "val_xml" / "val").rows["boxes"]
    with tarfile.open(base / "ILSVRC2012_bbox_val_v3.tgz", "w:gz") as tar:
        tar.add(base / "val_xml" / "val", arcname="val")
    shutil.rmtree(base / "val_xml")
    table = open_table("imagenet", base)
    assert table.rows["boxes"] == expected
    assert table.facts["variant"] == "wnid folders, XML boxes"


XML = "<annotation><size><width>40</width><height>30</height></size>{}</annotation>"
BOX = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>20</xmax><ymax>25</ymax></bndbox></object>"


def write_train_xml(folder):
    """Boxes of the first two images of each class: one, and two."""
    for wnid in WNIDS:
        (folder / wnid).mkdir(parents=True)
        for i in range(2):
            text = XML.format("".join(BOX.format(wnid, 1 + k) for k in range(i + 1)))
            (folder / wnid / f"{wnid}_{i}.xml").write_text(text)


@pytest.mark.parametrize("place", ["Annotations/CLS-LOC/train", "ILSVRC2012_bbox_train_v2", "archive", "elsewhere"])
def test_training_boxes(imagenet_replica, place):
    imagenet_replica.train()
    base = imagenet_replica.base
    write_train_xml(base / ("packed" if place == "archive" else place))
    if place == "archive":
        with tarfile.open(base / "ILSVRC2012_bbox_train_v2.tar.gz", "w:gz") as tar:
            for wnid in WNIDS:
                tar.add(base / "packed" / wnid, arcname=wnid)
        shutil.rmtree(base / "packed")
    assert len(open_table("imagenet", base, "train")) == 15
    option = base / place if place == "elsewhere" else "on"
    table = open_table("imagenet", base, "train", train_boxes=option)
    assert table.rows["image_id"] == [f"train/{w}/{w}_{i}.JPEG" for w in WNIDS for i in range(2)]
    one, two = [1.0, 2.0, 20.0, 25.0], [2.0, 2.0, 20.0, 25.0]
    assert table.rows["boxes"] == [[one], [one, two]] * 3
    assert set(table.rows["width"]) == {40}
    assert table.has_boxes
    assert any("6 of 15 training images have boxes" in n for n in table.notes)
    val = open_table("imagenet", base, "val", train_boxes=option, val_fraction=0.5)
    assert (len(val), val.has_boxes) == (3, True)


def test_training_boxes_that_are_not_there_or_damaged(imagenet_replica):
    imagenet_replica.train()
    base = imagenet_replica.base
    with pytest.raises(DatasetError, match=r"train_boxes=on, but there is none of .*ILSVRC2012_bbox_train_v2\.tar\.gz"):
        open_table("imagenet", base, "train", train_boxes="on")
    with pytest.raises(DatasetError, match="train_boxes=.*nowhere: no such folder or archive"):
        open_table("imagenet", base, "train", train_boxes=base / "nowhere")
    write_train_xml(base / "bbox_train")
    (base / "bbox_train" / WNIDS[0] / f"{WNIDS[0]}_0.xml").write_text("<annotation>")
    (base / "bbox_train" / WNIDS[1] / f"{WNIDS[1]}_0.xml").write_text(XML.format(""))
    (base / "bbox_train" / WNIDS[2] / f"{WNIDS[2]}_0.xml").write_text(XML.format(BOX.format(WNIDS[2], "nan")))
    with pytest.raises(DatasetError) as error:
        open_table("imagenet", base, "train", train_boxes="on")
    assert f"1 XML files cannot be read: {WNIDS[0]}_0.xml" in str(error.value)
    assert "1 XML files have no object" in str(error.value)
    assert "1 boxes have a coordinate that is not a number" in str(error.value)
    imagenet_replica.by_class()
    shutil.rmtree(base / "train")
    with pytest.raises(MissingSplitError, match="no train split"):
        open_table("imagenet", base, "train", train_boxes="on")


@pytest.mark.parametrize(
    ("labels", "said"), [(["cat", "dog"], "not a complete Parquet shard"), ([0, None], "no label: b")]
)
def test_shards_whose_labels_are_none(own_cache, tmp_path, jpeg, labels, said):
    (tmp_path / "set" / "data").mkdir(parents=True)
    data = jpeg(tmp_path / "a.jpg").read_bytes()
    columns = {"image": [{"bytes": data, "path": f"{n}.JPEG"} for n in "ab"], "label": labels}
    pq.write_table(pa.table(columns), tmp_path / "set" / "data" / "validation-00000-of-00001.parquet")
    with pytest.raises(DatasetError, match=said):
        open_table("imagenet", tmp_path / "set")


def test_shards_of_another_order_of_classes(hub_validation, imagenet_replica, hub_shards, jpeg):
    base = imagenet_replica.base
    path = jpeg(base / "ILSVRC2012_val_00000001_n15075141.JPEG", format="JPEG")
    shutil.rmtree(base / "data")
    hub_shards(base, "validation", [(path, 0)], shards=1)
    with pytest.raises(DatasetError, match="1 names are not of their row's class: ILSVRC2012_val_00000001"):
        open_table("imagenet", base)
