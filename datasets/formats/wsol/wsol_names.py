"""Very many names in little memory: a sequence of strings over one Arrow array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...tables.rows import Ints

_BLOCK = 1 << 16


class Names(Sequence[str]):
    """Immutable strings (a fifth of a list's memory); slices are lists."""

    def __init__(self, names: Iterable[str] | pa.ChunkedArray) -> None:
        column: Any = names
        arrow = isinstance(names, pa.ChunkedArray)
        self.array: pa.StringArray = column.combine_chunks() if arrow else pa.array(column, pa.string())

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self.array))
            if step == 1:
                return list(self.array.slice(start, max(0, stop - start)).to_pylist())
            return [str(self.array[i]) for i in range(start, stop, step)]
        return str(self.array[int(at)])

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self.array), _BLOCK):
            yield from self.array.slice(start, _BLOCK).to_pylist()

    def may_repeat(self) -> bool:
        """Whether a name occurs twice; hardly ever true where none does (hashes: a set takes 30 times the memory)."""
        hashes = np.fromiter(map(hash, self), np.int64, len(self))
        hashes.sort()
        return bool((hashes[1:] == hashes[:-1]).any())

    def positions(self, names: pa.ChunkedArray) -> Ints | None:
        """The index of each of ``names``; None where one of them is not here."""
        if len(names) == len(self) and names.equals(pa.chunked_array([self.array])):
            return np.arange(len(self), dtype=np.int64)
        rows = pc.index_in(names, value_set=self.array)
        return None if rows.null_count else rows.to_numpy().astype(np.int64)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Name -> its index; made on first use, as it takes more memory than the names."""
        return {name: i for i, name in enumerate(self)}
