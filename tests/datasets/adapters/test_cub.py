"""CUB-200-2011: folder, archive, segmentations, subset, CUBV2, and damaged copies."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

A, B, C = "003.Sooty_Albatross", "012.Yellow_headed_Blackbird", "200.Common_Yellowthroat"
pytestmark = pytest.mark.usefixtures("own_cache")


def same_rows(one, other) -> None:
    for column in ("image_id", "label", "width", "height", "boxes"):
        assert one.rows[column] == other.rows[column]


def test_folder_splits_labels_boxes_and_modes(cub_replica):
    table = open_table("cub", cub_replica)
    assert table.rows["image_id"] == [
        f"{c}/Bird_{i:04d}.jpg" for i, c in [(0, A), (2, A), (4, B), (6, B), (8, C), (10, C)]
    ]
    assert table.rows["label"] == [2, 2, 11, 11, 199, 199]
    assert table.num_classes == 200
    assert table.rows[1]["boxes"] == [[4.0, 3.0, 24.0, 18.0]]
    assert (table.rows[1]["width"], table.rows[1]["height"]) == (42, 30)
    assert any("6,033" in n for n in table.notes)
    assert any("3 of 200 classes" in n for n in table.notes)
    batch = next(load_batches(table, range(6), 32, 6, 2))
    assert len(batch) == 6
    grey = batch.images[[1, 3, 5]]
    assert batch.failures == ()
    assert grey.shape == (3, 3, 32, 32)


def test_val_is_a_stratified_seeded_holdout_of_train(cub_replica):
    train = open_table("cub", cub_replica, "train")
    val = open_table("cub", cub_replica, "val", val_fraction=0.5)
    rest = open_table("cub", cub_replica, "train", train="minus_val", val_fraction=0.5)
    assert sorted(val.rows["label"]) == [2, 11, 199]
    assert set(val.rows["image_id"]) | set(rest.rows["image_id"]) == set(train.rows["image_id"])
    assert set(val.rows["image_id"]).isdisjoint(rest.rows["image_id"])
    again = open_table("cub", cub_replica, "val", val_fraction=0.5, refresh=True)
    assert again.fingerprint == val.fingerprint
    others = {open_table("cub", cub_replica, "val", val_fraction=0.5, val_seed=s).fingerprint for s in range(6)}
    assert len(others) > 1
    with pytest.raises(DatasetError, match="val_fraction=2"):
        open_table("cub", cub_replica, "val", val_fraction=2)


@pytest.mark.parametrize("name", ["CUB_200_2011.tgz", "CUB_200_2011.tar"])
@pytest.mark.parametrize("root_is_file", [True, False])
def test_archive_is_read_in_place(cub_replica, tmp_path, name, root_is_file):
    folder = tmp_path / "packed"
    folder.mkdir()
    with tarfile.open(folder / name, "w:gz" if name.endswith("tgz") else "w") as tar:
        tar.add(cub_replica, arcname="CUB_200_2011")
    extracted = open_table("cub", cub_replica)
    expected = next(load_batches(extracted, range(6), 32, 6, 0))
    shutil.rmtree(cub_replica)
    packed = open_table("cub", folder / name if root_is_file else folder)
    same_rows(extracted, packed)
    assert packed.fingerprint == extracted.fingerprint
    batch = next(load_batches(packed, [5, 0, 3, 1, 2, 4], 32, 6, 3))
    assert not batch.failures
    order = [1, 3, 4, 2, 5, 0]
    assert np.array_equal(batch.images[order].numpy(), expected.images.numpy())
    assert [p.name for p in folder.iterdir()] == [name]


@pytest.mark.parametrize("kind", ["folder", "beside", "tgz"])
def test_segmentations_become_masks(cub_replica, cub_masks, tmp_path, kind):
    if kind == "beside":
        shutil.move(cub_masks, tmp_path / "segmentations")
    elif kind == "tgz":
        with tarfile.open(tmp_path / "segmentations.tgz", "w:gz") as tar:
            tar.add(cub_masks, arcname="segmentations")
        shutil.rmtree(cub_masks)
    table = open_table("cub", tmp_path)
    assert table.has_masks
    batch = next(load_batches(table, range(2), 60, 2, 0))
    assert batch.masks is not None
    # Annotators' agreement of 51 counts: the evaluators' rule is > 0.5 of the raw grey value.
    assert batch.masks[0, 20, 20] == 1
    assert batch.masks[0, 55, 55] == 0
    assert not open_table("cub", tmp_path, segmentations="off").has_masks


def test_missing_mask_is_an_error(cub_replica, cub_masks):
    (cub_masks / A / "Bird_0000.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of 6 masks are missing: .*Bird_0000\.png"):
        open_table("cub", cub_replica)


def test_cubv2_metadata_makes_val(cub_replica, tmp_path, jpeg):
    meta = tmp_path / "metadata" / "val"
    meta.mkdir(parents=True)
    ids = [f"{A}/1.jpg", f"{B}/2.jpg"]
    for image_id in ids:
        jpeg(tmp_path / "CUBV2" / image_id)
    (meta / "image_ids.txt").write_text("\n".join(ids))
    (meta / "class_labels.txt").write_text(f"{ids[0]},2\n{ids[1]},11")
    (meta / "image_sizes.txt").write_text("".join(f"{i},40,30\n" for i in ids))
    (meta / "localization.txt").write_text("".join(f"{i},1,2,30,20\n" for i in ids))
    for options in ({"metadata": tmp_path / "metadata"}, {}):
        table = open_table("cub", cub_replica, "val", **options)
        assert (table.rows["image_id"], table.num_classes, table.facts["variant"]) == (ids, 200, "CUBV2")
        assert table.class_names == open_table("cub", cub_replica).class_names


def test_wrong_folder_says_which_is_right(cub_replica, tmp_path):
    with pytest.raises(DatasetError, match=f"inside the data set; pass its folder: --root {cub_replica}"):
        open_table("cub", cub_replica / "images")
    far = tmp_path / "a" / "b"
    far.mkdir(parents=True)
    shutil.move(cub_replica, far / "birds")
    with pytest.raises(DatasetError, match=f"above the data set; pass --root {far / 'birds'}"):
        open_table("cub", tmp_path / "a")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetError, match=r"expected images\.txt there; it is empty"):
        open_table("cub", empty)


def test_symbolic_link_loops_do_not_hang(tmp_path):
    base = tmp_path / "loop"
    base.mkdir()
    (base / "again").symlink_to(base)
    (base / "self").symlink_to(base / "self")
    with pytest.raises(DatasetError, match="it holds again, self"):
        open_table("cub", base)


def edit(path: Path, change) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("images.txt", lambda x: x[:-1], r"train_test_split\.txt: 1 ids have no image in images\.txt: 112"),
        ("train_test_split.txt", lambda x: [*x, "999 1"], r"1 ids have no image in images\.txt: 999"),
        ("bounding_boxes.txt", lambda x: x[1:], r"bounding_boxes\.txt: 1 images of images\.txt have no line here: 101"),
        (
            "bounding_boxes.txt",
            lambda x: [x[0][:-8], *x[1:]],
            r"bounding_boxes\.txt:1: .* is not `id x y width height`",
        ),
        (
            "bounding_boxes.txt",
            lambda x: ["101 nan 1 2 3", *x[1:]],
            r"boxes\.txt:1: 'nan 1 2 3' of image 101 is",
        ),
        ("bounding_boxes.txt", lambda x: ["101 1 1 -2 3", *x[1:]], r"end before they start"),
        ("image_class_labels.txt", lambda x: ["101 201", *x[1:]], r"labels are outside 0 … 199: .* has 200"),
        ("image_class_labels.txt", lambda x: [*x, "101 7"], r"image_class_labels\.txt:13: id 101 contradicts line 1"),
        ("train_test_split.txt", lambda x: ["101 2", *x[1:]], r"is_train of image 101 is 2\.0"),
        ("classes.txt", lambda x: [*x, "201 too_many"], r"class ids outside 1 … 200: 201"),
    ],
)
def test_damaged_lists(cub_replica, file, change, message):
    edit(cub_replica / file, change)
    with pytest.raises(DatasetError, match=message):
        open_table("cub", cub_replica)


def test_half_extracted(cub_replica):
    (cub_replica / "bounding_boxes.txt").unlink()
    with pytest.raises(DatasetError, match=r"lacks bounding_boxes\.txt: half-extracted"):
        open_table("cub", cub_replica)


def test_missing_folder_of_images(cub_replica):
    shutil.rmtree(cub_replica / "images" / B)
    with pytest.raises(DatasetError, match="2 of 6 listed images are not on disk"):
        open_table("cub", cub_replica)
    assert len(open_table("cub", cub_replica, missing="skip")) == 4


def test_truncated_archive(cub_replica, tmp_path):
    archive = tmp_path / "x" / "CUB_200_2011.tgz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(cub_replica, arcname="CUB_200_2011")
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(DatasetError, match=r"not a complete tar archive .*unfinished"):
        open_table("cub", archive.parent)


def test_real_subset(shared_data):
    root = shared_data / "CUB_200_2011"
    train, test = open_table("cub", root, "train"), open_table("cub", root, "test")
    assert (len(train), len(test), train.num_classes) == (60, 48, 200)
    assert set(test.rows["label"]) == {2, 11, 18, 28, 35, 46}
    first = test.rows[0]
    with Image.open(first["image"]["path"]) as image:
        assert image.size == (first["width"], first["height"])
    batch = next(load_batches(test, range(48), 64, 48, 2))
    assert len(batch) == 48


def test_real_subset_equals_wsolevaluations_metadata(shared_data):
    from cambench.datasets.findings import Findings
    from cambench.datasets.formats.wsol.wsol_metadata import read_metadata

    for split in ("train", "test"):
        meta = read_metadata(shared_data / "wsol_metadata" / "CUB" / split, Findings())
        assert meta.boxes is not None
        assert meta.box_offsets is not None
        assert meta.widths is not None
        row_of = {image_id: i for i, image_id in enumerate(meta.ids)}
        for row in open_table("cub", shared_data / "CUB_200_2011", split).rows:
            i = row_of[row["image_id"]]
            assert row["label"] == meta.labels[i]
            assert row["width"] == meta.widths[i]
            published = meta.boxes[meta.box_offsets[i] : meta.box_offsets[i + 1]]
            # wsolevaluation truncated the boxes and clipped them to the image; the original distribution does neither.
            edge = np.array([row["width"], row["height"]] * 2) - 1
            assert np.array_equal(np.minimum(np.floor(row["boxes"]), edge), published)
