"""What the training commands are told, checked, and written into their checkpoints."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from ...home import expanded
from ...model_errors import wrong_fields
from ...version import __version__
from ..host.dtypes import Dtype
from ..host.errors import UsageError
from ..host.file_stamps import stamp
from ..host.options import (
    CacheOptions,
    DataOptions,
    DeviceOptions,
    Flag,
    Options,
    PluginOptions,
    SplitName,
)

if TYPE_CHECKING:
    from ...datasets.schema import SampleTable
    from .means import Means
    from .recipes.recipe import Recipe

R = TypeVar("R", bound="Recipe")
REQUEST = "request"
"""Where an output's metadata keep the digest of its request."""


class TrainingRequest(PluginOptions, CacheOptions, DeviceOptions, DataOptions):
    """What both training verbs are told about data, device and output; wrong where another output exists."""

    split: SplitName = Field("train", description="Split to train on: train, val or test.")
    evaluate: str | None = Field("test", description="Split on which top-1 is measured at the end; 'none' for none.")
    out: Path = Field(description="File to write, ending in .safetensors.")
    weights: Path | None = Field(
        None, description="File of weights to start from (safetensors, or plain torch; any published layout)."
    )
    seed: int = Field(0, ge=0, description="Seed of the parameters, order, dropout and augmentation.")
    workers: int = Field(2, ge=0, description="Decoding threads.")
    limit: int | None = Field(None, ge=1, description="Only the first N training images (a smoke run).")
    tensorboard: Path | None = Field(None, description="Folder of TensorBoard curves (needs the extra: tensorboard).")

    @model_validator(mode="after")
    def _output_is_new(self) -> Self:
        if self.out.suffix != ".safetensors":
            raise UsageError(f"--out {self.out}: expected a name ending in .safetensors")
        if self.out.exists() and not self.finished:
            raise UsageError(f"--out {self.out} exists; delete it, or choose another name")
        return self

    @property
    def digest(self) -> str:
        """Of what is asked for, with size and time of every file that is given for it, and of this version.

        Of the request as it was given, before its recipe fills in what it leaves open.
        """
        named = (self.weights, self.root, *(getattr(self, name, None) for name in ("softmax_weights", "recipe")))
        files = [*self.plugins, *(str(file) for file in named if file is not None)]
        fields = self.model_dump(mode="json", exclude={"out", "workers", "cache_mb", "tensorboard", "save_minutes"})
        said = {"fields": fields, "files": [stamp(expanded(file)) for file in files], "version": __version__}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def finished(self) -> bool:
        """Whether the output holds what this very request, as it was given, trained."""
        if not self.out.exists():
            return False
        from ...baselines.weights import WeightsError, load_metadata

        try:
            return load_metadata(self.out).get(REQUEST) == self.digest
        except (WeightsError, OSError):
            return False

    @property
    def where(self) -> str:
        """The device, with ``auto`` decided; ``UsageError`` where it does not exist."""
        from ..host.device import pick_device

        return pick_device(self.device)

    @property
    def state_file(self) -> Path:
        """Where an interrupted training continues from."""
        return self.out.with_suffix(".training")

    def means(self, **others: Any) -> Means:
        """With what it trains, a bar and a state file included; ``others`` are further fields of ``Means``."""
        from .means import Means

        cache = self.cache_mb << 20
        return Means(
            self.where, progress=True, workers=self.workers, cache_bytes=cache, state_file=self.state_file, **others
        )

    def check(self) -> None:
        """Raise, in a moment, what ``tables`` would raise for the data set's name and a missing root."""
        if not self.plugins:
            self.source.check()

    def tables(self) -> tuple[SampleTable, ...]:
        """The training split, and the evaluation split where there is one; DatasetError where data is missing."""
        tables = (self.source.open().head(self.limit),)
        if self.evaluate in (None, "none", self.split):
            return tables
        return (*tables, self.source.of(str(self.evaluate)).open())


class RecipeOptions(PluginOptions):
    """Which network is trained, on which data, how."""

    dataset: str = Field("", description="Data set; default: the recipe's.")
    recipe: str = Field(
        "auto", description="Shipped recipe (cub-resnet50, synthbirds, …) or a YAML file; auto: the paper's own."
    )
    backbone: str = Field("", description="Network; default: the recipe's.")
    method: str | None = Field(
        None, description="WSOL method (cambench ls wsol), with parameters after commas: adl,drop_rate=0.5."
    )
    accumulate: int | None = Field(
        None, ge=1, description="Parts of a batch, one after the other (gradient accumulation)."
    )
    dtype: Dtype | None = Field(None, description="float32, tf32 (NVIDIA), bfloat16 or float16 (mixed precision).")


class NetworkTraining(RecipeOptions, TrainingRequest):
    """``cambench train backbone``."""

    save_minutes: float = Field(10, ge=0, description="Time between resumable states within an epoch.")


class NetworkOptions(Options):
    """Which network."""

    backbone: str = Field(description="Network: see 'cambench ls backbones'; any timm model as timm:NAME.")


class HeadTraining(TrainingRequest, NetworkOptions):
    """``cambench train head``."""

    recipe: str = Field(
        "auto", description="Shipped recipe (paper, paper-augmented, paper-resnet50, synthbirds) or a YAML file."
    )
    branch: Literal["softmax", "sigmoid", "semantic"] = Field(
        "sigmoid", description="sigmoid (Eq. 12), softmax or semantic (TS-CAM's head; cross entropy)."
    )
    each_epoch: Annotated[bool, Flag(("--each-epoch",))] = Field(
        False, description="Measure top-1 of both heads after every epoch."
    )
    softmax_weights: Path | None = Field(
        None, description="Softmax head of this data set, written by --branch softmax."
    )
    retrain: Annotated[bool, Flag(("--retrain",))] = Field(
        False, description="Train also where this very head ships, or is in the cache of an earlier training."
    )
    pass_batch: int = Field(32, ge=1, description="Images in a batch of the frozen network's one pass.")


def changed(recipe: R, **fields: Any) -> R:
    """A recipe with the fields that the command line gave (None: not given), checked again."""
    given = {k: v for k, v in fields.items() if v is not None}
    if not given:
        return recipe
    try:
        return type(recipe)(**{**recipe.model_dump(), **given})
    except ValidationError as error:
        flags = {name: f"--{name}" for name in given}
        raise UsageError("; ".join(wrong_fields(error, type(recipe), flags))) from None


def command_line(verb: str, **options: Any) -> str:
    """The command that does it again; files by name only, so that no path of this machine is written down."""
    parts = ["cambench", "train", verb]
    for name, value in options.items():
        if value is not None:
            parts += [f"--{name}", str(value)]
    return shlex.join(parts)
