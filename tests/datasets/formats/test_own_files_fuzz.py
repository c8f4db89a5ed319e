"""Damaged and odd CSV and COCO files: the right answer or DatasetError, never anything else."""

from __future__ import annotations

import json
import shutil
import string
from functools import partial
from pathlib import Path

import pytest
from fuzzing import examples, search
from hypothesis import strategies as st
from PIL import Image

from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

NAMES = ("a.jpg", "b.png", "c d.jpg")
SIZE = (40, 30)


@pytest.fixture
def own(tmp_path, own_cache):
    for name in NAMES:
        Image.new("RGB", SIZE).save(tmp_path / name)
    return tmp_path


cells = st.one_of(
    st.sampled_from([*NAMES, "a", "A.JPG", "../a.jpg", "C:\\x\\a.jpg", "/x/a.jpg", "", " ", "nan", "cat", "0", "1.0"]),
    st.integers(-5, 60).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.floats(0, 1).map(str),
    st.text(st.sampled_from([*string.printable, "\u0301", "\u00e9", "\0", "\ufeff", "\u732b"]), max_size=6),
)
headers = st.sampled_from(
    [
        "image,label,x0,y0,x1,y1",
        "filename,class,xmin,ymin,xmax,ymax,width,height",
        "ImageID,LabelName,XMin,XMax,YMin,YMax",
        "image,class,x_center,y_center,width,height",
        "image,label",
        "image;label;x;y;w;h",
        "image\tlabel\tsplit",
        "",
    ]
)
csv_options = st.fixed_dictionaries(
    {},
    optional={
        "boxes": st.sampled_from(["fraction", "pixels", "xywh", "corners", "fraction+cxcywh", "no"]),
        "labels": st.sampled_from(["names", "indices", "network", "auto"]),
        "label": st.sampled_from(["unique", "only", "largest"]),
        "classes": st.sampled_from(["single", "rows"]),
        "exif": st.sampled_from(["apply", "ignore"]),
        "missing": st.just("skip"),
        "columns": st.sampled_from(["image:label", "image:x0:y0:x1:y1:label", "-"]),
    },
)


def open_or_refuse(root: Path, name: str, options):
    """The rows, or None where the file is refused in words; anything else fails the test."""
    shutil.rmtree(root / "cache", ignore_errors=True)
    try:
        return open_table("folder", root, annotations=name, **options).rows[:]
    except DatasetError:
        return None


def check_rows(rows) -> None:
    assert len(set(rows["image_id"])) == len(rows["image_id"]) > 0
    for boxes in rows["boxes"]:
        assert all(x0 <= x1 and y0 <= y1 for x0, y0, x1, y1 in boxes)


def csv_case(own, header, lines, options):
    separator = next((s for s in ";\t" if s in header), ",")
    text = "\n".join([header, *(separator.join(line) for line in lines)])
    (own / "f.csv").write_text(text, encoding="utf-8", errors="surrogatepass")
    if (rows := open_or_refuse(own, "f.csv", options)) is not None:
        check_rows(rows)


csv_lines = st.lists(st.lists(cells, min_size=1, max_size=8), max_size=5)


@examples(60, 3000)
def test_any_csv(own, examples):
    search(examples, partial(csv_case, own), header=headers, lines=csv_lines, options=csv_options)


coordinates = st.integers(0, 14)
labels = st.sampled_from(["cat", "dog", "001", "1", "2.0"])


sound_boxes = st.lists(
    st.tuples(st.sampled_from(NAMES), coordinates, coordinates, st.integers(2, 15), st.integers(2, 15)),
    min_size=1,
    max_size=6,
)


@examples(60, 600)
def test_a_sound_csv_in_any_form_gives_its_boxes(own, examples):
    search(
        examples,
        partial(sound_csv, own),
        boxes=sound_boxes,
        form=st.sampled_from(["xyxy", "xywh", "cxcywh"]),
        unit=st.sampled_from(["pixels", "fraction"]),
        separator=st.sampled_from([",", ";", "\t"]),
    )


def sound_csv(own, boxes, form, unit, separator):
    right: dict[str, list[list[float]]] = {}
    lines = [separator.join(("image", "label", "x0", "y0", "x1", "y1"))]
    for name, x, y, width, height in boxes:
        right.setdefault(name, []).append([x, y, x + width, y + height])
        numbers = {
            "xyxy": (x, y, x + width, y + height),
            "xywh": (x, y, width, height),
            "cxcywh": (x + width / 2, y + height / 2, width, height),
        }[form]
        scale = (SIZE * 2) if unit == "fraction" else (1, 1, 1, 1)
        lines.append(separator.join([name, "7", *(repr(n / s) for n, s in zip(numbers, scale, strict=True))]))
    (own / "f.csv").write_text("\n".join(lines))
    rows = open_or_refuse(own, "f.csv", {"boxes": f"{unit}+{form}"})
    assert rows is not None
    assert rows["image_id"] == list(right)
    for found, expected in zip(rows["boxes"], right.values(), strict=True):
        assert [v for box in found for v in box] == pytest.approx([v for box in expected for v in box])


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 50), st.floats(), st.sampled_from(["", "a", "a.jpg", 2**70, -(2**70)])
)
segmentations = st.one_of(
    scalars,
    st.lists(st.lists(st.one_of(st.floats(-10, 60), scalars), max_size=9), max_size=2),
    st.fixed_dictionaries(
        {},
        optional={
            "size": st.sampled_from([[30, 40], [40, 30], [0, 0], "x", [2**40, 2**40]]),
            "counts": st.one_of(st.just([1200]), st.lists(st.integers(-1, 700), max_size=5), st.text(max_size=12)),
        },
    ),
)
images = st.fixed_dictionaries(
    {"id": st.one_of(st.integers(0, 3), scalars), "file_name": st.one_of(st.sampled_from(NAMES), scalars)},
    optional={"width": st.one_of(st.just(40), scalars), "height": st.one_of(st.just(30), scalars)},
)
annotations = st.fixed_dictionaries(
    {"image_id": st.one_of(st.integers(0, 3), scalars), "category_id": st.one_of(st.integers(0, 1), scalars)},
    optional={
        "id": scalars,
        "bbox": st.one_of(st.lists(st.one_of(st.integers(0, 15), scalars), min_size=4, max_size=4), scalars),
        "segmentation": segmentations,
        "iscrowd": st.one_of(st.sampled_from([0, 1]), scalars),
        "area": scalars,
    },
)
categories = st.fixed_dictionaries({"id": st.one_of(st.integers(0, 1), scalars), "name": st.one_of(labels, scalars)})
sound = {
    "images": st.just([{"id": i, "file_name": n, "width": 40, "height": 30} for i, n in enumerate(NAMES)]),
    "categories": st.just([{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]),
}
coco_files = st.one_of(
    scalars,
    st.lists(scalars, max_size=2),
    st.fixed_dictionaries(
        {
            "images": st.one_of(sound["images"], st.lists(images, max_size=3), scalars),
            "annotations": st.one_of(st.lists(annotations, max_size=4), scalars),
            "categories": st.one_of(sound["categories"], st.lists(categories, max_size=3), scalars),
        }
    ),
    st.fixed_dictionaries({**sound, "annotations": st.lists(annotations, min_size=1, max_size=4)}),
)
coco_options = st.fixed_dictionaries(
    {},
    optional={
        "label": st.sampled_from(["unique", "only", "largest"]),
        "masks": st.sampled_from(["auto", "off"]),
        "boxes": st.sampled_from(["pixels", "fraction", "xyxy"]),
        "labels": st.sampled_from(["network", "auto"]),
    },
)


def coco_case(own, content, options):
    (own / "f.json").write_text(json.dumps(content))
    if (rows := open_or_refuse(own, "f.json", options)) is not None:
        check_rows(rows)


@examples(60, 3000)
def test_any_coco(own, examples):
    search(examples, partial(coco_case, own), content=coco_files, options=coco_options)
