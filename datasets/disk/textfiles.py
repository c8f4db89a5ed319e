"""List files: lines, and columns of `id value…` lines, with file and line in every message."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..findings import Findings
from ..schema import DatasetError

_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"} | {
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"
}  # fmt: skip
"""Byte-order marks of what spreadsheets call Unicode text; the longer ones first, as one begins like a shorter one."""
_NO_TEXTS = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive; save it as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"PAR1": "Parquet; save it as CSV",
}
_EXCEL = re.compile(r'"?sep=.?"?,*$', re.IGNORECASE)
"""The line by which Excel tells itself the separator of a CSV."""


def as_number(text: str) -> float:
    """A number as tools write one; ValueError for anything else, also for ``1_0``, which is 10 to Python alone.

    Examples:
        >>> as_number(" 1.50e2")
        150.0
    """
    if "_" in text:
        raise ValueError(f"no number: {text!r}")
    return float(text)


def read_lines(path: Path) -> list[str]:
    """Lines of a list file without their ends; ``DatasetError`` where it is missing or no text (with the line)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    return decode_lines(data, str(path))


def decode_lines(data: bytes, where: str) -> list[str]:
    """Lines of a text (``decoded``), blank ones at the end dropped; ``DatasetError`` names the line that is none."""
    text = decoded(data, where).replace("\r\n", "\n")
    # Old programs of the Macintosh end lines by a carriage return alone.
    lines = (text if "\n" in text else text.replace("\r", "\n")).split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def decoded(data: bytes, where: str) -> str:
    """Text of UTF-8, or of UTF-16 and UTF-32, which are known by their mark; UTF-16 also by its zero bytes.

    Raises:
        DatasetError: It is none of these; names the line.
    """
    other = next((what for mark, what in _NO_TEXTS.items() if data.startswith(mark)), None)
    if other is not None:
        raise DatasetError(f"{where}: no text, but {other}")
    kind = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8-sig")
    start = data[:64]
    if kind == "utf-8-sig" and len(start) > 3 and not any(start[1::2]) and all(start[::2]):
        kind = "utf-16-le"
    elif kind == "utf-8-sig" and len(start) > 3 and not any(start[::2]) and all(start[1::2]):
        kind = "utf-16-be"
    try:
        return data.decode(kind)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        name = "UTF-8" if kind == "utf-8-sig" else kind.upper()
        raise DatasetError(
            f"{where}:{line}: not {name} (byte {data[error.start]:#04x}); save the file as UTF-8"
        ) from None


def csv_lines(path: Path) -> list[str]:
    """``read_lines`` of a CSV, with a blank in the place of the first line where that is Excel's ``sep=;``."""
    lines = read_lines(path)
    if lines and _EXCEL.match(lines[0].strip(" \t")):
        lines[0] = ""
    return lines


def csv_rows(path: Path, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each record in which anything is written.

    Raises:
        DatasetError: The file is missing, not UTF-8, or not CSV; with the line.
    """
    # With their ends, so that a quoted field may hold one.
    reader = csv.reader((f"{line}\n" for line in csv_lines(path)), delimiter=separator, strict=True)
    start = 1
    try:
        for row in reader:
            # Spreadsheets write empty lines of separators below a table.
            if any(field.strip() for field in row):
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{path}:{start}: not CSV ({error}); is a quote left open?") from error


def shorten(text: str, length: int = 80) -> str:
    """A quoted line, cut to a readable length."""
    return repr(text if len(text) <= length else f"{text[: length - 1]}…")


def _is_id(text: str) -> bool:
    return text.isdecimal() and len(text) < 19


def id_columns(
    lines: list[str], fields: int, where: str, findings: Findings, expected: str
) -> tuple[npt.NDArray[np.int64], list[list[str]], npt.NDArray[np.int64]]:
    """Ids, the other fields, and the line numbers of lines `id value…`; bad and repeated ones go to ``findings``."""
    first: dict[int, int] = {}
    place: dict[int, int] = {}
    ids: list[int] = []
    values: list[list[str]] = []
    for number, line in enumerate(lines, 1):
        parts = line.split(maxsplit=fields)
        if len(parts) != fields + 1 or not _is_id(parts[0]):
            findings.line(f"{shorten(line)} is not `{expected}`", where, number, "is the file truncated?")
            continue
        key = int(parts[0])
        if key in first:
            same = values[place[key]] == parts[1:]
            what = f"id {key} {'repeats' if same else 'contradicts'} line {first[key]}"
            findings.line(what, where, number, "remove the wrong line", "warning" if same else "error")
            continue
        first[key], place[key] = number, len(ids)
        ids.append(key)
        values.append(parts[1:])
    return np.array(ids, np.int64), values, np.array([first[i] for i in ids], np.int64)
