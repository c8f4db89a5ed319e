"""MATLAB files of the publishers' devkits: numbers, words, cells and structures of the level 5 format.

Read here and not by scipy, whose compiled reader trusts the sizes in a file: a damaged one ends the whole process.
Format: MAT-File Format, The MathWorks, R2024b, chapter 1 (level 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..schema import DatasetError

LARGEST = 1 << 28
"""Bytes that a variable may unfold to: the largest of the published files takes 9 MB."""
DEEPEST = 16
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of stored data."""
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCTURE, _CHARACTERS = 1, 2, 4
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Classes of numeric arrays: what they are, however they are stored."""


def read_mat(data: bytes, where: str) -> dict[str, Any]:
    """Variables of a MATLAB file by name; ``DatasetError`` where it is damaged, or of another version.

    Arrays have no dimensions of length 1: one number is a numpy scalar, a word a ``str``, cells are object arrays, a
    structure is an array with a field of objects for each name.
    """
    try:
        return dict(_File(data).variables())
    except (ValueError, struct.error, zlib.error, IndexError, OverflowError) as error:
        raise DatasetError(f"{where}: not a readable MATLAB file ({error}); is it truncated?") from error


class _File:
    def __init__(self, data: bytes) -> None:
        if data[:8] == b"\x89HDF\r\n\x1a\n" or data[124:126] in (b"\x00\x02", b"\x02\x00"):
            raise ValueError("version 7.3; save it with -v7 or earlier")
        if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
            raise ValueError("its head is not that of a level 5 MAT-file")
        self.order = "<" if data[126:128] == b"IM" else ">"
        self.data = memoryview(data)[128:]

    def variables(self) -> Iterator[tuple[str, Any]]:
        rest = self.data
        while len(rest):
            kind, content, rest = self._element(rest)
            if kind == _COMPRESSED:
                opened = zlib.decompressobj()
                unpacked = opened.decompress(content, LARGEST)
                if not opened.eof:
                    raise ValueError("a compressed variable is cut short or larger than any that is published")
                kind, content, _ = self._element(memoryview(unpacked))
            if kind == _MATRIX and len(content):
                yield self._matrix(content, 0)

    def _element(self, data: memoryview) -> tuple[int, memoryview, memoryview]:
        """Type and content of the first element, and what follows it."""
        kind, size = struct.unpack(f"{self.order}II", data[:8])
        if kind >> 16:
            # A short one has its size in the upper half of the first word and its content in the second.
            size, kind, start, end = kind >> 16, kind & 0xFFFF, 4, 8
            if size > 4:
                raise ValueError(f"a short element of {size} bytes")
        else:
            start = 8
            end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError(f"an element of {size:,} bytes where {len(data) - start:,} are left")
        return kind, data[start : start + size], data[end:]

    def _matrix(self, data: memoryview, depth: int) -> tuple[str, Any]:
        """Name and value of an array."""
        if depth > DEEPEST:
            raise ValueError("arrays are nested too deeply")
        flags, data = self._numbers(data)
        shape, data = self._numbers(data)
        _, name, data = self._element(data)
        sides = [int(side) for side in shape]
        if len(flags) != 2 or len(sides) < 2 or min(sides) < 0:
            raise ValueError("an array without flags or dimensions")
        kind, count = int(flags[0]) & 0xFF, math.prod(sides)
        if kind == _CHARACTERS:
            value = self._words(data, sides)
        elif kind in _CLASSES:
            numbers, _ = self._numbers(data)
            if len(numbers) != count:
                raise ValueError(f"an array of {len(numbers):,} numbers where {count:,} belong")
            value = _squeezed(numbers.astype(_CLASSES[kind]), sides)
        elif kind in (_CELL, _STRUCTURE):
            value = self._nested(data, sides, kind, depth)
        else:
            raise ValueError(f"an array of class {kind}, which is neither numbers, words, cells nor a structure")
        return bytes(name).decode("latin-1"), value

    def _numbers(self, data: memoryview) -> tuple[npt.NDArray[Any], memoryview]:
        kind, content, rest = self._element(data)
        if kind not in _NUMBERS:
            raise ValueError(f"numbers of type {kind}")
        return np.frombuffer(content, f"{self.order}{_NUMBERS[kind]}"), rest

    def _words(self, data: memoryview, sides: list[int]) -> Any:
        """One line as ``str``, several as an array of them; letters stand column by column."""
        if math.prod(sides) == 0:
            return ""
        kind, content, _ = self._element(data)
        if kind not in _TEXTS:
            raise ValueError(f"words of type {kind}")
        order = {"<": "-le", ">": "-be"}[self.order] if _TEXTS[kind][-2:] in ("16", "32") else ""
        text = bytes(content).decode(_TEXTS[kind] + order)
        if len(sides) != 2 or len(text) != math.prod(sides):
            raise ValueError(f"a text of {len(text):,} letters where {math.prod(sides):,} belong")
        lines = [text[row :: sides[0]] for row in range(sides[0])]
        return lines[0] if len(lines) == 1 else np.array(lines, object)

    def _nested(self, data: memoryview, sides: list[int], kind: int, depth: int) -> Any:
        """Cells, or a structure: an array of each, one after the other."""
        names: list[str] = []
        if kind == _STRUCTURE:
            length, data = self._numbers(data)
            _, words, data = self._element(data)
            step = int(length[0])
            if step < 1:
                raise ValueError("names of fields without a length")
            parts = [bytes(words[i : i + step]) for i in range(0, len(words), step)]
            names = [p.partition(b"\0")[0].decode("latin-1") for p in parts]
            if len(set(names)) < len(names) or "" in names:
                raise ValueError("names of fields that are empty or repeat")
        count, width = math.prod(sides), len(names) if kind == _STRUCTURE else 1
        if count * width * 8 > len(data):
            raise ValueError(f"{count * width:,} arrays in {len(data):,} bytes")
        found: npt.NDArray[Any] = np.empty(count, [(n, object) for n in names] if kind == _STRUCTURE else object)
        for i in range(count):
            values = []
            for _ in range(width):
                part, content, data = self._element(data)
                if part != _MATRIX:
                    raise ValueError(f"an element of type {part} where an array belongs")
                values.append(self._matrix(content, depth + 1)[1] if len(content) else np.zeros(0))
            found[i] = tuple(values) if kind == _STRUCTURE else values[0]
        return _squeezed(found, sides)


def _squeezed(values: npt.NDArray[Any], sides: list[int]) -> Any:
    shaped = values.reshape(sides, order="F").squeeze()
    return shaped[()] if shaped.ndim == 0 and shaped.dtype.names is None else shaped
