"""Mask files beside their pictures: those without an object, and those that lie turned by a quarter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ...opener import Exif, decode
from ..disk.archives import is_member, read_member
from ..findings import Findings
from .checks import Tally
from .headers import READ, read_sizes
from .rows import Chunk

_THREADS = 4
_SPARSE, _HEADER = 300, 1000
"""A mask of fewer bytes than a header and one for so many pixels may be blank: no other one is decoded to know it."""


class MaskFiles:
    """Looks through the first mask files of a split, with little more than their headers."""

    def __init__(self, facts: dict[str, Any], findings: Findings) -> None:
        self._facts, self._findings = facts, findings
        self._blank, self._turned = Tally(), Tally()
        self._left, self._compared = READ, 0

    def add(self, chunk: Chunk) -> None:
        """Look through a chunk's masks; those that are drawn from annotations are what these say."""
        pairs = [(row, mask) for row, masks in enumerate(chunk.masks or ()) for mask in masks if isinstance(mask, str)]
        pairs = pairs[: self._left]
        self._left -= len(pairs)
        if not pairs:
            return
        exif: Exif = "apply" if self._facts.get("exif") == "apply" else "ignore"
        files, rows = [mask for _, mask in pairs], [row for row, _ in pairs]
        masks = np.stack(read_sizes(files, exif=exif), 1)
        pictures = np.stack(read_sizes([chunk.paths[row] for row in rows], exif=exif), 1)
        telling = (masks > 0).all(1) & (pictures > 0).all(1) & (pictures[:, 0] != pictures[:, 1])
        turned = telling & (masks == pictures[:, ::-1]).all(1)
        if chunk.widths is not None and chunk.heights is not None:
            turned &= (masks != np.stack([chunk.widths, chunk.heights], 1)[rows]).any(1)
        self._compared += int(telling.sum())
        self._turned.add(np.flatnonzero(turned), lambda i: chunk.ids[rows[i]])
        with ThreadPoolExecutor(_THREADS, "masks") as pool:
            blank = np.array(list(pool.map(_is_blank, files, masks.prod(1).tolist())), bool)
        self._blank.add(np.flatnonzero(blank), lambda i: chunk.ids[rows[i]])

    def close(self) -> None:
        """Report what was found."""
        if self._blank.count:
            self._findings.warn(
                f"{self._blank.count:,} mask files hold no pixel of an object, so all of their pictures counts as "
                f"background: {self._blank}",
                fix="leave such images out of the list, or mend their masks",
                count=self._blank.count,
            )
        if self._turned.count:
            many = 2 * self._turned.count > self._compared
            self._findings.add(
                "error" if many else "warning",
                f"{self._turned.count:,} of {self._compared:,} mask files have width and height of their picture "
                f"exchanged: {self._turned}",
                "",
                "turn the masks; where EXIF data turn the pictures, pass --option exif=apply if the data set has it",
                self._turned.count,
            )


def _is_blank(file: str, pixels: int) -> bool:
    try:
        data = read_member(file) if is_member(file) else _few_bytes(Path(file), _HEADER + pixels // _SPARSE)
        if not data or len(data) > _HEADER + pixels // _SPARSE:
            return False
        picture = decode(data)
        _, highest = (picture if picture.mode.startswith("I") else picture.convert("L")).getextrema()
    except Exception:  # any damage: the decoder reports it when the mask is used
        return False
    return bool(highest == 0)


def _few_bytes(path: Path, most: int) -> bytes:
    """A file's bytes; none where there are more than ``most``."""
    return path.read_bytes() if path.stat().st_size <= most else b""
