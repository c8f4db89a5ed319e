"""Map files of any tool are found by their names, or the refusal says what is there."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cambench.bench.host.errors import UsageError
from cambench.bench.maps.map_files import MapFileError, read_map
from cambench.bench.maps.map_folder import open_folder
from cambench.bench.maps.map_names import TwoFoldersError, matched

IDS = ["val/a.jpg", "val/b.jpg"]


@pytest.mark.parametrize(
    "files",
    [
        ["val/a.npy", "val/b.npy"],
        ["val/a.jpg.npy", "val/b.jpg.NPY"],
        ["val/a.JPG.npy", "val/b.png.npy"],
        ["a.npy", "b.jpg.npy"],
        ["cams/run1/val/a.npy", "cams/run1/val/b.jpg.npy"],
    ],
)
def test_files_of_images(files: list[str]) -> None:
    assert matched(files, IDS) == dict(zip(IDS, files, strict=True))


def test_each_image_keeps_its_own_suffix() -> None:
    ids = ["a.jpg", "a.png", "b.jpg"]
    assert matched(["a.jpg.npy", "b.npy"], ids) == {"a.jpg": "a.jpg.npy", "b.jpg": "b.npy"}


def test_the_maps_of_two_methods_are_not_mixed() -> None:
    with pytest.raises(TwoFoldersError, match="bas/, cam/"):
        matched(["cam/val/a.npy", "bas/val/b.npy"], IDS)


def folder_of(path: Path, files: list[str]) -> Path:
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save((path / name).open("wb"), np.ones((3, 3)))
    return path


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["cam/val/a.npy", "bas/val/b.npy"], "several of its folders, bas/, cam/; give one of these"),
        (["a.pt", "b.pt"], "holds no .npy, .npz, .png file, but a.pt, b.pt; save each map with numpy.save"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_there(tmp_path: Path, files: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_folder("theirs", folder_of(tmp_path, files), IDS, lambda ids: dict.fromkeys(ids, (0, 0)))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", a=np.ones((2, 2)))
    with pytest.raises(UsageError, match="all.npz: a file; give the folder of the maps, which has one file an image"):
        open_folder("theirs", tmp_path / "all.npz", IDS, lambda ids: {})


def test_what_is_not_read_is_told_by_what_it_is(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ["x/val/a.npy", "x/val/b.npy", "x/val/c.npy"])
    Image.new("L", (3, 3)).save(folder / "x" / "val" / "a.png")
    found = open_folder("theirs", folder, IDS, lambda ids: dict.fromkeys(ids, (0, 0))).findings()
    assert found == [
        "maps theirs: 1 file(s) stand beside one of another kind (.npy, then .npz, then .png is read first): "
        "x/val/a.png",
        "maps theirs: 1 file(s) belong to no image of the split and are not read: x/val/c.npy",
        "maps theirs: the files are those of its folder x/",
    ]


def test_grey_written_in_colours_is_grey(tmp_path: Path) -> None:
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    for mode in ("L", "RGB", "RGBA", "LA", "P"):
        Image.fromarray(levels).convert(mode).save(tmp_path / f"{mode}.png")
        assert np.array_equal(read_map(tmp_path / f"{mode}.png"), levels)
    for name, coloured in (("hue", Image.new("RGB", (4, 3), (9, 9, 8))), ("clear", Image.new("LA", (4, 3), (9, 100)))):
        coloured.save(tmp_path / f"{name}.png")
        with pytest.raises(MapFileError, match="a coloured or transparent picture"):
            read_map(tmp_path / f"{name}.png")
