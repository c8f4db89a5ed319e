"""`openimages30k`: OpenImages-30K as wsolevaluation lays it out, with or without its metadata (SEMANTICS §7)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...opener import is_picture, suffix_of
from ..disk.files import FileIndex
from ..disk.locate import Expected, find_base, inventory, known
from ..findings import Findings, some
from ..formats.wsol.wsol_reader import build as build_wsol
from ..formats.wsol.wsol_reader import find_metadata
from ..schema import DatasetSpec, MissingSplitError, Split, register_dataset
from ..tables.build import Adapter, BuildPlan, Built
from ..tables.checks import LeftOut, check_masks
from ..tables.rows import Chunk

CLASSES = 100
COUNTS = {"train": 29_819, "val": 2_500, "test": 5_000}
EXPECTED = known(
    Expected(
        name="openimages30k",
        markers=("train", "val", "test"),
        nested=("OpenImages", "OpenImages30k", "openimages"),
        what="OpenImages-30K (train/, val/, test/, each with one folder a class)",
        contents=("train/0*", "val/0*", "test/0*"),
        strangers=(("wnids.txt", "Tiny ImageNet (tiny_imagenet)"),),
        signs=("test/0*/*_m0*.png", "val/0*/*_m0*.png"),
    )
)
OPTIONS = {"metadata": "wsolevaluation's metadata/OpenImages (default: found below the root, else from the file names)"}
_MASK = re.compile(r"^([0-9a-f]+)_m[0-9a-z_]+_[0-9a-f]+\.png$")


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> BuildPlan:
    """With the metadata where there is one; else from folder and file names."""
    base = find_base(root, EXPECTED)
    named = options.get("metadata")
    places = (base / "metadata", base / "metadata/OpenImages", base.parent / "metadata/OpenImages")
    found = named or next((p for p in places if (p / split / "image_ids.txt").is_file()), None)
    if found is not None:
        folder = find_metadata(base, split, found)
        settings = {"num_classes": CLASSES}
        files = tuple(sorted(folder.glob("*.txt")))
        return BuildPlan("wsolevaluation metadata", lambda: build_wsol(base, folder, split, settings), files)
    if not (base / split).is_dir():
        raise MissingSplitError(f"openimages30k: no {split}/ in {base}; {inventory(base)}")
    return BuildPlan("folders without metadata", lambda: build_folders(base, split))


def build_folders(base: Path, split: Split) -> Built:
    """Rows from the names: folder = class (rank in sorted order), `ID.jpg`, `ID_mCLASS_*.png`, `ID_ignore.png`."""
    findings, index = Findings(), FileIndex()
    folders = sorted(p.name for p in (base / split).iterdir() if p.is_dir())
    if len(folders) != CLASSES:
        findings.warn(
            f"{len(folders)} class folders, published are {CLASSES}: labels are ranks among those here",
            base / split,
            "pass metadata=DIR for the published labels",
        )
    if split != "train":
        findings.note("no metadata: instances are those whose PNG is there", base / split)

    def chunks() -> Iterator[Chunk]:
        left_out = LeftOut()
        for label, name in enumerate(folders):
            yield _class_rows(base, split, name, label, index, findings, left_out)
        left_out.report(base / split, findings)

    return Built(
        class_names=tuple(folders),
        chunks=chunks(),
        findings=findings,
        facts={"num_classes_known": len(folders) == CLASSES},
        watched=lambda: [base / split, *index.folders()],
        has_masks=split != "train",
    )


def _class_rows(
    base: Path, split: str, name: str, label: int, index: FileIndex, findings: Findings, left_out: LeftOut
) -> Chunk:
    folder = f"{base}/{split}/{name}"
    sizes = index.listing(folder)
    # Masks are PNG.
    images = sorted(n for n in sizes if is_picture(n) and suffix_of(n) != ".png")
    left_out.add(sizes)
    repeated = sorted(i for i, n in Counter(name.rpartition(".")[0] for name in images).items() if n > 1)
    if repeated:
        what = f"{len(repeated)} images are there in two formats: {some(repeated)}"
        findings.error(what, folder, "masks belong to one of them: remove the other", len(repeated))
        images = [n for n in images if n.rpartition(".")[0] not in repeated]
    chunk = Chunk(
        ids=[f"{split}/{name}/{n}" for n in images],
        paths=[f"{folder}/{n}" for n in images],
        labels=np.full(len(images), label, np.int64),
        sizes=np.array([sizes[n] for n in images], np.int64),
    )
    if split == "train":
        return chunk
    masks: dict[str, list[str]] = {n.rpartition(".")[0]: [] for n in images}
    stray = []
    for file in sorted(sizes):
        match = _MASK.match(file)
        if match is not None and match[1] in masks:
            masks[match[1]].append(f"{folder}/{file}")
        elif match is not None:
            stray.append(file)
    if stray:
        findings.error(f"{len(stray)} masks have no image: {some(stray)}", folder, "fetch the images", len(stray))
    png = [n for n in sorted(sizes) if suffix_of(n) == ".png"]
    check_masks([f"{name}/{n}" for n in png], [sizes[n] for n in png], findings)
    bare = [i for i, found in masks.items() if not found]
    if bare:
        findings.error(f"{len(bare)} images have no mask: {some(bare)}", folder, "fetch the masks", len(bare))
    chunk.masks = list(masks.values())
    chunk.ignores = [f"{folder}/{i}_ignore.png" if f"{i}_ignore.png" in sizes else None for i in masks]
    return chunk


ADAPTER = Adapter("openimages30k", 2, plan, OPTIONS, COUNTS)
SPEC = register_dataset(
    DatasetSpec(
        name="openimages30k",
        load=ADAPTER.load,
        title="OpenImages-30K",
        source="Choe et al., CVPR 2020; Benenson et al., Large-scale interactive object segmentation, CVPR 2019",
        licence="images CC BY 2.0, annotations CC BY 4.0",
        citation="@inproceedings{choe2020cvpr, title={Evaluating Weakly Supervised Object Localization Methods Right}, "
        "author={Choe, J. and Oh, S. J. and Lee, S. and Chun, S. and Akata, Z. and Shim, H.}, "
        "booktitle={CVPR}, year={2020}}",
        counts=COUNTS,
        num_classes=CLASSES,
        options=ADAPTER.all_options,
        metrics=("masks",),
    )
)
