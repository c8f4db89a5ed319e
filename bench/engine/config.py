"""Configuration of a run: what the command line, a YAML file and ``cambench.run`` fill in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ...protocol import PROTOCOLS, Protocol
from ..host.dtypes import Dtype
from ..host.errors import UsageError
from ..host.yaml_mapping import yaml_mapping

KEPT_MAPS = 40 << 20
"""Bytes of a triple's score maps that a run stores unasked: 50,000 maps of 14×14 in float32."""


class RunConfig(BaseModel):
    """One benchmark run. Counts are images; sizes are images a batch or a shard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    root: Path | None = None
    split: Literal["train", "val", "test"] = "test"
    options: dict[str, Any] = Field(default_factory=dict)
    """Data-set options, such as ``metadata`` of ``wsol``."""
    triples: tuple[str, ...] = ("*/*/*",)
    protocol: str = "paper"
    channels: int | None = Field(default=None, ge=1)
    """Score this many channels only (``Protocol.score_channels``): an approximation under a protocol of its own."""
    out: Path
    limit: int | None = Field(default=None, ge=1)
    device: str = "auto"
    weights: dict[str, Path] = Field(default_factory=dict)
    """Backbone -> weights file; the key ``*`` serves a run with one backbone."""
    head_weights: dict[str, Path] = Field(default_factory=dict)
    """``BACKBONE:BRANCH`` -> checkpoint of ``cambench train head`` (branch ``sigmoid`` or ``semantic``). ``BRANCH``
    serves a run with one backbone, ``BACKBONE`` or ``*`` one that reads one branch; trained where absent."""
    softmax_weights: dict[str, Path] = Field(default_factory=dict)
    """Backbone -> checkpoint of its softmax head (``cambench train head --branch softmax``), in place of its own."""
    pretrained: bool = True
    """Load the weights that the backbone's library or package ships (timm: from its hub)."""
    head_recipe: str = "auto"
    """Recipe of the heads that are trained during the run."""
    seed: int = 0
    batch_size: int = Field(default=32, ge=1)
    shard_size: int = Field(default=128, ge=1)
    dtype: Dtype = "float32"
    """Autocast dtype of the backbone."""
    channels_last: bool = False
    workers: int = Field(default_factory=lambda: min(8, os.cpu_count() or 1), ge=1)
    box_threads: int = Field(default_factory=lambda: min(16, os.cpu_count() or 1), ge=1)
    metrics: tuple[str, ...] = ("*",)
    """Per-image metrics beside the built-in ones: patterns; an expensive metric must be named in full."""
    keep_maps: bool | None = None
    """Store the low-resolution score maps with the records; None: those of a triple where they take at most 40 MiB."""
    plugins: tuple[Path, ...] = ()

    @field_validator("triples", "metrics", mode="before")
    @classmethod
    def _split_patterns(cls, value: Any) -> Any:
        values = [value] if isinstance(value, str) else list(value)
        return tuple(p for v in values for p in str(v).split())

    @field_validator("weights", "head_weights", "softmax_weights", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return {"*": value} if isinstance(value, str | Path) else value

    @property
    def protocol_object(self) -> Protocol:
        """The named protocol, with ``channels``; ``UnknownNameError`` with the nearest names."""
        return PROTOCOLS.get(self.protocol).with_channels(self.channels)

    @classmethod
    def create(cls, **fields: Any) -> RunConfig:
        """Validated configuration; ``UsageError`` names each wrong field."""
        try:
            return cls(**fields)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc'])) or 'configuration'}: {e['msg']}" for e in error.errors()]
            raise UsageError("; ".join(lines)) from None


def read_config(file: Path, overrides: dict[str, Any]) -> RunConfig:
    """Configuration of a YAML file; ``overrides`` (command-line values that were given) win.

    Relative paths in the file are taken from the file's folder, except ``out``, which is taken from the current one.

    Raises:
        UsageError: The file is missing, is not a mapping, or has unknown or wrong fields.
    """
    if not file.is_file():
        raise UsageError(f"configuration {file}: no such file")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"configuration {file}: not YAML: {error}") from None
    content = yaml_mapping(text, f"configuration {file}")
    for key in ("root", "plugins", "weights", "head_weights", "softmax_weights"):
        if key in content:
            content[key] = _anchor(content[key], file.parent)
    return RunConfig.create(**{**content, **overrides})


def _anchor(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {k: _anchor(v, folder) for k, v in value.items()}
    if isinstance(value, list):
        return [_anchor(v, folder) for v in value]
    return folder / Path(str(value)).expanduser()


def map_bytes(keep: bool | None, images: int) -> float:
    """Bytes of one map up to which a run of ``images`` images stores it: all, none, or ``KEPT_MAPS`` a triple.

    It depends on nothing that differs between the sessions or the processes of a run.
    """
    if keep is None:
        return KEPT_MAPS / images
    return float("inf") if keep else 0
