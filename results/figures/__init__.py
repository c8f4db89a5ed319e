"""Figures drawn with matplotlib."""

from .contact_sheet import SheetColumn, Tile, contact_sheet
from .front import pareto_figure, pareto_points
from .map_panels import MapColumn, MapRow, MapTile, map_figure
from .overlay import OPACITY, overlay, save_figure, targets_of
from .shifts import ShiftBlock, ShiftChart, ShiftLine, ShiftRow, shift_figure

__all__ = [
    "OPACITY",
    "MapColumn",
    "MapRow",
    "MapTile",
    "SheetColumn",
    "ShiftBlock",
    "ShiftChart",
    "ShiftLine",
    "ShiftRow",
    "Tile",
    "contact_sheet",
    "map_figure",
    "overlay",
    "pareto_figure",
    "pareto_points",
    "save_figure",
    "shift_figure",
    "targets_of",
]
