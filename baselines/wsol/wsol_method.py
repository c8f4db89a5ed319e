"""The contract of a way of training a network for localisation, its registry, and the decorator that registers one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from torch import Tensor
from torch.nn import functional as F

from ...model_errors import no_switch, wrong_fields
from ...registry import Registry, RegistryError
from ..contracts import Backbone

Range = tuple[float, float | str] | tuple[int, int]
"""Lowest and highest value of a parameter that a search draws uniformly; whole numbers where both are. The highest may
be the name of a parameter that is drawn before it."""
Terms = Tensor | Mapping[str, Tensor]
"""A loss, a scalar; or the terms whose sum it is, by names that a message may use."""
M = TypeVar("M", bound="type[WsolMethod]")


class WsolError(ValueError):
    """A network that a method cannot change, or parameters that a method does not take."""


class WsolMethod(BaseModel):
    """Plain cross entropy on the softmax head; every other method is a sub-class that changes one or more hooks.

    The training loop owns data, optimiser, processes, precision and states; it asks the method at four places. Random
    numbers that a hook draws from torch's global generators follow the seed, the step and the part of the batch, so
    that an interrupted training stays reproducible; a method keeps no state between steps. Its fields are its
    parameters, checked when it is made: a recipe says ``method: {name: adl, drop_rate: 0.75}``.

    Attributes:
        name: Name in recipes and behind the plus sign of a triple; ``register_wsol`` sets it.
        title: Name in tables.
        source: Paper.
        cam: The CAM method that reads the trained network at test time, as the method's paper does.
        search: Parameters that a random search may draw, with their ranges.
        new_layers: Prefixes of the parameters that the method adds; they train at the head's rate.
        label_smoothing: Share of the target that is spread evenly over the classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: ClassVar[str] = "cam"
    title: ClassVar[str] = "CAM"
    source: ClassVar[str] = ""
    cam: ClassVar[str] = "cam"
    search: ClassVar[Mapping[str, Range]] = {}
    new_layers: ClassVar[tuple[str, ...]] = ()
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, about: ValidationInfo) -> Any:
        return no_switch(cls, about.field_name, value)

    def refuses(self, network: Backbone) -> str | None:
        """Why the method cannot change ``network``, and which networks it can; None where it can."""
        del network
        return None

    def change_network(self, network: Backbone) -> None:
        """Make ``network`` what is trained and, later, opened with the trained weights; here: the softmax head alone.

        What only training needs (erasing layers) looks at ``module.training`` and does nothing in evaluation.
        """
        for branch in [b for b in network.heads if b != "softmax"]:
            del network.heads[branch]

    def change_batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B,3,S,S) float, normalised, and targets for ``loss``, of one part; labels are (B,) int64."""
        return images, labels

    def loss(self, network: Backbone, images: Tensor, targets: Tensor) -> tuple[Terms, Tensor]:
        """Mean loss over the images (a scalar, float32) and the logits (B,C) by which top-1 is counted.

        A loss of several terms is a mapping of names to scalars, so that a term that is no number can be named.
        """
        logits = network(images)
        return self.cross_entropy(logits, targets), logits

    def cross_entropy(self, logits: Tensor, labels: Tensor, each: bool = False) -> Tensor:
        """Cross entropy of logits (B,C) and labels (B,) in float32: the mean, or (B,) where ``each``."""
        reduction = "none" if each else "mean"
        wide = logits if logits.dtype.itemsize > 4 else logits.float()
        return F.cross_entropy(wide, labels, reduction=reduction, label_smoothing=self.label_smoothing)

    @property
    def parameters_given(self) -> dict[str, Any]:
        """Parameters and values, without those that every method has."""
        return self.model_dump(mode="json", exclude={"label_smoothing"})


def _check(name: str, method: object) -> None:
    if not (isinstance(method, type) and issubclass(method, WsolMethod)):
        raise RegistryError(f"WSOL method {name!r}: register a sub-class of WsolMethod")


WSOL: Registry[type[WsolMethod]] = Registry("WSOL method", "cambench.wsol", ("cambench.baselines.wsol",), _check)


def register_wsol(name: str, *, title: str | None = None, source: str = "") -> Callable[[M], M]:
    """Decorator: register a sub-class of ``WsolMethod`` under ``name``.

    Args:
        name: Name in recipes, on the command line and behind the plus sign of a triple.
        title: Name in tables (default: ``name``).
        source: Paper; the first line of the docstring where empty.

    Raises:
        RegistryError: The name is taken by another module, or the class is no sub-class of ``WsolMethod``.
    """

    def decorate(method: M) -> M:
        if "+" in name:
            raise RegistryError(f"WSOL method name {name!r} may hold no plus sign, which stands before it in a triple")
        _check(name, method)
        doc = (method.__doc__ or "").strip().splitlines()
        method.name, method.title = name, title or name
        method.source = source or (doc[0] if doc else "")
        WSOL.add(name, method, origin=method.__module__)
        return method

    return decorate


def make_method(choice: str | Mapping[str, Any], label_smoothing: float = 0.0) -> WsolMethod:
    """The method that a recipe's ``method`` field names, with its parameters.

    Args:
        choice: ``adl``, or ``{name: adl, drop_rate: 0.75}``.
        label_smoothing: Of the recipe.

    Raises:
        UnknownNameError: No such method.
        WsolError: A parameter that the method does not have, or a value out of its range.
    """
    given = {"name": choice} if isinstance(choice, str) else dict(choice)
    kind = WSOL.get(str(given.pop("name", "cam")))
    try:
        return kind(**{"label_smoothing": label_smoothing, **given})
    except ValidationError as error:
        raise WsolError(f"method {kind.name}: {'; '.join(wrong_fields(error, kind))}") from None
