"""Columns of wsolevaluation's `path,number…` files: Arrow's CSV reader, and line by line where something is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from ...disk.textfiles import as_number, read_lines, shorten
from ...findings import Findings, some
from ...tables.rows import Ints
from .wsol_names import Names

IDS = "image_ids.txt"


def read_columns(
    path: Path, ids: Names, numbers: int, findings: Findings
) -> tuple[Ints, npt.NDArray[np.float64], Ints] | None:
    """Rows, values (M,numbers) and line numbers of `path,number…` lines; None where the file is empty or all bad."""
    clean = _read_clean(path, ids, numbers)
    if clean is not None:
        return clean
    lines = read_lines(path)
    if not lines:
        return None
    split = [line.rsplit(",", numbers) for line in lines]
    expected = ",".join(["path", *(["number"] * numbers)])
    good = [i for i, f in enumerate(split) if len(f) == numbers + 1]
    if len(good) < len(split):
        wrong = sorted(set(range(len(split))) - set(good))
        for i in wrong:
            report_fields(path, i + 1, lines[i], expected, findings)
        split = [split[i] for i in good]
    at = np.array(good, np.int64) + 1
    rows = np.fromiter((ids.row_of.get(f[0], -1) for f in split), np.int64, len(split))
    try:
        if any("_" in value for fields in split for value in fields[1:]):
            raise ValueError("NumPy reads 1_0 as 10, too")
        values = np.array([f[1:] for f in split], dtype=np.float64).reshape(-1, numbers)
    except ValueError:
        values = _numbers_one_by_one(split, numbers)
    strange = ~np.isfinite(values).all(1)
    for i in np.flatnonzero(strange).tolist():
        findings.line(f"not a number in {shorten(','.join(split[i][1:]))}", path, int(at[i]))
    report_unknown(path, [(int(at[i]), split[i][0]) for i in np.flatnonzero(rows < 0)], findings)
    keep = (rows >= 0) & ~strange
    return (rows[keep], values[keep], at[keep]) if keep.any() else None


def _numbers_one_by_one(split: list[list[str]], numbers: int) -> npt.NDArray[np.float64]:
    """Values with NaN where a field is not a number (the caller reports those lines)."""
    values = np.full((len(split), numbers), np.nan)
    for i, fields in enumerate(split):
        try:
            values[i] = [as_number(v) for v in fields[1:]]
        except ValueError:
            continue
    return values


def report_fields(path: Path, line: int, text: str, expected: str, findings: Findings) -> None:
    """A line that has not the expected fields."""
    findings.line(f"{shorten(text)} is not `{expected}`", path, line, "is the file truncated?")


def report_unknown(path: Path, unknown: list[tuple[int, str]], findings: Findings) -> None:
    """Ids, with their lines, that the split does not have."""
    if unknown:
        line, _ = unknown[0]
        findings.error(
            f"{len(unknown):,} ids are not in {IDS}: {some([n for _, n in unknown[:6]], len(unknown))}",
            f"{path}:{line}",
            "is the file of another split?",
            len(unknown),
        )


def read_ids(path: Path) -> Names | None:
    """The ids of a list without any defect; None for every other file, whose defects need their lines."""
    table = _read_table(path, {"id": pa.string()}, "\x1f")
    if table is None or not table.num_rows:
        return None
    ids = Names(table["id"])
    return None if ids.may_repeat() else ids


def _read_clean(path: Path, ids: Names, numbers: int) -> tuple[Ints, npt.NDArray[np.float64], Ints] | None:
    """``read_columns`` of a file without any defect; None for every other file, whose defects need their lines."""
    names = [str(i) for i in range(numbers)]
    table = _read_table(path, {"path": pa.string(), **dict.fromkeys(names, pa.float64())}, ",")
    if table is None:
        return None
    rows = ids.positions(table["path"])
    if rows is None:
        return None
    values = np.column_stack([table[n].to_numpy() for n in names])
    if not np.isfinite(values).all():
        return None
    return rows, values, np.arange(1, table.num_rows + 1)


def _read_table(path: Path, columns: dict[str, pa.DataType], delimiter: str) -> pa.Table | None:
    """A file whose every line has these columns; None for any other."""
    try:
        # By its bytes: Arrow opens no file whose name is not UTF-8.
        table = pa_csv.read_csv(
            pa.BufferReader(path.read_bytes()),
            read_options=pa_csv.ReadOptions(column_names=list(columns), use_threads=False),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, quote_char=False),
            convert_options=pa_csv.ConvertOptions(column_types=columns, null_values=[]),
        )
        return table if table.num_rows == _count_lines(path) else None
    except (pa.ArrowException, OSError):
        return None


def _count_lines(path: Path) -> int:
    """Lines of a file, blank ones at the end left out."""
    text = path.read_bytes().rstrip()
    return text.count(b"\n") + 1 if text else 0
