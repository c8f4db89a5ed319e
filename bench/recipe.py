"""Training recipes: what a YAML file in ``bench/recipes`` (or a user's own) may say."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import UsageError

Kind = Literal["backbone", "head"]


class Optimiser(BaseModel):
    """Optimiser and its rates. ``momentum`` and ``nesterov`` belong to SGD, ``betas`` to AdamW."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["sgd", "adamw"]
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    decay_vectors: bool = True
    """Weight decay also on biases and normalisation parameters (one-dimensional ones)."""


class Schedule(BaseModel):
    """Learning-rate factor over the training; epochs are counted from 0.

    ``step``: times ``gamma`` at the start of each epoch in ``milestones``. ``cosine``: linear warm-up from zero over
    ``warmup_epochs``, then half a cosine down to ``final`` of the base rate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["step", "cosine"]
    milestones: tuple[int, ...] = ()
    gamma: float = Field(default=0.1, gt=0)
    warmup_epochs: float = Field(default=0.0, ge=0)
    final: float = Field(default=0.0, ge=0)


class Augment(BaseModel):
    """Augmentation: load squashed to ``load_size``, random crop of the training size, flip, colour jitter.

    Jitter values are half-widths around 1 of the uniform factors (0.2: factors in [0.8, 1.2]).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    load_size: int = Field(ge=8)
    flip: bool = True
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    saturation: float = Field(default=0.0, ge=0, lt=1)


class Recipe(BaseModel):
    """What both kinds of training share. ``size``: side of the square input in pixels; ``batch_size``: images."""

    model_config = ConfigDict(frozen=True, extra="forbid")
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
        """First 16 hex digits of the SHA-256 of every field except name and source, as canonical JSON."""
        fields = self.model_dump(mode="json", exclude={"name", "source"})
        if not fields.get("body_from"):
            # The field is younger than the first shipped checkpoints; empty, it says nothing.
            fields.pop("body_from", None)
        return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


class HeadRecipe(Recipe):
    """Training of one branch's head on frozen features."""

    kind: ClassVar[Kind] = "head"


class BackboneRecipe(Recipe):
    """Training of a softmax network (features and softmax head)."""

    kind: ClassVar[Kind] = "backbone"
    init: Literal["random", "pretrained"]
    """First parameters: random ones, or those that the network's library or package ships."""
    body_from: str = ""
    """Backbone whose weights fill the parameters of the body that agree in name and shape; empty: none."""
    head_lr_factor: float = Field(default=1.0, gt=0)
    """Learning-rate factor of the softmax head's parameters."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    channels_last: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Autocast dtype of the forward pass; parameters stay float32."""
    small_size: int | None = Field(default=None, ge=8)
    """Input side of the first epochs (progressive resolution); None: ``size`` throughout."""
    small_epochs: int = Field(default=0, ge=0)
    """Epochs at ``small_size``."""

    def side(self, epoch: int) -> int:
        """Side of the network's input in this epoch, pixels."""
        return self.small_size if self.small_size is not None and epoch < self.small_epochs else self.size


R = TypeVar("R", bound=Recipe)


def recipe_names(kind: Kind) -> list[str]:
    """Names of the recipes of a kind that ship with the package."""
    prefix = f"{kind}-"
    entries = (e.name for e in _folder().iterdir())
    return sorted(n.removeprefix(prefix).removesuffix(".yaml") for n in entries if n.startswith(prefix))


def load_recipe(model: type[R], name: str) -> R:
    """The recipe of the kind of ``model`` that ships under ``name``, or that the YAML file ``name`` holds.

    Raises:
        UsageError: No such recipe or file, or fields that are unknown, missing or out of range.
    """
    text, where = _text(model.kind, name)
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"recipe {where}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"recipe {where}: expected a mapping of fields, found {type(content).__name__}")
    try:
        return model(**content)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()]
        raise UsageError(f"recipe {where}: {'; '.join(lines)}") from None


def auto_recipe(dataset: str) -> str:
    """Recipe name that ``auto`` stands for: the embedded benchmark's own, the published schedule elsewhere."""
    return "synthbirds" if dataset == "synthbirds" else "paper"


def _folder() -> Traversable:
    return files(__package__) / "recipes"


def _text(kind: Kind, name: str) -> tuple[str, str]:
    known = recipe_names(kind)
    if name in known:
        return (_folder() / f"{kind}-{name}.yaml").read_text(encoding="utf-8"), repr(name)
    file = Path(name).expanduser()
    if file.suffix not in (".yaml", ".yml"):
        raise UsageError(f"unknown {kind} recipe {name!r}; known: {', '.join(known)}, or a file ending in .yaml")
    if not file.is_file():
        raise UsageError(f"{kind} recipe {file}: no such file; shipped recipes: {', '.join(known)}")
    try:
        return file.read_text(encoding="utf-8"), str(file)
    except UnicodeDecodeError as error:
        raise UsageError(f"recipe {file}: not text: {error}") from None
