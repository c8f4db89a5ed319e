"""Folders of classes with what people, archives and servers leave in them: nothing is a class or lost by accident."""

from __future__ import annotations

import pytest
from PIL import Image

from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(root / name, "JPEG")
    return root


def test_folders_of_archives_and_servers_are_no_classes(root):
    """__MACOSX came before all lower-case names, and shifted every class index."""
    tree(root, "cat/1.jpg", "dog/1.jpg", "__MACOSX/cat/._1.jpg", "@eaDir/1.jpg", "$RECYCLE.BIN/2.jpg", ".x/3.jpg")
    table = open_table("folder", root)
    assert (table.class_names, table.rows["image_id"][:]) == (("cat", "dog"), ["cat/1.jpg", "dog/1.jpg"])
    assert not table.warnings


def test_pictures_too_deep_beside_the_classes_and_behind_broken_links_are_told(root):
    tree(root, "cat/1.jpg", "cat/more/2.jpg", "dog/1.jpg", "3.jpg")
    (root / "dog" / "4.jpg").symlink_to("nowhere.jpg")
    table = open_table("folder", root)
    assert table.rows["image_id"][:] == ["cat/1.jpg", "dog/1.jpg"]
    told = "\n".join(table.warnings)
    assert "1 pictures lie deeper than in the folder of a class, and are left out: cat/more/2.jpg" in told
    assert "1 pictures lie beside the class folders, belong to no class and are left out: 3.jpg" in told
    assert "1 symbolic links lead nowhere, or to themselves, and are left out: dog/4.jpg" in told


def test_a_root_one_level_too_high_is_refused_with_the_right_one(root):
    tree(root, "photos/cat/1.jpg", "photos/dog/1.jpg")
    with pytest.raises(DatasetError, match=r"is --root one level too high\? then pass .*/photos"):
        open_table("folder", root)


@pytest.mark.parametrize(
    ("folders", "split"), [(("train", "valid", "test"), "val"), (("Train", "Test"), "test"), (("Validation",), "val")]
)
def test_splits_in_other_words(root, folders, split):
    for folder in folders:
        tree(root, f"{folder}/cat/{folder}.jpg", f"{folder}/dog/{folder}.jpg")
    table = open_table("folder", root, split)
    assert table.class_names == ("cat", "dog")
    assert table.rows["image_id"][0].casefold().startswith(f"cat/{split}"[:6])


def test_words_of_splits_may_be_classes_and_one_split_has_one_folder(root):
    tree(root / "a", "testing/1.jpg", "cat/1.jpg")
    assert open_table("folder", root / "a").class_names == ("cat", "testing")
    tree(root / "b", "train/cat/1.jpg", "val/cat/1.jpg", "valid/cat/1.jpg")
    with pytest.raises(DatasetError, match="two folders of the split val: val and valid"):
        open_table("folder", root / "b", "val")


def test_folders_called_by_numbers(root):
    """labels=indices was not read: class 10 was the second."""
    tree(root, "1/1.jpg", "2/2.jpg", "10/10.jpg")
    ranked = open_table("folder", root)
    assert (ranked.class_names, ranked.rows["label"][:]) == (("1", "10", "2"), [0, 1, 2])
    assert any("folders are called by numbers" in w and "2 is class 2" in w for w in ranked.warnings)
    indices = open_table("folder", root, labels="indices")
    assert dict(zip(indices.rows["image_id"], indices.rows["label"], strict=True)) == {
        "1/1.jpg": 1, "2/2.jpg": 2, "10/10.jpg": 10
    }  # fmt: skip
    assert open_table("folder", root, labels="names").class_names == ("1", "2", "10")
    tree(root.parent / "b", "0/1.jpg", "1/2.jpg")
    assert not open_table("folder", root.parent / "b").warnings


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("Zo\u00eb", "Zoe\u0308")])
def test_folders_that_look_alike_are_told(root, one, other):
    tree(root, f"{one}/1.jpg", f"{other}/2.jpg")
    table = open_table("folder", root)
    assert table.num_classes == 2
    assert any("1 classes differ from another only by upper and lower case, or the form" in w for w in table.warnings)


def test_pictures_beside_their_masks_are_no_classes(tmp_path):
    for folder in ("images", "Masks"):
        (tmp_path / "own" / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "own" / folder / "a.png")
    with pytest.raises(DatasetError, match="has Masks beside images, which are no classes; give the annotations"):
        open_table("folder", tmp_path / "own")
    assert open_table("folder", tmp_path / "own", labels="names").class_names == ("Masks", "images")
