"""Figures drawn with matplotlib."""

from .contact_sheet import SheetColumn, Tile, contact_sheet
from .figure_style import FigureStyle, StyleName, drawing, style_named
from .front import pareto_figure, pareto_points
from .map_panels import MapColumn, MapRow, MapTile, map_figure
from .overlay import ENDINGS, OPACITY, Pixels, overlay, save_figure, targets_of
from .shifts import ShiftBlock, ShiftChart, ShiftLine, ShiftRow, shift_figure

__all__ = [
    "ENDINGS",
    "OPACITY",
    "FigureStyle",
    "MapColumn",
    "MapRow",
    "MapTile",
    "Pixels",
    "SheetColumn",
    "ShiftBlock",
    "ShiftChart",
    "ShiftLine",
    "ShiftRow",
    "StyleName",
    "Tile",
    "contact_sheet",
    "drawing",
    "map_figure",
    "overlay",
    "pareto_figure",
    "pareto_points",
    "save_figure",
    "shift_figure",
    "style_named",
    "targets_of",
]
