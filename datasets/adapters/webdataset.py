"""`webdataset`: pictures and labels in tar shards as the WebDataset library writes them, read in place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...home import expanded
from ...opener import is_picture
from ..disk.archives import index_tar, member_path, read_member
from ..disk.locate import inventory
from ..findings import Findings, OptionError, some
from ..formats.own.label_words import LABEL_OPTION, check_kind, class_indices, cleaned, label_space
from ..schema import DatasetError, DatasetSpec, MissingSplitError, Split, register_dataset
from ..tables.build import Adapter, BuildPlan, Built
from ..tables.headers import add_sizes
from ..tables.rows import Chunk
from ..tables.sizes import Published
from .imagenet.label_sources import read_solution
from .imagenet.xml_boxes import Annotations, columns

WORDS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("validation", "valid", "val"),
    "test": ("test", "eval"),
}
"""Words in a shard's or its folder's name that say which split it belongs to."""
LABEL_MEMBERS, LABEL_KEYS = ("cls", "cls.txt", "label"), ("label", "cls", "class", "class_id")
"""Members of a sample that are its label; keys of its ``.json`` that are, where it has no such member."""
OPTIONS = {
    "labels": LABEL_OPTION,
    "boxes": "LOC_val_solution.csv (Kaggle): boxes of ImageNet's validation images, joined by the picture's name (the "
    "sample's key, or `filename` in its .json)",
}


@dataclass(frozen=True)
class PackedSample:
    """One sample: its key, the address and bytes of its picture, its label as written, its picture's own name."""

    key: str
    picture: str
    size: int
    label: str
    name: str


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> BuildPlan:
    """Find the shards of the split, by the words in their names."""
    kind, boxes = check_kind(options.get("labels")), options.get("boxes")
    shards = find_shards(root, split)
    place = None if boxes is None else expanded(boxes)
    if place is not None and not place.is_file():
        raise OptionError(f"webdataset: boxes={boxes}: no such file; expected Kaggle's LOC_val_solution.csv")
    files = () if place is None else (place,)
    told = "" if place is None else ", LOC_val_solution.csv boxes"
    return BuildPlan(
        f"{len(shards)} WebDataset shards read in place{told}", lambda: build(root, shards, kind, place), files, shards
    )


def find_shards(root: Path, split: Split) -> tuple[Path, ...]:
    """The tar files of a split, in the order of their names.

    A name with no word of a split belongs to ``test``, and so do the validation shards where none is called test: they
    are what published sets are evaluated on.

    Raises:
        MissingSplitError: There is no shard of it.
        DatasetError: There is no tar file at all.
    """
    every = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.name.endswith((".tar", ".tar.gz")))
    if not every:
        raise DatasetError(f"webdataset: no tar file below {root}; {inventory(root)}")
    base = root.parent if root.is_file() else root
    said = {shard: split_in(str(shard.relative_to(base))) for shard in every}
    has_test = any(s in ("test", None) for s in said.values())
    wanted: set[Split | None] = {split}
    if split == "test":
        wanted = {"test", None} if has_test else {"val"}
    found = tuple(shard for shard in every if said[shard] in wanted)
    if not found or (split == "val" and not has_test):
        others = "; the validation shards are the split test, as none is called so" if split == "val" and found else ""
        names = some([str(p.relative_to(base)) for p in every])
        raise MissingSplitError(f"webdataset: no shard of {split} below {root} (it holds {names}){others}")
    return found


def split_in(name: str) -> Split | None:
    """The split whose word a path has, in its file's name or in a folder's, the nearest first; None for none."""
    for part in reversed(name.lower().replace(".", "/").split("/")):
        words = part.replace("_", "-").split("-")
        for split, known in WORDS.items():
            if any(word in known for word in words):
                return split
    return None


def build(root: Path, shards: tuple[Path, ...], kind: str, solution: Path | None) -> Built:
    """Rows of the shards in their order; ids are the samples' keys."""
    findings = Findings()
    samples = [sample for shard in shards for sample in read_samples(shard, findings)]
    labelled = kind != "none" and any(sample.label for sample in samples)
    unlabelled = [s.key for s in samples if not s.label]
    if labelled and unlabelled:
        what = f"{len(unlabelled):,} samples have no label: {some(unlabelled)}"
        findings.error(what, root, "pass --option labels=none if labels are not wanted", len(unlabelled))
    if not labelled:
        kind = "none"
        findings.note("pictures without labels: the class drawn is the network's prediction")
    index_of, names, known = class_indices((s.label for s in samples if s.label), kind, root, findings)
    labels = np.array([index_of[s.label] if labelled and s.label else -1 for s in samples], np.int64)
    found = Annotations() if solution is None else read_solution(solution, findings)
    twice = len(samples) - len({s.key for s in samples})
    if twice:
        findings.error(f"{twice:,} keys occur more than once", root, "are shards of two sets mixed?", twice)
    findings.raise_errors("webdataset")

    def chunks() -> Iterator[Chunk]:
        chunk = Chunk(
            ids=[s.key for s in samples],
            paths=[s.picture for s in samples],
            labels=labels,
            sizes=np.array([s.size for s in samples], np.int64),
        )
        if solution is not None:
            chunk.boxes, chunk.box_offsets, without = columns([s.name for s in samples], found)
            if len(without) == len(samples):
                findings.error(
                    f"no sample's name is listed, neither its key nor `filename` in its .json: {some(without)}",
                    solution,
                    "are the shards ImageNet's validation images?",
                )
            elif without:
                findings.warn(f"{len(without):,} samples have no box: {some(without)}", solution, count=len(without))
            add_sizes(chunk)
        yield chunk

    facts = {"num_classes_known": known, **label_space(kind, names)}
    published = None if solution is None else Published("ImageNet")
    return Built(names, chunks(), findings, facts, has_boxes=solution is not None, published=published)


def read_samples(shard: Path, findings: Findings) -> list[PackedSample]:
    """The samples of a shard: members that are alike up to the first dot of their file's name.

    Raises:
        DatasetError: Not a tar archive, or it ends early.
    """
    groups: dict[str, dict[str, tuple[str, tuple[int, int]]]] = {}
    for name, place in index_tar(shard).items():
        folder, slash, file = name.rpartition("/")
        stem, _, ending = file.partition(".")
        if stem:
            groups.setdefault(f"{folder}{slash}{stem}", {})[ending.lower()] = (name, place)
    found, without, bad = [], [], []
    for key, members in groups.items():
        pictures = [ending for ending in members if is_picture(f"x.{ending}")]
        # KEY.seg.png beside KEY.jpg is no second picture of it.
        pictures = [ending for ending in pictures if "." not in ending] or pictures
        if len(pictures) != 1:
            without.append(f"{key} ({', '.join(members)})")
            continue
        try:
            label, name = _described(shard, members)
        except ValueError as error:
            bad.append(f"{key} ({error})")
            continue
        member, place = members[pictures[0]]
        name = Path(name or key).name.partition(".")[0]
        found.append(PackedSample(key, member_path(shard, member, *place), place[1], label, name))
    if without:
        what = f"{len(without):,} samples have not one picture: {some(without)}"
        findings.warn(what, shard, "they are left out", len(without))
    if bad:
        findings.error(f"{len(bad):,} samples' labels cannot be read: {some(bad)}", shard, count=len(bad))
    return found


def _described(shard: Path, members: Mapping[str, tuple[str, tuple[int, int]]]) -> tuple[str, str]:
    """(label as written, picture's own name) of a sample, empty where it has none; ValueError for damaged members."""

    def read(ending: str) -> bytes:
        name, place = members[ending]
        return read_member(member_path(shard, name, *place))

    described: Any = json.loads(read("json")) if "json" in members else {}
    if not isinstance(described, dict):
        described = {}
    written = next((read(e).decode() for e in LABEL_MEMBERS if e in members), None)
    if written is None:
        written = next((str(described[k]) for k in LABEL_KEYS if described.get(k) is not None), "")
    return cleaned(written), str(described.get("filename") or "")


ADAPTER = Adapter("webdataset", 1, plan, OPTIONS)
SPEC = register_dataset(
    DatasetSpec(
        name="webdataset",
        load=ADAPTER.load,
        title="tar shards (WebDataset)",
        source="tar files of samples KEY.jpg, KEY.cls or KEY.json, as the WebDataset library writes them",
        licence="the images' own",
        options=ADAPTER.all_options,
        metrics=("boxes",),
        own=True,
    )
)
