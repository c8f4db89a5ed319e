"""What ``cambench.explain`` may be asked for, checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict, get_args

from torch import nn

from ...protocol import PROTOCOLS, Protocol
from ...results.records.manifest import RunManifest
from ..host.dtypes import Dtype
from ..host.errors import UsageError
from .drawn_classes import ABOVE, Target


class ExplainOptions(TypedDict, total=False):
    """Keywords of ``explain``; each may be left out.

    Attributes:
        target: Class whose evidence is drawn, by index or name: one for all images, one each, or a list of several each
            (a row for each of them). Left out: the predicted class, where the protocol draws that; of a multi-label
            network every class above ``above``, or the highest where none is.
        above: Score, 0 to 1, from which a class of a multi-label network is present (default: 0.5).
        layer: Layer whose output is the feature map, by name, or the module itself; left out: the network's target
            layer. Of another layer only the network's own head can be read.
        protocol: Name, or a ``Protocol``; left out: that of ``run``, else ``paper``.
        tau: Threshold of the boxes, 0 to 1; left out: the protocol's ``loc_tau``.
        run: Folder of a run that trained the heads of this backbone. Its heads, class names, protocol, autocast dtype
            and memory format are used.
        weights: File of the network's weights, instead of its own.
        head_weights: File of the head's branch, as ``cambench train head`` writes it.
        pretrained: Load the weights that the backbone's library or package ships (default: yes).
        mean: Of a plain network's input, for each channel, in [0, 1]; left out: what timm says, else ImageNet's.
        std: As ``mean``.
        class_names: By class; left out: those of the network or the run, or ImageNet's where there are 1,000.
        image_ids: One id an image; random methods draw their seeds from them. Left out: paths, or ``image 0`` ….
        device: ``auto`` (default), ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: Images a forward (default: 32).
        dtype: Precision of the network, ``float32``, ``tf32``, ``bfloat16`` or ``float16``; left out: that of ``run``,
            else ``float32``.
        channels_last: Memory layout of the network's input; left out: that of ``run``, else not.
    """

    target: Target
    above: float
    layer: str | nn.Module | None
    protocol: str | Protocol | None
    tau: float | None
    run: str | Path | None
    weights: str | Path | None
    head_weights: str | Path | None
    pretrained: bool
    mean: Sequence[float] | None
    std: Sequence[float] | None
    class_names: Sequence[str]
    image_ids: Sequence[str] | None
    device: str
    batch_size: int
    dtype: Dtype | None
    channels_last: bool | None


class Precision(TypedDict):
    """Arguments of ``Reading`` that say how the network computes."""

    dtype: Dtype
    channels_last: bool


_OF_WRAP = ("features", "input_size", "inputs", "logits", "multi_label", "score")
"""What ``cambench.wrap`` is told of a network, and messages about networks name."""


@dataclass(frozen=True)
class ExplainRequest:
    """``ExplainOptions`` with their defaults, checked."""

    target: Target = None
    above: float = ABOVE
    layer: str | nn.Module | None = None
    protocol: str | Protocol | None = None
    tau: float | None = None
    run: str | Path | None = None
    weights: str | Path | None = None
    head_weights: str | Path | None = None
    pretrained: bool = True
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    class_names: Sequence[str] = ()
    image_ids: Sequence[str] | None = None
    device: str = "auto"
    batch_size: int = 32
    dtype: Dtype | None = None
    channels_last: bool | None = None

    @classmethod
    def of(cls, options: ExplainOptions) -> ExplainRequest:
        """The request of keywords; UsageError for one that there is not."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(options) - set(known)):
            if unknown[0] in _OF_WRAP:
                raise UsageError(
                    f"explain takes no {unknown[0]!r}: give it to cambench.wrap(name=…, model=net, {unknown[0]}=…), "
                    "and explain the network by that name"
                )
            near = difflib.get_close_matches(unknown[0], [*known, "cam", "head"], n=2) or known
            raise UsageError(f"explain takes no {unknown[0]!r}; nearest: {', '.join(near)}")
        return cls(**options)

    def __post_init__(self) -> None:
        if not 0 <= self.above <= 1:
            raise UsageError(f"above {self.above}: expected a score between 0 and 1")
        if self.batch_size < 1:
            raise UsageError(f"batch_size {self.batch_size}: expected at least 1")
        if self.tau is not None and not 0 <= self.tau <= 1:
            raise UsageError(f"tau {self.tau}: expected a fraction between 0 and 1")
        if self.dtype is not None and self.dtype not in get_args(Dtype):
            raise UsageError(f"dtype {self.dtype!r}: expected {', '.join(get_args(Dtype))}")

    def precision(self, manifest: RunManifest | None) -> Precision:
        """Autocast dtype and memory format: as asked for, else those of the run."""
        run: Mapping[str, Any] = manifest.options if manifest else {}
        dtype = self.dtype or run.get("dtype", "float32")
        last = run.get("channels_last", False) if self.channels_last is None else self.channels_last
        return {"dtype": dtype, "channels_last": bool(last)}


def protocol_asked(asked: str | Protocol | None, manifest: RunManifest | None) -> Protocol:
    """The protocol by its name, or as it is; of the run, else ``paper``, where none is asked for."""
    if asked is None:
        return manifest.protocol if manifest else PROTOCOLS.get("paper")
    return PROTOCOLS.get(asked) if isinstance(asked, str) else asked
