"""`cub`: CUB-200-2011 as published, extracted or still in its .tgz, with or without segmentations (SEMANTICS §7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...home import expanded
from ..disk.archives import index_tar
from ..disk.locate import Expected, find_base, known
from ..disk.textfiles import id_columns
from ..disk.trees import FolderTree, TarTree, Tree
from ..findings import Findings, some
from ..formats.wsol.wsol_reader import build as build_wsol
from ..formats.wsol.wsol_reader import find_metadata, nearby_metadata
from ..schema import DatasetError, DatasetSpec, Split, register_dataset
from ..tables.build import Adapter, BuildPlan, Built
from ..tables.checks import check_listed, check_masks
from ..tables.headers import add_sizes
from ..tables.rows import Chunk, Ints
from ..tables.sizes import Published
from ..tables.splits import HOLDOUT_OPTIONS, HoldOut

CLASSES = 200
LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt")
EXPECTED = known(
    Expected(
        name="cub",
        markers=("images.txt",),
        nested=("CUB_200_2011", "CUB_200_2011/CUB_200_2011", "CUB-200-2011", "cub"),
        archives=("CUB_200_2011.tgz", "CUB_200_2011.tar.gz", "CUB_200_2011.tar"),
        what="CUB-200-2011 (the folder CUB_200_2011 with images.txt and images/, or CUB_200_2011.tgz)",
        signs=("train_test_split.txt", "images/[0-2][0-9][0-9].*"),
    )
)
COUNTS = {"train": 5994, "test": 5794}
OPTIONS = {
    **HOLDOUT_OPTIONS,
    "segmentations": "folder or .tgz of the masks (default: found beside the images), or off",
    "metadata": "wsolevaluation's metadata/CUB: with the images in CUBV2/, val is CUBV2 (default: metadata/ beside it)",
}
_LARGEST_ID = 1e9
PAPER_COUNTS = (
    "the official split (5,994/5,794) is used; the paper's 6,033/5,755 add up to the same 11,788 images but match no "
    "published split"
)


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> BuildPlan:
    """Find the lists, in a folder or an archive."""
    if split == "val":
        cubv2 = _cubv2(root, options)
        if cubv2 is not None:
            return cubv2
    base = find_base(root, EXPECTED)
    masks = _segmentations(root, base, options)
    mask_archive = (masks,) if masks is not None and masks.is_file() else ()
    if base.is_file():
        return BuildPlan(
            "archive read in place",
            lambda: build(TarTree(base, _prefix(base)), masks, split, options),
            stamps=(base, *mask_archive),
        )
    absent = [n for n in LISTS if not (base / n).is_file()]
    if absent:
        raise DatasetError(f"cub: {base} lacks {', '.join(absent)}: half-extracted? Extract CUB_200_2011.tgz again")
    variant = "official folder" + (", segmentations" if masks else "")
    files = tuple(base / n for n in LISTS)
    return BuildPlan(variant, lambda: build(FolderTree(base), masks, split, options), files, mask_archive)


def _prefix(archive: Path) -> str:
    members = index_tar(archive)
    tops = [m.removesuffix("images.txt") for m in members if m == "images.txt" or m.endswith("/images.txt")]
    if not tops:
        raise DatasetError(
            f"cub: {archive} has no images.txt among its {len(members):,} files; is it CUB_200_2011.tgz?"
        )
    return min(tops, key=len)


def _segmentations(root: Path, base: Path, options: Mapping[str, Any]) -> Path | None:
    named = options.get("segmentations")
    if named is not None:
        path = expanded(named)
        if str(named) == "off":
            return None
        if not path.exists():
            raise DatasetError(f"cub: segmentations={named}: no such folder or archive")
        return path
    for folder in dict.fromkeys(
        (base if base.is_dir() else base.parent, root if root.is_dir() else root.parent, base.parent)
    ):
        for name in ("segmentations", "segmentations.tgz"):
            if (folder / name).exists():
                return folder / name
    return None


def _cubv2(root: Path, options: Mapping[str, Any]) -> BuildPlan | None:
    """val from CUBV2, where its metadata was named or lies beside its images; None otherwise."""
    above = root if root.is_dir() else root.parent
    images = next((p for p in (above / "CUBV2", above.parent / "CUBV2") if p.is_dir()), None)
    if "metadata" in options:
        folder = find_metadata(root, "val", options["metadata"])
    elif images is not None and (found := nearby_metadata(images.parent, "CUB", "val")):
        folder = found
    else:
        return None
    files = tuple(sorted(folder.glob("*.txt")))

    def build_val() -> Built:
        built = build_wsol(images or above, folder, "val", {"num_classes": CLASSES})
        lists = [p for p in (above, *(above / n for n in EXPECTED.nested)) if (p / "classes.txt").is_file()]
        if lists:
            built.class_names = _class_names(FolderTree(lists[0]), np.zeros(0, np.int64), built.findings)
        return built

    return BuildPlan("CUBV2", build_val, files)


def build(tree: Tree, masks: Path | None, split: Split, options: Mapping[str, Any]) -> Built:
    """Read the five lists and join them by image id."""
    findings = Findings()
    findings.note(PAPER_COUNTS)
    ids, names, lines = _column(tree, "images.txt", "id path", findings)
    if not len(ids):
        raise DatasetError(f"{tree.label}/images.txt: no image in it; is the file truncated?")
    _check_distinct([fields[0] for fields in names], lines, f"{tree.label}/images.txt", "image", findings)
    labels, label_lines = _join(tree, "image_class_labels.txt", "id class", ids, findings)
    train, _ = _join(tree, "train_test_split.txt", "id is_train", ids, findings)
    boxes, _ = _join(tree, "bounding_boxes.txt", "id x y width height", ids, findings)
    boxes[:, 2:] += boxes[:, :2]
    odd = np.flatnonzero((train[:, 0] != 0) & (train[:, 0] != 1))
    if odd.size:
        findings.error(
            f"is_train of image {ids[odd[0]]} is {train[odd[0], 0]}, not 0 or 1", f"{tree.label}/train_test_split.txt"
        )
    wanted = np.flatnonzero(train[:, 0] == (0 if split == "test" else 1))
    hold = HoldOut(split, options, findings, "no CUBV2 (pass metadata=DIR of wsolevaluation's CUB)")

    mask_folders: list[Path] = []
    if isinstance(tree, FolderTree):
        every = tree.paths([f"images/{fields[0]}" for fields in names])
        check_listed(tree.index, every, f"{tree.label}/images.txt", findings)

    def chunks() -> Iterator[Chunk]:
        files = [f"images/{names[i][0]}" for i in wanted]
        chunk = Chunk(
            ids=[names[i][0] for i in wanted],
            paths=tree.paths(files),
            labels=labels[wanted, 0].astype(np.int64) - 1,
            boxes=boxes[wanted],
            box_offsets=np.arange(len(wanted) + 1, dtype=np.int64),
            sizes=tree.sizes(files),
            lines=label_lines[wanted],
            label_file=f"{tree.label}/image_class_labels.txt",
        )
        if split != "test":
            chunk = hold.apply(chunk)
            hold.report()
        if masks is not None:
            mask_folders.extend(add_masks(chunk, masks, findings))
        add_sizes(chunk)
        yield chunk

    return Built(
        class_names=_class_names(tree, labels[wanted, 0].astype(np.int64), findings),
        chunks=chunks(),
        findings=findings,
        watched=lambda: [*tree.folders(), *mask_folders],
        has_boxes=True,
        has_masks=masks is not None,
        published=Published("CUB-200-2011", 500),
    )


def _column(tree: Tree, name: str, expected: str, findings: Findings) -> tuple[Ints, list[list[str]], Ints]:
    return id_columns(tree.lines(name), expected.count(" "), f"{tree.label}/{name}", findings, expected)


def _join(
    tree: Tree, name: str, expected: str, ids: Ints, findings: Findings
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], Ints]:
    """Numbers (N,fields) and lines (N,) of a list in the order of ``ids``; ids in one of the files only are errors."""
    where = f"{tree.label}/{name}"
    keys, values, numbers = _column(tree, name, expected, findings)
    # Ones stand for what is missing or wrong, which is told once: the run stops on it.
    table, lines = np.ones((len(ids), expected.count(" "))), np.zeros(len(ids), np.int64)
    whole = expected == "id class"
    row_of = {int(k): i for i, k in enumerate(ids)}
    unknown: list[int] = []
    for key, fields, line in zip(keys, values, numbers, strict=True):
        row = row_of.get(int(key))
        if row is None:
            unknown.append(int(key))
            continue
        try:
            table[row], lines[row] = [float(f) for f in fields], line
            if not np.isfinite(table[row]).all() or (whole and (table[row, 0] % 1 or abs(table[row, 0]) > _LARGEST_ID)):
                raise ValueError
        except ValueError:
            what = f"{' '.join(fields)!r} of image {key} is not `{expected.partition(' ')[2]}`"
            findings.line(what, where, int(line))
            table[row] = 1.0
    if unknown:
        findings.error(
            f"{len(unknown):,} ids have no image in images.txt: {some(unknown)}",
            where,
            "is images.txt truncated?",
            len(unknown),
        )
    absent = np.setdiff1d(ids, keys)
    if absent.size:
        findings.error(
            f"{absent.size:,} images of images.txt have no line here: {some(absent.tolist())}",
            where,
            "is the file truncated?",
            int(absent.size),
        )
    return table, lines


def _check_distinct(names: list[str], lines: Ints, where: str, kind: str, findings: Findings) -> None:
    first: dict[str, int] = {}
    for name, line in zip(names, lines.tolist(), strict=True):
        if name in first:
            findings.line(f"{kind} {name} is already on line {first[name]}", where, line, "remove the wrong line")
        first.setdefault(name, line)


def _class_names(tree: Tree, used: Ints, findings: Findings) -> tuple[str, ...]:
    """Names by 0-based index; a subset of the classes keeps the indices of all 200. ``used``: class ids (from 1)."""
    keys, values, lines = _column(tree, "classes.txt", "id name", findings)
    _check_distinct([fields[0] for fields in values], lines, f"{tree.label}/classes.txt", "class", findings)
    named = {int(k): v[0] for k, v in zip(keys, values, strict=True)}
    beyond = [k for k in named if not 1 <= k <= CLASSES]
    if beyond:
        findings.error(f"class ids outside 1 … {CLASSES}: {some(beyond)}", f"{tree.label}/classes.txt")
    nameless = sorted({int(k) for k in used} - set(named))
    if nameless:
        what = f"{len(nameless)} classes that have images have no name here: {some(nameless)}"
        findings.warn(what, f"{tree.label}/classes.txt", "is the file truncated?", len(nameless))
    if len(named) < CLASSES:
        findings.note(f"a subset: {len(named)} of {CLASSES} classes are named; labels stay those of the full set")
    return tuple(named.get(i, f"{i:03d}.(absent)") for i in range(1, CLASSES + 1))


def add_masks(chunk: Chunk, masks: Path, findings: Findings) -> list[Path]:
    """Segmentations (grey: how many annotators agree; any of them counts, the evaluators' > 0.5) of every image.

    Returns the folders whose listing was used.
    """
    names = [f"{i.rpartition('.')[0]}.png" for i in chunk.ids]
    tree: Tree = TarTree(masks, "segmentations/") if masks.is_file() else FolderTree(masks)
    sizes = tree.sizes(names)
    check_masks(names, sizes, findings)
    lost = [n for n, size in zip(names, sizes, strict=True) if size < 0]
    if lost:
        fix = "extract segmentations.tgz completely, or pass segmentations=off"
        findings.error(f"{len(lost):,} of {len(names):,} masks are missing: {some(lost)}", masks, fix, len(lost))
    chunk.masks = [[p] for p in tree.paths(names)]
    chunk.ignores = [None] * len(names)
    return tree.folders()


ADAPTER = Adapter("cub", 1, plan, OPTIONS, COUNTS)
SPEC = register_dataset(
    DatasetSpec(
        name="cub",
        load=ADAPTER.load,
        title="CUB-200-2011",
        source="Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001",
        licence="non-commercial research and education",
        citation="@techreport{wah2011cub, title={The Caltech-UCSD Birds-200-2011 Dataset}, author={Wah, C. and "
        "Branson, S. and Welinder, P. and Perona, P. and Belongie, S.}, institution={Caltech}, "
        "number={CNS-TR-2011-001}, year={2011}}",
        counts=COUNTS,
        num_classes=CLASSES,
        options=ADAPTER.all_options,
        metrics=("boxes", "masks"),
    )
)
