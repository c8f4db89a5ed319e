"""What ``cambench time`` is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..engine.planning.config import RunConfig
from ..host.dtypes import Compile, Dtype
from ..host.options import (
    HIDDEN,
    BoxOptions,
    DataOptions,
    DeviceOptions,
    Options,
    Patterns,
    PluginOptions,
    ProtocolOptions,
    SplitName,
)

_SAME = ("triples", "batch_size", "dtype", "channels_last", "compile", "fidelity", "pretrained")


class TimeRequest(PluginOptions, ProtocolOptions, BoxOptions, DeviceOptions, DataOptions):
    """Which triples on which images are timed, and how."""

    dataset: str = Field("synthbirds", description="Data set whose images are timed.")
    split: Annotated[SplitName, HIDDEN] = Field("test", description="train, val or test.")
    triples: Patterns = Field(description="Patterns, as in 'run'.")
    stage: Literal["all", "load"] = Field("all", description="all, or load: the input pipeline alone.")
    batch_size: int = Field(16, ge=1, description="Images in a batch; never reduced silently.")
    batches: int = Field(6, ge=2, description="Timed batches, after one of warm-up.")
    dtype: Dtype = Field("float32", description="Precision of the backbone: float32, tf32 (NVIDIA), bfloat16, float16.")
    channels_last: bool = Field(False, description="Memory layout of the backbone's tensors; faster on some GPUs.")
    compile: Compile = Field("no", description="torch.compile of the backbone's plain forwards: no, kernels, graphs.")
    fidelity: bool = Field(True, description="Time masked forwards too; --no-fidelity for localisation alone.")
    pretrained: bool = Field(True, description="Time with the weights that a backbone ships, or without.")
    out: Path | None = Field(None, description="Also write the figures to this JSON file.")

    @property
    def config(self) -> RunConfig:
        """The same request as the configuration of a run."""
        groups: list[type[Options]] = [DataOptions, BoxOptions, DeviceOptions, ProtocolOptions, PluginOptions]
        own = {name: getattr(self, name) for name in _SAME}
        return RunConfig.create(**self.part(*groups), **own, out=Path())
