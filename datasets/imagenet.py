"""`imagenet`: ImageNet-1K as class folders, Kaggle tree, flat folder + devkit, or validation tar (SEMANTICS §7)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from . import wsol
from .adapter import Adapter, Built, Plan
from .archives import index_tar, member_path
from .files import IMAGE_SUFFIXES
from .findings import Findings, MissingSplitError, some
from .headers import add_sizes
from .imagenet_classes import imagenet_class_names, imagenet_wnids
from .imagenet_layout import EXPECTED, TRAIN, Sources, find_validation
from .imagenet_sources import (
    GROUND_TRUTH,
    VAL_IMAGES,
    Annotations,
    columns,
    label_of,
    read_devkit,
    read_solution,
    read_xml_folder,
)
from .locate import find_base, inventory
from .rows import Chunk
from .schema import DatasetError, DatasetSpec, Split, register_dataset
from .splits import HOLDOUT_OPTIONS, HoldOut

OPTIONS = {
    **HOLDOUT_OPTIONS,
    "boxes": "folder of validation XML files, or LOC_val_solution.csv (default: found below the root)",
    "devkit": "devkit folder or ILSVRC2012_devkit_t12.tar.gz (default: found below the root)",
    "metadata": "wsolevaluation's metadata/ILSVRC: with ImageNetV2's images in val2/, val is ImageNetV2",
}


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> Plan:
    """Find what the split is made of."""
    if split == "val" and "metadata" in options:
        return _imagenetv2(root, wsol.find_metadata(root, "val", options["metadata"]))
    base = find_base(root, EXPECTED)
    if base.is_file():
        base = base.parent
    found = wsol.nearby_metadata(base, "ILSVRC", "val") if split == "val" and (base / "val2").is_dir() else None
    if found is not None:
        return _imagenetv2(base, found)
    if split == "test":
        sources = find_validation(base, options)
        files = [p for p in (sources.solution, sources.devkit) if p is not None and p.is_file()]
        if sources.devkit is not None and sources.devkit.is_dir():
            files += [sources.devkit / GROUND_TRUTH, sources.devkit / "meta.mat"]
        return Plan(
            sources.variant,
            lambda: build_validation(sources),
            tuple(f for f in files if f.is_file()),
            (sources.images,) if sources.images.is_file() else (),
            (sources.xml,) if sources.xml else (),
        )
    folder = next((base / n for n in TRAIN if (base / n).is_dir()), None)
    if folder is None:
        why = (
            "metadata=DIR with ImageNetV2's images would give one"
            if split == "val"
            else "expected train/ with wnid folders"
        )
        raise MissingSplitError(f"imagenet: no {split} split in {base}: {why}; {inventory(base)}")
    return Plan("wnid folders", lambda: build_train(folder, split, options))


def _imagenetv2(root: Path, folder: Path) -> Plan:
    files = tuple(sorted(folder.glob("*.txt")))

    def build() -> Built:
        built = wsol.build(root, folder, "val", {"num_classes": 1000})
        built.class_names = imagenet_class_names()
        return built

    return Plan("ImageNetV2, wsolevaluation metadata", build, files)


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
            sizes=np.array([files[n][1] for n in names], np.int64),
        )
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
            findings.note(f"a subset: {len(names):,} of {VAL_IMAGES:,} validation images")
        yield chunk

    return Built(
        class_names=imagenet_class_names(),
        chunks=chunks(),
        findings=findings,
        watched=lambda: watched,
        has_boxes=bool(found.boxes),
    )


def _annotations(sources: Sources, findings: Findings) -> Annotations:
    found = Annotations()
    if sources.xml is not None:
        found = read_xml_folder(sources.xml, findings)
    elif sources.solution is not None:
        found = read_solution(sources.solution, findings)
    else:
        fix = "ILSVRC2012_bbox_val_v3.tgz (image-net.org) into bbox_val/, or Kaggle's LOC_val_solution.csv"
        findings.note("no boxes found: localisation metrics need them", sources.images.parent, fix)
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
    """Name -> (address, bytes, label of its folder or -1)."""
    if sources.images.is_file():
        members = index_tar(sources.images)
        return {
            n.rpartition("/")[2]: (member_path(sources.images, n, offset, size), size, -1)
            for n, (offset, size) in members.items()
            if n.endswith(IMAGE_SUFFIXES)
        }
    watched.append(sources.images)
    if not sources.by_class:
        return {n: (f"{sources.images}/{n}", size, -1) for n, size in _scan(sources.images)}
    files: dict[str, tuple[str, int, int]] = {}
    for folder, label in _class_folders(sources.images, findings):
        watched.append(folder)
        files.update({n: (f"{folder}/{n}", size, label) for n, size in _scan(folder)})
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


def _scan(folder: Path) -> list[tuple[str, int]]:
    """(name, bytes) of a folder's images, sorted; ``DatasetError`` where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (e.name, e.stat().st_size) for e in entries if e.name.endswith(IMAGE_SUFFIXES) and e.is_file()
            )
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be listed: {error.strerror}") from error


def _scan_ahead(pool: ThreadPoolExecutor, folders: list[Path], ahead: int = 8) -> Iterator[list[tuple[str, int]]]:
    """``_scan`` of each folder in order, a few in advance: memory does not grow with their number."""
    pending: deque[Future[list[tuple[str, int]]]] = deque()
    for folder in folders:
        pending.append(pool.submit(_scan, folder))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _class_folders(base: Path, findings: Findings) -> list[tuple[Path, int]]:
    """(folder, label) of the wnid folders; anything else that could hold images is an error."""
    labels = label_of()
    entries = sorted(base.iterdir())
    known = [(p, labels[p.name]) for p in entries if p.name in labels and p.is_dir()]
    strange = [p.name for p in entries if p.is_dir() and p.name not in labels and not p.name.startswith(".")]
    if strange:
        findings.error(f"{len(strange)} folders are no wnids of ImageNet-1K: {some(strange)}", base, count=len(strange))
    packed = [p.name for p in entries if p.suffix == ".tar" and p.stem in labels]
    if packed:
        fix = "extract each into its own folder (half-extracted train)"
        findings.error(f"{len(packed)} class archives are not extracted: {some(packed)}", base, fix, len(packed))
    if 0 < len(known) < len(imagenet_wnids()):
        findings.note(f"a subset: {len(known)} of 1,000 class folders; labels stay those of all 1,000", base)
    return known


def build_train(base: Path, split: Split, options: Mapping[str, Any]) -> Built:
    """Train from its class folders, one chunk a class; val as a hold-out of it. No boxes are read for train."""
    findings = Findings()
    folders = _class_folders(base, findings)
    if not folders:
        findings.error(f"no wnid folder (n01440764 …) here; {inventory(base)}", base)
    hold = HoldOut(split, options, findings, "no ImageNetV2 (pass metadata=DIR with its images in val2/)")

    def chunks() -> Iterator[Chunk]:
        empty = []
        with ThreadPoolExecutor(4, "scan") as pool:
            for (folder, label), files in zip(folders, _scan_ahead(pool, [f for f, _ in folders]), strict=True):
                if not files:
                    empty.append(folder.name)
                    continue
                prefix = f"{folder}/"
                yield hold.apply(
                    Chunk(
                        ids=[f"train/{folder.name}/{n}" for n, _ in files],
                        paths=[prefix + n for n, _ in files],
                        labels=np.full(len(files), label, np.int64),
                        sizes=np.array([s for _, s in files], np.int64),
                    )
                )
        hold.report()
        if empty:
            findings.error(f"{len(empty)} class folders are empty: {some(empty)}", base, "half-extracted?", len(empty))

    names = imagenet_class_names()
    return Built(names, chunks(), findings, watched=lambda: [base, *(f for f, _ in folders)])


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
        counts={"train": 1_281_167, "test": VAL_IMAGES},
        num_classes=1000,
        options=ADAPTER.all_options,
        metrics=("boxes",),
    )
)
