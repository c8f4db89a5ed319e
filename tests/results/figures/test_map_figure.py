"""The grids of maps: what stands where, and what the colours mean."""

import numpy as np
import pytest

from cambench.results.figures.figure_style import drawing, style_named
from cambench.results.figures.map_panels import MapColumn, MapRow, MapTile, map_figure
from cambench.results.figures.overlay import PREDICTED_COLOR, TRUTH_COLOR, overlay, save_figure, targets_of
from cambench.results.figures.shifts import ShiftBlock, ShiftChart, ShiftLine, ShiftRow, shift_figure

PICTURE = np.full((8, 8, 3), 90, np.uint8)


def edges(axis):
    return [tuple(round(v, 1) for v in p.get_edgecolor()[:3]) for p in axis.patches]


def test_columns_rows_and_boxes():
    columns = [MapColumn("Grad-CAM", "softmax"), MapColumn("Grad-CAM", "sigmoid"), MapColumn("Center", "")]
    tile = MapTile(PICTURE, [[1, 1, 5, 6]], "IoU 0.50")
    rows = [
        MapRow("A", "one", PICTURE, [[0, 0, 4, 4]], [tile, tile, None]),
        MapRow("B", "two", PICTURE, [], [tile] * 3),
    ]
    figure = map_figure(columns, rows, "note")
    assert len(figure.axes) == 2 * 4
    assert len(figure.axes[0].patches) == 1, "the input shows the truth alone"
    assert edges(figure.axes[1]) == [(0.0, 0.9, 0.4), (1.0, 0.2, 0.2)], "truth red, prediction green"
    solid, dashed = (patch.get_linestyle() for patch in figure.axes[1].patches)
    assert (solid == "-", dashed == "-") == (True, False), "and for those who see one colour, the truth is dashed"
    assert figure.axes[1].patches[0].get_bbox().bounds == (0.5, 0.5, 4.0, 5.0)
    assert "not possible" in figure.axes[3].texts[0].get_text()
    texts = [t.get_text() for t in figure.texts]
    assert texts.count("Grad-CAM") == 1
    assert {"A", "B", "one", "two", "input", "Center", "note"} <= set(texts)
    assert texts.count("IoU 0.50") == 5, "below each map, never on it"
    assert all(len(axis.texts) == 0 or "possible" in axis.texts[0].get_text() for axis in figure.axes)
    lefts = [axis.get_position().x0 for axis in figure.axes[:4]]
    assert lefts == sorted(lefts)
    with pytest.raises(ValueError, match="one tile a column"):
        map_figure(columns, [MapRow("", "", PICTURE, [], [tile])])
    assert PREDICTED_COLOR != TRUTH_COLOR


def test_overlay_mixes_grey_and_the_colour_of_the_map():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0] = (30, 60, 90)
    assert overlay(picture, np.zeros((2, 2)), 0)[0, 0].tolist() == [60, 60, 60]
    ends = overlay(picture, np.array([[0, 1], [0, 1]]), 1)
    assert ends[0, 0].tolist() == ends[1, 0].tolist() != ends[0, 1].tolist() == ends[1, 1].tolist()


def test_files_are_reproducible(tmp_path):
    tile = MapTile(PICTURE)
    for name in ("a", "b"):
        with drawing(style_named("paper")):
            figure = map_figure([MapColumn("m", "h")], [MapRow("", "x", PICTURE, [], [tile])])
            save_figure(figure, targets_of(tmp_path / name), 40)
    for ending in ("png", "pdf", "svg"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    assert [p.name for p in targets_of(tmp_path / "v1.2")] == ["v1.2.png", "v1.2.pdf", "v1.2.svg"]
    with pytest.raises(ValueError, match=".pdf or .svg"):
        targets_of(tmp_path / "x.gif")


def test_shift_figure():
    row = ShiftRow("softmax", [PICTURE, PICTURE], ["p = 1", "p = 1"])
    block = ShiftBlock("Eq. 9", PICTURE, "bird", ["δ = 0", "δ = 1 σ"], [row, row])
    lines = [
        ShiftLine("softmax", [0, 1], [0, 5], [0, 4], [0, 6]),
        ShiftLine("softmax", [0, 1], [0, 2], [0, 1], [0, 3], True),
    ]
    figure = shift_figure("title", [block], [ShiftChart("Eq. 9", "δ", lines)])
    assert len(figure.axes) == 1 + 4 + 1
    tops = {round(axis.get_position().x0, 3) for axis in figure.axes[1:-1]}
    assert len(tops) == 2, "maps fill every column"
    chart = figure.axes[-1]
    assert chart.lines[0].get_color() == chart.lines[1].get_color()
    assert chart.lines[1].get_label() == "softmax, its own weights shifted"
    assert chart.lines[0].get_ydata().tolist() == [0, 5]
    with pytest.raises(ValueError, match="no maps"):
        shift_figure("title", [], [])


@pytest.mark.parametrize("style", ["paper", "screen"])
def test_no_text_of_a_shift_figure_is_cut_or_covers_another(style):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    captions = ["p = 0.9614\nmoved 0.0 %", *["p = 0.9614\nmoved 12.8 %, empty"] * 4]
    rows = [ShiftRow(name, [PICTURE] * 5, captions) for name in ("softmax", "softmax, clamped", "sigmoid (ours)")]
    heads = [f"δ = {d} σ" for d in (0, 16, 32, 64, 128)]
    block = ShiftBlock(
        "The weight of one channel (number 511) is raised by δ in every class", PICTURE, "b", heads, rows
    )
    names = ("softmax", "softmax, clamped", "sigmoid (ours)", "sigmoid, signed")
    lines = [ShiftLine(n, [0, 128], [0, 5], [0, 4], [0, 6], dashed=d) for d in (False, True) for n in names[2 * d :]]
    charts = [ShiftChart("One channel raised (Eq. 9), 1,000 images", "δ at channel 511 (σ)", lines)] * 2
    title = "Does the map move when no probability does? Smooth Grad-CAM++ on timm:efficientvit_l2.r384_in1k"
    look = style_named(style)
    with drawing(look):
        figure = shift_figure(title, [block], charts, look)
        FigureCanvasAgg(figure).draw()
        texts = [*figure.texts, *(legend for legend in figure.legends)]
        for axis in figure.axes:
            texts += [axis.xaxis.label, axis.yaxis.label, axis.title, axis._left_title]
        boxes = [(t.get_window_extent(), t) for t in texts if not hasattr(t, "get_text") or t.get_text()]
        whole = figure.bbox
        cut = [t for box, t in boxes if not (box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1)]
        assert cut == []
        pairs = [(a[1], b[1]) for i, a in enumerate(boxes) for b in boxes[:i] if a[0].overlaps(b[0])]
        assert pairs == []
