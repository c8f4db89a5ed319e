"""Pictures in Parquet shards as the Hugging Face hub gives them out, read in place: one row group at a time."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..schema import DatasetError

Ints = npt.NDArray[np.int64]
_ROW = re.compile(r"^parquet://(\d+)\.(\d+)/(.*)::(.+)$", re.DOTALL)
_GROUPS = 4
"""Row groups kept in memory (the hub's have 100 pictures, about 11 MB)."""
_lock = threading.Lock()


@dataclass(frozen=True)
class Shards:
    """Rows of several shards: ``names`` and ``labels`` (N,) of the pictures, and where each lies."""

    files: tuple[Path, ...]
    names: pa.StringArray
    labels: Ints
    file: Ints
    group: Ints
    row: Ints

    def path(self, index: int) -> str:
        """Address of a picture, for ``read_row``."""
        file = self.files[self.file[index]]
        return f"parquet://{self.group[index]}.{self.row[index]}/{self.names[int(index)]}::{file}"


def read_index(files: tuple[Path, ...]) -> Shards:
    """Names, labels and places of all pictures; their bytes are not read.

    Raises:
        DatasetError: A shard is damaged or unfinished, or has not the hub's columns ``image.path`` and ``label``.
    """
    names: list[pa.Array] = []
    labels: list[Ints] = []
    places: list[Ints] = []
    for number, file in enumerate(files):
        try:
            with file.open("rb") as opened, pq.ParquetFile(opened) as shard:
                table = shard.read(columns=["image.path", "label"])
                sizes = [shard.metadata.row_group(g).num_rows for g in range(shard.num_row_groups)]
            paths = table["image"].combine_chunks().field("path").cast(pa.string())
            # A row without a label is told as such, by its name.
            labels.append(pc.fill_null(table["label"].cast(pa.int64()), -1).to_numpy())
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DatasetError(
                f"{file}: not a complete Parquet shard with image and label ({error}); is the download unfinished?"
            ) from error
        if paths.null_count:
            raise DatasetError(f"{file}: {paths.null_count:,} pictures have no file name; boxes cannot be joined")
        names.append(paths)
        group = np.repeat(np.arange(len(sizes)), sizes)
        row = np.concatenate([np.arange(n) for n in sizes]) if sizes else np.zeros(0, np.int64)
        places.append(np.stack([np.full(len(group), number), group, row]))
    place = np.concatenate(places, 1) if places else np.zeros((3, 0), np.int64)
    every = pa.concat_arrays(names) if names else pa.array([], pa.string())
    return Shards(files, every, np.concatenate(labels) if labels else np.zeros(0, np.int64), *place)


def is_row(path: str) -> bool:
    """Whether ``path`` is an address made by ``Shards.path``."""
    return path.startswith("parquet://")


def read_row(path: str) -> bytes:
    """The picture's bytes; OSError where the shard is gone or damaged."""
    match = _ROW.match(path)
    if match is None:
        raise ValueError(f"not a row of a shard: {path!r}")
    try:
        # One thread reads a group while the others, who most likely want the same one, wait for it.
        with _lock:
            pictures = _group(match[4], Path(match[4]).stat().st_mtime_ns, int(match[1]))
        return bytes(pictures[int(match[2])].as_py())
    except (pa.ArrowException, IndexError, TypeError) as error:
        raise OSError(f"{match[4]}: {match[3]} cannot be read: {error}") from error


@lru_cache(maxsize=_GROUPS)
def _group(file: str, mtime_ns: int, group: int) -> pa.Array:
    del mtime_ns
    with Path(file).open("rb") as opened, pq.ParquetFile(opened) as shard:
        table = shard.read_row_group(group, columns=["image.bytes"])
    return table["image"].combine_chunks().field("bytes")
