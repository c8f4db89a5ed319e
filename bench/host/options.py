"""What the requests of all verbs are made of: an option is one field, with its description, default and check.

The command line (``bench/cli/options.py``), YAML files, Python keywords and the reference pages come from these fields.
A verb's request is a model that inherits the groups below which it needs, and adds its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ...datasets.open import DataSource, local_name, url_of
from ...model_errors import no_switch, wrong_fields
from .errors import UsageError
from .option_values import auto, named_files, pairs, patterns, split

CACHE_MB = 1024
"""MiB that a training keeps features or decoded images in, unless told otherwise."""
BoxEngineName = Literal["auto", "cpu", "tensor", "triton"]
SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Flag:
    """How a field reads on the command line, where it is not ``--field-name VALUE``.

    Attributes:
        names: Its flags; of a switch also ``--on/--off``.
        argument: It is given by its place, without a flag.
        hidden: The command line has no such option (YAML and Python have).
        metavar: What stands for its value in the help.
        joined: Several values are one text there, with commas between them.
        text: It is a text there, of which the model makes a number.
    """

    names: tuple[str, ...] = ()
    argument: bool = False
    hidden: bool = False
    metavar: str | None = None
    joined: bool = False
    text: bool = False


HIDDEN = Flag(hidden=True)
WRITTEN = ("out", "dest")
"""Fields that name what is written: never a URL, which would become a folder called ``s3:``."""


class Options(BaseModel):
    """A request; frozen, and without fields that nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, defer_build=True)

    @classmethod
    def create(cls, **fields: Any) -> Self:
        """The validated request; ``UsageError`` names each wrong field, and the nearest one of an unknown field."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise UsageError("; ".join(wrong_fields(error, cls))) from None

    def part(self, *groups: type[Options]) -> dict[str, Any]:
        """The fields of some groups, for a request that has them too."""
        names = dict.fromkeys(name for group in groups for name in group.model_fields)
        return {name: getattr(self, name) for name in names if name != "metadata"}

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, about: ValidationInfo) -> Any:
        return no_switch(cls, about.field_name, value)

    @field_validator("*", mode="after")
    @classmethod
    def _names_can_be_stored(cls, value: Any, about: ValidationInfo) -> Any:
        value = _local(value)
        if about.field_name in WRITTEN and (url := url_of(value)):
            raise ValueError(f"{url}: results are written to a folder, of this machine or a shared one; give its path")
        for path in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,):
            if isinstance(path, str | Path):
                _storable(str(path))
        return value


def _local(value: Any) -> Any:
    """A value whose ``file:`` URLs, also within tuples and mappings, are the paths that they stand for."""
    if isinstance(value, dict):
        return {key: _local(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_local, value))
    return type(value)(local_name(str(value))) if isinstance(value, str | Path) else value


def _storable(name: str) -> None:
    """Raise where records, which are UTF-8, could not hold a name."""
    if "\0" in name:
        raise ValueError(f"{name!r}: holds a null character")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r}: the name is not UTF-8, which records are written in; choose another") from None


Measured = Annotated[int, BeforeValidator(auto), Flag(text=True, metavar="N|auto")]
NamedFiles = Annotated[dict[str, Path], BeforeValidator(named_files)]
Pairs = Annotated[dict[str, Any], BeforeValidator(pairs)]
NamePairs = Annotated[dict[str, str], BeforeValidator(pairs)]
FilePairs = Annotated[dict[str, Path], BeforeValidator(pairs)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(patterns)]
Words = Annotated[tuple[str, ...], BeforeValidator(split), Flag(joined=True, metavar="NAMES")]


class DataOptions(Options):
    """Which data."""

    dataset: str = Field(description="Data set: see 'cambench ls datasets'.")
    root: Path | None = Field(
        None, description="Folder of the data set, as you have it on disk; or its URL (s3://…, hf://…)."
    )
    split: SplitName = Field("test", description="train, val or test.")
    metadata: Annotated[Path | None, Field(exclude=True)] = Field(
        None, description="Folder of WE metadata (data set 'wsol'); short for --option metadata=DIR."
    )
    options: Annotated[Pairs, Flag(("--option",))] = Field(
        default_factory=dict, description="Data-set option key=value; may be repeated."
    )

    @model_validator(mode="before")
    @classmethod
    def _metadata_is_an_option(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("metadata") is None:
            return values
        rest = {key: value for key, value in values.items() if key != "metadata"}
        given = rest.get("options", {})
        if isinstance(given, list | tuple):
            return {**rest, "options": [*given, f"metadata={values['metadata']}"]}
        return {**rest, "options": {**given, "metadata": str(values["metadata"])}} if isinstance(given, dict) else rest

    @property
    def source(self) -> DataSource:
        """The split that is asked for."""
        return DataSource(self.dataset, self.root, self.split, self.options)


class WeightsOptions(Options):
    """Which parameters the networks and their heads have."""

    weights: NamedFiles = Field(
        default_factory=dict, description="Weights FILE of the one backbone, or BACKBONE=FILE; may be repeated."
    )
    head_weights: NamedFiles = Field(
        default_factory=dict,
        description="Branch FILE (else trained). Where a run has several, BACKBONE=FILE, BRANCH=FILE or "
        "BACKBONE:BRANCH=FILE, BRANCH being sigmoid or semantic; may be repeated.",
    )
    softmax_weights: NamedFiles = Field(
        default_factory=dict,
        description="Softmax head FILE or BACKBONE=FILE, in place of the network's own, as 'cambench train head "
        "--branch softmax' writes it.",
    )
    head_recipe: str = Field("auto", description="Recipe of heads that are trained on the way.")
    retrain: bool = Field(
        False, description="Train heads anew: neither those that ship nor those that an earlier run trained."
    )


class DeviceOptions(Options):
    """Where it is computed."""

    device: str = Field("auto", description="auto, cpu, cuda[:N], xpu[:N] or mps.")


class PaceOptions(Options):
    """How a run is worked off. Counts are images."""

    batch_size: int = Field(32, ge=1, description="Images in a batch.")
    shard_size: Annotated[int, HIDDEN] = Field(128, ge=1, description="Images in a part of the records.")
    workers: int = Field(
        default_factory=lambda: min(8, os.cpu_count() or 1),
        ge=1,
        description="Decoding threads. (default: one for each core, at most 8)",
    )
    box_threads: Annotated[int, HIDDEN] = Field(
        default_factory=lambda: min(16, os.cpu_count() or 1),
        ge=1,
        description="Threads of the boxes. (default: one for each core, at most 16)",
    )


class DecodedCacheOptions(Options):
    """What is kept of images between runs."""

    cache_images: Annotated[int, Flag(metavar="MIB")] = Field(
        0,
        ge=0,
        description="Keep decoded images in a mapped file below the cache folder, for later runs on the same images: "
        "at most so many MiB of all data sets together. (default: none is kept)",
    )


class WorkerOptions(Options):
    """Who computes."""

    on: str = Field(
        "local",
        pattern=r"^(local|torchrun|ray(:.+)?|slurm(:.+)?)$",
        examples=["local", "torchrun", "ray", "ray:ADDRESS", "slurm"],
        description="Who computes: local (processes of this machine), torchrun (the processes that it started), "
        "ray[:ADDRESS], slurm.",
    )
    processes: int | None = Field(
        None, ge=1, description="Processes that share the work. (default: one; of ray one for each GPU)"
    )
    devices: str | None = Field(
        None,
        description="One process on each of these devices of this machine: all, or their numbers, such as 0,1; in "
        "place of --device and --processes.",
    )
    on_options: Annotated[Pairs, Flag(("--on-option",))] = Field(
        default_factory=dict,
        description="Option key=value of the engine of --on, such as partition=gpu or num_gpus=1; may be repeated.",
    )

    @model_validator(mode="after")
    def _engine_has_options(self) -> Self:
        if self.on_options and self.on in ("local", "torchrun"):
            raise ValueError(f"--on-option: the processes of --on {self.on} have no options; those of ray and slurm do")
        return self


class BoxOptions(Options):
    """What computes the boxes of a map at every threshold."""

    box_engine: BoxEngineName = Field(
        "auto",
        description="Box curves: cpu (compiled kernels in threads), tensor (operations on the device), triton (one "
        "fused program a map, CUDA), or auto (tensor on an accelerator); equal to the bit.",
    )


class PluginOptions(Options):
    """What registers further names."""

    plugins: Annotated[tuple[Path, ...], Flag(("--plugin",))] = Field(
        (), description="Python file whose @register_… decorators run first; may be repeated."
    )


class CacheOptions(Options):
    """What a training may keep in memory."""

    cache_mb: int = Field(CACHE_MB, ge=0, description="Memory for cached features or decoded images, in MiB.")


class ProtocolOptions(Options):
    """Under which protocol."""

    protocol: str = Field("paper", description="Protocol: see 'cambench ls protocols'.")


class ResampleOptions(Options):
    """How intervals are drawn."""

    resamples: int = Field(2000, ge=2, description="Bootstrap resamples of the intervals.")


class IntervalOptions(ResampleOptions):
    """How intervals are drawn, where nothing else is."""

    seed: int = Field(0, ge=0, description="Seed of the resamples.")
