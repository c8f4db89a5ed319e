"""Photographs that their EXIF data turn: annotated as shown, or as stored?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...findings import Findings, OptionError, some
from ...tables.headers import TURNED
from ...tables.rows import Ints
from ...tables.sizes import slack
from .box_forms import Floats

EXIF_OPTION = (
    "orientation that photographs state: ignore (default: pixels as stored) or apply (turned as viewers and annotation "
    "tools in a browser show them)"
)


def check_exif(value: object) -> str | None:
    """The option ``exif``; OptionError for an unknown one."""
    if value not in (None, "apply", "ignore"):
        raise OptionError(f"folder: exif={value}; choose apply or ignore")
    return None if value is None else str(value)


def shown_sizes(files: Ints, orientations: Ints) -> Ints:
    """Sizes (N,2) of the turned pictures from those of the files."""
    return np.where((orientations >= TURNED)[:, None], files[:, ::-1], files)


def settle_exif(
    names: Sequence[str],
    files: Ints,
    stated: Ints,
    orientations: Ints,
    chosen: str | None,
    findings: Findings,
    reach: Floats | None = None,
) -> bool:
    """Whether orientations are applied; an error where the stated sizes, or else the boxes, show the other.

    Args:
        names: Image ids. files: Sizes (N,2) of the stored pixels. stated: Sizes (N,2) of the annotations, or 0.
        orientations: EXIF orientation (N,) of each file, 1 where it has none.
        chosen: The option. findings: Receives a warning that counts the turned images, or the error.
        reach: How far right and down the boxes of each image reach (N,2) in pixels, 0 where that tells nothing; None
            where there are no boxes.
    """
    turned = orientations > 1
    if not turned.any():
        return chosen == "apply"
    telling = (orientations >= TURNED) & (files[:, 0] != files[:, 1]) & (stated > 0).all(1) & (files > 0).all(1)
    shown = telling & _alike(stated, files[:, ::-1])
    stored = telling & _alike(stated, files)
    if reach is not None:
        silent = (orientations >= TURNED) & (stated == 0).all(1) & (files > 0).all(1)
        past_stored, past_shown = _beyond(reach, files), _beyond(reach, files[:, ::-1])
        shown |= silent & past_stored & ~past_shown
        stored |= silent & past_shown & ~past_stored
        torn = stored & _beyond(reach, stated) & ~_beyond(reach, stated[:, ::-1])
        if torn.any() and chosen != "ignore":
            _refuse_torn([names[i] for i in np.flatnonzero(torn).tolist()], findings)
            return chosen == "apply"
    count = int(turned.sum())
    which = some([names[i] for i in np.flatnonzero(turned)[:6].tolist()], count)
    if shown.any() and stored.any():
        others = np.flatnonzero(stored).tolist()
        findings.error(
            f"of the images that EXIF turns, {int(shown.sum()):,} state the size of the turned picture and "
            f"{len(others):,} that of the stored pixels: {some([names[i] for i in others])}",
            fix="bring the annotations to one of the two",
            count=count,
        )
        return chosen == "apply"
    right = "apply" if shown.any() else "ignore" if stored.any() else None
    if right is not None and right != (chosen or "ignore"):
        told = "the turned pictures" if right == "apply" else "the stored pixels"
        evidence = np.flatnonzero(shown | stored).tolist()
        findings.error(
            f"EXIF turns {count:,} of {len(names):,} images, and the sizes that are stated, or that the boxes need, "
            f"are those of {told}: "
            f"{some([names[i] for i in evidence[:6]], len(evidence))}",
            fix=f"pass --option exif={right}",
            count=count,
        )
        return chosen == "apply"
    does = "they are turned (exif=apply)" if chosen == "apply" else "their stored pixels are used (exif=ignore)"
    what = f"EXIF turns {count:,} of {len(names):,} images; {does}: {which}"
    if right is None and chosen is None:
        why = "boxes drawn on the turned picture" if reach is not None else "pictures as a viewer shows them"
        findings.warn(what, fix=f"for {why}, pass --option exif=apply; to keep this, exif=ignore", count=count)
    else:
        findings.note(what, count=count)
    return chosen == "apply"


def _refuse_torn(names: Sequence[str], findings: Findings) -> None:
    """Label Studio and others export the boxes of the turned picture beside the size of the stored pixels."""
    findings.error(
        f"of the images that EXIF turns, {len(names):,} state the size of the stored pixels, and their boxes fit into "
        f"the turned picture only: {some(names)}",
        fix="pass --option exif=apply and --option sizes=files if the boxes were drawn on the turned picture, or "
        "--option exif=ignore to take both as they are",
        count=len(names),
    )


def _beyond(reach: Floats, sizes: Ints) -> npt.NDArray[np.bool_]:
    """Whether boxes reach farther than a picture's sides, by more than 1 % and a pixel."""
    found: npt.NDArray[np.bool_] = np.any(reach > sizes + slack(sizes), axis=1)
    return found


def _alike(stated: Ints, files: Ints) -> npt.NDArray[np.bool_]:
    """Whether two sizes (N,2) have one shape of picture: resized copies keep it, to a pixel."""
    a, b = stated.astype(np.float64), files.astype(np.float64)
    scale = a[:, :1] / np.maximum(b[:, :1], 1)
    found: npt.NDArray[np.bool_] = np.abs(a[:, 1] - b[:, 1] * scale[:, 0]) <= np.maximum(1.0, scale[:, 0])
    return found
