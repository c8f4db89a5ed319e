"""Timing records of a run: what ``cambench time`` and the run measure, and the throughput table prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StageTiming(BaseModel):
    """Cost of one stage (load, forward, head_gradient, maps, boxes, pixels, fidelity …). Unit: ms per image."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    median_ms: float = Field(ge=0)
    """Median over samples, ms per image."""
    iqr_ms: float = Field(ge=0)
    """Interquartile range over samples (75th minus 25th percentile), ms per image."""
    samples: int = Field(ge=1)
    """Number of samples (batches or shards)."""
    per: Literal["batch", "shard"] = "batch"
    """What one sample is."""

    @classmethod
    def of(cls, ms_per_image: Sequence[float], per: Literal["batch", "shard"] = "batch") -> StageTiming:
        """Summary of samples in ms per image; ValueError where there are none."""
        if not ms_per_image:
            raise ValueError("a stage timing needs at least one sample")
        import numpy as np  # the command line reads run folders before there is work: it does without

        low, median, high = np.percentile(np.asarray(ms_per_image, dtype=np.float64), [25, 50, 75])
        return cls(median_ms=float(median), iqr_ms=float(high - low), samples=len(ms_per_image), per=per)


class BackboneTiming(BaseModel):
    """Cost of the shared pass of one backbone."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    device: str
    """Device name, such as ``cpu`` or ``NVIDIA H100``."""
    dtype: str = "float32"
    """Autocast dtype of the backbone."""
    channels_last: bool = False
    compile: str = "no"
    """What ``torch.compile`` made of the backbone's forward."""
    batch_size: int = Field(ge=1)
    """Images per batch; fixed, never silently reduced."""
    threads: int | None = None
    """CPU threads of the network, where they were set."""
    images: int | None = None
    """Images measured."""
    images_per_s: float | None = Field(default=None, ge=0)
    """Shared pass, all stages and all triples, images per second of wall time (stages overlap)."""
    forward_ms: float | None = Field(default=None, ge=0)
    """One plain forward without autograd, ms per image (median): the unit of ``forwards``."""
    map_forwards: float | None = Field(default=None, ge=0)
    """Generation of all maps (backbone forward included), in plain forwards."""
    map_pairs: int | None = None
    """(method, head) pairs that ``map_forwards`` covers."""
    distinct_maps: int | None = None
    """Maps computed and scored after aliasing, per image."""
    through_network: bool = False
    """A pass of the head runs the network."""
    feature_shape: tuple[int, int, int] | None = None
    """Target feature map N, P, Q: what declared costs are formulas of."""
    peak_memory_mib: float | None = Field(default=None, ge=0)
    """Peak memory, MiB."""
    peak_memory_of: Literal["host", "device"] = "host"
    """Resident set of the process (host) or allocated memory of the accelerator (device)."""
    stages: dict[str, StageTiming] = Field(default_factory=dict)


class TripleTiming(BaseModel):
    """Cost of one triple alone: backbone forward, its head, its map, its scores."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    ms_per_image: float = Field(gt=0)
    """Median, ms per image."""
    iqr_ms: float | None = Field(default=None, ge=0)
    images_per_s: float = Field(gt=0)
    forwards: float | None = Field(default=None, ge=0)
    """The same cost in plain forwards of the backbone."""
    map_forwards: float | None = Field(default=None, ge=0)
    """Its map alone, without any score: forward, head gradient where it needs one, method; in plain forwards."""


class Timings(BaseModel):
    """All timings of a run, by backbone and by triple."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    backbones: dict[str, BackboneTiming] = Field(default_factory=dict)
    triples: dict[str, TripleTiming] = Field(default_factory=dict)

    def merged(self, newer: Timings) -> Timings:
        """These timings, replaced by ``newer`` ones where both have an entry."""
        return Timings(backbones={**self.backbones, **newer.backbones}, triples={**self.triples, **newer.triples})
