"""Contact sheet: what is outlined, and how large its type is."""

import numpy as np
import pytest

from cambench.results.figures.contact_sheet import SheetColumn, Tile, contact_sheet
from cambench.results.figures.figure_style import PAPER, SCREEN


@pytest.fixture
def columns() -> list[SheetColumn]:
    evidence = np.zeros((20, 20), bool)
    evidence[4:8, 4:8] = True
    tiles = [Tile(np.full((20, 20, 3), 10 * i, np.uint8), [[2.0, 2.0, 12.0, 9.0]], evidence) for i in range(6)]
    return [SheetColumn(name, tiles[k::3], "x" if k < 2 else "") for k, name in enumerate("abc")]


def test_boxes_are_outlined_on_the_last_rows_only(columns: list[SheetColumn]) -> None:
    figure = contact_sheet(columns, outlined=1)
    boxes = [[p.get_bbox().extents.tolist() for p in axis.patches] for axis in figure.axes]
    assert boxes == [[]] * 3 + [[[1.5, 1.5, 11.5, 8.5]]] * 3
    assert [t.get_text() for t in figure.texts] == ["x"]


def test_type_and_the_room_for_it_follow_the_style(columns: list[SheetColumn]) -> None:
    paper, screen = (contact_sheet(columns, style=style) for style in (PAPER, SCREEN))
    sizes = [f.axes[0].title.get_fontsize() for f in (paper, screen)]
    assert sizes[1] == sizes[0] * SCREEN.text
    assert screen.get_figheight() > paper.get_figheight()
    # A picture has the same size in both, margins aside, which are shares of the page.
    tiles = [f.axes[0].get_position().height * f.get_figheight() for f in (paper, screen)]
    assert tiles[0] == pytest.approx(tiles[1], rel=1e-3)


def test_nothing_to_show_is_said() -> None:
    with pytest.raises(ValueError, match="no images to show"):
        contact_sheet([SheetColumn("a", ())])


def test_tiles_without_boxes_or_evidence_are_fine() -> None:
    figure = contact_sheet([SheetColumn("a", [Tile(np.zeros((4, 4, 3), np.uint8))])])
    assert len(figure.axes) == 1
