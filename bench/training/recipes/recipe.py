"""Training recipes: what a YAML file in ``bench/training/recipes`` (or a user's own) may say."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import to_jsonable_python

from ....model_errors import no_switch
from ...host.dtypes import Dtype

Kind = Literal["backbone", "head"]
_YOUNGER = ("body_from", "accumulate", "head_like", "method", "pooling")


class _Fields(BaseModel):
    """A part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, about: ValidationInfo) -> Any:
        return no_switch(cls, about.field_name, value)


class Optimiser(_Fields):
    """Optimiser and its rates. ``momentum`` and ``nesterov`` belong to SGD, ``betas`` to AdamW."""

    name: Literal["sgd", "adamw"]
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    decay_vectors: bool = True
    """Weight decay also on biases and normalisation parameters (one-dimensional ones)."""


class Schedule(_Fields):
    """Learning-rate factor over the training; epochs are counted from 0.

    ``step``: times ``gamma`` at the start of each epoch in ``milestones``. ``cosine``: linear warm-up from zero over
    ``warmup_epochs``, then half a cosine down to ``final`` of the base rate.
    """

    kind: Literal["step", "cosine"]
    milestones: tuple[int, ...] = ()
    gamma: float = Field(default=0.1, gt=0)
    warmup_epochs: float = Field(default=0.0, ge=0)
    final: float = Field(default=0.0, ge=0)


class Augment(_Fields):
    """Augmentation: load squashed to ``load_size``, random crop of the training size, flip, colour jitter.

    Jitter values are half-widths around 1 of the uniform factors (0.2: factors in [0.8, 1.2]).
    """

    load_size: int = Field(ge=8)
    flip: bool = True
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    saturation: float = Field(default=0.0, ge=0, lt=1)


class Pooling(_Fields):
    """Pooling of the softmax head: the mean of each channel (``gap``), or ``tap`` of Rethinking CAM (ECCV 2020).

    TAP is the mean of the cells above ``threshold`` of the channel's maximum.
    """

    kind: Literal["gap", "tap"] = "gap"
    threshold: float = Field(default=0.1, ge=0, lt=1)


class Recipe(_Fields):
    """What both kinds of training share. ``size``: side of the square input in pixels; ``batch_size``: images."""

    kind: ClassVar[Kind]
    name: str
    source: str
    """Where the numbers come from."""
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    size: int = Field(ge=8)
    optimiser: Optimiser
    schedule: Schedule
    augment: Augment | None
    """None: the images as evaluated (for a head: the features are computed once and cached)."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.augment is not None and self.augment.load_size < self.size:
            raise ValueError(f"augment.load_size {self.augment.load_size} is smaller than size {self.size}")
        return self

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of every field that shapes the training, as canonical JSON."""
        fields = self.model_dump(mode="json", exclude={"name", "source", "network", "dataset"})
        for name in _YOUNGER:
            # Fields that are younger than the first shipped checkpoints count where they say something.
            if name in fields and fields[name] == to_jsonable_python(type(self).model_fields[name].default):
                del fields[name]
        return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


class HeadRecipe(Recipe):
    """Training of one branch's head on frozen features."""

    kind: ClassVar[Kind] = "head"


class BackboneRecipe(Recipe):
    """Training of a softmax network (features and softmax head)."""

    kind: ClassVar[Kind] = "backbone"
    network: str = ""
    """Backbone that it is meant for; empty: any."""
    dataset: str = ""
    """Data set that it is meant for; empty: any."""
    method: dict[str, Any] = {"name": "cam"}
    """WSOL method with its parameters, ``{name: adl, drop_rate: 0.75}``, or its name alone; ``cam``: plain training."""
    pooling: Pooling = Pooling()
    """Of the softmax head, in training and in the trained network; tap: it is opened as NETWORK+tap."""
    epochs: int = Field(ge=0)
    """0: nothing is trained, the network keeps the weights that it starts with."""
    accumulate: int = Field(default=1, ge=1)
    """Parts of a batch that go through the network one after the other; their gradients are summed before the step.

    Without BatchNorm and dropout the step is that of the whole batch, up to float rounding. BatchNorm normalises each
    part by its own statistics; running statistics are the mean over the parts.
    """
    init: Literal["random", "pretrained"]
    """First parameters: random ones, or those that the network's library or package ships."""
    body_from: str = ""
    """Backbone whose weights fill the parameters of the body that agree in name and shape; empty: none."""
    head_lr_factor: float = Field(default=1.0, gt=0)
    """Learning-rate factor of the softmax head's parameters."""
    head_like: tuple[str, ...] = ()
    """Prefixes of parameters of the body that also get ``head_lr_factor`` (new layers before the classifier)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    channels_last: bool = True
    dtype: Dtype = "float32"
    """Precision of the forward pass; parameters stay float32. float16 scales the loss against underflow."""
    small_size: int | None = Field(default=None, ge=8)
    """Input side of the first epochs (progressive resolution); None: ``size`` throughout."""
    small_epochs: int = Field(default=0, ge=0)
    """Epochs at ``small_size``."""

    @field_validator("method", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def method_name(self) -> str:
        """Name of the WSOL method."""
        return str(self.method.get("name", "cam"))

    def side(self, epoch: int) -> int:
        """Side of the network's input in this epoch, pixels."""
        return self.small_size if self.small_size is not None and epoch < self.small_epochs else self.size
