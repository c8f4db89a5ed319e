"""ImageNet's training images, class by class: from wnid folders, the tar of tars, or the hub's Parquet shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ....opener import is_picture
from ...disk.archives import index_tar, member_path, read_index
from ...disk.locate import inventory
from ...disk.shards import read_index as read_shards
from ...findings import Findings, some
from ...formats.wnids import imagenet_class_names
from ...schema import Split
from ...tables.build import Built
from ...tables.checks import LeftOut
from ...tables.rows import Chunk
from ...tables.sizes import Published
from ...tables.splits import HoldOut
from .image_files import class_folders, published_name, scan_ahead
from .label_sources import label_of
from .xml_boxes import TrainBoxes

TRAIN_IMAGES = 1_281_167
Classes = Callable[[Findings], Iterator[Chunk]]
"""One chunk a class, in label order; ids are ``train/WNID/NAME`` in every variant."""


def from_folders(base: Path, watched: list[Path]) -> Classes:
    """Classes of wnid folders; ``watched`` receives them."""

    def classes(findings: Findings) -> Iterator[Chunk]:
        folders = class_folders(base, findings)
        watched.extend([base, *(f for f, _ in folders)])
        if not folders:
            findings.error(f"no wnid folder (n01440764 …) here; {inventory(base)}", base)
        empty, left_out = [], LeftOut()
        with ThreadPoolExecutor(4, "scan") as pool:
            for (folder, label), files in zip(
                folders, scan_ahead(pool, [f for f, _ in folders], left_out), strict=True
            ):
                if not files:
                    empty.append(folder.name)
                    continue
                names = [published_name(n)[0] for n, _ in files]
                paths, sizes = [f"{folder}/{n}" for n, _ in files], np.array([s for _, s in files], np.int64)
                yield _chunk(folder.name, label, names, paths, sizes)
        left_out.report(base, findings)
        if empty:
            findings.error(f"{len(empty)} class folders are empty: {some(empty)}", base, "half-extracted?", len(empty))

    return classes


def from_tar(archive: Path) -> Classes:
    """Classes of ILSVRC2012_img_train.tar, a tar of one tar a class, both read in place."""

    def classes(findings: Findings) -> Iterator[Chunk]:
        labels = label_of()
        tars = [(Path(n).stem, place) for n, place in index_tar(archive).items() if n.endswith(".tar")]
        inner = dict(tars)
        if len(inner) < len(tars):
            findings.error(f"{len(tars) - len(inner)} class archives are in it twice", archive, "pack each once")
        strange = sorted(set(inner) - set(labels))
        if strange or not inner:
            what = f"{len(strange)} tars are no wnids: {some(strange)}" if strange else "no class archive in it"
            findings.error(what, archive, "is it ILSVRC2012_img_train.tar?", max(1, len(strange)))
        if 0 < len(inner) < len(labels):
            findings.note(f"a subset: {len(inner)} of 1,000 class archives; labels stay those of all 1,000", archive)
        for wnid in sorted(set(inner) & set(labels)):
            start, size = inner[wnid]
            members = read_index(archive, start, start + size)
            names = sorted(n for n in members if is_picture(n))
            paths = [member_path(archive, n, *members[n]) for n in names]
            sizes = np.array([members[n][1] for n in names], np.int64)
            yield _chunk(wnid, labels[wnid], [n.rpartition("/")[2] for n in names], paths, sizes)

    return classes


def from_shards(files: tuple[Path, ...]) -> Classes:
    """Classes of the hub's shards, whose rows are shuffled: names and labels of all are sorted, pictures not read."""

    def classes(findings: Findings) -> Iterator[Chunk]:
        labels = label_of()
        shards = read_shards(files)
        order = np.argsort(shards.labels, kind="stable")
        ends = np.flatnonzero(np.diff(shards.labels[order])) + 1
        for rows in np.split(order, ends) if len(order) else ():
            named = sorted((*published_name(str(shards.names[int(r)])), int(r)) for r in rows)
            label, wnid = int(shards.labels[rows[0]]), named[0][1]
            wrong = [name for name, other, _ in named if labels.get(other) != label]
            if wrong:
                what = f"{len(wrong):,} names are not of class {label}: {some(wrong)}"
                findings.error(what, files[0].parent, "are these the shards of ILSVRC/imagenet-1k?", len(wrong))
            yield _chunk(wnid, label, [n for n, _, _ in named], [shards.path(r) for _, _, r in named], None)

    return classes


def _chunk(wnid: str, label: int, names: list[str], paths: list[str], sizes: Any) -> Chunk:
    ids = [f"train/{wnid}/{n}" for n in names]
    return Chunk(ids=ids, paths=paths, labels=np.full(len(ids), label, np.int64), sizes=sizes)


def build_train(
    classes: Classes, boxes: TrainBoxes | None, split: Split, options: Mapping[str, Any], watched: list[Path]
) -> Built:
    """Train, or val as a hold-out of it; with ``boxes`` only the images that have them."""
    findings = Findings()
    hold = HoldOut(split, options, findings, "no ImageNetV2 (pass metadata=DIR with its images in val2/)")

    def chunks() -> Iterator[Chunk]:
        seen = 0
        for chunk in classes(findings):
            seen += len(chunk)
            part = chunk if boxes is None else chunk.take(boxes.having(chunk.ids))
            part = hold.apply(part)
            if boxes is not None:
                boxes.add(part, findings)
            if len(part):
                yield part
        hold.report()
        if seen < TRAIN_IMAGES:
            findings.warn(f"a subset: {seen:,} of {TRAIN_IMAGES:,} training images")
        if boxes is not None:
            boxes.report(seen, findings)

    if boxes is not None:
        watched.extend(boxes.watched())
    has_boxes = boxes is not None
    return Built(
        class_names=imagenet_class_names(),
        chunks=chunks(),
        findings=findings,
        watched=lambda: watched,
        has_boxes=has_boxes,
        published=Published("ImageNet"),
    )
