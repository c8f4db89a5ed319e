"""Edited annotation files of every format: the right rows, rows that are said to be others, or a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import EDITS, edited, ended, examples, search
from hypothesis import strategies as st
from PIL import Image

from cambench.datasets.open import open_table

VOC = """<annotation><folder>img</folder><filename>{name}.jpg</filename>
<size><width>40</width><height>30</height><depth>3</depth></size>
<object><name>{label}</name><difficult>0</difficult>
<bndbox><xmin>{x}</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>
"""


class Files:
    """A data set on disk of which some annotation files are edited, one at a time."""

    def __init__(self, name: str, root: Path, files: list[Path], **options: Any) -> None:
        self.name, self.root, self.options = name, root, options
        self.kept = {str(file): file.read_bytes() for file in sorted(files)}
        assert self.kept
        self.right = self.open()
        assert self.right is not None

    def open(self) -> Any:
        table = open_table(self.name, self.root, "test", **self.options, refresh="true")
        return table, table.rows[:]

    def check(self, file: str, edits: list[tuple[float, float, str]]) -> None:
        data = self.kept[file]
        text = data.decode("latin-1" if file.endswith((".mat", ".zip", ".tar")) else "utf-8")
        binary = text.encode("utf-8") != data
        made = edited(text, edits)
        Path(file).write_bytes(made.decode("utf-8", "replace").encode("latin-1", "replace") if binary else made)
        try:
            found = ended(self.open)
        finally:
            Path(file).write_bytes(data)
        if found is not None:
            self.plausible(*found)

    def plausible(self, table: Any, rows: Any) -> None:
        ids = rows["image_id"]
        assert len(set(ids)) == len(ids) > 0
        assert all(0 <= label < len(table.class_names) for label in rows["label"])
        for boxes, width, height in zip(rows["boxes"], rows["width"], rows["height"], strict=True):
            assert np.isfinite(boxes).all()
            assert all(x0 <= x1 and y0 <= y1 for x0, y0, x1, y1 in boxes)
            assert (width is None) == (height is None)
            assert width is None or (width > 0 and height > 0)
        lost = set(self.right[1]["image_id"]) - set(ids)
        assert not lost or table.notes, f"{lost} are gone without a word"


def voc(root: Path) -> Files:
    for i, name in enumerate("abc"):
        Image.new("RGB", (40, 30)).save(root / f"{name}.jpg")
        (root / f"{name}.xml").write_text(VOC.format(name=name, label=("cat", "dog")[i % 2], x=i + 1))
    return Files("folder", root, list(root.glob("*.xml")), annotations=str(root))


def yolo(root: Path) -> Files:
    (root / "labels").mkdir()
    for i, name in enumerate("abc"):
        Image.new("RGB", (40, 30)).save(root / f"{name}.jpg")
        lines = [f"{i % 2} 0.5 0.5 0.{i + 3} 0.4", f"{i % 2} 0.1 0.1 0.6 0.2 0.5 0.7"]
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text("nc: 2\nnames:\n  0: cat\n  1: dog\n")
    return Files("folder", root, [*(root / "labels").iterdir(), root / "data.yaml"], annotations=str(root / "labels"))


@pytest.fixture
def sets(request, own_cache, tmp_path):
    """A data set by the name of its format."""

    def make(kind: str) -> Files:
        if kind in ("voc", "yolo"):
            root = tmp_path / kind
            root.mkdir()
            return {"voc": voc, "yolo": yolo}[kind](root)
        if kind in ("wsol", "openimages"):
            root, meta = request.getfixturevalue("wsol_replica")
            if kind == "wsol":
                return Files("wsol", root, list(meta.rglob("*.txt")), metadata=str(meta))
            root = request.getfixturevalue("openimages_replica")
            lists = root / "metadata" / "test"
            lists.mkdir(parents=True)
            pictures = sorted(root.glob("test/*/*.jpg"))
            ids = [str(p.relative_to(root)) for p in pictures]
            (lists / "image_ids.txt").write_text("\n".join(ids))
            (lists / "class_labels.txt").write_text("\n".join(f"{n},{i // 2}" for i, n in enumerate(ids)))
            masks = [
                f"{n},{m.relative_to(root)},{n[:-4]}_ignore.png"
                for p, n in zip(pictures, ids, strict=True)
                for m in sorted(p.parent.glob(f"{p.stem}_m*"))
            ]
            (lists / "localization.txt").write_text("\n".join(masks))
            return Files("openimages30k", root, list(lists.iterdir()))
        if kind == "imagenet":
            replica = request.getfixturevalue("imagenet_replica")
            replica.by_class()
            replica.xml("bbox_val")
            return Files("imagenet", replica.base, list((replica.base / "bbox_val").iterdir()))
        if kind == "solution":
            replica = request.getfixturevalue("imagenet_replica")
            replica.flat()
            replica.solution()
            return Files("imagenet", replica.base, [replica.base / "LOC_val_solution.csv"], sizes="files")
        if kind == "cub":
            root = request.getfixturevalue("cub_replica")
            return Files("cub", root, list(root.glob("*.txt")))
        if kind == "cars":
            root = request.getfixturevalue("cars_replica")
            return Files("stanford_cars", root, list(root.rglob("*.mat")), sizes="files")
        root = request.getfixturevalue("tiny_replica")
        lists = [root / "val" / "val_annotations.txt", root / "wnids.txt", root / "words.txt"]
        return Files("tiny_imagenet", root, lists)

    return make


@pytest.mark.parametrize("kind", ["voc", "yolo", "wsol", "openimages", "imagenet", "solution", "cub", "cars", "tiny"])
@examples(10, 1500)
def test_any_edit_of_an_annotation_file(sets, kind, examples):
    files = sets(kind)
    search(examples, files.check, file=st.sampled_from(list(files.kept)), edits=EDITS)
