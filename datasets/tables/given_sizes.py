"""The option ``sizes``: picture sizes from a file of the user's, or the word that says which of two sizes holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...home import expanded
from ..disk.textfiles import as_number, csv_lines, csv_rows, shorten
from ..findings import Findings, OptionError, some
from .rows import Chunk, Ints

SIZE_OPTION = {
    "sizes": "picture sizes that the boxes belong to, where the annotations state none: a file of lines "
    "`image,width,height` (as wsolevaluation's image_sizes.txt); `files`: the boxes are in the files' pixels; "
    "`stated`: they are in the pixels of the sizes that the annotations state, of which the files are resized copies"
}
FILES, STATED = "files", "stated"


def sizes_file(options: Mapping[str, Any]) -> Path | None:
    """The file that the option ``sizes`` names; OptionError where it is not there."""
    named = options.get("sizes")
    if named is None or str(named) in (FILES, STATED):
        return None
    path = expanded(named)
    if not path.is_file():
        raise OptionError(f"sizes={named}: no such file; expected lines `image,width,height`, or sizes=files or stated")
    return path


class GivenSizes:
    """Sizes from the user's file, by image id or, where no id is found, by file name without folder and suffix."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self.path, self.findings = path, findings
        self.by_id = _read(path, findings)
        stems: dict[str, tuple[int, int] | None] = {}
        for name, size in self.by_id.items():
            stem = _stem(name)
            # A name that two images share, with two sizes, decides nothing.
            stems[stem] = size if stems.get(stem, size) == size else None
        self.by_stem = stems
        self.lost: list[str] = []

    def apply(self, chunk: Chunk) -> None:
        """Widths and heights of the chunk's rows; an image without a line is reported by ``close``."""
        sizes = self.of(chunk.ids)
        chunk.widths, chunk.heights, chunk.headers_read = sizes[:, 0], sizes[:, 1], False

    def of(self, ids: Sequence[str]) -> Ints:
        """Widths and heights (N,2) of images; 0 for one without a line, which ``close`` reports."""
        sizes = np.zeros((len(ids), 2), np.int64)
        for row, image_id in enumerate(ids):
            found = self.by_id.get(image_id) or self.by_stem.get(_stem(image_id))
            if found is None:
                self.lost.append(image_id)
            else:
                sizes[row] = found
        return sizes

    def close(self) -> None:
        """Report the images that have no line."""
        if self.lost:
            what = f"{len(self.lost):,} images have no line in it: {some(self.lost)}"
            self.findings.error(what, self.path, "give every image's size", len(self.lost))


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


def _read(path: Path, findings: Findings) -> dict[str, tuple[int, int]]:
    """Image -> (width, height); a first line of words is a heading."""
    found: dict[str, tuple[int, int]] = {}
    first = next((text for text in csv_lines(path) if text.strip()), "")
    separator = next((s for s in ",;\t" if first.count(s) >= 2), ",")
    for line, fields in csv_rows(path, separator):
        try:
            *names, width, height = fields
            # A list of paths quotes nothing, so a comma may be part of a name.
            name, size = separator.join(names), (_side(width), _side(height))
            if not name:
                raise ValueError
        except ValueError:
            if line > 1 or any(c.isdecimal() for c in "".join(fields[1:])):
                findings.line(f"{shorten(','.join(fields))} is not `image,width,height`", path, line)
            continue
        if found.get(name, size) != size:
            findings.line(f"{name} has another size than on an earlier line", path, line, "keep the right one")
        found[name] = size
    return found


def _side(text: str) -> int:
    """A whole number of pixels, in any spelling; ValueError for anything else."""
    value = as_number(text)
    if not (1 <= value < 2**31 and value == int(value)):
        raise ValueError
    return int(value)
