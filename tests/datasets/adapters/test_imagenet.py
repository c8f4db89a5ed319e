"""ImageNet-1K: every variant gives the same rows; the real devkit gives the published labels."""

from __future__ import annotations

import shutil
import tarfile

import numpy as np
import pytest

from cambench.datasets.adapters.imagenet.label_sources import read_devkit
from cambench.datasets.batches.loading import load_batches
from cambench.datasets.findings import Findings
from cambench.datasets.formats.wnids import imagenet_class_names, imagenet_wnids
from cambench.datasets.formats.wsol.wsol_metadata import read_metadata
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError, MissingSplitError

pytestmark = pytest.mark.usefixtures("own_cache")

VARIANTS = {
    "torchvision folders, XML": (("by_class", ()), ("xml", ("bbox_val/val",))),
    "torchvision folders, CSV": (("by_class", ("ILSVRC2012_img_val",)), ("solution", ())),
    "Kaggle tree": (
        ("flat", ("ILSVRC/Data/CLS-LOC/val",)),
        ("xml", ("ILSVRC/Annotations/CLS-LOC/val",)),
        ("solution", ()),
    ),
    "Kaggle tree, CSV only": (("flat", ("ILSVRC/Data/CLS-LOC/val",)), ("solution", ())),
    "flat, devkit, XML": (("flat", ("ILSVRC2012_img_val",)), ("devkit", ()), ("xml", ("bbox_val",))),
    "flat, devkit, CSV": (("flat", ()), ("devkit", ()), ("solution", ())),
    "tar, devkit, XML": (("tar", ()), ("devkit", ()), ("xml", ("bbox_val",))),
    "tar, CSV": (("tar", ()), ("solution", ())),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_the_same_rows(imagenet_replica, variant):
    for step, arguments in VARIANTS[variant]:
        getattr(imagenet_replica, step)(*arguments)
    table = open_table("imagenet", imagenet_replica.base)
    assert table.rows["image_id"] == [f"val/{s}.JPEG" for s in imagenet_replica.stems]
    assert table.rows["label"] == imagenet_replica.labels
    assert table.rows["boxes"] == [[list(map(float, b)) for b in boxes] for boxes in imagenet_replica.boxes]
    assert set(table.rows["width"]) == {40}
    assert table.num_classes == 1000
    batch = next(load_batches(table, range(6), 32, 6, 2))
    assert len(batch) == 6
    assert batch.labels.tolist() == imagenet_replica.labels


@pytest.mark.parametrize("root", ["ILSVRC", "ILSVRC/Data/CLS-LOC"])
def test_kaggle_tree_from_further_down(imagenet_replica, root):
    imagenet_replica.flat("ILSVRC/Data/CLS-LOC/val")
    imagenet_replica.xml("ILSVRC/Annotations/CLS-LOC/val")
    imagenet_replica.solution()
    table = open_table("imagenet", imagenet_replica.base / root)
    assert table.facts["variant"] == "flat + CSV, XML boxes"
    assert table.rows["label"] == imagenet_replica.labels


def test_a_folder_inside_names_the_right_one(imagenet_replica):
    imagenet_replica.by_class()
    with pytest.raises(DatasetError, match=f"pass its folder: --root {imagenet_replica.base}"):
        open_table("imagenet", imagenet_replica.base / "val" / "n01440764")


def test_errors_of_the_file_system_are_words(imagenet_replica, monkeypatch):
    imagenet_replica.by_class()

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(DatasetError, match=r"imagenet test under .*val: Permission denied"):
        open_table("imagenet", imagenet_replica.base)


def test_classes_are_ranked_wnids_with_distinct_names():
    assert list(imagenet_wnids()) == sorted(imagenet_wnids())
    assert len(set(imagenet_class_names())) == 1000
    assert imagenet_class_names()[0] == "tench"


def test_train_and_its_holdout(imagenet_replica):
    imagenet_replica.train()
    table = open_table("imagenet", imagenet_replica.base, "train")
    assert len(table) == 15
    assert table.rows[14]["image_id"] == "train/n15075141/n15075141_4.JPEG"
    assert sorted(set(table.rows["label"])) == [0, 1, 999]
    assert not table.has_boxes
    val = open_table("imagenet", imagenet_replica.base, "val", val_fraction=0.4)
    rest = open_table("imagenet", imagenet_replica.base, "train", train="minus_val", val_fraction=0.4)
    assert (len(val), len(rest)) == (6, 9)
    assert set(val.rows["image_id"]).isdisjoint(rest.rows["image_id"])
    with pytest.raises(MissingSplitError, match="no validation images"):
        open_table("imagenet", imagenet_replica.base)


def test_imagenetv2_beside_the_images_is_val(imagenet_replica, jpeg):
    imagenet_replica.train()
    meta = imagenet_replica.base / "metadata" / "ILSVRC" / "val"
    meta.mkdir(parents=True)
    ids = ["val2/0/0.jpeg", "val2/999/3.jpeg"]
    for image_id in ids:
        jpeg(imagenet_replica.base / image_id)
    (meta / "image_ids.txt").write_text("\n".join(ids))
    (meta / "class_labels.txt").write_text(f"{ids[0]},0\n{ids[1]},999")
    (meta / "image_sizes.txt").write_text("".join(f"{i},40,30\n" for i in ids))
    (meta / "localization.txt").write_text("".join(f"{i},1,2,30,20\n" for i in ids))
    table = open_table("imagenet", imagenet_replica.base, "val")
    assert (table.rows["image_id"], table.rows["label"], table.has_boxes) == (ids, [0, 999], True)
    assert table.class_names == imagenet_class_names()


def test_added_and_removed_images_are_noticed_by_the_cache(imagenet_replica, jpeg):
    imagenet_replica.train()
    first = open_table("imagenet", imagenet_replica.base, "train")
    jpeg(imagenet_replica.base / "train" / "n01440764" / "n01440764_9.JPEG", format="JPEG")
    second = open_table("imagenet", imagenet_replica.base, "train")
    assert (len(first), len(second)) == (15, 16)
    assert first.fingerprint != second.fingerprint
    assert len(first.rows["label"]) == 15


def test_half_extracted_train(imagenet_replica):
    imagenet_replica.train()
    base = imagenet_replica.base / "train"
    (base / "n01484850.tar").write_bytes(b"")
    (base / "n99999999").mkdir()
    (base / "n01484850").mkdir()
    with pytest.raises(DatasetError) as error:
        open_table("imagenet", imagenet_replica.base, "train")
    text = str(error.value)
    assert "1 class archives are not extracted: n01484850.tar" in text
    assert "1 folders are no wnids of ImageNet-1K: n99999999" in text
    assert "1 class folders are empty: n01484850" in text


def test_flat_images_need_labels_from_somewhere(imagenet_replica):
    imagenet_replica.flat()
    with pytest.raises(DatasetError, match=r"labels must come from elsewhere: put ILSVRC2012_devkit_t12\.tar\.gz"):
        open_table("imagenet", imagenet_replica.base)


def test_no_boxes_is_a_note_with_the_next_step(imagenet_replica):
    imagenet_replica.by_class()
    table = open_table("imagenet", imagenet_replica.base)
    assert not table.has_boxes
    assert any("ILSVRC2012_bbox_val_v3.tgz" in n for n in table.notes)


def test_devkit_in_its_archive_and_truncated(imagenet_replica):
    imagenet_replica.flat()
    imagenet_replica.devkit()
    base = imagenet_replica.base
    with tarfile.open(base / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(base / "ILSVRC2012_devkit_t12", arcname="ILSVRC2012_devkit_t12")
    truth = base / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text(truth.read_text()[:1000])
    with pytest.raises(DatasetError, match="expected 50,000: is the file truncated"):
        open_table("imagenet", base)
    shutil.rmtree(base / "ILSVRC2012_devkit_t12")
    assert open_table("imagenet", base).rows["label"] == imagenet_replica.labels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("n01440764 1 2", "n00000000 1 2"), r"LOC_val_solution\.csv:2"),
        (lambda t: t[:-12], r"LOC_val_solution\.csv:7: .* is not `id,wnid x0 y0 x1 y1"),
        (
            lambda t: t.replace("n01443537 2 2 20 25", "n01443537 nan 2 20 25"),
            r"LOC_val_solution\.csv:3: 'ILSVRC2012_val_00000002,.*nan",
        ),
        (lambda t: t + t.splitlines()[-1] + "\n", r"LOC_val_solution\.csv:8: ILSVRC2012_val_00000006 is listed twice"),
        (lambda t: t.replace("\nILSVRC", '\n"ILSVRC', 1), r"LOC_val_solution\.csv:2: not CSV"),
        (lambda t: "\n".join(t.splitlines()[:-1]) + "\n", "1 images have no label: ILSVRC2012_val_00000006"),
    ],
)
def test_damaged_solution_csv(imagenet_replica, change, message):
    imagenet_replica.flat()
    imagenet_replica.solution()
    path = imagenet_replica.base / "LOC_val_solution.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(DatasetError, match=message):
        open_table("imagenet", imagenet_replica.base)


def test_boxes_of_something_else_are_no_silent_absence_of_boxes(imagenet_replica, tmp_path, pack):
    imagenet_replica.by_class()
    with pytest.raises(DatasetError, match=r"boxes=.*: no XML files there; it holds n01440764"):
        open_table("imagenet", imagenet_replica.base, boxes=str(imagenet_replica.base / "val"))
    archive = pack(tmp_path / "other.tgz", imagenet_replica.base / "val")
    with pytest.raises(DatasetError, match=r"other\.tgz: no boxes of validation images in it"):
        open_table("imagenet", imagenet_replica.base, boxes=str(archive))
    imagenet_replica.xml("Annotations/val")
    assert open_table("imagenet", imagenet_replica.base, boxes=str(imagenet_replica.base / "Annotations")).has_boxes


def test_damaged_and_missing_xml(imagenet_replica):
    imagenet_replica.by_class()
    imagenet_replica.xml("bbox_val")
    folder = imagenet_replica.base / "bbox_val"
    (folder / "ILSVRC2012_val_00000001.xml").write_text("<annotation><object>")
    (folder / "ILSVRC2012_val_00000002.xml").unlink()
    with pytest.raises(DatasetError) as error:
        open_table("imagenet", imagenet_replica.base)
    assert "1 XML files cannot be read: ILSVRC2012_val_00000001.xml" in str(error.value)
    assert "2 of 6 images have no box" in str(error.value)


def test_real_devkit_gives_the_published_labels(shared_data):
    labels = read_devkit(shared_data / "imagenet_devkit")
    meta = read_metadata(shared_data / "wsol_metadata" / "ILSVRC" / "test", Findings())
    ours = [labels[i.removeprefix("val/").removesuffix(".JPEG")] for i in meta.ids]
    assert np.array_equal(ours, meta.labels)


def test_real_images_with_real_devkit(shared_data, tmp_path):
    (tmp_path / "val").symlink_to(shared_data / "imagenet_val" / "images")
    table = open_table("imagenet", tmp_path, devkit=shared_data / "imagenet_devkit")
    peer = open_table("wsol", shared_data / "imagenet_val")
    assert table.rows["image_id"] == peer.rows["image_id"]
    assert table.rows["label"] == peer.rows["label"]
    assert table.class_names == peer.class_names
