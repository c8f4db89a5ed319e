"""Whether runs may be compared image by image, and over which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from ..records.load import Run, require_images
from ..records.manifest import option_pairs
from ..records.record_errors import ResultsError

NAMED = 3


class CompareError(ResultsError):
    """Records that cannot be compared; the message says in what they differ.

    Attributes:
        differences: One line per difference.
    """

    def __init__(self, what: str, differences: Sequence[str]) -> None:
        super().__init__("\n  ".join([what, *differences]))
        self.differences = list(differences)


def same_images(runs: Sequence[Run], *, intersect: bool = False) -> tuple[list[Run], list[str]]:
    """The runs over the same images, and notes that say what was left out to get there.

    Args:
        runs: Runs to compare. intersect: Compare the common images where the image sets differ.

    Raises:
        CompareError: Protocols or data sets differ; or the image sets do, and ``intersect`` is not set.
        RecordError: A run has no image with a record of every triple.
    """
    for run in runs:
        require_images(run)
    first = runs[0]
    for other in runs[1:]:
        found = _differences(first, other)
        if found:
            raise CompareError(f"{first.out} and {other.out} cannot be compared:", found)
    common = reduce(np.intersect1d, (run.index for run in runs))
    apart = [line for other in runs[1:] for line in _image_differences(first, other)]
    if apart and not intersect:
        hint = f"compare the {len(common)} common images with --intersect" if len(common) else "they share no image"
        raise CompareError(f"the runs are over different images ({hint}):", apart)
    if apart and not len(common):
        raise CompareError("the runs share no image:", apart)
    limited = [run if len(run.index) == len(common) else replace(run, index=common) for run in runs]
    _check_ids(limited)
    notes = [f"over the {len(common)} common images only (--intersect)", *apart] if apart else []
    notes += [line for other in runs[1:] for line in _circumstances(first, other)]
    return limited, list(dict.fromkeys(notes))


def _differences(first: Run, other: Run) -> list[str]:
    ours, theirs = first.manifest, other.manifest
    fields = ours.protocol.differences(theirs.protocol)
    lines = [f"protocol field {name}: {a!r} and {b!r}" for name, (a, b) in fields.items()]
    if lines:
        lines.insert(0, f"protocol: {ours.protocol.name} and {theirs.protocol.name}")
    pairs = {
        "data set": (ours.dataset.name, theirs.dataset.name),
        "split": (ours.dataset.split, theirs.dataset.split),
        "data fingerprint": (_whole(ours.dataset.fingerprint), _whole(theirs.dataset.fingerprint)),
    }
    return lines + [f"{name}: {a} and {b}" for name, (a, b) in pairs.items() if a != b]


def _circumstances(first: Run, other: Run) -> list[str]:
    """What may change a number without making the runs incomparable: it may be what is compared."""
    ours, theirs = first.manifest, other.manifest
    pairs = {"code version": (ours.code_version, theirs.code_version)}
    pairs |= {name: (str(a), str(b)) for name, a, b in option_pairs(ours, theirs)}
    return [f"{name}: {a} in {first.out}, {b} in {other.out}" for name, (a, b) in pairs.items() if a != b]


def _whole(fingerprint: str) -> str:
    # A run with --limit N is over the first N rows of the same data: fingerprint "<of the data>:N".
    return fingerprint.partition(":")[0]


def _image_differences(first: Run, other: Run) -> list[str]:
    return [
        f"{len(only)} image(s) only in {a.out}: {_named(a, only)}"
        for a, b in ((first, other), (other, first))
        if len(only := np.setdiff1d(a.index, b.index))
    ]


def _named(run: Run, rows: np.typing.NDArray[np.int64]) -> str:
    ids = run.image_ids[np.searchsorted(run.index, rows[:NAMED])]
    return ", ".join(map(str, ids)) + (" …" if len(rows) > NAMED else "")


def _check_ids(runs: Sequence[Run]) -> None:
    ids = runs[0].image_ids
    for run in runs[1:]:
        other = run.image_ids
        if not np.array_equal(ids, other):
            row = int((ids != other).argmax())
            lines = [f"row {int(run.index[row])} is {ids[row]!r} in {runs[0].out} and {other[row]!r} in {run.out}"]
            raise CompareError("the runs call the same row by different image ids:", lines)
