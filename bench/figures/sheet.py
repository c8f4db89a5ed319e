"""``cambench figure contact-sheet``: pictures of a data set."""

from __future__ import annotations

from pathlib import Path

from ...datasets.batches import load_batches
from ...datasets.schema import SampleTable
from ...results.figures import SheetColumn, Tile, contact_sheet, drawing, save_figure, style_named, targets_of
from ..host.errors import RunError, UsageError
from .figure_request import SheetRequest

COLUMNS = 12
"""Classes of a contact sheet; a data set with more shows its first ones."""
SIZE = 224


def draw_contact_sheet(request: SheetRequest) -> list[Path]:
    """Write the contact sheet of a split to the files that ``request.out`` names (``targets_of``); returns them.

    Raises:
        UsageError: A file format that cannot be written. RunError: No image of the split can be read.
    """
    try:
        targets, look = targets_of(request.out), style_named(request.style)
    except ValueError as error:
        raise UsageError(str(error)) from None
    columns = sheet_columns(request.source.open(), request.rows)
    with drawing(look):
        return save_figure(contact_sheet(columns, outlined=1, style=look), targets, request.dpi)


def sheet_columns(table: SampleTable, samples: int) -> list[SheetColumn]:
    """One column a class, ``samples`` readable images each, as the networks see them (squashed to 224×224).

    Raises:
        RunError: None of the chosen images can be read.
    """
    chosen: dict[int, list[int]] = {}
    for row, label in enumerate(table.rows["label"][:]):
        if label in chosen or len(chosen) < COLUMNS:
            picked = chosen.setdefault(label, [])
            if len(picked) < samples:
                picked.append(row)
    tiles: dict[int, list[Tile]] = {label: [] for label in sorted(chosen)}
    wanted = [row for label in sorted(chosen) for row in chosen[label]]
    for batch in load_batches(table, wanted, SIZE, 16, 2):
        for i, label in enumerate(batch.labels.tolist()):
            evidence = batch.evidence[i].numpy() if batch.evidence is not None else None
            tiles[label].append(Tile(batch.images[i].permute(1, 2, 0).numpy(), batch.gt_boxes[i].tolist(), evidence))
    families = table.facts.get("families", {})
    names = table.class_names
    columns = [
        SheetColumn(name, found, families.get(name, ""))
        for name, found in ((names[k] if k >= 0 else "no label", found) for k, found in tiles.items())
        if found
    ]
    if not columns:
        raise RunError(f"{table.name} {table.split}: none of the chosen images can be read")
    return columns
