"""A root that is above or inside the data set: the right folder is named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from cambench.datasets.doctor.examine import doctor
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

pytestmark = pytest.mark.usefixtures("own_cache")


def told(name: str, root: Path, message: str) -> None:
    """``message`` is in the doctor's report, and what a run stops with."""
    (split,) = doctor(name, root, splits=("test",)).splits
    assert message in "\n".join(map(str, split.problems))
    with pytest.raises(DatasetError, match=re.escape(message)):
        open_table(name, root)


PLACES = {
    "cub": ("cub_replica", "images"),
    "stanford_cars": ("cars_replica", "cars_train"),
    "tiny_imagenet": ("tiny_replica", "train"),
    "openimages30k": ("openimages_replica", "test/0by6g"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_parent_or_a_child_of_the_right_folder(name, request, tmp_path):
    fixture, child = PLACES[name]
    base = request.getfixturevalue(fixture)
    message = f"{base / child} is inside the data set; pass its folder: --root {base}"
    told(name, base / child, message)
    far = tmp_path / "a" / "b"
    far.mkdir(parents=True)
    shutil.move(base, far / "here")
    message = f"{tmp_path / 'a'} is above the data set; pass --root {far / 'here'}"
    told(name, tmp_path / "a", message)


def kaggle_cars(base, kind):
    """Kaggle's copies of Stanford Cars, from torchvision's layout: with the devkit, or with CSV files."""
    for part in ("train", "test"):
        images = base / (f"cars_{part}/cars_{part}" if kind == "devkit" else f"car_data/car_data/{part}/Car 0")
        shutil.move(base / f"cars_{part}", base / "tmp")
        images.parent.mkdir(parents=True)
        shutil.move(base / "tmp", images)
        if kind == "csv":
            (base / f"anno_{part}.csv").write_text("00001.jpg,1,2,30,25,1\n")
    (base / "car_devkit").mkdir()
    shutil.move(base / "devkit", base / "car_devkit" / "devkit")
    if kind == "csv":
        shutil.rmtree(base / "car_devkit")
        (base / "names.csv").write_text("Car 0\n")


@pytest.mark.parametrize("kind", ["torchvision", "devkit", "csv"])
def test_every_child_of_stanford_cars_names_the_right_folder(cars_replica, kind):
    if kind != "torchvision":
        kaggle_cars(cars_replica, kind)
    children = sorted(p for p in cars_replica.rglob("*") if p.is_dir())
    assert len(children) == {"torchvision": 3, "devkit": 6, "csv": 6}[kind]
    for child in children:
        report = doctor("stanford_cars", child)
        assert report.next_steps == (f"the same command with --root {cars_replica}",), child
    if kind == "devkit":
        for part in ("cars_train", "cars_test", "cars_test_annos_withlabels.mat"):
            shutil.rmtree(cars_replica / part, ignore_errors=True)
        report = doctor("stanford_cars", cars_replica / "car_devkit" / "devkit")
        assert report.next_steps == (f"the same command with --root {cars_replica}",), "the devkit alone"
