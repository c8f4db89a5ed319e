"""`stanford_cars`: torchvision's layout, cars_annos.mat with car_ims/, or the plain Kaggle folders (SEMANTICS §7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...disk.locate import Expected, find_base, known
from ...schema import DatasetError, DatasetSpec, Split, register_dataset
from ...tables.build import Adapter, BuildPlan
from ...tables.splits import HOLDOUT_OPTIONS
from .devkit import build_combined, build_devkit
from .entries import CLASSES
from .kaggle import build_csv, build_folders, class_folders

COUNTS = {"train": 8144, "test": 8041}
EXPECTED = known(
    Expected(
        name="stanford_cars",
        markers=(
            *("devkit", "car_devkit", "car_devkit/devkit", "cars_train", "cars_test"),
            *("anno_train.csv", "cars_meta.mat", "cars_annos.mat", "car_ims", "car_data"),
        ),
        nested=("stanford_cars", "stanford-cars", "cars"),
        what="Stanford Cars (cars_train/, cars_test/, devkit/; car_ims/, cars_annos.mat; Kaggle's car_data/, "
        "anno_*.csv)",
        signs=("cars_train", "cars_test", "car_devkit", "anno_train.csv", "cars_meta.mat", "cars_annos.mat"),
    )
)
_OFFICIAL = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}


_DEVKIT = ("devkit/", "car_devkit/devkit/", "car_devkit/", "")


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> BuildPlan:
    """Find the annotations: Kaggle's CSV files, the devkit's .mat files, cars_annos.mat, else class folders alone."""
    base = find_base(root, EXPECTED)
    part = "test" if split == "test" else "train"
    if (base / f"anno_{part}.csv").is_file():
        files = tuple(base / n for n in (f"anno_{part}.csv", "names.csv") if (base / n).is_file())
        return BuildPlan("Kaggle folders", lambda: build_csv(base, part, split, options), files)
    annotations = _first(base, [f"{d}{_OFFICIAL[part]}" for d in _DEVKIT])
    meta = _first(base, [f"{d}cars_meta.mat" for d in _DEVKIT])
    if annotations is not None and meta is not None:
        files = (annotations, meta)
        return BuildPlan("torchvision layout", lambda: build_devkit(base, *files, part, split, options), files)
    combined = _first(base, [f"{d}cars_annos.mat" for d in ("", *_DEVKIT[:-1])])
    if combined is not None and (base / "car_ims").is_dir():
        return BuildPlan(
            "car_ims, cars_annos.mat", lambda: build_combined(base, combined, part, split, options), (combined,)
        )
    folders = class_folders(base, part)
    if folders is not None:
        names = _first(base, ["names.csv"]) or meta
        return BuildPlan(
            "Kaggle folders without boxes",
            lambda: build_folders(base, folders, names, part, split, options),
            (names,) if names else (),
        )
    absent = _OFFICIAL[part] if annotations is None else "cars_meta.mat"
    place = base if absent == _OFFICIAL["test"] else base / "devkit"
    more = " (the devkit's cars_test_annos.mat has no labels)" if part == "test" and annotations is None else ""
    other = "; cars_annos.mat is there, but it names the files of car_ims/, which is not" if combined else ""
    raise DatasetError(f"stanford_cars: {split} needs {place / absent}{more}; it is not there{other}")


def _first(base: Path, names: Sequence[str]) -> Path | None:
    return next((base / n for n in names if (base / n).is_file()), None)


ADAPTER = Adapter("stanford_cars", 1, plan, HOLDOUT_OPTIONS, COUNTS)
SPEC = register_dataset(
    DatasetSpec(
        name="stanford_cars",
        load=ADAPTER.load,
        title="Stanford Cars",
        source="Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR 2013",
        licence="non-commercial research (ImageNet's terms)",
        citation="@inproceedings{krause2013cars, title={3D Object Representations for Fine-Grained Categorization}, "
        "author={Krause, J. and Stark, M. and Deng, J. and Fei-Fei, L.}, booktitle={3dRR}, year={2013}}",
        counts=COUNTS,
        num_classes=CLASSES,
        options=ADAPTER.all_options,
        metrics=("boxes",),
    )
)
