"""No index drops or joins rows without a word: names alike but for case or accents, stems that occur twice."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from cambench.datasets.disk.files import FileIndex
from cambench.datasets.findings import Findings
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError
from cambench.datasets.tables.ids import IdCheck

pytestmark = pytest.mark.usefixtures("own_cache")
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(path, "JPEG")
    return path


@pytest.mark.parametrize("chunks", [[["a.jpg", "A.JPG", "b.jpg"]], [["a.jpg"], ["A.JPG", "b.jpg"]]])
def test_ids_that_differ_in_case_are_told(chunks: list[list[str]]) -> None:
    findings = Findings()
    check = IdCheck(findings)
    for ids in chunks:
        check.add(ids)
    check.close()
    (told,) = findings.items
    assert told.level == "warning"
    assert told.what.startswith("1 image ids differ from another only in capital letters or in the form of")


def test_ids_that_differ_in_the_form_of_their_accents_are_told(tmp_path: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        picture(tmp_path / "set" / "a" / name)
    table = open_table("folder", tmp_path / "set", "test")
    assert len(table) == 2
    assert any("1 image ids differ from another only in capital letters" in w for w in table.warnings)


@pytest.mark.parametrize(("on_disk", "listed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_accents_of_lists_and_file_systems_meet(tmp_path: Path, on_disk: str, listed: str) -> None:
    picture(tmp_path / "set" / on_disk)
    (tmp_path / "b.csv").write_text(f"image,label,x0,y0,x1,y1\n{listed},0,1,2,30,20\n")
    table = open_table("folder", tmp_path / "set", "test", annotations=str(tmp_path / "b.csv"))
    assert Path(table.rows[0]["image"]["path"]).is_file()
    assert FileIndex().spelled(f"{tmp_path}/set/", listed) == f"{tmp_path}/set/{on_disk}"
    assert FileIndex().spelled(f"{tmp_path}/set/", "no-é.jpg") == f"{tmp_path}/set/no-é.jpg"


def test_two_xml_files_of_one_image(imagenet_replica) -> None:
    imagenet_replica.by_class()
    imagenet_replica.xml("xml/a")
    imagenet_replica.xml("xml/b")
    import tarfile

    with tarfile.open(imagenet_replica.base / "ILSVRC2012_bbox_val_v3.tgz", "w:gz") as tar:
        tar.add(imagenet_replica.base / "xml", arcname="xml")
    with pytest.raises(DatasetError, match="6 images have two XML files in different folders: ILSVRC2012_val_00000001"):
        open_table("imagenet", imagenet_replica.base, "test")


def test_one_imagenet_image_in_two_formats(imagenet_replica) -> None:
    imagenet_replica.by_class()
    imagenet_replica.xml("bbox_val")
    one = next((imagenet_replica.base / "val").rglob("*_00000001.JPEG"))
    picture(one.with_suffix(".webp"))
    with pytest.raises(DatasetError, match="1 images are there twice: .*00000001"):
        open_table("imagenet", imagenet_replica.base, "test")


def test_shards_of_two_downloads(imagenet_replica, hub_shards) -> None:
    imagenet_replica.by_class()
    files = [
        (next((imagenet_replica.base / "val").rglob(f"{stem}.JPEG")), label)
        for stem, label in zip(imagenet_replica.stems, imagenet_replica.labels, strict=True)
    ]
    hub_shards(imagenet_replica.base, "validation", [*files, files[0]])
    for path, _ in files:
        path.unlink()
    for folder in sorted((imagenet_replica.base / "val").iterdir(), reverse=True):
        folder.rmdir()
    (imagenet_replica.base / "val").rmdir()
    imagenet_replica.solution()
    with pytest.raises(DatasetError, match="1 images are in the shards twice: ILSVRC2012_val_00000001"):
        open_table("imagenet", imagenet_replica.base, "test")


def test_openimages_in_two_formats(openimages_replica: Path) -> None:
    picture(openimages_replica / "test" / "01226z" / "00ab.JPEG")
    with pytest.raises(DatasetError, match="1 images are there in two formats: 00ab"):
        open_table("openimages30k", openimages_replica, "test")


@pytest.mark.parametrize("other", ["./a.jpg", "x/../a.jpg", "x//../a.jpg"])
def test_one_file_under_two_names_is_one_image(tmp_path: Path, other: str) -> None:
    """It was two rows, with two labels."""
    picture(tmp_path / "a.jpg")
    (tmp_path / "x").mkdir()
    header = "image,label,x0,y0,x1,y1"
    (tmp_path / "c.csv").write_text(f"{header}\na.jpg,cat,1,2,3,4\n{other},cat,4,5,6,7\n")
    table = open_table("folder", tmp_path, annotations="c.csv")
    assert table.rows[:]["image_id"] == ["a.jpg"]
    assert table.rows[0]["boxes"] == [[1, 2, 3, 4], [4, 5, 6, 7]]
    (tmp_path / "c.csv").write_text(f"{header}\na.jpg,cat,1,2,3,4\n{other},dog,4,5,6,7\n")
    with pytest.raises(DatasetError, match=r"1 of 1 images have several classes: a\.jpg"):
        open_table("folder", tmp_path, annotations="c.csv")


def test_lines_of_no_split_are_told(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        picture(tmp_path / name)
    (tmp_path / "c.csv").write_text("image,label,split\na.jpg,cat,test\nb.jpg,cat,\nc.jpg,cat,train\n")
    table = open_table("folder", tmp_path, annotations="c.csv")
    assert table.rows[:]["image_id"] == ["a.jpg"]
    assert any("1 lines name no split and are in none: line 3" in w for w in table.warnings)


def test_a_name_with_a_null_character_is_no_file(wsol_replica: tuple[Path, Path]) -> None:
    root, meta = wsol_replica
    ids = meta / "test" / "image_ids.txt"
    ids.write_text("\0/" + ids.read_text())
    with pytest.raises(DatasetError, match="ids of image_ids.txt have no line here"):
        open_table("wsol", root, metadata=str(meta))


def test_a_list_of_masks_without_a_mask_is_refused(wsol_replica: tuple[Path, Path]) -> None:
    root, meta = wsol_replica
    (meta / "test" / "localization.txt").write_text("unknown.jpg,mask.png,ignore.png\n")
    with pytest.raises(DatasetError, match="6 images have no mask"):
        open_table("wsol", root, metadata=str(meta))
