"""CSV files of boxes as annotation tools and spreadsheets write them: one content in many spellings."""

from __future__ import annotations

import unicodedata

import pytest
from PIL import Image

from cambench.bench.host.options import DataOptions
from cambench.datasets.findings import OptionError
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

pytestmark = pytest.mark.usefixtures("own_cache")

BOXES = [[[8.0, 6.0, 32.0, 24.0]], [[4.0, 3.0, 20.0, 15.0]]]
"""Of a.jpg (cat) and b.jpg (dog), both 40 × 30 pixels."""

SPELLINGS = {
    "ours": "image,label,x0,y0,x1,y1\na.jpg,cat,8,6,32,24\nb.jpg,dog,4,3,20,15\n",
    "tensorflow": (
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,30,cat,8,6,32,24\nb.jpg,40.0,30.0,dog,4,3,20,15\n"
    ),
    "corners 1 and 2": "image_path,x1,y1,x2,y2,class_name\na.jpg,8,6,32,24,cat\nb.jpg,4,3,20,15,dog\n",
    "semicolons, decimal commas": 'image;label;x0;y0;x1;y1\na.jpg;cat;8,0;6;32;24\nb.jpg;dog;4;"3,0";20;15\n',
    "tabs": "image\tlabel\tx0\ty0\tx1\ty1\na.jpg\tcat\t8\t6\t32\t24\nb.jpg\tdog\t4\t3\t20\t15\n",
    "BOM, quotes, CRLF": (
        '\ufeff"Image","Label","X0","Y0","X1","Y1"\r\n"a.jpg","cat",8,6,32,24\r\n"b.jpg",dog,4,3,20,15\r\n'
    ),
    "bars": "image|label|x0|y0|x1|y1\na.jpg|cat|8|6|32|24\nb.jpg|dog|4|3|20|15\n",
    "xc, yc": "image,class,xc,yc,w,h\na.jpg,cat,0.5,0.5,0.6,0.6\nb.jpg,dog,0.3,0.3,0.4,0.4\n",
    "blanks": "image, label, x0, y0, x1, y1\na.jpg, cat, 8, 6, 32, 24\nb.jpg, dog , 4, 3, 20, 15\n",
    "x, y, w, h": "image,label,x,y,w,h\na.jpg,cat,8,6,24,18\nb.jpg,dog,4,3,16,12\n",
    "bbox_x": (
        "image_name,bbox_x,bbox_y,bbox_width,bbox_height,image_width,image_height,label_name\n"
        "a.jpg,8,6,24,18,40,30,cat\nb.jpg,4,3,16,12,40,30,dog\n"
    ),
    "keras-retinanet": "a.jpg,8,6,32,24,cat\nb.jpg,4,3,20,15,dog\n",
    "Open Images": (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded\n"
        "a,xclick,cat,1,0.2,0.8,0.2,0.8,0\nb,xclick,dog,1,0.1,0.5,0.1,0.5,0\n"
    ),
    "YOLO": "image,class,x_center,y_center,width,height\na.jpg,cat,0.5,0.5,0.6,0.6\nb.jpg,dog,0.3,0.3,0.4,0.4\n",
    "YOLO in pixels": "image,class,x_center,y_center,width,height\na.jpg,cat,20,15,24,18\nb.jpg,dog,12,9,16,12\n",
    "Windows": "image,label,x0,y0,x1,y1\nC:\\data\\set\\a.jpg,cat,8,6,32,24\nC:\\data\\set\\b.jpg,dog,4,3,20,15\n",
    "elsewhere": "image,label,x0,y0,x1,y1\n/home/u/own/a.jpg,cat,8,6,32,24\n/home/u/own/b.jpg,dog,4,3,20,15\n",
    "upper case": "image,label,x0,y0,x1,y1\nA.JPG,cat,8,6,32,24\nb.JPG,dog,4,3,20,15\n",
    "Excel's own line": "sep=;\nimage;label;x0;y0;x1;y1\na.jpg;cat;8;6;32;24\nb.jpg;dog;4;3;20;15\n",
    "an index and a name": ("image,class_id,class_name,x0,y0,x1,y1\na.jpg,0,cat,8,6,32,24\nb.jpg,1.0,dog,4,3,20,15\n"),
    "a number and a file name": (
        "image_id,file_name,label,x0,y0,x1,y1\n7,a.jpg,cat,8,6,32,24\n9,b.jpg,dog,4,3,20,15\n"
    ),
    "URLs": "image,label,x0,y0,x1,y1\ns3://bucket/a.jpg,cat,8,6,32,24\nhttps://h/x/b.jpg?v=1,dog,4,3,20,15\n",
    "file URLs": "image,label,x0,y0,x1,y1\nfile:///home/u/own/a.jpg,cat,8,6,32,24\nfile:/x/%62.jpg,dog,4,3,20,15\n",
    "old Macintosh": "image,label,x0,y0,x1,y1\ra.jpg,cat,8,6,32,24\rb.jpg,dog,4,3,20,15\r",
    "the root's name": "image,label,x0,y0,x1,y1\nown/a.jpg,cat,8,6,32,24\n./own/b.jpg,dog,4,3,20,15\n",
}


@pytest.fixture
def own(tmp_path, jpeg):
    for name in ("a.jpg", "b.jpg"):
        jpeg(tmp_path / "own" / name)
    return tmp_path / "own"


def open_csv(own, text, **options):
    (own / "boxes.csv").write_text(text, newline="", encoding="utf-8")
    return open_table("folder", own, annotations="boxes.csv", **options)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_content_in_many_spellings(own, spelling):
    table = open_csv(own, SPELLINGS[spelling])
    assert table.rows["image_id"] == ["a.jpg", "b.jpg"]
    assert table.class_names == ("cat", "dog")
    assert table.rows["label"] == [0, 1]
    for found, right in zip(table.rows["boxes"], BOXES, strict=True):
        assert found[0] == pytest.approx(right[0])
    assert (table.rows["width"], table.rows["height"]) == ([40, 40], [30, 30])


@pytest.mark.parametrize("kind", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_text_in_the_encodings_of_spreadsheets(own, kind):
    text = "sep=\t\r\nimage\tlabel\tx0\ty0\tx1\ty1\r\na.jpg\tcafé\t8\t6\t32\t24\r\n"
    (own / "boxes.csv").write_bytes(text.encode(kind))
    table = open_table("folder", own, annotations="boxes.csv")
    assert (table.class_names, table.rows["boxes"][:]) == (("café",), [BOXES[0]])


def test_a_text_in_another_encoding_is_refused_with_its_line(own):
    (own / "boxes.csv").write_bytes("image,label,x0,y0,x1,y1\na.jpg,café,8,6,32,24\n".encode("cp1252"))
    with pytest.raises(DatasetError, match=r"boxes.csv:2: not UTF-8 \(byte 0xe9\); save the file as UTF-8"):
        open_table("folder", own, annotations="boxes.csv")


@pytest.mark.parametrize("labels", ["auto", "names"])
def test_an_index_beside_a_name(own, labels):
    text = "image,class_name,class_id,x0,y0,x1,y1\na.jpg,cat,3,8,6,32,24\nb.jpg,dog,1,4,3,20,15\n"
    table = open_csv(own, text, labels=labels)
    named = {"auto": (("0", "dog", "2", "cat"), [3, 1]), "names": (("cat", "dog"), [0, 1])}
    assert (table.class_names, table.rows["label"][:]) == named[labels]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("0,cat", "0,dog", "class_id 0 is class_name cat, dog"),
        ("0,cat", "1,cat", "class_name cat is class_id 0, 1"),
        ("0,cat", ",dog", "a line has nothing in the column class_id and dog in class_name"),
    ],
)
def test_columns_of_labels_that_contradict_each_other_are_refused(own, first, second, words):
    text = f"image,class_id,class_name,x0,y0,x1,y1\na.jpg,{first},8,6,32,24\nb.jpg,{second},4,3,20,15\n"
    with pytest.raises(DatasetError, match=words):
        open_csv(own, text)


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "file://localhost{}", "FILE://{}"])
def test_roots_and_files_as_file_urls(own, form):
    spaced = own.rename(own.with_name("my own"))
    (spaced / "boxes.csv").write_text(SPELLINGS["ours"])
    url = form.format(str(spaced).replace(" ", "%20"))
    table = open_table("folder", url, annotations=f"{url}/boxes.csv")
    assert table.rows["boxes"][:] == BOXES
    asked = DataOptions.create(dataset="folder", root=url, options=[f"annotations={url}/boxes.csv"])
    assert (asked.root, asked.options) == (spaced, {"annotations": f"{spaced}/boxes.csv"})
    with pytest.raises(DatasetError, match="root /nowhere/x does not exist"):
        open_table("folder", "file:///nowhere/x")


def test_an_absolute_path_may_lie_outside_the_root(own, tmp_path, jpeg):
    other = jpeg(tmp_path / "other" / "c.jpg")
    (row,) = open_csv(own, f"image,label,x0,y0,x1,y1\n{other},0,1,2,3,4\n").rows
    assert (row["image_id"], row["image"]["path"]) == (str(other), str(other))


@pytest.mark.parametrize(("on_disk", "listed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names(own, jpeg, on_disk, listed):
    name, folder = "café.jpg", "été"
    jpeg(own / unicodedata.normalize(on_disk, folder) / unicodedata.normalize(on_disk, name))
    path = unicodedata.normalize(listed, f"{folder}/{name}")
    table = open_csv(own, f"image,label,x0,y0,x1,y1\n{path},é,1,2,3,4\n{path},é,5,6,7,8\n")
    assert table.rows["boxes"][:] == [[[1, 2, 3, 4], [5, 6, 7, 8]]]
    assert any("found in another spelling" in note for note in table.notes)


def test_two_spellings_of_one_file_are_one_image(own):
    (own / "in").mkdir()
    (own / "a.jpg").rename(own / "in" / "a.jpg")
    text = "image,label,x0,y0,x1,y1\nin/a.jpg,0,1,2,3,4\nin\\a.jpg,0,5,6,7,8\n"
    (row,) = open_csv(own, text).rows
    assert row["boxes"] == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_ends_of_absolute_paths_that_mean_one_file_are_refused(own):
    text = "image,label,x0,y0,x1,y1\n/x/cats/a.jpg,0,1,2,3,4\n/x/dogs/a.jpg,0,5,6,7,8\n"
    with pytest.raises(DatasetError, match="1 names mean a file that another name means too"):
        open_csv(own, text)


@pytest.mark.parametrize(
    ("labels", "names", "indices"),
    [
        (("001", "2.0"), ("0", "1", "2"), [1, 2]),
        (("10", "9"), tuple(map(str, range(11))), [10, 9]),
        (("1", "1.0"), ("0", "1"), [1, 1]),
        (("zebra", "Ant"), ("Ant", "zebra"), [1, 0]),
        (("cafe\u0301", "caf\u00e9"), ("caf\u00e9",), [0, 0]),
    ],
)
def test_labels(own, labels, names, indices):
    table = open_csv(own, "image,label,x0,y0,x1,y1\na.jpg,{},1,2,3,4\nb.jpg,{},1,2,3,4\n".format(*labels))
    assert (table.class_names, table.rows["label"][:]) == (names, indices)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("0.5", "1"), "labels must be whole numbers or names; found the numbers 0.5"),
        (("1e3", "cat"), "found the numbers 1e3"),
        (("-1", "2"), "class indices from 0; found -1"),
        (("1", "cat"), r"whole numbers \(1\) beside names \(cat\).*labels=names"),
        (("1", "nan"), r"beside names \(nan\)"),
    ],
)
def test_labels_that_are_none(own, labels, words):
    with pytest.raises(DatasetError, match=words):
        open_csv(own, "image,label,x0,y0,x1,y1\na.jpg,{},1,2,3,4\nb.jpg,{},1,2,3,4\n".format(*labels))


def test_numbers_as_names_keep_the_order_of_their_values(own):
    text = "image,label,x0,y0,x1,y1\na.jpg,10,1,2,3,4\nb.jpg,9.0,1,2,3,4\n"
    table = open_csv(own, text, labels="names")
    assert (table.class_names, table.rows["label"][:]) == (("9", "10"), [1, 0])
    assert any("9 and" in w or "counted from 1" in w for w in table.warnings) is False
    table = open_csv(own, text.replace("10", "1").replace("9.0", "2"))
    assert any("labels are 1 to 2" in w for w in table.warnings)


CORNERS = "image,label,x0,y0,x1,y1\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CORNERS + "a.jpg,0,.2,.2,.8,.8\nb.jpg,0,.1,.1,.5,.5\n", "fractions of the picture.*boxes=fraction"),
        (CORNERS + "a.jpg,0,.2,.2,.8,.8\nb.jpg,0,4,3,20,15\n", "the others are in pixels"),
        (CORNERS + "a.jpg,0,20,15,10,10\nb.jpg,0,4,3,20,15\n", r"all of them fit with --option boxes=xywh"),
        (CORNERS + "a.jpg,0,35,25,20,15\nb.jpg,0,4,3,20,15\n", r"fit with --option boxes=cxcywh|boxes=corners"),
        (CORNERS + "a.jpg,0,32,24,8,6\nb.jpg,0,4,3,20,15\n", r"boxes=corners"),
        ("image,label,x,y,w,h\na.jpg,0,8,6,38,29\nb.jpg,0,4,3,39,28\n", "fit with --option boxes=xyxy"),
        ("image,label,x,y,w,h\na.jpg,0,25,20,24,18\nb.jpg,0,30,20,20,20\n", "fit with --option boxes=cxcywh"),
    ],
)
def test_boxes_in_another_order_or_unit_are_refused_with_the_remedy(own, text, words):
    with pytest.raises(DatasetError, match=f"(?s){words}"):
        open_csv(own, text)


@pytest.mark.parametrize(
    ("option", "numbers", "box"),
    [
        ("fraction", ".2,.2,.8,.8", [8, 6, 32, 24]),
        ("fraction+xywh", ".2,.2,.6,.6", [8, 6, 32, 24]),
        ("cxcywh", "20,15,24,18", [8, 6, 32, 24]),
        ("corners", "32,6,8,24", [8, 6, 32, 24]),
        ("pixels", "0.2,0.2,0.8,0.8", [0.2, 0.2, 0.8, 0.8]),
    ],
)
def test_the_remedies_give_the_right_boxes(own, option, numbers, box):
    (row,) = open_csv(own, f"{CORNERS}a.jpg,0,{numbers}\n", boxes=option).rows
    assert row["boxes"][0] == pytest.approx(box)


def test_fractions_of_a_stated_size_are_in_its_pixels(own):
    text = "image,label,x0,y0,x1,y1,width,height\na.jpg,0,.2,.2,.8,.8,400,300\n"
    (row,) = open_csv(own, text, boxes="fraction").rows
    assert row["boxes"][0] == pytest.approx([80, 60, 320, 240])
    assert (row["width"], row["height"]) == (400, 300)


def test_a_header_is_asked_for_where_the_order_of_columns_is_not_sure(own):
    with pytest.raises(DatasetError, match="columns=image:x0:y0:x1:y1:label"):
        open_csv(own, "a.jpg,8,6,32,24,1\n")
    (row,) = open_csv(own, "a.jpg,8,6,32,24,1\n", columns="image:x0:y0:x1:y1:label").rows
    assert (row["label"], row["boxes"]) == (1, [[8, 6, 32, 24]])
    with pytest.raises(OptionError, match="lacks label"):
        open_csv(own, "a.jpg,8,6\n", columns="image:x0:y0")


WHOLE = (
    'image,label,bbox\na.jpg,cat,"[8, 6, 24, 18]"\nb.jpg,dog,"[4, 3, 16, 12]"\n',
    "image,label,box\na.jpg,cat,8 6 24 18\nb.jpg,dog,4.0 3.0 16.0 12.0\n",
    "image;label;bounding_box\na.jpg;cat;(8,6,24,18)\nb.jpg;dog;(4,3,16,12)\n",
)


@pytest.mark.parametrize("text", WHOLE)
def test_a_whole_box_in_one_field_is_read_as_the_user_says(own, text):
    assert open_csv(own, text, boxes="xywh").rows["boxes"][:] == BOXES
    with pytest.raises(
        DatasetError, match="(?s)all of them fit 2 orders: .*say it with --option boxes=xyxy .*boxes=xywh "
    ):
        open_csv(own, text)


def test_a_whole_box_in_one_field_is_read_as_the_only_order_that_fits(own):
    corner = 'image,label,bbox\na.jpg,cat,"[18, 6, 32, 24]"\nb.jpg,dog,"[4, 3, 20, 15]"\n'
    table = open_csv(own, corner)
    assert table.rows["boxes"][:] == [[[18, 6, 32, 24]], BOXES[1]]
    assert any("are x0,y0,x1,y1, as they fit no other order" in note for note in table.notes)
    size = 'image,label,bbox\na.jpg,cat,"[8, 6, 24, 18]"\nb.jpg,dog,"[20, 10, 16, 12]"\nb.jpg,dog,"[0, 0, 16, 12]"\n'
    assert open_csv(own, size).rows["boxes"][0] == BOXES[0]


@pytest.mark.parametrize("field", ['"[[8, 6, 24, 18], [1, 2, 3, 4]]"', "8 6 24", "'x': 8"])
def test_a_field_that_holds_no_whole_box_names_its_line(own, field):
    with pytest.raises(DatasetError, match="boxes.csv:2: .*expected four numbers, such as '10 20 30 40', a box a line"):
        open_csv(own, f"image,label,bbox\na.jpg,cat,{field}\n", boxes="xywh")


@pytest.mark.parametrize("name", ["confidence", "score", "bbox_score", "Conf."])
def test_a_detectors_predictions_are_told(own, name):
    text = f"image,label,x0,y0,x1,y1,{name}\na.jpg,cat,8,6,32,24,0.91\nb.jpg,dog,4,3,20,15,0.25\n"
    (warning,) = (w for w in open_csv(own, text).warnings if "detector" in w)
    assert f"the column {name} holds scores (0.25 to 0.91)" in warning
    sure = text.replace("0.91", "1").replace("0.25", "1")
    assert not any("detector" in w for w in open_csv(own, sure).warnings)


def test_images_of_several_classes_in_a_csv(own):
    text = CORNERS + "a.jpg,cat,1,2,3,4\na.jpg,dog,1,2,30,20\nb.jpg,cat,1,2,3,4\na.jpg,cat,5,6,7,8\n"
    largest = open_csv(own, text, label="largest")
    assert (largest.rows["label"][:], largest.rows["boxes"][0]) == ([1, 0], [[1, 2, 30, 20]])
    only = open_csv(own, text, label="only")
    assert only.rows["image_id"][:] == ["b.jpg"]
    rows = open_csv(own, text, classes="rows")
    assert rows.rows["image_id"][:] == ["a.jpg#cat", "a.jpg#dog", "b.jpg#cat"]
    assert rows.rows["boxes"][:] == [[[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 30, 20]], [[1, 2, 3, 4]]]


def test_an_image_without_a_box_is_left_out_and_counted(own):
    table = open_csv(own, "a.jpg,8,6,32,24,cat\nb.jpg,,,,,\n")
    assert table.rows["image_id"][:] == ["a.jpg"]
    assert any("1 of 2 images have no box or mask and are left out: b.jpg" in w for w in table.warnings)


def test_one_row_without_a_size_keeps_the_sizes_of_the_others(tmp_path):
    """The files are copies at half the size; the given sizes count, and the missing one is asked for."""
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (200, 150)).save(tmp_path / name)
    header = "image,label,x0,y0,x1,y1,width,height\na.jpg,0,40,30,160,120,400,300\n"
    (tmp_path / "b.csv").write_text(header + "b.jpg,0,40,30,160,120,,\n")
    with pytest.raises(DatasetError, match="1 images state no size, while the sizes that others state are not"):
        open_table("folder", tmp_path, annotations="b.csv")
    (tmp_path / "b.csv").write_text(header.replace("400,300", "200,150") + "b.jpg,0,40,30,160,120,,\n")
    table = open_table("folder", tmp_path, annotations="b.csv")
    assert table.rows["boxes"][:] == [[[40, 30, 160, 120]]] * 2


@pytest.mark.parametrize(
    "option", [{"boxes": "xyx"}, {"boxes": "xyxy+xywh"}, {"exif": "yes"}, {"labels": "all"}, {"label": "first"}]
)
def test_unknown_words_are_refused_with_the_choice(own, option):
    with pytest.raises(OptionError, match="choose"):
        open_csv(own, SPELLINGS["ours"], **option)


def test_files_that_lie_in_other_folders_are_said(own):
    for folder in ("x", "y"):
        (own / folder).mkdir()
        (own / folder / "c.jpg").write_bytes((own / "a.jpg").read_bytes())
    with pytest.raises(
        DatasetError, match=r"not on disk: c.jpg; files of 1 of these names .* c.jpg as x/c.jpg, y/c.jpg: write"
    ):
        open_csv(own, "image,label,x0,y0,x1,y1\nc.jpg,cat,8,6,32,24\n")


def test_a_csv_without_classes_names_the_option(own):
    with pytest.raises(
        DatasetError, match="columns label are missing.*where there are no classes, pass --option labels=none"
    ):
        open_csv(own, "image,x0,y0,x1,y1\na.jpg,8,6,32,24\n")


def test_several_classes_in_one_field_are_told(own):
    text = "image,label,x0,y0,x1,y1\na.jpg,cat|dog,8,6,32,24\nb.jpg,dog,4,3,20,15\n"
    assert any("1 labels name several classes in one" in w for w in open_csv(own, text).warnings)
    apart = text.replace("cat|dog", "Doe; Jane")
    assert not any("several classes in one" in w for w in open_csv(own, apart).warnings)
