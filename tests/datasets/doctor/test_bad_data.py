"""Every kind of damage people's copies have, told both by the doctor and by the run that stops on it."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from cambench.bench.cli import app as cli
from cambench.bench.notebook.runs import run
from cambench.datasets.doctor.examine import doctor
from cambench.datasets.schema import DatasetError

pytestmark = pytest.mark.usefixtures("own_cache")


def told(name: str, root: Path, split: str, message: str, out: Path, **options: object) -> None:
    """The doctor reports ``message`` as an error of ``split``; the run raises it and writes nothing."""
    report = doctor(name, root, splits=(split,), **options)
    assert not report.ok
    (found,) = report.splits
    assert re.search(message, "\n".join(map(str, found.problems))), [str(f) for f in found.problems]
    with pytest.raises(DatasetError, match=message):
        run(
            dataset=name, root=root, split=split, options={k: str(v) for k, v in options.items()},
            triples=("slim_resnet/gradcam/softmax",), out=out, device="cpu", batch_size=4, workers=1,
        )  # fmt: skip
    assert not out.exists()


def edit(path: Path, change) -> None:
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def latin(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"Bird_0004", b"B\xe9rd_0004"))


def add_loop(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder)


CUB = {
    "half-extracted: a list is missing": (
        lambda b: (b / "classes.txt").unlink(),
        r"lacks classes\.txt: half-extracted",
    ),
    "half-extracted: a class folder is missing": (
        lambda b: shutil.rmtree(b / "images" / "003.Sooty_Albatross"),
        "2 of 6 listed images are not on disk: 003",
    ),
    "split ids without images": (
        lambda b: (b / "images/003.Sooty_Albatross/Bird_0002.jpg").unlink(),
        r"1 of 6 listed images are not on disk: 003\.Sooty_Albatross/Bird_0002\.jpg",
    ),
    "truncated list, at a line's end": (
        lambda b: edit(b / "image_class_labels.txt", lambda x: x[:-3]),
        r"image_class_labels\.txt: 3 images of images\.txt have no line here: 110",
    ),
    "truncated list, within a line": (
        lambda b: edit(b / "bounding_boxes.txt", lambda x: [*x[:-1], x[-1][:9]]),
        r"bounding_boxes\.txt:12: '112 13\.0 ' is not `id x y width height`",
    ),
    "names that are not UTF-8": (lambda b: latin(b / "images.txt"), r"images\.txt:5: not UTF-8 \(byte 0xe9\)"),
    "ids in one file and not in the other": (
        lambda b: edit(b / "images.txt", lambda x: x[1:]),
        r"train_test_split\.txt: 1 ids have no image in images\.txt: 101",
    ),
    "contradicting lines": (
        lambda b: edit(b / "train_test_split.txt", lambda x: [*x, "101 1"]),
        r"train_test_split\.txt:13: id 101 contradicts line 1",
    ),
    "the same image twice": (
        lambda b: edit(b / "images.txt", lambda x: [*x, x[0]]),
        r"images\.txt:13: id 101 repeats line 1",
    ),
    "label out of range": (
        lambda b: edit(b / "image_class_labels.txt", lambda x: ["101 0", *x[1:]]),
        r"image_class_labels\.txt:1: 1 labels are outside 0 … 199: .*Bird_0000.jpg has -1",
    ),
    "an id beyond 64 bits": (
        lambda b: edit(b / "images.txt", lambda x: ["9" * 25 + x[0][3:], *x[1:]]),
        r"images\.txt:1: '9{25} .*' is not `id path`",
    ),
    "a label beyond 64 bits": (
        lambda b: edit(b / "image_class_labels.txt", lambda x: ["101 1e30", *x[1:]]),
        r"image_class_labels\.txt:1: '1e30' of image 101 is not `class`",
    ),
    "one name for two classes": (
        lambda b: edit(b / "classes.txt", lambda x: [x[0], x[0].replace("3", "12", 1), x[2]]),
        r"classes\.txt:2: class 003\.Sooty_Albatross is already on line 1",
    ),
    "one file for two ids": (
        lambda b: edit(b / "images.txt", lambda x: [x[0], x[1].split()[0] + x[0][3:], *x[2:]]),
        r"images\.txt:2: image .*Bird_0000\.jpg is already on line 1",
    ),
    "a box beyond any image": (
        lambda b: edit(b / "bounding_boxes.txt", lambda x: ["101 1 2 1e300 3", *x[1:]]),
        "1 boxes have a coordinate that is not a number, or far beyond any image",
    ),
    "NaN in a box": (
        lambda b: edit(b / "bounding_boxes.txt", lambda x: ["101 nan 1 2 3", *x[1:]]),
        r"bounding_boxes\.txt:1: 'nan 1 2 3' of image 101 is not `x y width height`",
    ),
    "a link loop instead of the images": (
        lambda b: add_loop(b / "images"),
        "6 of 6 listed images are not on disk|symbolic links",
    ),
}


@pytest.mark.parametrize("case", CUB)
def test_cub(cub_replica, tmp_path, case):
    damage, message = CUB[case]
    damage(cub_replica)
    if case == "the same image twice":
        # The same line again changes nothing: a warning, and all images are there.
        report = doctor("cub", cub_replica, splits=("test",))
        assert re.search(message, "\n".join(map(str, report.splits[0].findings)))
        assert (report.ok, report.splits[0].rows) == (True, 6)
        return
    told("cub", cub_replica, "test", message, tmp_path / "out")


def test_half_downloaded_archive(cub_replica, tmp_path, pack):
    (tmp_path / "packed").mkdir()
    archive = pack(tmp_path / "packed" / "CUB_200_2011.tgz", cub_replica)
    archive.write_bytes(archive.read_bytes()[:-3000])
    message = r"CUB_200_2011\.tgz: not a complete tar archive .*the last .*unfinished \([\d,]+ bytes here\)"
    told("cub", tmp_path / "packed", "test", message, tmp_path / "out")


WSOL = {
    "truncated list": ("class_labels.txt", lambda x: x[:4], "2 ids of image_ids.txt have no line here: test/b/1.jpg"),
    "cut line": ("localization.txt", lambda x: [*x[:-1], x[-1][:16]], r"localization\.txt:7: .* is not `path,number"),
    "unknown id": ("image_sizes.txt", lambda x: [*x, "test/c/9.jpg,4,3"], r"image_sizes\.txt:7: 1 ids are not in"),
    "duplicate id": ("image_ids.txt", lambda x: [*x, x[0]], r"image_ids\.txt:7: test/a/0\.jpg is already on line 1"),
    "label out of range": (
        "class_labels.txt",
        lambda x: ["test/a/0.jpg,-2", *x[1:]],
        r"labels\.txt:1: .*outside 0 … 1: .* -2",
    ),
    "NaN box": ("localization.txt", lambda x: ["test/a/0.jpg,nan,1,2,3", *x[1:]], r"localization\.txt:1: not a number"),
    "blank line": ("image_ids.txt", lambda x: [x[0], "", *x[1:]], r"image_ids\.txt:2: blank line"),
}


@pytest.mark.parametrize("case", WSOL)
def test_wsol(wsol_replica, tmp_path, case):
    root, metadata = wsol_replica
    file, change, message = WSOL[case]
    edit(metadata / "test" / file, change)
    told("wsol", root, "test", message, tmp_path / "out", metadata=metadata)


def test_cars(cars_replica, tmp_path):
    import numpy as np
    import scipy.io

    path = cars_replica / "cars_test_annos_withlabels.mat"
    whole, table = path.read_bytes(), scipy.io.loadmat(str(path), squeeze_me=True)["annotations"]

    def save(field, value):
        rows = table.copy()
        rows[0][field] = value
        scipy.io.savemat(path, {"annotations": rows})

    save("class", 197)
    told(
        "stanford_cars",
        cars_replica,
        "test",
        r"withlabels\.mat:1: .*outside 0 … 195: 00001\.jpg has 196",
        tmp_path / "out",
    )
    save("bbox_x1", np.nan)
    told("stanford_cars", cars_replica, "test", r"mat:1: `bbox_x1` is .nan., not a number", tmp_path / "out")
    save("fname", "00002.jpg")
    told("stanford_cars", cars_replica, "test", r"occur more than once: 00002\.jpg", tmp_path / "out")
    path.write_bytes(whole[: len(whole) // 2])
    message = r"withlabels\.mat: not a readable MATLAB file .*truncated"
    told("stanford_cars", cars_replica, "test", message, tmp_path / "out")


def test_imagenet(imagenet_replica, tmp_path):
    imagenet_replica.by_class()
    imagenet_replica.solution()
    base, out = imagenet_replica.base, tmp_path / "out"
    path = base / "LOC_val_solution.csv"
    whole = path.read_text()
    path.write_text(whole[:-20])
    told("imagenet", base, "test", r"LOC_val_solution\.csv:7: .* is not `id,wnid x0 y0 x1 y1", out)
    path.write_text(whole.replace("n01443537 2 2", "n01443537 2 nan"))
    told("imagenet", base, "test", r"LOC_val_solution\.csv:3: 'ILSVRC2012_val_00000002,n01443537 2 nan", out)
    path.write_text(whole)
    (base / "val" / "cats").mkdir()
    told("imagenet", base, "test", "1 folders are no wnids of ImageNet-1K: cats", out)
    shutil.rmtree(base / "val" / "cats")
    name = b"ILSVRC2012_val_0000000\xe9.JPEG".decode("utf-8", "surrogateescape")
    (base / "val" / "n01440764" / name).hardlink_to(base / "val" / "n01440764" / "ILSVRC2012_val_00000001.JPEG")
    told("imagenet", base, "test", r"1 file names are not UTF-8: .*\\udce9", out)


def test_a_smaller_train_is_never_silent(imagenet_replica, openimages_replica):
    imagenet_replica.train()
    notes = "\n".join(str(f) for f in doctor("imagenet", imagenet_replica.base, splits=("train",)).splits[0].findings)
    assert "a subset: 15 of 1,281,167 training images" in notes
    notes = "\n".join(str(f) for f in doctor("openimages30k", openimages_replica, splits=("test",)).splits[0].findings)
    assert "a subset: 4 of 5,000 published images" in notes


def test_tiny_imagenet_and_openimages(tiny_replica, openimages_replica, tmp_path):
    out = tmp_path / "out"
    annotations = tiny_replica / "val" / "val_annotations.txt"
    whole = annotations.read_text()
    edit(annotations, lambda x: [*x[:-1], x[-1][:20]])
    told("tiny_imagenet", tiny_replica, "test", r"val_annotations\.txt:4: .* is not `name wnid x0 y0 x1 y1`", out)
    annotations.write_text(whole)
    edit(annotations, lambda x: [*x, x[0]])
    told("tiny_imagenet", tiny_replica, "test", "1 image ids occur more than once: val/images/val_0.JPEG", out)
    annotations.write_text(whole)
    (tiny_replica / "val" / "images" / "val_1.JPEG").unlink()
    told("tiny_imagenet", tiny_replica, "test", r"1 of 4 listed images are not on disk: val/images/val_1\.JPEG", out)
    (openimages_replica / "test" / "0by6g" / "0by6g1ab.jpg").unlink(missing_ok=True)
    next((openimages_replica / "test" / "0by6g").glob("*.jpg")).unlink()
    told("openimages30k", openimages_replica, "test", "masks have no image: .*_m0by6g_", out)


def test_links_that_run_in_circles(tmp_path):
    base = tmp_path / "loop"
    base.mkdir()
    (base / "again").symlink_to(base)
    (base / "self").symlink_to(base / "self")
    for name in ("cub", "stanford_cars", "tiny_imagenet", "openimages30k"):
        told(name, base, "test", "it holds again, self", tmp_path / "out")
    with pytest.raises(DatasetError, match=r"self (does not exist|cannot be read)"):
        run(dataset="cub", root=base / "self", triples=("slim_resnet/gradcam/softmax",), out=tmp_path / "out")


def test_folders_that_may_not_be_read(cub_replica, cars_replica, tmp_path, monkeypatch):
    """As root nothing is unreadable, so the operating system's refusal is acted."""
    real = os.scandir

    def scandir(path="."):
        if "012." in str(path) or "cars_test" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    told("cub", cub_replica, "test", r"permission denied: 2 images .*012\.[^\n]*\n.*chmod -R u\+rX", tmp_path / "out")
    told("stanford_cars", cars_replica, "test", r"[Pp]ermission denied", tmp_path / "out")


def test_files_that_may_not_be_read(cub_replica, tmp_path, monkeypatch):
    """A list stops the run; an image is a named failure of it and an error of the doctor's deep look."""
    real = Path.read_bytes

    def read_bytes(self):
        if self.name in denied:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    denied = {"train_test_split.txt"}
    told("cub", cub_replica, "test", r"train_test_split\.txt: cannot be read: Permission denied", tmp_path / "out")
    denied = {"Bird_0002.jpg"}
    report = doctor("cub", cub_replica, splits=("test",), deep=True)
    assert not report.ok
    assert "Permission denied" in report.splits[0].unreadable[0].reason


@pytest.mark.parametrize("verb", ["run", "doctor"])
def test_on_the_command_line_it_is_words_not_a_traceback(cub_replica, tmp_path, monkeypatch, capsys, verb):
    edit(cub_replica / "bounding_boxes.txt", lambda x: [*x[:-1], x[-1][:9]])
    words = [verb, *(("cub",) if verb == "doctor" else ("--dataset", "cub")), "--root", str(cub_replica)]
    words += ["--triples", "slim_resnet/gradcam/softmax", "--out", str(tmp_path / "out")] if verb == "run" else []
    monkeypatch.setattr("sys.argv", ["cambench", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    text = " ".join((captured.out + captured.err).split())
    assert stop.value.code == 1
    assert "bounding_boxes.txt:12:" in text.replace(" ", "") or "bounding_boxes.txt:12" in text
    assert "Traceback" not in text


def test_an_archive_in_which_the_lists_are_damaged(cub_replica, tmp_path):
    edit(cub_replica / "bounding_boxes.txt", lambda x: ["101 nan 1 2 3", *x[1:]])
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "CUB_200_2011.tgz", "w:gz") as tar:
        tar.add(cub_replica, arcname="CUB_200_2011")
    message = r"CUB_200_2011\.tgz:CUB_200_2011/bounding_boxes\.txt:1: 'nan 1 2 3' of image 101"
    told("cub", tmp_path / "packed", "test", message, tmp_path / "out")
