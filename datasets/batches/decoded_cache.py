"""Decoded images kept between runs: one mapped file for each split, size and crop, whose rows prove themselves.

A row holds the stamp of its picture (name, size and time of its file), the picture's own size, its pixels and the
SHA-256 of all of that. What is not exactly what was written counts as not there: a row that two processes write at
once, that a full disk cut, or of which a bit fell over, is decoded anew. So nothing is locked and nothing is trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
from PIL import features

from ..disk.archives import is_member
from ..schema import SampleTable

FORMAT = 1
"""Version of the layout of a row; part of every key."""
SUFFIX = ".images"
_HEAD = struct.Struct("<16sII32s")
_ROW_HEAD = 64
"""Bytes in front of a row's pixels: ``_HEAD``, and zeros up to a multiple of 64."""
Pixels = npt.NDArray[np.uint8]


def with_decoded_cache(
    table: SampleTable, folder: Path, limit: int, size: int, crop_from: int | None, say: Callable[[str], None]
) -> SampleTable:
    """The table, whose images are decoded once and kept below ``folder``; the table itself where that cannot be.

    Args:
        table: A split, or its first rows, which share what is kept with the whole one.
        folder: Holds a file for each split, size and crop.
        limit: Bytes that all these files together may take. Of a split that is larger, the first rows are kept; files
            of other splits are removed where there is no room for this one beside them, the longest unused first.
        size, crop_from: As of ``load_batches``.
        say: Told what was removed, and why nothing can be kept.
    """
    row_bytes = _ROW_HEAD + 3 * size * size
    if limit < row_bytes:
        say(f"decoded images are not kept: one takes {row_bytes:,} bytes, and there is room for {limit:,}")
        return table
    rows = min(len(table), limit // row_bytes)
    file = folder / f"{_key(table, size, crop_from)}{SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        freed = _make_room(folder, file, limit, rows * row_bytes)
        if freed:
            mib = freed / 2**20
            say(f"decoded images: {mib:,.1f} MiB of earlier runs were removed from {folder} to keep within the limit")
        cache = DecodedCache(file, rows, (size, crop_from), say)
    except (OSError, ValueError) as error:
        say(f"decoded images are not kept: {file} cannot be used ({error})")
        return table
    return replace(table, decoded=cache)


class DecodedCache:
    """The kept images of one split at one size; safe for threads and, as every row proves itself, for processes.

    Args:
        file: Made where it is not there.
        rows: Rows of the table that may be kept, from the first on.
        frame: Side R in pixels, and the side of which it is the centre, if it is a crop.
        say: Told once when the file cannot be written any more.

    Attributes:
        found, missed: Images that were there, and that were not.

    Raises:
        OSError, ValueError: The file cannot be made or mapped.
    """

    def __init__(self, file: Path, rows: int, frame: tuple[int, int | None], say: Callable[[str], None]) -> None:
        self.file, self.frame, self._say = file, frame, say
        self._row_bytes = _ROW_HEAD + 3 * frame[0] ** 2
        self.found = self.missed = 0
        self._lock = threading.Lock()
        # Never made shorter: another process may have mapped it.
        with file.open("ab") as made:
            os.utime(file)
            length = made.tell()
        self._sink = file.open("r+b", buffering=0)
        self._writes = True
        if length < rows * self._row_bytes:
            self._write(rows * self._row_bytes, b"\0")
        rows = min(rows, file.stat().st_size // self._row_bytes)
        self._rows = np.memmap(file, np.uint8, "r", shape=(rows, self._row_bytes)) if rows else ()

    def get(self, row: int, stamp: bytes) -> tuple[Pixels, tuple[int, int]] | None:
        """Pixels (R,R,3) of a row, and width and height of its picture; None where they are to be decoded.

        ``stamp``: of ``stamp_of``, taken now.
        """
        found = self._held(row, stamp) if row < len(self._rows) else None
        with self._lock:
            self.found, self.missed = self.found + (found is not None), self.missed + (found is None)
        return found

    def _held(self, row: int, stamp: bytes) -> tuple[Pixels, tuple[int, int]] | None:
        # Copied before it is compared: another process may be writing there.
        held, side = np.array(self._rows[row]), self.frame[0]
        found, width, height, digest = _HEAD.unpack_from(held[:_ROW_HEAD].tobytes())
        pixels = held[_ROW_HEAD:]
        if found != stamp or digest != _digest(stamp, width, height, pixels):
            return None
        return pixels.reshape(3, side, side).transpose(1, 2, 0), (width, height)

    def put(self, row: int, stamp: bytes, pixels: Pixels, size: tuple[int, int]) -> None:
        """Keep pixels (R,R,3) of a row and its picture's width and height; ``stamp``: taken before it was decoded."""
        if row >= len(self._rows):
            return
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(-1)
        head = _HEAD.pack(stamp, *size, _digest(stamp, *size, planes)).ljust(_ROW_HEAD, b"\0")
        with self._lock:
            if self._writes:
                self._write(row * self._row_bytes, head + planes.tobytes())

    def told(self) -> str:
        """How many images were there, in a sentence."""
        asked = self.found + self.missed
        return f"decoded images: {self.found:,} of {asked:,} were taken from {self.file}"

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._writes = False
            self._sink.close()

    def _write(self, at: int, data: bytes) -> None:
        try:
            self._sink.seek(at)
            while data:
                data = data[self._sink.write(data) :]
        except OSError as error:
            self._writes = False
            self._say(
                f"decoded images: {self.file} cannot be written ({error.strerror or error}); no more are kept, and all "
                "others are decoded as without it"
            )


def stamp_of(record: Mapping[str, Any]) -> bytes | None:
    """What tells a picture from another one, and from itself after a change; None where its file is not there."""
    picture = record["image"]
    facts: list[object] = [record["image_id"]]
    if picture.get("bytes") is not None:
        facts.append(hashlib.sha256(picture["bytes"]).hexdigest())
    else:
        path = str(picture["path"])
        try:
            found = os.stat(path.rpartition("::")[2] if is_member(path) else path)  # noqa: PTH116
        except OSError:
            return None
        facts += [path, found.st_size, found.st_mtime_ns]
    return hashlib.blake2b(json.dumps(facts).encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _digest(stamp: bytes, width: int, height: int, pixels: Pixels) -> bytes:
    found = hashlib.sha256(struct.pack("<16sII", stamp, width, height))
    found.update(pixels.data)
    return found.digest()


def _key(table: SampleTable, size: int, crop_from: int | None) -> str:
    """Name of a split's file: by all that a table's pixels depend on but the pictures, which the rows speak of."""
    decoder = [PIL.__version__, *(features.version(name) for name in ("jpg", "libjpeg_turbo", "webp", "libtiff"))]
    whole = table.fingerprint.partition(":")[0]  # the first rows are those of the whole split
    facts = [FORMAT, table.name, table.split, whole, size, crop_from, table.exif, *decoder]
    return hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _make_room(folder: Path, own: Path, limit: int, needed: int) -> int:
    """Remove what must go before ``own`` may take ``needed`` bytes; returns the bytes that were freed."""
    held = {}
    for file in folder.glob(f"*{SUFFIX}"):
        with suppress(FileNotFoundError):  # another run removes, too
            held[file] = file.stat()
    taken = {file: _allocated(stat) for file, stat in held.items()}
    freed = 0
    if taken.get(own, 0) > limit:
        freed += _remove(own, taken.pop(own))
    others = sorted((file for file in taken if file != own), key=lambda file: held[file].st_mtime_ns)
    while others and needed + sum(taken[file] for file in others) > limit:
        oldest = others.pop(0)
        freed += _remove(oldest, taken[oldest])
    return freed


def _allocated(found: os.stat_result) -> int:
    """Bytes that a file takes on the disk: rows that were never written take none."""
    return min(found.st_size, 512 * found.st_blocks) if hasattr(found, "st_blocks") else found.st_size


def _remove(file: Path, size: int) -> int:
    # A process that has mapped it keeps its pages until it ends; Windows refuses that.
    with suppress(OSError):
        file.unlink()
        return size
    return 0
