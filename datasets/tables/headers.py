"""Pixel sizes and EXIF orientations of many images from their headers, in parallel, without decoding them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...opener import Exif, header_of
from ..disk.archives import is_member, read_member
from ..schema import SampleTable
from .rows import Chunk, Ints

TURNED = 5
"""EXIF orientations from here on exchange width and height."""
READ = 2048
"""Headers that are read at most where a table does not say how large its pictures are."""


def add_sizes(chunk: Chunk, workers: int = 4, exif: Exif = "ignore") -> None:
    """Fill the chunk's widths and heights from the files (0 where a file has no readable header).

    Args:
        chunk: Rows; sizes that are already there are replaced.
        workers: Reading threads.
        exif: ``apply``: the sizes of the pictures turned as their EXIF orientation says.
    """
    present = np.ones(len(chunk), bool) if chunk.sizes is None else chunk.sizes > 0
    paths = [p if ok else "" for p, ok in zip(chunk.paths, present, strict=True)]
    chunk.widths, chunk.heights = read_sizes(paths, workers, exif)
    chunk.headers_read = True


def read_sizes(paths: Sequence[str], workers: int = 4, exif: Exif = "ignore") -> tuple[Ints, Ints]:
    """Widths and heights (N,) of image files; 0 for an empty path or an unreadable header."""
    found = read_headers(paths, workers)
    sizes = found[:, :2]
    if exif == "apply":
        sizes = np.where(found[:, 2:] >= TURNED, sizes[:, ::-1], sizes)
    return sizes[:, 0], sizes[:, 1]


def picture_sizes(table: SampleTable, rows: Sequence[int]) -> list[tuple[int, int]]:
    """(width, height) of rows of a table: as it states them, else of the file's header; 0 where that is not known."""
    stated = table.rows.select_columns(["width", "height"])[list(rows)]
    sizes = [(width or 0, height or 0) for width, height in zip(stated["width"], stated["height"], strict=True)]
    unknown = [k for k, (width, _) in enumerate(sizes) if not width][:READ]
    images = table.rows.select_columns("image")[[rows[k] for k in unknown]]["image"] if unknown else []
    read = read_sizes([image["path"] or "" for image in images], exif=table.exif)
    for k, width, height in zip(unknown, *(side.tolist() for side in read), strict=True):
        sizes[k] = width, height
    return sizes


def read_headers(paths: Sequence[str], workers: int = 4) -> Ints:
    """Width, height and EXIF orientation (N,3) of image files as stored; 0 where there is no readable header."""
    with ThreadPoolExecutor(workers, "headers") as pool:
        return np.array(list(pool.map(_header, paths, chunksize=64)), np.int64).reshape(-1, 3)


def _header(path: str) -> tuple[int, int, int]:
    if not path:
        return 0, 0, 0
    try:
        return header_of(read_member(path) if is_member(path) else path)
    except Exception:  # any damage: the decoder reports it when the image is used
        return 0, 0, 0
