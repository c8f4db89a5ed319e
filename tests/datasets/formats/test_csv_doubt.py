"""CSV files that can be read in two ways, or of which a part was passed over: read rightly, told, or refused."""

from __future__ import annotations

import pytest
from PIL import Image

from cambench.datasets.findings import Findings
from cambench.datasets.formats.wsol.wsol_columns import read_columns
from cambench.datasets.formats.wsol.wsol_names import Names
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

pytestmark = pytest.mark.usefixtures("own_cache")
RIGHT = [[8.0, 6.0, 32.0, 24.0]]
HEADER = "image,label,x0,y0,x1,y1\n"


@pytest.fixture
def own(tmp_path):
    return tmp_path


def open_csv(own, text, names=("a.jpg",), size=(40, 30), **options):
    for name in names:
        Image.new("RGB", size).save(own / name)
    (own / "boxes.csv").write_text(text, newline="", encoding="utf-8")
    return open_table("folder", own, annotations="boxes.csv", **options)


@pytest.mark.parametrize(
    "header",
    [
        "image,label,xtl,ytl,xbr,ybr",
        "image,label,tl_x,tl_y,br_x,br_y",
        "Image Name,Class Label,Top Left X,Top Left Y,Bottom Right X,Bottom Right Y",
        "photo,species,x_min,y_min,x_max,y_max",
        "image,object_class,min x,min y,max x,max y",
    ],
)
def test_more_names_of_columns(own, header):
    """Boxes under names that were not known were left out without a word."""
    assert open_csv(own, f"{header}\na.jpg,cat,8,6,32,24\n").rows["boxes"][:] == [RIGHT]


def test_columns_that_may_be_boxes_are_told(own):
    table = open_csv(own, "image,label,links,oben,rechts,unten\na.jpg,cat,8,6,32,24\n")
    assert any("no localisation scores; not read: links, oben, rechts, unten" in w for w in table.warnings)
    plain = open_csv(own, "image,label,author\na.jpg,cat,me\n")
    assert not plain.warnings
    assert any("not read: author" in n for n in plain.notes)


@pytest.mark.parametrize("first", ["Bild;Klasse;links;oben;rechts;unten\n", ""])
def test_a_header_in_other_words_beside_named_columns(own, first):
    text = f"{first}a.jpg;cat;8;6;32;24\n"
    assert open_csv(own, text, columns="image:label:x0:y0:x1:y1").rows["boxes"][:] == [RIGHT]


def test_lines_of_separators_are_empty(own):
    assert open_csv(own, f"{HEADER}a.jpg,cat,8,6,32,24\n,,,,,\n , ,,,,\n").rows["boxes"][:] == [RIGHT]


def test_a_quoted_name_may_hold_the_end_of_a_line(own):
    table = open_csv(own, f'{HEADER}"a\nb.jpg",cat,8,6,32,24\n', names=("a\nb.jpg",))
    assert table.rows["image_id"][:] == ["a\nb.jpg"]


@pytest.mark.parametrize("mark", [".", ","])
def test_marks_between_thousands_are_not_taken_for_decimals(own, mark):
    """1.002 in a file with semicolons is 1002 in German, and was a box of a hundredth of a pixel."""
    row = "a.jpg;cat;1.002;1.003;1.030;1.040\n".replace(".0", f"{mark}0").replace("a,jpg", "a.jpg")
    with pytest.raises(DatasetError, match=r"is '1[.,]002' in the thousands, or of three decimals"):
        open_csv(own, HEADER.replace(",", ";") + row, size=(2000, 2000))
    # 320125 is no pixel, so three digits after the mark are decimals.
    plain = f"a.jpg;cat;8{mark}250;6;320{mark}125;24\n"
    table = open_csv(own, HEADER.replace(",", ";") + plain, size=(400, 300))
    assert table.rows["boxes"][:] == [[[8.25, 6.0, 320.125, 24.0]]]


def test_a_field_that_is_no_number_is_named(own):
    with pytest.raises(DatasetError, match=r"2: not a number, or a negative size: '1,002' in .*(?s:.)*write 1002"):
        open_csv(own, f'{HEADER}a.jpg,cat,"1,002",6,32,24\n')


def test_digits_with_underscores_are_numbers_to_python_alone(own):
    with pytest.raises(DatasetError, match=r"2: not a number, or a negative size: '1_0'"):
        open_csv(own, f"{HEADER}a.jpg,cat,1_0,6,32,24\n")
    sizes = own / "sizes.csv"
    sizes.write_text("a.jpg,4_0,30\n")
    with pytest.raises(DatasetError, match=r"sizes\.csv:1"):
        open_csv(own, f"{HEADER}a.jpg,cat,10,6,32,24\n", sizes=str(sizes))


def test_so_they_are_in_the_lists_of_wsolevaluation(own):
    """NumPy reads them, too."""
    findings, where = Findings(), own / "localization.txt"
    where.write_text("a.jpg,1,2,3,4\nb_1.jpg,1_0,2,3,4\n")
    rows, values, at = read_columns(where, Names(["a.jpg", "b_1.jpg"]), 4, findings)
    assert (rows.tolist(), values.tolist(), at.tolist()) == ([0], [[1, 2, 3, 4]], [1])
    assert "1_0" in findings.of("error")[0].what


@pytest.mark.parametrize(("start", "what"), [(b"PK\x03\x04", "an Excel workbook or a ZIP"), (b"\x1f\x8b", "gzip")])
def test_files_that_are_no_text_are_named(own, start, what):
    (own / "boxes.csv").write_bytes(start + bytes(40))
    with pytest.raises(DatasetError, match=f"no text, but .*{what}"):
        open_table("folder", own, annotations="boxes.csv")


def test_lines_of_json_are_no_csv(own):
    (own / "metadata.jsonl").write_text('{"file_name": "a.jpg", "label": 1}\n')
    with pytest.raises(DatasetError, match="metadata.jsonl: JSON, not CSV"):
        open_table("folder", own, annotations="metadata.jsonl")


PERCENT = "a.jpg,cat,5,5,50,80\na.jpg,cat,10,10,90,95\na.jpg,cat,0,0,100,100\na.jpg,cat,0,0,9,9\na.jpg,cat,1,1,9,9\n"


def test_percentages_are_not_taken_for_pixels(own):
    with pytest.raises(DatasetError, match=r"all 5 boxes lie between 0 and 100.*(?s:.)*pass --option boxes=percent"):
        open_csv(own, HEADER + PERCENT, size=(640, 480))
    few = open_csv(own, HEADER + "a.jpg,cat,10,10,90,95\n", size=(640, 480))
    assert any("percentages of the picture?" in w for w in few.warnings)
    assert not open_csv(own, HEADER + PERCENT, size=(640, 120)).warnings
    right = open_csv(own, HEADER + PERCENT, size=(640, 480), boxes="percent")
    assert right.rows["boxes"][0][0] == [32.0, 24.0, 320.0, 384.0]
    assert open_csv(own, HEADER + PERCENT, size=(640, 480), boxes="pixels").rows["boxes"][0][0] == [5, 5, 50, 80]


@pytest.mark.parametrize(
    "header",
    ["image,label,x0,y0,x1,y1,x1", "image,label,x,y,w,h,X", "image,label,bbox_x,bbox_y,bbox_w,bbox_h,bbox w"],
)
def test_a_column_of_the_box_that_occurs_twice_is_refused(own, header):
    with pytest.raises(DatasetError, match=r"boxes\.csv:1: a column occurs twice"):
        open_csv(own, f"{header}\na.jpg,cat,1,1,30,20,25\n")


def test_a_name_that_leaves_the_root_and_comes_back_is_the_same_image(own):
    root = own / "photos"
    root.mkdir()
    lines = "../photos/a.jpg,cat,1,1,30,20\na.jpg,cat,2,2,20,20\n./a.jpg,cat,3,3,20,20\n"
    table = open_csv(root, HEADER + lines)
    assert list(table.rows["image_id"]) == ["a.jpg"]
    assert len(table.rows["boxes"][0]) == 3


def test_percentages_are_the_boxes_of_the_same_file_in_pixels(own):
    pixels = open_csv(own, HEADER + "a.jpg,cat,64,48,320,384\nb.jpg,dog,0,0,640,480\n", ("a.jpg", "b.jpg"), (640, 480))
    corners = HEADER + "a.jpg,cat,10,10,50,80\nb.jpg,dog,0,0,100,100\n"
    sides = "image,label,x,y,w,h\na.jpg,cat,10,10,40,70\nb.jpg,dog,0,0,100,100\n"
    centres = "image,label,cx,cy,w,h\na.jpg,cat,30,45,40,70\nb.jpg,dog,50,50,100,100\n"
    for text in (corners, sides, centres):
        found = open_csv(own, text, ("a.jpg", "b.jpg"), (640, 480), boxes="percent")
        assert list(found.rows["boxes"]) == list(pixels.rows["boxes"])
        assert list(found.rows["label"]) == list(pixels.rows["label"])


def test_fractions_are_the_boxes_of_the_same_file_in_pixels_to_the_bit(own):
    """0.35 - 0.2 / 2 < 0.25 in floating point, and 0.1 + 0.7 < 0.8."""
    names, size = ("a.jpg", "b.jpg"), (640, 480)
    pixels = open_csv(own, HEADER + "a.jpg,cat,160,48,288,384\nb.jpg,dog,0,0,640,480\n", names, size)
    centres = "image,label,cx,cy,w,h\na.jpg,cat,0.35,0.45,0.2,0.7\nb.jpg,dog,0.5,0.5,1,1\n"
    sides = "image,label,x,y,w,h\na.jpg,cat,0.25,0.1,0.2,0.7\nb.jpg,dog,0,0,1,1\n"
    for text in (centres, sides):
        found = open_csv(own, text, names, size, boxes="fraction")
        assert list(found.rows["boxes"]) == list(pixels.rows["boxes"])
    # What is no simple part of a pixel stays as it is.
    odd = open_csv(own, HEADER + "a.jpg,cat,0.123457,0.1,0.5,0.654321\n", size=size, boxes="fraction")
    assert odd.rows["boxes"][0] == [[0.123457 * 640, 48.0, 320.0, 0.654321 * 480]]
