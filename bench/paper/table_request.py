"""What ``cambench reproduce`` is asked for: which table, from which data, into which folder, trained how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...datasets.schema import DatasetError
from ..training.image_source import DEFAULT_CACHE_BYTES
from ..training.recipe import BackboneRecipe
from ..training.recipe_files import backbone_recipe_name, load_recipe

FOLDERS = {
    "cub": ("CUB_200_2011", "cub", "CUB"),
    "stanford_cars": ("stanford_cars", "StanfordCars", "cars"),
    "imagenet": ("imagenet", "ImageNet", "ILSVRC", "ILSVRC2012"),
    "openimages30k": ("OpenImages", "openimages30k", "openimages"),
}
"""Usual folder names below ``--data-root``."""


@dataclass(frozen=True)
class Reproduction:
    """A request: which table, from which data, into which folder."""

    table: str
    out: Path
    data_root: Path | None = None
    roots: Mapping[str, Path] = field(default_factory=dict)
    """Data set -> folder, where it is not a usual one below ``data_root``."""
    datasets: tuple[str, ...] = ()
    """Data sets of the table to run; empty: all."""
    protocols: tuple[str, ...] = ("paper",)
    limit: int | None = None
    """Only the first N images of every split (a trial)."""
    substitutes: Mapping[str, str] = field(default_factory=dict)
    """Network of the paper -> network that stands in for it (a trial)."""
    weights: Mapping[str, Path] = field(default_factory=dict)
    """``DATASET/NETWORK`` -> file of a trained network; it and a sigmoid branch that the file holds are not trained."""
    backbone_recipe: str = "auto"
    head_recipe: str = "paper"
    seed: int = 0
    device: str = "auto"
    batch_size: int = 32
    workers: int = 2
    cache_mb: int = DEFAULT_CACHE_BYTES >> 20
    """MiB for the features that a head's training keeps, or for decoded images."""
    dtype: str = "float32"
    resamples: int = 2000

    def recipe_name(self, dataset: str, network: str) -> str:
        """Recipe of a network on a data set: its own; the data set's for a stand-in, whose layers are others."""
        if self.backbone_recipe != "auto":
            return self.backbone_recipe
        own = "" if network in self.substitutes.values() else network
        return backbone_recipe_name(dataset, own)

    def recipe_of(self, dataset: str, network: str) -> BackboneRecipe:
        """The recipe of that name."""
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
