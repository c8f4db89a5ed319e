"""`imagenet`: ImageNet-1K as class folders, Kaggle tree, flat + devkit, published tars, hub's shards (SEMANTICS §7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....opener import is_picture
from ...disk.archives import index_tar, member_path
from ...disk.locate import find_base, inventory
from ...disk.shards import read_index as read_shards
from ...findings import Findings, some
from ...formats.wnids import imagenet_class_names
from ...formats.wsol.wsol_reader import build as build_wsol
from ...formats.wsol.wsol_reader import find_metadata, nearby_metadata
from ...schema import DatasetSpec, MissingSplitError, Split, register_dataset
from ...tables.build import Adapter, BuildPlan, Built
from ...tables.checks import LeftOut
from ...tables.headers import add_sizes
from ...tables.rows import Chunk
from ...tables.sizes import Published
from ...tables.splits import HOLDOUT_OPTIONS
from .distribution import EXPECTED, TRAIN, TRAIN_TAR, Sources, find_shards, find_train_boxes, find_validation
from .image_files import class_folders, published_name, scan
from .label_sources import GROUND_TRUTH, VAL_IMAGES, label_of, read_devkit, read_solution
from .train_split import TRAIN_IMAGES, build_train, from_folders, from_shards, from_tar
from .xml_boxes import Annotations, TrainBoxes, columns, read_xml

OPTIONS = {
    **HOLDOUT_OPTIONS,
    "boxes": "folder or .tgz of validation XML files, or LOC_val_solution.csv (default: found below the root)",
    "train_boxes": "off (default), on, or the folder or archive of the training XML files: of train (and its hold-out "
    "val) only the images that have boxes (544,546 of 1,281,167)",
    "devkit": "devkit folder or ILSVRC2012_devkit_t12.tar.gz (default: found below the root)",
    "metadata": "wsolevaluation's metadata/ILSVRC: with ImageNetV2's images in val2/, val is ImageNetV2",
}


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> BuildPlan:
    """Find what the split is made of."""
    if split == "val" and "metadata" in options:
        return _imagenetv2(root, find_metadata(root, "val", options["metadata"]))
    base = find_base(root, EXPECTED)
    if base.is_file():
        base = base.parent
    found = nearby_metadata(base, "ILSVRC", "val") if split == "val" and (base / "val2").is_dir() else None
    if found is not None:
        return _imagenetv2(base, found)
    return _plan_test(base, options) if split == "test" else _plan_train(base, split, options)


def _plan_test(base: Path, options: Mapping[str, Any]) -> BuildPlan:
    sources = find_validation(base, options)
    files = [p for p in (sources.solution, sources.devkit) if p is not None and p.is_file()]
    if sources.devkit is not None and sources.devkit.is_dir():
        files += [sources.devkit / GROUND_TRUTH, sources.devkit / "meta.mat"]
    archives = [p for p in (sources.images, sources.xml, *sources.shards) if p is not None and p.is_file()]
    return BuildPlan(
        sources.variant,
        lambda: build_validation(sources),
        tuple(f for f in files if f.is_file()),
        tuple(archives),
        (sources.xml,) if sources.xml and sources.xml.is_dir() else (),
    )


def _plan_train(base: Path, split: Split, options: Mapping[str, Any]) -> BuildPlan:
    """Class folders, else the tar of tars, else the hub's shards; train has boxes only where the option asks."""
    place = find_train_boxes(base, options)
    boxes = TrainBoxes(place) if place else None
    stamps = (place,) if place and place.is_file() else ()
    listed = tuple(boxes.watched()) if boxes else ()
    told = ", XML boxes" if boxes else ""
    watched: list[Path] = []
    folder = next((base / n for n in TRAIN if (base / n).is_dir()), None)
    if folder is not None:
        classes = from_folders(folder, watched)
        return BuildPlan(
            f"wnid folders{told}", lambda: build_train(classes, boxes, split, options, watched), (), stamps, listed
        )
    if (base / TRAIN_TAR).is_file():
        tar = base / TRAIN_TAR
        return BuildPlan(
            f"training tar read in place{told}",
            lambda: build_train(from_tar(tar), boxes, split, options, watched), (), (tar, *stamps), listed,
        )  # fmt: skip
    if shards := find_shards(base, "train"):
        return BuildPlan(
            f"Hugging Face hub's shards read in place{told}",
            lambda: build_train(from_shards(shards), boxes, split, options, watched), (), (*shards, *stamps), listed,
        )  # fmt: skip
    why = "expected train/ with folders"
    if split == "val":
        why = "the published validation images are the split test; metadata=DIR with ImageNetV2's images gives a val"
    raise MissingSplitError(f"imagenet: no {split} split in {base}: {why}; {inventory(base)}")


def _imagenetv2(root: Path, folder: Path) -> BuildPlan:
    files = tuple(sorted(folder.glob("*.txt")))

    def build() -> Built:
        built = build_wsol(root, folder, "val", {"num_classes": 1000})
        built.class_names = imagenet_class_names()
        return built

    return BuildPlan("ImageNetV2, wsolevaluation metadata", build, files)


def build_validation(sources: Sources) -> Built:
    """The 50,000 (or fewer) validation images; ids are ``val/NAME`` in every variant."""
    findings = Findings()
    found = _annotations(sources, findings)
    watched: list[Path] = []

    def chunks() -> Iterator[Chunk]:
        files = _validation_files(sources, findings, watched)
        names = sorted(files)
        stems = [n.rpartition(".")[0] for n in names]
        labels = np.array([_label(files[n][2], s, found) for n, s in zip(names, stems, strict=True)], np.int64)
        chunk = Chunk(
            ids=[f"val/{n}" for n in names],
            paths=[files[n][0] for n in names],
            labels=labels,
            sizes=None if sources.shards else np.array([files[n][1] for n in names], np.int64),
        )
        other = [n for n, s, label in zip(names, stems, labels, strict=True) if found.labels.get(s, label) != label]
        if other:
            what = f"{len(other):,} images are of another class than their boxes say: {some(other)}"
            findings.error(what, sources.images, "do they lie in the right class folder?", len(other))
        unknown = [n for n, label in zip(names, labels, strict=True) if label < 0]
        if unknown:
            findings.error(
                f"{len(unknown):,} images have no label: {some(unknown)}", sources.images, count=len(unknown)
            )
            chunk = chunk.take(np.flatnonzero(labels >= 0))
            stems = [s for s, label in zip(stems, labels, strict=True) if label >= 0]
        if found.boxes:
            _add_boxes(chunk, stems, found, findings)
        if len(names) < VAL_IMAGES:
            absent = sorted({f"ILSVRC2012_val_{i + 1:08d}" for i in range(VAL_IMAGES)} - set(stems))
            findings.warn(f"a subset: {len(names):,} of {VAL_IMAGES:,} validation images; absent: {some(absent)}")
        yield chunk

    return Built(
        class_names=imagenet_class_names(),
        chunks=chunks(),
        findings=findings,
        watched=lambda: watched,
        has_boxes=bool(found.boxes),
        published=Published("ImageNet"),
    )


def _annotations(sources: Sources, findings: Findings) -> Annotations:
    found = Annotations()
    if sources.xml is not None:
        found = read_xml(sources.xml, label_of(), findings)
    elif sources.solution is not None:
        found = read_solution(sources.solution, findings)
    else:
        fix = "ILSVRC2012_bbox_val_v3.tgz (image-net.org) into bbox_val/, or Kaggle's LOC_val_solution.csv"
        findings.note("no boxes found: localisation metrics need them", sources.images.parent, fix)
    place = sources.xml or sources.solution
    if place is not None and not found.boxes and not findings.of("error"):
        findings.error("no boxes of validation images in it", place, "pass boxes=PATH of the right file")
    if not sources.by_class and sources.devkit is not None:
        _merge_labels(found, read_devkit(sources.devkit), sources, findings)
    return found


def _merge_labels(found: Annotations, labels: dict[str, int], sources: Sources, findings: Findings) -> None:
    """The devkit's labels; boxes that say another class belong to other images, which is an error."""
    differ = [n for n, label in found.labels.items() if n in labels and labels[n] != label]
    if differ:
        findings.error(f"{len(differ):,} boxes name another class than the devkit: {some(differ)}", sources.devkit)
    found.labels.update(labels)


def _label(folder_label: int, stem: str, found: Annotations) -> int:
    return folder_label if folder_label >= 0 else found.labels.get(stem, -1)


def _validation_files(sources: Sources, findings: Findings, watched: list[Path]) -> dict[str, tuple[str, int, int]]:
    """Name as published -> (address, bytes, label of its folder or name, or -1)."""
    if sources.shards:
        return _shard_files(sources.shards, findings)
    if sources.images.is_file():
        members = {n: place for n, place in index_tar(sources.images).items() if is_picture(n)}
        listed = [(n, member_path(sources.images, n, *place), place[1], -1) for n, place in members.items()]
    else:
        watched.append(sources.images)
        left_out = LeftOut()
        folders = class_folders(sources.images, findings) if sources.by_class else [(sources.images, -1)]
        watched += [folder for folder, _ in folders if folder != sources.images]
        listed = [(n, f"{folder}/{n}", size, label) for folder, label in folders for n, size in scan(folder, left_out)]
        left_out.report(sources.images, findings)
        filled = {address.split("/")[-2] for _, address, _, _ in listed}
        empty = sorted({folder.name for folder, _ in folders} - filled) if sources.by_class else []
        if empty:
            what = f"{len(empty)} class folders are empty: {some(empty)}"
            findings.error(what, sources.images, "half-extracted?", len(empty))
    labels = label_of()
    files: dict[str, tuple[str, int, int]] = {}
    first: dict[str, str] = {}
    twice = []
    for listed_name, address, size, label in listed:
        name, wnid = published_name(listed_name.rpartition("/")[2])
        # Labels and boxes are of the name without its suffix.
        stem = name.rpartition(".")[0]
        if stem in first:
            twice.append(f"{first[stem]} and {address}")
        first[stem] = address
        files[name] = (address, size, label if label >= 0 else labels.get(wnid, -1))
    if twice:
        what = f"{len(twice):,} images are there twice: {some(twice)}"
        findings.error(what, sources.images, "remove the one in the wrong folder", len(twice))
    return files


def _shard_files(places: tuple[Path, ...], findings: Findings) -> dict[str, tuple[str, int, int]]:
    """The hub's shards: the label of a row and the wnid in its name must agree."""
    shards, labels = read_shards(places), label_of()
    files, wrong, twice = {}, [], []
    for row, label in enumerate(shards.labels.tolist()):
        name, wnid = published_name(str(shards.names[row]))
        twice += [name] if name in files else []
        files[name] = (shards.path(row), 0, label)
        if wnid and labels.get(wnid) != label:
            wrong.append(name)
    if twice:
        what = f"{len(twice):,} images are in the shards twice: {some(twice)}"
        findings.error(what, places[0].parent, "are shards of two downloads mixed?", len(twice))
    if wrong:
        fix = "are these the shards of ILSVRC/imagenet-1k?"
        findings.error(f"{len(wrong):,} names are not of their row's class: {some(wrong)}", places[0].parent, fix)
    return files


def _add_boxes(chunk: Chunk, stems: list[str], found: Annotations, findings: Findings) -> None:
    boxes, offsets, without = columns(stems, found)
    chunk.boxes, chunk.box_offsets = boxes, offsets
    if without:
        findings.error(
            f"{len(without):,} of {len(stems):,} images have no box: {some(without)}",
            fix="complete the annotations, or pass boxes=PATH",
            count=len(without),
        )
    if found.sizes and all(s in found.sizes for s in stems):
        sizes = np.array([found.sizes[s] for s in stems], np.int64).reshape(-1, 2)
        chunk.widths, chunk.heights = sizes[:, 0], sizes[:, 1]
    else:
        add_sizes(chunk)


ADAPTER = Adapter("imagenet", 1, plan, OPTIONS)
SPEC = register_dataset(
    DatasetSpec(
        name="imagenet",
        load=ADAPTER.load,
        title="ImageNet-1K (ILSVRC 2012)",
        source="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015",
        licence="non-commercial research and education, by registration",
        citation="@article{russakovsky2015imagenet, title={ImageNet Large Scale Visual Recognition Challenge}, "
        "author={Russakovsky, O. and others}, journal={IJCV}, year={2015}}",
        counts={"train": TRAIN_IMAGES, "test": VAL_IMAGES},
        num_classes=1000,
        options=ADAPTER.all_options,
        metrics=("boxes",),
    )
)
