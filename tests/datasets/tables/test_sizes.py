"""Boxes belong to pictures of a size that is stated, given, or the files': copies of another size are never scored."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError, SampleTable
from cambench.datasets.tables.given_sizes import FILES, STATED

pytestmark = pytest.mark.usefixtures("own_cache")


def resize_all(base: Path, to: tuple[int, int] | float) -> dict[str, tuple[int, int]]:
    """Copies of another size in the files' place; the originals' sizes by path below ``base``."""
    sizes = {}
    for path in sorted([*base.rglob("*.jpg"), *base.rglob("*.JPEG")]):
        with Image.open(path) as image:
            sizes[str(path.relative_to(base))] = image.size
            size = to if isinstance(to, tuple) else tuple(round(side * to) for side in image.size)
            copy = image.resize(size)
        copy.save(path)
    return sizes


def boxes_at(table: SampleTable, size: int = 224) -> list[list[list[int]]]:
    (batch,) = load_batches(table, range(len(table)), size, len(table), 0)
    return [b.tolist() for b in batch.gt_boxes]


def write_sizes(path: Path, sizes: dict[str, tuple[int, int]], heading: str = "") -> Path:
    path.write_text(heading + "".join(f"{name},{w},{h}\n" for name, (w, h) in sizes.items()))
    return path


def open_cub(base: Path, **options: str) -> SampleTable:
    return open_table("cub", base, "test", **options)


def test_shrunk_copies_are_refused_with_their_share(cub_replica: Path) -> None:
    resize_all(cub_replica / "images", 0.4)
    with pytest.raises(DatasetError, match=r"(?s)6 of 6 boxes \(100%\) reach beyond their picture, by more") as e:
        open_cub(cub_replica)
    assert "--option sizes=FILE" in str(e.value)


@pytest.mark.parametrize("side", [64, 256, 512])
def test_copies_of_one_size_are_refused_and_right_with_the_published_sizes(
    cub_replica: Path, tmp_path: Path, side: int
) -> None:
    right = boxes_at(open_cub(cub_replica))
    sizes = resize_all(cub_replica / "images", (side, side))
    with pytest.raises(DatasetError, match=rf"all 6 files are {side}×{side} pixels, although CUB-200-2011 has"):
        open_cub(cub_replica)
    table = open_cub(cub_replica, sizes=str(write_sizes(tmp_path / "sizes.txt", sizes)))
    assert boxes_at(table) == right


def test_whoever_knows_better_says_so(cub_replica: Path) -> None:
    resize_all(cub_replica / "images", (64, 64))
    table = open_cub(cub_replica, sizes=FILES)
    assert boxes_at(table)[0] == np.trunc(np.array([[2.0, 3, 22, 18]]) * 224 / 64).astype(int).tolist()


def test_cub_has_no_side_above_500(cub_replica: Path) -> None:
    """Enlarged copies that keep their shape share no size."""
    sizes = resize_all(cub_replica / "images", 14.0)
    assert len(set(sizes.values())) == 12
    with pytest.raises(DatasetError, match="6 of 6 files have a side of more than 500 pixels, the longest published"):
        open_cub(cub_replica)


def test_cars_on_square_copies(cars_replica: Path, tmp_path: Path) -> None:
    right = boxes_at(open_table("stanford_cars", cars_replica, "test"))
    sizes = resize_all(cars_replica, (256, 256))
    with pytest.raises(DatasetError, match="all 6 files are 256×256 pixels, although Stanford Cars"):
        open_table("stanford_cars", cars_replica, "test")
    # As wsolevaluation's lists have it: no folder before the name. Train and test share names, test's are kept.
    named = {Path(name).name: size for name, size in sizes.items() if "cars_test" in name}
    table = open_table("stanford_cars", cars_replica, "test", sizes=str(write_sizes(tmp_path / "s.txt", named)))
    assert boxes_at(table) == right


def test_imagenet_csv_beside_resized_images_is_what_the_xml_gives(imagenet_replica, tmp_path: Path) -> None:
    """LOC_val_solution.csv states no size; the same images with XML boxes, whose files state it, are the reference."""
    imagenet_replica.by_class()
    imagenet_replica.xml("bbox_val")
    sizes = resize_all(imagenet_replica.base / "val", (227, 227))
    right = open_table("imagenet", imagenet_replica.base, "test")
    assert any("6 of 6 files that were compared have another size than is stated" in n for n in right.notes)
    imagenet_replica.solution()
    csv = str(imagenet_replica.base / "LOC_val_solution.csv")
    with pytest.raises(DatasetError, match="all 6 files are 227×227 pixels, although ImageNet has"):
        open_table("imagenet", imagenet_replica.base, "test", boxes=csv)
    given = write_sizes(tmp_path / "sizes.csv", sizes, "image,width,height\n")
    table = open_table("imagenet", imagenet_replica.base, "test", boxes=csv, sizes=str(given))
    assert boxes_at(table) == boxes_at(right)


def test_wsol_lists_without_sizes(wsol_replica: tuple[Path, Path], tmp_path: Path) -> None:
    """The lists' boxes are in the pixels of 400×300 originals, the files are 40×30."""
    root, meta = wsol_replica
    right = boxes_at(open_table("wsol", root, "test", metadata=str(meta)))
    sizes = meta / "test" / "image_sizes.txt"
    kept = sizes.rename(tmp_path / "kept.txt")
    with pytest.raises(DatasetError, match=r"7 of 7 boxes \(100%\) reach beyond their picture"):
        open_table("wsol", root, "test", metadata=str(meta))
    assert boxes_at(open_table("wsol", root, "test", metadata=str(meta), sizes=str(kept))) == right
    resize_all(root, (640, 640))
    table = open_table("wsol", root, "test", metadata=str(meta))
    assert any("all 6 files are 640×640 pixels, and the annotations state no sizes" in w for w in table.warnings)


def test_wsol_lists_of_a_published_set_without_sizes(wsol_replica: tuple[Path, Path], tmp_path: Path) -> None:
    root, meta = wsol_replica
    (meta / "test" / "image_sizes.txt").unlink()
    cub = tmp_path / "CUB"
    meta.rename(cub)
    resize_all(root, (640, 640))
    with pytest.raises(DatasetError, match="all 6 files are 640×640 pixels, although CUB has pictures of many sizes"):
        open_table("wsol", root, "test", metadata=str(cub))


def test_stated_sizes_that_the_boxes_do_not_fit(wsol_replica: tuple[Path, Path]) -> None:
    root, meta = wsol_replica
    path = meta / "test" / "image_sizes.txt"
    path.write_text(path.read_text().replace("400,300", "100,75"))
    with pytest.raises(DatasetError, match=r"7 of 7 boxes \(100%\) reach beyond the picture size that is stated"):
        open_table("wsol", root, "test", metadata=str(meta))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,40\n", r"s\.txt:1: 'a.jpg,40' is not `image,width,height`"),
        ("a.jpg,640000000000000,30\n", r"s\.txt:1: 'a.jpg,640000000000000,30' is not"),
        ("image,width,height\na.jpg,0,30\n", r"s\.txt:2: 'a.jpg,0,30' is not"),
        ("a.jpg,40,30\na.jpg,50,30\n", r"s\.txt:2: a.jpg has another size than on an earlier line"),
        ("a.jpg,40,30\n", r"s\.txt: 6 images have no line in it: 003\.Sooty_Albatross/Bird_0000\.jpg"),
    ],
)
def test_sizes_files_with_faults(cub_replica: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.txt").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_cub(cub_replica, sizes=str(tmp_path / "s.txt"))


SPELLINGS = ("{0},{1},{2}", "{0};{1};{2}", "{0}\t{1}\t{2}", "{0},{1}.0,{2}.0", '"{0}","{1}","{2}"')


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_sizes_in_many_spellings(cub_replica: Path, tmp_path: Path, spelling: str) -> None:
    sizes = dict.fromkeys(resize_all(cub_replica / "images", (64, 64)), (80, 60))
    heading = spelling.replace(".0", "").format("image", "width", "height")
    (tmp_path / "s.txt").write_text(
        "\n".join([heading, *(spelling.format(name, *size) for name, size in sizes.items())])
    )
    assert open_cub(cub_replica, sizes=str(tmp_path / "s.txt")).rows[0]["width"] == 80


def test_a_sizes_file_that_is_not_there(cub_replica: Path) -> None:
    with pytest.raises(DatasetError, match="sizes=none.txt: no such file; expected lines `image,width,height`, or"):
        open_cub(cub_replica, sizes="none.txt")


def test_the_table_follows_the_sizes_file(cub_replica: Path, tmp_path: Path) -> None:
    sizes = dict.fromkeys(resize_all(cub_replica / "images", (64, 64)), (80, 60))
    path = write_sizes(tmp_path / "s.txt", sizes)
    first = open_cub(cub_replica, sizes=str(path))
    write_sizes(path, dict.fromkeys(sizes, (160, 120)))
    second = open_cub(cub_replica, sizes=str(path))
    assert (first.rows[0]["width"], second.rows[0]["width"]) == (80, 160)
    assert first.fingerprint != second.fingerprint


def test_published_boxes_fit_their_published_sizes(shared_data: Path) -> None:
    """The share from which a run is refused is far from what is published: no box of 127,982 is beyond its picture."""
    total = beyond = 0
    for path in sorted(shared_data.glob("wsol_metadata/*/*/localization.txt")):
        sizes = (path.parent / "image_sizes.txt").read_text().split()
        size_of = {line.rsplit(",", 2)[0]: [int(v) for v in line.split(",")[-2:]] for line in sizes}
        lines = [line for line in path.read_text().split() if re.search(r"(,[\d.-]+){4}$", line)]
        for line in lines:
            name, *numbers = line.rsplit(",", 4)
            box = [float(v) for v in numbers]
            total += 1
            beyond += box[2] > size_of[name][0] + 1 or box[3] > size_of[name][1] + 1 or min(box) < -1
    assert (total, beyond) == (127_982, 0)


def own(base: Path, text: str, size: tuple[int, int] = (400, 300)) -> Path:
    base.mkdir(exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", size).save(base / name)
    (base / "c.csv").write_text(text)
    return base


PIXELS = "image,label,x0,y0,x1,y1,width,height\na.jpg,x,10,20,100,120,{0}\nb.jpg,x,10,20,100,120,{0}\n"
FRACTIONS = "image,label,x0,y0,x1,y1\na.jpg,x,0.1,0.1,0.5,0.5\nb.jpg,x,0.1,0.1,0.5,0.5\n"


def test_exchanged_width_and_height_are_refused(tmp_path: Path) -> None:
    base = own(tmp_path / "set", PIXELS.format("300,400"))
    with pytest.raises(DatasetError, match="2 of 2 files that were compared have the stated width as their height"):
        open_table("folder", base, annotations="c.csv")
    for right in (PIXELS.format("400,300"), PIXELS.format("300,400")):
        own(base, right)
        table = open_table("folder", base, annotations="c.csv", sizes=FILES)
        assert boxes_at(table) == [[[5, 14, 56, 89]]] * 2


def test_the_files_sizes_go_before_those_that_are_stated(tmp_path: Path) -> None:
    base = own(tmp_path / "set", PIXELS.format("800,600"))
    assert boxes_at(open_table("folder", base, annotations="c.csv", sizes=STATED)) == [[[2, 7, 28, 44]]] * 2
    assert boxes_at(open_table("folder", base, annotations="c.csv", sizes=FILES)) == [[[5, 14, 56, 89]]] * 2


@pytest.mark.parametrize("sizes", ["files", "800,600", "300,400"])
def test_fractions_are_of_pictures_of_any_size(tmp_path: Path, sizes: str) -> None:
    """With sizes they were boxes of no pixel."""
    base = own(tmp_path / "set", FRACTIONS)
    given = tmp_path / "s.txt"
    given.write_text(f"a.jpg,{sizes}\nb.jpg,{sizes}\n")
    option = FILES if sizes == "files" else str(given)
    table = open_table("folder", base, annotations="c.csv", boxes="fraction", sizes=option)
    assert boxes_at(table) == [[[22, 22, 112, 112]]] * 2
    assert any("sizes: not used, as the boxes are fractions" in note for note in table.notes)
    # One size of all files is no sign of copies either.
    assert not open_table("folder", base, annotations="c.csv", boxes="fraction").warnings


def test_a_box_without_area_is_told(tmp_path: Path) -> None:
    base = own(tmp_path / "set", "image,label,x0,y0,x1,y1\na.jpg,x,10,20,10,90\nb.jpg,x,0,0,100,100\n")
    table = open_table("folder", base, annotations="c.csv")
    assert any("1 boxes have no width or no height: a.jpg [10.0, 20.0, 10.0, 90.0]" in w for w in table.warnings)
