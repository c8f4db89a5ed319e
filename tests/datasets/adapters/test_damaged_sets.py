"""Damage that leaves a smaller or another data set behind: told, never passed over."""

import os
import shutil
from pathlib import Path

import pytest
import scipy.io

from cambench.datasets.doctor.examine import doctor
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError


@pytest.fixture(autouse=True)
def cache(own_cache):
    """A cache of its own for every test."""


def findings(name, root, split="test", **options):
    (report,) = doctor(name, root, splits=(split,), **options).splits
    return report, "\n".join(str(f) for f in report.findings)


def test_the_wrong_one_of_several_data_sets_is_not_taken(openimages_replica, tiny_replica, imagenet_replica, tmp_path):
    with pytest.raises(DatasetError, match="is not ImageNet-1K"):
        open_table("imagenet", tmp_path)
    with pytest.raises(DatasetError, match=r"wnids\.txt belongs to Tiny ImageNet"):
        open_table("imagenet", tiny_replica)
    with pytest.raises(DatasetError, match=r"wnids\.txt belongs to Tiny ImageNet"):
        open_table("openimages30k", tiny_replica)
    imagenet_replica.by_class("deeper/val")
    with pytest.raises(DatasetError, match="pass --root .*/imagenet/deeper$"):
        open_table("imagenet", tmp_path)
    shutil.rmtree(openimages_replica)
    with pytest.raises(DatasetError, match="is not OpenImages-30K"):
        open_table("openimages30k", tmp_path)


def test_the_next_step_of_a_wrong_folder_is_the_right_one(cub_replica, cars_replica):
    report = doctor("cub", cub_replica / "images")
    assert report.next_steps == (f"the same command with --root {cub_replica}",)
    for part in ("devkit", "cars_train"):
        report = doctor("stanford_cars", cars_replica / part)
        assert report.next_steps == (f"the same command with --root {cars_replica}",)
    # Kaggle's copy has each folder in a folder of its name.
    for part in ("cars_train", "cars_test"):
        (cars_replica / part).rename(cars_replica / "x")
        (cars_replica / part).mkdir()
        (cars_replica / "x").rename(cars_replica / part / part)
    assert doctor("stanford_cars", cars_replica).ok
    assert str(cars_replica) in doctor("stanford_cars", cars_replica / "cars_train").next_steps[0]
    with pytest.raises(DatasetError, match="no option 'segmentatoins'; did you mean 'segmentations'"):
        doctor("cub", cub_replica, segmentatoins="off")


def test_images_without_a_line_are_told(cub_replica, cars_replica, tiny_replica):
    shutil.copy(
        cub_replica / "images/003.Sooty_Albatross/Bird_0000.jpg", cub_replica / "images/003.Sooty_Albatross/z.jpg"
    )
    assert "1 images on disk have no line here: z.jpg" in findings("cub", cub_replica)[1]
    file = cars_replica / "cars_test_annos_withlabels.mat"
    rows = scipy.io.loadmat(file, squeeze_me=True)["annotations"]
    scipy.io.savemat(file, {"annotations": rows[:4]})
    assert "2 images on disk have no line here: 00005.jpg, 00006.jpg" in findings("stanford_cars", cars_replica)[1]
    file = tiny_replica / "val" / "val_annotations.txt"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    assert "3 images on disk have no line here: val_1.JPEG" in findings("tiny_imagenet", tiny_replica, "val")[1]
    (tiny_replica / "wnids.txt").write_text("n02124075\n")
    with pytest.raises(DatasetError, match=r"1 class folders of train/ are not in it: n01443537"):
        open_table("tiny_imagenet", tiny_replica, "train")


def test_imagenet_folders_that_lost_or_mixed_images(imagenet_replica):
    root, folder = imagenet_replica.base, imagenet_replica.base / "val"
    imagenet_replica.by_class()
    imagenet_replica.xml("Annotations/CLS-LOC/val")
    first = folder / "n01440764" / "ILSVRC2012_val_00000001.JPEG"
    shutil.copy(first, folder / "n01443537")
    with pytest.raises(DatasetError, match=r"1 images are there twice: .*n01440764/.*0001.JPEG and .*n01443537"):
        open_table("imagenet", root)
    first.unlink()
    with pytest.raises(DatasetError, match=r"1 images are of another class than their boxes say: .*00000001"):
        open_table("imagenet", root)
    shutil.rmtree(folder / "n01443537")
    (folder / "n01443537").mkdir()
    with pytest.raises(DatasetError, match="1 class folders are empty: n01443537"):
        open_table("imagenet", root)
    shutil.rmtree(folder / "n01443537")
    (folder / "n01443537").symlink_to(folder / "n01443537")
    with pytest.raises(DatasetError, match="1 symbolic links lead nowhere, or to themselves: n01443537 →"):
        open_table("imagenet", root)


def test_links_that_lead_nowhere_are_named(cub_replica):
    image = cub_replica / "images/003.Sooty_Albatross/Bird_0000.jpg"
    image.unlink()
    image.symlink_to(image)
    text = findings("cub", cub_replica)[1]
    assert "1 of 6 listed images are not on disk" in text
    assert f"symbolic links that lead nowhere, or to themselves: {image} → {image}" in text


def test_files_that_are_no_pictures_are_told_and_may_be_replaced_in_place(cub_replica):
    """Writing into a file leaves its folder's time as it was, so the file itself is watched."""
    image = cub_replica / "images/003.Sooty_Albatross/Bird_0000.jpg"
    good = image.read_bytes()
    for damage, told in ((b"", "1 image files are empty"), (b"<html>404</html>", "1 image files do not begin like")):
        image.write_bytes(damage)
        os.utime(image, (1, len(damage)))
        report, text = findings("cub", cub_replica)
        assert told in text
        assert not report.problems
    image.write_bytes(good)
    report, text = findings("cub", cub_replica)
    assert "image files" not in text
    assert open_table("cub", cub_replica).rows[0]["width"] == 40


def test_damaged_masks_are_told(cub_replica, cub_masks, openimages_replica):
    assert doctor("cub", cub_replica, deep=True).ok
    mask = cub_masks / "003.Sooty_Albatross/Bird_0000.png"
    mask.write_bytes(mask.read_bytes()[:40])
    report, _ = findings("cub", cub_replica, deep=True)
    (failure,) = report.unreadable
    assert failure.image_id == "003.Sooty_Albatross/Bird_0000.jpg"
    assert failure.reason.startswith(f"mask {mask}: ")
    mask.unlink()  # after the table was cached
    with pytest.raises(DatasetError, match=r"1 of 6 masks are missing: 003\.Sooty_Albatross/Bird_0000\.png"):
        open_table("cub", cub_replica)
    ignore = openimages_replica / "val/0by6g/10ab_ignore.png"
    ignore.write_bytes(b"")
    report, text = findings("openimages30k", openimages_replica, "val", deep=True)
    assert "1 mask files are empty (0 bytes): 0by6g/10ab_ignore.png" in text
    assert [f.image_id for f in report.unreadable] == ["val/0by6g/10ab.jpg"]


def test_labels_of_cub_are_whole_numbers_of_named_classes(cub_replica):
    labels = cub_replica / "image_class_labels.txt"
    text = labels.read_text()
    labels.write_text(text.replace("101 3\n", "101 3.5\n"))
    with pytest.raises(DatasetError, match=r"image_class_labels\.txt:1: '3\.5' of image 101 is not `class`"):
        open_table("cub", cub_replica)
    labels.write_text(text.replace("101 3\n", "101 4\n"))
    assert "1 classes that have images have no name here: 4" in findings("cub", cub_replica)[1]


@pytest.mark.parametrize("name", ["folder", "openimages30k", "stanford_cars"])
def test_a_class_folder_that_may_not_be_listed(name, openimages_replica, jpeg, tmp_path, monkeypatch):
    root, denied = openimages_replica, "0by6g"
    if name != "openimages30k":
        root = tmp_path / "own"
        for label in ("Car 0", "Car 1"):
            jpeg(root / ("car_data/test" if name == "stanford_cars" else "") / label / f"{label}.jpg")
        (root / "names.csv").write_text("\n".join(f"Car {i}" for i in range(196)))
        denied = "Car 1"
    real = os.scandir

    def scandir(path="."):
        if str(path).endswith(denied):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    assert len(open_table(name, root)) >= 2
    monkeypatch.setattr("cambench.datasets.disk.files.os.scandir", scandir)
    with pytest.raises(DatasetError, match=f"{denied}: Permission denied"):
        open_table(name, root, refresh=True)
    assert not doctor(name, root, splits=("test",), refresh=True).ok


def test_boxes_that_may_not_be_listed_are_no_absence_of_boxes(imagenet_replica, monkeypatch):
    imagenet_replica.by_class()
    imagenet_replica.xml("bbox_val")
    real = Path.iterdir

    def iterdir(path):
        if path.name == "bbox_val":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(DatasetError, match="bbox_val: Permission denied"):
        open_table("imagenet", imagenet_replica.base)


def test_where_images_were_looked_for_is_told_where_none_is_there(wsol_replica, tmp_path):
    _, metadata = wsol_replica
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DatasetError, match=r"6 of 6 listed images are not on disk: .*looked for as .*/elsewhere/<id>"):
        open_table("wsol", tmp_path / "elsewhere", metadata=metadata)
