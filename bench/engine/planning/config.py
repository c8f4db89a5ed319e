"""Configuration of a run: what the command line, a YAML file and ``cambench.run`` fill in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from ....datasets.open import local_name, url_of
from ....home import expanded
from ....protocol import PROTOCOLS, Protocol
from ...host.dtypes import Compile, Dtype
from ...host.errors import UsageError
from ...host.options import (
    BoxOptions,
    DataOptions,
    DecodedCacheOptions,
    DeviceOptions,
    FilePairs,
    Flag,
    Measured,
    PaceOptions,
    Patterns,
    PluginOptions,
    ProtocolOptions,
    WeightsOptions,
    WorkerOptions,
)
from ...host.yaml_mapping import yaml_mapping

KEPT_MAPS = 40 << 20
"""Bytes of a triple's score maps that a run stores unasked: 50,000 maps of 14×14 in float32."""


R = TypeVar("R", bound="RunConfig")


class RunConfig(
    PluginOptions,
    WorkerOptions,
    DecodedCacheOptions,
    PaceOptions,
    BoxOptions,
    WeightsOptions,
    DeviceOptions,
    ProtocolOptions,
    DataOptions,
):
    """One benchmark run. Counts are images; sizes are images in a batch or in a shard."""

    triples: Patterns = Field(
        ("*/*/*",),
        description="Pattern backbone/cam/head, such as 'slim_*/gradcam/{softmax,sigmoid}'; may be repeated.",
    )
    maps: Annotated[FilePairs, Flag(metavar="NAME=DIR")] = Field(
        default_factory=dict,
        description="Score maps made elsewhere (.npy, .npz, grey .png, called as the images) as the method "
        "NAME; may be repeated.",
    )
    workers: Measured = Field(
        default_factory=lambda: min(8, os.cpu_count() or 1),
        ge=0,
        description="Decoding threads; auto: as many as decode fastest, measured at start. (default: one for each "
        "core, at most 8)",
    )
    channels: int | None = Field(
        None,
        ge=1,
        description="Score-CAM family, Ablation-CAM: only the K most active channels (an approximation, under a "
        "protocol of its own).",
    )
    out: Path = Field(description="Folder of the run; an unfinished run continues.")
    dest: Path | None = Field(
        None,
        description="Where the tables go (default: tables/ in OUT). Those of a finished run are made from its records, "
        "in a folder that cannot be written, too.",
    )
    limit: int | None = Field(None, ge=1, description="Only the first N images (a smoke run).")
    pretrained: bool = Field(True, description="Use the weights that a backbone's library or package ships.")
    seed: int = Field(0, description="Seed of the heads that are trained.")
    dtype: Dtype = Field("float32", description="Precision of the backbone: float32, tf32 (NVIDIA), bfloat16, float16.")
    channels_last: bool = Field(False, description="Memory layout of the backbone's tensors; faster on some GPUs.")
    compile: Compile = Field(
        "no",
        description="torch.compile of the backbone's plain forwards: no, kernels (fused), graphs (these in CUDA "
        "graphs). It takes up to a minute for each size of a batch.",
    )
    chunk_mib: int = Field(
        32,
        ge=1,
        description="MiB of masked images that Score-CAM and its kin put through the network at a time; more for a "
        "large device, less where memory is short.",
    )
    fill_chunks: bool = Field(
        False,
        description="Masked images of several maps go through the network together, as many as --chunk-mib holds: it "
        "fills a device that small batches leave idle.",
    )
    fidelity: bool = Field(
        True,
        description="Average Drop and its kin: one forward of masked images for each distinct map; --no-fidelity "
        "for localisation alone.",
    )
    metrics: Patterns = Field(
        ("*",), description="Further per-image metrics, by pattern; an expensive one must be named in full."
    )
    keep_maps: bool | None = Field(
        None, description="Store score maps. (default: those of at most 40 MiB for each triple)"
    )
    lock: bool = Field(
        True, description="Keep other runs out of the folder; --no-lock where the file system has no locks."
    )

    @property
    def protocol_object(self) -> Protocol:
        """The named protocol, with ``channels``; ``UnknownNameError`` with the nearest names."""
        return PROTOCOLS.get(self.protocol).with_channels(self.channels)


def read_config(file: Path, overrides: Mapping[str, Any], model: type[R] = RunConfig) -> R:  # type: ignore[assignment]
    """Configuration of a YAML file; ``overrides`` (command-line values that were given) win.

    Relative paths in the file are taken from the file's folder, except ``out`` and ``dest``, which are taken from the
    current one.

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
    for key in ("root", "plugins", "weights", "head_weights", "softmax_weights", "maps"):
        if content.get(key) is not None:
            content[key] = _anchor(content[key], file.parent)
    try:
        return model.create(**{**content, **overrides})
    except UsageError as error:
        raise UsageError(f"configuration {file}: {error}") from None


def _anchor(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {k: _anchor(v, folder) for k, v in value.items()}
    if isinstance(value, list):
        return [_anchor(v, folder) for v in value]
    return value if url_of(value) else folder / expanded(local_name(str(value)))


def map_bytes(keep: bool | None, images: int) -> float:
    """Bytes of one map up to which a run of ``images`` images stores it: all, none, or ``KEPT_MAPS`` a triple.

    It depends on nothing that differs between the sessions or the processes of a run.
    """
    if keep is None:
        return KEPT_MAPS / images
    return float("inf") if keep else 0
