"""Contact sheet of a data set: one column a class, columns grouped by family, boxes and evidence outlined."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...opener import decode

BOX_COLOR, EVIDENCE_COLOR = "#ffffff", "#ff2fd0"
TILE_INCHES = 1.25


@dataclass(frozen=True)
class Tile:
    """One picture: ``image`` (H,W,3) uint8; ``boxes`` x0,y0,x1,y1 in its pixels; ``evidence`` (H,W) bool or None."""

    image: npt.NDArray[np.uint8]
    boxes: Sequence[Sequence[float]] = ()
    evidence: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class SheetColumn:
    """The samples of one class; neighbouring columns of one ``group`` stand under one heading."""

    title: str
    tiles: Sequence[Tile]
    group: str = ""


def tile_of(row: Mapping[str, Any]) -> Tile:
    """Tile of a table row whose ``image`` and ``evidence`` are encoded bytes or a path (the schema of samples).

    Raises:
        OSError: The image cannot be read.
    """
    evidence = row.get("evidence")
    return Tile(
        image=_pixels(row["image"], "RGB"),
        boxes=row.get("boxes") or (),
        evidence=None if evidence is None else _pixels(evidence, "L") > 0,
    )


def columns_of(
    rows: Sequence[Mapping[str, Any]], class_names: Sequence[str], families: Mapping[str, str], samples: int
) -> list[SheetColumn]:
    """Columns with the first ``samples`` rows of each class, in the order of ``class_names``."""
    chosen: dict[int, list[Tile]] = {k: [] for k in range(len(class_names))}
    for row in rows:
        tiles = chosen[int(row["label"])]
        if len(tiles) < samples:
            tiles.append(tile_of(row))
    return [SheetColumn(name, chosen[k], families.get(name, "")) for k, name in enumerate(class_names) if chosen[k]]


def contact_sheet(columns: Sequence[SheetColumn], *, outlined: int | None = None) -> Figure:
    """Figure of the columns; the last ``outlined`` rows (all for None) show boxes and evidence.

    Raises:
        ValueError: There is no tile to show.
    """
    deep = max((len(c.tiles) for c in columns), default=0)
    if deep == 0:
        raise ValueError("contact sheet: no images to show; choose a split and classes that have some")
    marked = deep if outlined is None else outlined
    figure = Figure(figsize=(TILE_INCHES * len(columns), TILE_INCHES * (deep + 0.55)), facecolor="white")
    top = deep / (deep + 0.55)
    axes = figure.subplots(
        deep, len(columns), squeeze=False,
        gridspec_kw={"left": 0.002, "right": 0.998, "bottom": 0.002, "top": top, "wspace": 0.03, "hspace": 0.03},
    )  # fmt: skip
    for axis in axes.flat:
        axis.set_axis_off()
    for k, column in enumerate(columns):
        axes[0, k].set_title("\n".join(textwrap.wrap(column.title, 14)), fontsize=8, pad=3)
        for depth, tile in enumerate(column.tiles):
            _show(axes[depth, k], tile, outline=depth >= deep - marked)
    _headings(figure, columns, axes, top)
    return figure


def save_contact_sheet(
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    class_names: Sequence[str],
    families: Mapping[str, str] | None = None,
    samples: int = 3,
    outlined: int | None = 1,
    dpi: int = 130,
) -> Path:
    """Write a sheet, PNG or PDF: ``samples`` rows for each class; boxes and evidence on the last ``outlined`` rows.

    Raises:
        ValueError: No row has a class of ``class_names``, or ``path`` has an ending matplotlib does not know.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure = contact_sheet(columns_of(rows, class_names, families or {}, samples), outlined=outlined)
    figure.savefig(target, dpi=dpi)
    return target


def _pixels(picture: Mapping[str, Any], mode: str) -> npt.NDArray[Any]:
    data = picture["bytes"] if picture.get("bytes") is not None else Path(picture["path"]).read_bytes()
    return np.asarray(decode(bytes(data)).convert(mode))


def _show(axis: Any, tile: Tile, *, outline: bool) -> None:
    axis.imshow(tile.image, aspect="auto", interpolation="lanczos")
    if not outline:
        return
    for x0, y0, x1, y1 in tile.boxes:
        # Pixel centres are at whole numbers, so an edge at x lies at x - 0.5 of the axis.
        axis.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=BOX_COLOR, linewidth=1))
    if tile.evidence is not None and tile.evidence.any():
        axis.contour(tile.evidence.astype(float), levels=[0.5], colors=[EVIDENCE_COLOR], linewidths=0.9)


def _headings(figure: Figure, columns: Sequence[SheetColumn], axes: Any, top: float) -> None:
    """Family names over a line that spans their columns."""
    start = 0
    for stop in range(1, len(columns) + 1):
        if stop < len(columns) and columns[stop].group == columns[start].group:
            continue
        if columns[start].group:
            left, right = axes[0, start].get_position().x0, axes[0, stop - 1].get_position().x1
            height = top + (1 - top) * 0.66
            line: dict[str, Any] = {"transform": figure.transFigure, "facecolor": "#555555", "edgecolor": "none"}
            figure.add_artist(Rectangle((left + 0.002, height), right - left - 0.004, 0.002, **line))
            figure.text((left + right) / 2, height + 0.012, columns[start].group, ha="center", va="bottom", fontsize=9)
        start = stop
