"""Pixel sizes of many images from their headers, in parallel, without decoding them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from ..disk.archives import is_member, read_member
from .rows import Chunk, Ints


def add_sizes(chunk: Chunk, workers: int = 4) -> None:
    """Fill the chunk's widths and heights from the files (0 where a file has no readable header)."""
    present = np.ones(len(chunk), bool) if chunk.sizes is None else chunk.sizes > 0
    paths = [p if ok else "" for p, ok in zip(chunk.paths, present, strict=True)]
    chunk.widths, chunk.heights = read_sizes(paths, workers)
    chunk.headers_read = True


def read_sizes(paths: Sequence[str], workers: int = 4) -> tuple[Ints, Ints]:
    """Widths and heights (N,) of image files; 0 for an empty path or an unreadable header."""
    with ThreadPoolExecutor(workers, "headers") as pool:
        sizes = np.array(list(pool.map(_size, paths, chunksize=64)), np.int64).reshape(-1, 2)
    return sizes[:, 0], sizes[:, 1]


def _size(path: str) -> tuple[int, int]:
    if not path:
        return 0, 0
    try:
        with Image.open(io.BytesIO(read_member(path)) if is_member(path) else path) as image:
            return image.size
    except Exception:  # any damage: the decoder reports it when the image is used
        return 0, 0
