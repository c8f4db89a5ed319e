"""Contact sheet: right samples in the right columns, readable picture on disk."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cambench.results.figures.contact_sheet import SheetColumn, Tile, columns_of, contact_sheet, save_contact_sheet


def encoded(array: np.ndarray) -> dict[str, object]:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.fixture
def sheet_rows() -> list[dict[str, object]]:
    rows = []
    for i in range(7):
        evidence = np.zeros((20, 20), np.uint8)
        evidence[4:8, 4:8] = 255
        picture = encoded(np.full((20, 20, 3), 10 * i, np.uint8))
        rows.append({"image": picture, "label": i % 3, "boxes": [[2.0, 2.0, 12.0, 9.0]], "evidence": encoded(evidence)})
    return rows


def test_columns_hold_the_first_samples_of_their_class(sheet_rows: list[dict[str, object]]) -> None:
    columns = columns_of(sheet_rows, ["a", "b", "c", "none"], {"a": "x", "b": "x"}, samples=2)
    assert [(c.title, c.group) for c in columns] == [("a", "x"), ("b", "x"), ("c", "")]
    assert [[int(t.image[0, 0, 0]) for t in c.tiles] for c in columns] == [[0, 30], [10, 40], [20, 50]]
    assert columns[0].tiles[0].evidence is not None
    assert columns[0].tiles[0].evidence.sum() == 16


def test_boxes_are_outlined_on_the_last_rows_only(sheet_rows: list[dict[str, object]]) -> None:
    columns = columns_of(sheet_rows, ["a", "b", "c"], {"a": "x", "b": "x"}, samples=2)
    figure = contact_sheet(columns, outlined=1)
    boxes = [[p.get_bbox().extents.tolist() for p in axis.patches] for axis in figure.axes]
    assert boxes == [[]] * 3 + [[[1.5, 1.5, 11.5, 8.5]]] * 3
    assert [t.get_text() for t in figure.texts] == ["x"]


def test_the_sheet_is_written(sheet_rows: list[dict[str, object]], tmp_path: Path) -> None:
    path = save_contact_sheet(sheet_rows, tmp_path / "new" / "sheet.png", class_names=["a", "b", "c"], samples=2)
    with Image.open(path) as picture:
        assert picture.width > picture.height
        assert len(np.unique(np.asarray(picture.convert("L")))) > 6


def test_nothing_to_show_is_said() -> None:
    with pytest.raises(ValueError, match="no images to show"):
        contact_sheet([SheetColumn("a", ())])


def test_tiles_without_boxes_or_evidence_are_fine() -> None:
    figure = contact_sheet([SheetColumn("a", [Tile(np.zeros((4, 4, 3), np.uint8))])])
    assert len(figure.axes) == 1
