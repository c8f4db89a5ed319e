"""ImageNet's picture files: wnid folders, their names, and listings of them."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ....opener import is_picture
from ...findings import Findings, some
from ...formats.wnids import imagenet_wnids
from ...schema import DatasetError
from ...tables.checks import LeftOut
from .label_sources import label_of

_HUB_NAME = re.compile(r"^(.+)_(n\d{8})(\.[A-Za-z]+)$")


def published_name(name: str) -> tuple[str, str]:
    """(name as published, wnid): the Hugging Face hub's ``ILSVRC2012_val_00000293_n01440764.JPEG`` has both.

    The wnid is empty for any other name.
    """
    match = _HUB_NAME.match(name)
    return (match[1] + match[3], match[2]) if match else (name, "")


def scan(folder: Path, left_out: LeftOut) -> list[tuple[str, int]]:
    """(name, bytes) of a folder's images, sorted; ``DatasetError`` where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            files = [e for e in entries if e.is_file()]
            left_out.add(e.name for e in files)
            return sorted((e.name, e.stat().st_size) for e in files if is_picture(e.name))
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be listed: {error.strerror}") from error


def scan_ahead(
    pool: ThreadPoolExecutor, folders: list[Path], left_out: LeftOut, ahead: int = 8
) -> Iterator[list[tuple[str, int]]]:
    """``scan`` of each folder in order, a few in advance: memory does not grow with their number."""
    pending: deque[Future[list[tuple[str, int]]]] = deque()
    for folder in folders:
        pending.append(pool.submit(scan, folder, left_out))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def class_folders(base: Path, findings: Findings) -> list[tuple[Path, int]]:
    """(folder, label) of the wnid folders; anything else that could hold images is an error."""
    labels = label_of()
    entries = sorted(base.iterdir())
    known = [(p, labels[p.name]) for p in entries if p.name in labels and p.is_dir()]
    strange = [p.name for p in entries if p.is_dir() and p.name not in labels and not p.name.startswith(".")]
    if strange:
        findings.error(f"{len(strange)} folders are no wnids of ImageNet-1K: {some(strange)}", base, count=len(strange))
    broken = [f"{p.name} → {p.readlink()}" for p in entries if p.is_symlink() and not p.exists()]
    if broken:
        what = f"{len(broken)} symbolic links lead nowhere, or to themselves: {some(broken)}"
        findings.error(what, base, "repair the links", len(broken))
    packed = [p.name for p in entries if p.suffix == ".tar" and p.stem in labels]
    if packed:
        fix = "extract each into its own folder (half-extracted train)"
        findings.error(f"{len(packed)} class archives are not extracted: {some(packed)}", base, fix, len(packed))
    if 0 < len(known) < len(imagenet_wnids()):
        findings.note(f"a subset: {len(known)} of 1,000 class folders; labels stay those of all 1,000", base)
    return known
