"""What the paper's own commands are asked for: a table, the factorial, the distortion of softmax heads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ...datasets.schema import DatasetError
from ..figures.figure_request import FigureRequest, PictureOptions
from ..host.dtypes import Dtype
from ..host.options import (
    CacheOptions,
    DataOptions,
    DeviceOptions,
    FilePairs,
    Flag,
    NamePairs,
    PaceOptions,
    PluginOptions,
    ProtocolOptions,
    ResampleOptions,
    WeightsOptions,
)

if TYPE_CHECKING:
    from ..training.recipes.recipe import BackboneRecipe

FOLDERS = {
    "cub": ("CUB_200_2011", "cub", "CUB"),
    "stanford_cars": ("stanford_cars", "StanfordCars", "cars"),
    "imagenet": ("imagenet", "ImageNet", "ILSVRC", "ILSVRC2012"),
    "openimages30k": ("OpenImages", "openimages30k", "openimages"),
}
"""Usual folder names below ``--data-root``."""


class Reproduction(ResampleOptions, CacheOptions, DeviceOptions):
    """A table of the paper: from which data, into which folder, trained how."""

    table: Annotated[str, Flag(argument=True)] = Field(description="table1 or table2.")
    data_root: Path | None = Field(None, description="Folder that holds the data sets' folders.")
    out: Path = Field(default_factory=Path, description="Folder (default: runs/TABLE).")
    roots: Annotated[FilePairs, Flag(("--root",))] = Field(
        default_factory=dict, description="Folder of one data set, DATASET=DIR (repeatable)."
    )
    datasets: Annotated[tuple[str, ...], Flag(("--dataset",))] = Field(
        (), description="Only this data set of the table (repeatable)."
    )
    protocols: Annotated[tuple[str, ...], Flag(("--protocol",))] = Field(
        ("paper",), min_length=1, description="Protocol (repeatable: side by side)."
    )
    limit: int | None = Field(None, ge=1, description="Only the first N images of every split (a trial).")
    substitutes: Annotated[NamePairs, Flag(("--substitute",))] = Field(
        default_factory=dict, description="Stand-in, NETWORK=OTHER (repeatable; a trial)."
    )
    weights: FilePairs = Field(
        default_factory=dict,
        description="Trained network (with its sigmoid branch, if the file holds it), DATASET/NETWORK=FILE "
        "(repeatable).",
    )
    backbone_recipe: str = Field("auto", description="Recipe of the networks; auto: the data set's own.")
    head_recipe: str = Field("paper", description="Recipe of the sigmoid branches.")
    seed: int = Field(0, ge=0, description="Seed of every training.")
    batch_size: int = Field(32, ge=1, description="Images in a batch of evaluation and of a head's pass.")
    workers: int = Field(2, ge=1, description="Decoding threads.")
    dtype: Dtype = Field("float32", description="float32, bfloat16 or float16 (backbone, evaluation).")

    @model_validator(mode="before")
    @classmethod
    def _folder_of_the_table(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("out") is None:
            return {**values, "out": Path("runs") / str(values.get("table"))}
        return values

    def recipe_name(self, dataset: str, network: str) -> str:
        """Recipe of a network on a data set: its own; the data set's for a stand-in, whose layers are others."""
        if self.backbone_recipe != "auto":
            return self.backbone_recipe
        from ..training.recipes.recipe_files import backbone_recipe_name

        own = "" if network in self.substitutes.values() else network
        return backbone_recipe_name(dataset, own)

    def recipe_of(self, dataset: str, network: str) -> BackboneRecipe:
        """The recipe of that name."""
        from ..training.recipes.recipe import BackboneRecipe
        from ..training.recipes.recipe_files import load_recipe

        return load_recipe(BackboneRecipe, self.recipe_name(dataset, network))

    def root_of(self, dataset: str) -> Path:
        """Folder of a data set; ``DatasetError`` says where it was looked for."""
        if dataset in self.roots:
            return self.roots[dataset]
        if self.data_root is None:
            raise DatasetError(f"{dataset}: give --data-root, or --root {dataset}=DIR")
        if not self.data_root.is_dir():
            raise DatasetError(f"{dataset}: --data-root {self.data_root}: no such folder")
        found = next((self.data_root / n for n in FOLDERS[dataset] if (self.data_root / n).is_dir()), None)
        if found is None:
            names = ", ".join(FOLDERS[dataset])
            raise DatasetError(
                f"{dataset}: none of {names} is below {self.data_root}; put it there, give --root {dataset}=DIR, "
                f"or leave it out with --dataset"
            )
        return found


def _words(value: Any) -> Any:
    """Words from a text with commas between them."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple):
        return value
    return tuple(w for v in values for w in str(v).replace(",", " ").split())


AxisName = Literal["geometry", "normalisation", "no_contour", "loc_reference"]
Axes = Annotated[tuple[AxisName, ...], BeforeValidator(_words)]


class FactorialRequest(
    ResampleOptions, PluginOptions, PaceOptions, DeviceOptions, ProtocolOptions, WeightsOptions, DataOptions
):
    """Head × clamp × sign × resize on one checkpoint, and further axes of the protocol."""

    backbone: str = Field(description="Network: see 'cambench ls backbones'.")
    out: Path = Field(description="Folder of the tables, and of one run for each map rule.")
    cam: str = Field("gradcam", description="CAM method.")
    limit: int | None = Field(None, ge=1, description="Only the first N images.")
    seed: int = Field(0, ge=0, description="Seed of the heads.")
    axes: Axes = Field(
        (),
        description="Further axes: geometry, normalisation, no_contour, loc_reference, or several with commas.",
    )


def _numbers(value: Any) -> Any:
    """Numbers from a text with commas between them."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(float(part) for part in value.replace(" ", ",").split(",") if part)
    except ValueError:
        raise ValueError(f"{value!r}: expected numbers separated by commas, such as 16,32,64") from None


Shifts = Annotated[tuple[float, ...], BeforeValidator(_numbers), Flag(joined=True)]


class DistortionRequest(PictureOptions, FigureRequest):
    """Figure 1 and section 3.2 of the paper as a measurement; shifts in σ_W."""

    backbone: str = Field(description="Network: see 'cambench ls backbones'.")
    cam: str = Field("gradcam", description="CAM method.")
    count: Annotated[int, Flag(("--images",))] = Field(
        32, ge=2, description="Images measured, where no --image is given."
    )
    drawn: Annotated[int, Flag(("--rows",))] = Field(1, ge=1, le=8, description="Images drawn, the first of them.")
    deltas: Shifts = Field((16.0, 32.0, 64.0, 128.0), description="δ of Eq. 9, in σ (see above).")
    collapse: Shifts = Field((0.5, 1.0, 2.0, 4.0), description="Δ of Eq. 10, in σ.")
    channels: int = Field(32, ge=0, description="Channels that Eq. 9 is averaged over; 0: all.")
