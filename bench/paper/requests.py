"""What the paper's own commands are asked for: a table, the factorial, the distortion of softmax heads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ...datasets.open import DataSource
from ...datasets.schema import DATASETS, DatasetError
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
    WorkerOptions,
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
WSOL_TABLE, FEW_SHOT = "wsol", "few_shot"
"""The table of trained WSOL methods, and its baseline with full supervision on val."""
TRIAL = "synthbirds"
"""The data set on which the table ``wsol`` is tried, drawn on the spot."""
SLIM = {"vgg16_gap": "slim_vgg_gap", "inception_v3_gap": "slim_inception", "resnet50": "slim_resnet"}
"""Networks of the table ``wsol`` -> those that stand in for them in that trial."""


class Reproduction(WorkerOptions, ResampleOptions, CacheOptions, DeviceOptions):
    """A table of the paper: from which data, into which folder, trained how."""

    table: Annotated[str, Flag(argument=True)] = Field(description="table1, table2 or wsol.")
    data_root: Path | None = Field(None, description="Folder that holds the data sets' folders.")
    out: Path = Field(default_factory=Path, description="Folder (default: runs/TABLE).")
    roots: Annotated[FilePairs, Flag(("--root",))] = Field(
        default_factory=dict, description="Folder of one data set, DATASET=DIR (repeatable)."
    )
    datasets: Annotated[tuple[str, ...], Flag(("--dataset",))] = Field(
        (), description="Only this data set of the table (repeatable)."
    )
    networks: Annotated[tuple[str, ...], Flag(("--network",))] = Field(
        (), description="wsol: only this network of the table (repeatable)."
    )
    methods: Annotated[tuple[str, ...], Flag(("--method",))] = Field(
        (), description="wsol: only this trained method (repeatable)."
    )
    protocols: Annotated[tuple[str, ...], Flag(("--protocol",))] = Field(
        ("paper",), min_length=1, description="Protocol (repeatable: side by side; of wsol by itself: wsoleval)."
    )
    limit: int | None = Field(
        None,
        ge=1,
        description="Only the first N images of every split (a trial; of wsol without data: on synthbirds, with slim "
        "networks).",
    )
    substitutes: Annotated[NamePairs, Flag(("--substitute",))] = Field(
        default_factory=dict, description="Stand-in, NETWORK=OTHER (repeatable; a trial)."
    )
    weights: FilePairs = Field(
        default_factory=dict,
        description="Trained network (with its sigmoid branch, if the file holds it), DATASET/NETWORK=FILE "
        "(repeatable).",
    )
    backbone_recipe: str = Field("auto", description="Recipe of the networks; auto: the data set's own.")
    head_recipe: str = Field("auto", description="Recipe of the sigmoid branches; auto: the data set's own.")
    seed: int = Field(0, ge=0, description="Seed of every training.")
    batch_size: int = Field(32, ge=1, description="Images in a batch of evaluation and of a head's pass.")
    workers: int = Field(2, ge=1, description="Decoding threads.")
    dtype: Dtype = Field("float32", description="float32, tf32, bfloat16 or float16 (backbone, evaluation).")

    @model_validator(mode="before")
    @classmethod
    def _of_the_table(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        table, found = str(values.get("table")), dict(values)
        if found.get("out") is None:
            found["out"] = Path("runs") / table
        if table == WSOL_TABLE:
            found.setdefault("protocols", ("wsoleval",))
            if found.get("limit") is not None and not any(found.get(k) for k in ("data_root", "roots", "datasets")):
                found["datasets"] = (TRIAL,)
        return found

    @property
    def on_trial(self) -> bool:
        """The table ``wsol`` is tried on synthbirds, with slim networks."""
        return self.table == WSOL_TABLE and self.datasets == (TRIAL,)

    def substitute(self, network: str) -> str:
        """The network that stands for one of the table; a method's suffix stays."""
        base, plus, suffix = network.partition("+")
        return {**(SLIM if self.on_trial else {}), **self.substitutes}.get(base, base) + plus + suffix

    def recipe_name(self, dataset: str, network: str) -> str:
        """Recipe of a network on a data set: its own; the data set's for a stand-in, whose layers are others."""
        if self.backbone_recipe != "auto":
            return self.backbone_recipe
        from ..training.recipes.recipe_files import backbone_recipe_name, recipe_names

        if self.on_trial:
            return f"{TRIAL}-wsol"
        base = network.partition("+")[0]
        name = backbone_recipe_name(dataset, "" if base in self.substitutes.values() else base)
        # Methods are compared on networks that were trained alike, not on public weights.
        return tuned if self.table == WSOL_TABLE and (tuned := f"{name}-tuned") in recipe_names("backbone") else name

    def recipe_of(self, dataset: str, network: str) -> BackboneRecipe:
        """The recipe of that name, with the method that the network's suffix names."""
        from ..training.recipes.recipe import BackboneRecipe
        from ..training.recipes.recipe_files import load_recipe

        name = self.recipe_name(dataset, network)
        if "+" not in network:
            return load_recipe(BackboneRecipe, name)
        from ..training.recipes.method_recipes import method_recipe

        return method_recipe(name, suffix=network.partition("+")[2])

    def head_recipe_name(self, dataset: str) -> str:
        """Recipe of the sigmoid branches on a data set."""
        from ..training.recipes.recipe_files import auto_recipe

        return auto_recipe(dataset) if self.head_recipe == "auto" else self.head_recipe

    def source_of(self, dataset: str, split: str) -> DataSource:
        """A split of a data set; of synthbirds no more is drawn than ``limit``."""
        few = dataset == TRIAL and self.limit is not None and self.limit < DATASETS.get(TRIAL).counts[split]
        return DataSource(dataset, self.root_of(dataset), split, {"count": self.limit} if few else {})

    def root_of(self, dataset: str) -> Path | None:
        """Folder of a data set, None where it needs none; ``DatasetError`` says where it was looked for."""
        if dataset == TRIAL:
            return None
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
