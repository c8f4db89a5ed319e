"""Maps saved as (width, height) are told by their shapes, where shapes can tell."""

from pathlib import Path

import numpy as np
import pytest

from cambench.bench.host.errors import UsageError
from cambench.bench.maps.map_folder import MapFolder, open_folder
from cambench.bench.maps.map_shapes import exchanged

SIZES = {"a.jpg": (500, 375), "b.jpg": (375, 500), "c.jpg": (320, 240), "d.jpg": (300, 300)}


def opened(folder: Path, shapes: dict[str, tuple[int, int]]) -> MapFolder:
    for name, shape in shapes.items():
        np.save(folder / f"{name}.npy", np.ones(shape, np.float32))
    return open_folder("theirs", folder, list(shapes), lambda ids: {i: SIZES[i] for i in ids})


def test_maps_that_lie_as_their_pictures_or_are_square_are_fine(tmp_path: Path) -> None:
    shapes = {"a.jpg": (375, 500), "b.jpg": (500, 375), "c.jpg": (14, 14), "d.jpg": (7, 9)}
    assert opened(tmp_path, shapes).findings() == [
        "maps theirs: the maps have several sizes; each is resized by itself"
    ]


def test_transposed_maps_of_the_pictures_size_are_refused(tmp_path: Path) -> None:
    shapes = {"a.jpg": (500, 375), "b.jpg": (375, 500), "c.jpg": (14, 14), "d.jpg": (300, 300)}
    with pytest.raises(UsageError, match=r"a.jpg.npy of shape \(500, 375\) for a picture of 500×375.*save values.T"):
        opened(tmp_path, shapes)


def test_one_transposed_map_among_others_is_named(tmp_path: Path) -> None:
    shapes = {"a.jpg": (500, 375), "b.jpg": (500, 375), "c.jpg": (240, 320), "d.jpg": (300, 300)}
    (first, _) = opened(tmp_path, shapes).findings()
    assert "1 map(s) have width and height of their picture exchanged" in first
    assert first.endswith("a.jpg.npy")


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        # Layers of stride 32 and 16, rounded up, as networks that take whole pictures have them.
        ({"a.jpg": (16, 12), "b.jpg": (12, 16), "c.jpg": (20, 15)}, ["a.jpg", "b.jpg", "c.jpg"]),
        ({"a.jpg": (12, 16), "b.jpg": (16, 12), "c.jpg": (15, 20)}, []),
        # One size for all pictures.
        ({"a.jpg": (7, 9), "b.jpg": (7, 9), "c.jpg": (7, 9)}, []),
    ],
)
def test_small_maps_are_told_by_their_proportions(shapes: dict[str, tuple[int, int]], told: list[str]) -> None:
    assert exchanged(shapes, SIZES) == ([], told)


def test_pictures_of_unknown_size_tell_nothing() -> None:
    assert exchanged({"a.jpg": (500, 375)}, {"a.jpg": (0, 0)}) == ([], [])
