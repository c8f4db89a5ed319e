"""Columns of wsolevaluation's `path,number…` files: Arrow's CSV reader, and line by line where something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from .findings import Findings, some
from .rows import Ints
from .textfiles import read_lines, shorten

IDS = "image_ids.txt"


def read_columns(
    path: Path, row_of: Mapping[str, int], numbers: int, findings: Findings
) -> tuple[Ints, npt.NDArray[np.float64], Ints] | None:
    """Rows, values (M,numbers) and line numbers of `path,number…` lines; None where the file is empty or all bad."""
    lines = read_lines(path)
    if not lines:
        return None
    clean = _read_clean(path, row_of, numbers, len(lines))
    if clean is not None:
        return clean
    split = [line.rsplit(",", numbers) for line in lines]
    expected = ",".join(["path", *(["number"] * numbers)])
    good = [i for i, f in enumerate(split) if len(f) == numbers + 1]
    if len(good) < len(split):
        wrong = sorted(set(range(len(split))) - set(good))
        for i in wrong[:5]:
            report_fields(path, i + 1, lines[i], expected, findings)
        split = [split[i] for i in good]
    at = np.array(good, np.int64) + 1
    rows = np.fromiter((row_of.get(f[0], -1) for f in split), np.int64, len(split))
    try:
        values = np.array([f[1:] for f in split], dtype=np.float64).reshape(-1, numbers)
    except ValueError:
        values = _numbers_one_by_one(split, numbers)
    strange = ~np.isfinite(values).all(1)
    for i in np.flatnonzero(strange)[:5]:
        findings.error(f"not a number in {','.join(split[i][1:])!r}", f"{path}:{at[i]}")
    report_unknown(path, [(int(at[i]), split[i][0]) for i in np.flatnonzero(rows < 0)], findings)
    keep = (rows >= 0) & ~strange
    return (rows[keep], values[keep], at[keep]) if keep.any() else None


def _numbers_one_by_one(split: list[list[str]], numbers: int) -> npt.NDArray[np.float64]:
    """Values with NaN where a field is not a number (the caller reports those lines)."""
    values = np.full((len(split), numbers), np.nan)
    for i, fields in enumerate(split):
        try:
            values[i] = [float(v) for v in fields[1:]]
        except ValueError:
            continue
    return values


def report_fields(path: Path, line: int, text: str, expected: str, findings: Findings) -> None:
    """A line that has not the expected fields."""
    findings.error(f"{shorten(text)} is not `{expected}`", f"{path}:{line}", "is the file truncated?")


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


def _read_clean(
    path: Path, row_of: Mapping[str, int], numbers: int, lines: int
) -> tuple[Ints, npt.NDArray[np.float64], Ints] | None:
    """``read_columns`` of a file without any defect; None for every other file, whose defects need their lines."""
    names = [str(i) for i in range(numbers)]
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=["path", *names], use_threads=False),
            parse_options=pa_csv.ParseOptions(quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                column_types={"path": pa.string(), **dict.fromkeys(names, pa.float64())}, null_values=[]
            ),
        )
    except pa.ArrowException:
        return None
    rows = pc.index_in(table["path"], value_set=pa.array(list(row_of), pa.string()))
    if table.num_rows != lines or rows.null_count:
        return None
    values = np.column_stack([table[n].to_numpy() for n in names])
    if not np.isfinite(values).all():
        return None
    return rows.to_numpy().astype(np.int64), values, np.arange(1, lines + 1)
