"""Reading and writing one score map: ``.npy``, ``.npz`` and grey ``.png``; nothing of it is ever executed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...atomic import atomic_path
from ...opener import open_header

Map = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Format = Literal["npy", "png"]

SUFFIXES = (".npy", ".npz", ".png")
"""Kinds of map files, the first one winning where an image has several."""
KEYS = ("map", "cam", "scoremap", "arr_0")
"""Names under which an archive of several arrays may hold the map."""
LARGEST_SIDE = 8192
"""Cells of a side above which a file is no score map: it would fill the memory."""


class MapFileError(ValueError):
    """A file that holds no score map; the message says why, without the file's name."""


def read_map(path: Path) -> Map:
    """The values of a map file; see ``map_of``.

    Raises:
        MapFileError: As ``map_of``, and a file that cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MapFileError(_why(error)) from error
    return map_of(data, path.suffix)


def map_of(data: bytes, suffix: str) -> Map:
    """The values of a map file's contents, as they are: float64 where it holds doubles, else float32, (h,w).

    Axes of length 1 in front of or behind the two of a map are dropped. Grey pictures of 8 or 16 bits give their
    levels. A file that pickles objects is refused: reading it would run what it says.

    Raises:
        MapFileError: The file is damaged or holds no map.
    """
    try:
        if suffix.lower() == ".png":
            values = _picture(data)
        elif suffix.lower() == ".npz":
            values = _archive(data)
        else:
            values = np.load(io.BytesIO(data), allow_pickle=False)
    except MapFileError:
        raise
    except Exception as error:  # numpy and zipfile raise anything on damaged files, MemoryError too
        raise MapFileError(_why(error)) from error
    return _checked(values)


def write_map(path: Path, values: Map, form: Format) -> None:
    """Write a map (h,w) atomically: as it is (``npy``), or min-max normalised to 16 bits of grey (``png``)."""
    with atomic_path(path) as temp, temp.open("wb") as file:
        if form == "npy":
            np.save(file, values, allow_pickle=False)
        else:
            from PIL import Image

            Image.fromarray(_levels(values)).save(file, "PNG")


def _levels(values: Map) -> npt.NDArray[np.uint16]:
    wide = values.astype(np.float64)
    low, high = wide.min(), wide.max()
    if not np.isfinite(high - low) or high == low:
        return np.zeros(values.shape, np.uint16)
    levels: npt.NDArray[np.uint16] = np.round(65535 * (wide - low) / (high - low)).astype(np.uint16)
    return levels


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "pickle" in text.lower():
        return "it holds pickled objects, which are never loaded (they could run any code); save a plain array"
    return f"it cannot be read ({text.partition('.')[0] or type(error).__name__})"


def _picture(data: bytes) -> npt.NDArray[Any]:
    with open_header(data) as picture:
        if picture.mode in ("L", "1", "I", "I;16", "I;16B", "F"):
            return np.asarray(picture)
        # Grey may be written in three equal colours, or by a palette of greys.
        colours = np.asarray(picture.convert("RGBA"))
        if (colours[..., :3] == colours[..., :1]).all() and (colours[..., 3] == 255).all():
            return colours[..., 0]
        raise MapFileError(
            f"a coloured or transparent picture (mode {picture.mode}): a score map is grey, of 8 or 16 bits; a "
            "coloured rendering holds no scores"
        )


def _archive(data: bytes) -> npt.NDArray[Any]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        names = list(archive.files)
        chosen = names if len(names) == 1 else [key for key in KEYS if key in names][:1]
        if not chosen:
            held = ", ".join(names[:5]) or "none"
            raise MapFileError(f"an archive of {len(names)} arrays ({held}); expected one, or one called {KEYS[0]}")
        found: npt.NDArray[Any] = archive[chosen[0]]
        return found


def _checked(values: npt.NDArray[Any]) -> Map:
    shape = values.shape
    while values.ndim > 2 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or not values.size:
        raise MapFileError(f"an array of shape {shape}; expected one map (height, width)")
    if values.dtype.kind not in "fiub":
        raise MapFileError(f"an array of {values.dtype}; expected real numbers")
    if max(values.shape) > LARGEST_SIDE:
        raise MapFileError(f"an array of shape {shape}; a map has at most {LARGEST_SIDE} cells a side")
    # Integers beyond 2^24 would lose digits in float32.
    double = values.dtype.itemsize > (4 if values.dtype.kind == "f" else 2)
    return values.astype(np.float64) if double else values.astype(np.float32)
