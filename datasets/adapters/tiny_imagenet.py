"""`tiny_imagenet`: tiny-imagenet-200 as published (train, val, a box an image)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..disk.locate import Expected, find_base, known
from ..disk.textfiles import read_lines, shorten
from ..disk.trees import FolderTree
from ..findings import Findings, some
from ..schema import DatasetError, DatasetSpec, Split, register_dataset
from ..tables.build import Adapter, BuildPlan, Built
from ..tables.checks import check_listed
from ..tables.rows import Chunk

SIZE = 64
COUNTS = {"train": 100_000, "val": 10_000, "test": 10_000}
EXPECTED = known(
    Expected(
        name="tiny_imagenet",
        markers=("wnids.txt",),
        nested=("tiny-imagenet-200", "tiny_imagenet"),
        what="tiny-imagenet-200 (wnids.txt, train/, val/)",
        signs=("wnids.txt", "train/n[0-9]*/n[0-9]*_boxes.txt", "val/val_annotations.txt"),
    )
)


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> BuildPlan:
    """Find the lists."""
    del options
    base = find_base(root, EXPECTED)
    if base.is_file():
        raise DatasetError(f"tiny_imagenet: {base} is an archive; extract it first")
    wnids = sorted(set(read_lines(base / "wnids.txt")))
    unlisted = sorted(p.name for p in (base / "train").glob("n*") if p.is_dir() and p.name not in wnids)
    if unlisted or not wnids:
        what = f"{len(unlisted)} class folders of train/ are not in it: {some(unlisted)}" if unlisted else "it is empty"
        raise DatasetError(f"{base / 'wnids.txt'}: {what}; is the file truncated?")
    if split == "train":
        lists = tuple(base / "train" / w / f"{w}_boxes.txt" for w in wnids)
    else:
        lists = (base / "val" / "val_annotations.txt",)
    absent = [p for p in lists if not p.is_file()]
    if absent:
        raise DatasetError(f"tiny_imagenet: {len(absent)} box lists missing, first {absent[0]}: half-extracted?")
    words = [base / "words.txt"] if (base / "words.txt").is_file() else []
    return BuildPlan(
        "tiny-imagenet-200", lambda: build(base, split, wnids, lists), (base / "wnids.txt", *words, *lists)
    )


def build(base: Path, split: Split, wnids: list[str], lists: tuple[Path, ...]) -> Built:
    """Rows of the box lists; labels are the rank of the wnid, boxes as published (0-based, inclusive)."""
    findings = Findings()
    tree = FolderTree(base)
    label_of = {w: i for i, w in enumerate(wnids)}
    if split == "test":
        findings.note("the published test images have no labels: test and val are the published val")

    def chunks() -> Iterator[Chunk]:
        for path in lists:
            rows = _rows(path, split, label_of, findings)
            files = [r[0] for r in rows]
            check_listed(tree.index, tree.paths(files), path, findings)
            yield Chunk(
                ids=files,
                paths=tree.paths(files),
                labels=np.array([r[1] for r in rows], np.int64),
                widths=np.full(len(rows), SIZE),
                heights=np.full(len(rows), SIZE),
                boxes=np.array([r[2] for r in rows], np.float64).reshape(-1, 4),
                box_offsets=np.arange(len(rows) + 1),
                sizes=tree.sizes(files),
            )

    return Built(_names(base, wnids), chunks(), findings, watched=tree.folders, has_boxes=True)


def _rows(
    path: Path, split: Split, label_of: Mapping[str, int], findings: Findings
) -> list[tuple[str, int, list[float]]]:
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        name, *rest = line.split("\t")
        wnid = path.parent.name if split == "train" else (rest.pop(0) if rest else "")
        try:
            box, label = [float(v) for v in rest], label_of[wnid]
            if len(box) != 4 or not np.isfinite(box).all():
                raise ValueError
        except (ValueError, KeyError):
            wanted = "name x0 y0 x1 y1" if split == "train" else "name wnid x0 y0 x1 y1"
            findings.line(f"{shorten(line)} is not `{wanted}`", path, number, "is the file truncated?")
            continue
        folder = f"train/{wnid}/images" if split == "train" else "val/images"
        rows.append((f"{folder}/{name}", label, box))
    return rows


def _names(base: Path, wnids: list[str]) -> tuple[str, ...]:
    if not (base / "words.txt").is_file():
        return tuple(wnids)
    pairs = (line.partition("\t") for line in read_lines(base / "words.txt"))
    words = {wnid: text.split(",")[0] for wnid, _, text in pairs}
    return tuple(f"{words[w]} ({w})" if w in words else w for w in wnids)


ADAPTER = Adapter("tiny_imagenet", 1, plan, counts=COUNTS)
SPEC = register_dataset(
    DatasetSpec(
        name="tiny_imagenet",
        load=ADAPTER.load,
        title="Tiny ImageNet",
        source="Stanford CS231n, tiny-imagenet-200",
        licence="ImageNet's terms: non-commercial research and education",
        citation="@misc{tinyimagenet, title={Tiny ImageNet Visual Recognition Challenge}, author={Le, Y. and Yang, X.}"
        ", year={2015}}",
        counts=COUNTS,
        num_classes=200,
        options=ADAPTER.all_options,
        metrics=("boxes",),
    )
)
