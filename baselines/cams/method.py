"""The contract of a CAM method, its registry, and the decorator that registers one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from torch import Tensor

from ...registry import Registry, RegistryError
from ..contracts import POOLED_LINEAR, Backbone, Branch
from ..declared_cost import declared_cost
from .evidence import Evidence

Need = Literal[
    "features",
    "gradients",
    "head_gradients",
    "class_weights",
    "rescoring",
    "images",
    "layers",
    "input_gradients",
    "attention",
]
Returns = Literal["weights", "map", "mask"]


@dataclass(frozen=True)
class Identity:
    """A method whose map equals another's after min-max, by algebra.

    Attributes:
        equals: Name of the other method.
        head: Under which heads: ``any``, ``gap_linear`` (GAP + linear), ``tap_linear`` (TAP + linear), or
            ``piecewise_linear`` (these, or an MLP).
        clamp: ``same``: both with the clamp or both without; ``added``: the other one with the clamp; ``needed``: only
            with the clamp, which the other one has too.
        needs: What must hold besides: ``nonnegative`` (F >= 0) or ``sigmoid`` (the sigmoid branch).
    """

    equals: str
    head: Literal["any", "gap_linear", "tap_linear", "piecewise_linear"] = "any"
    clamp: Literal["same", "added", "needed"] = "same"
    needs: Literal["nonnegative", "sigmoid"] | None = None

    def holds(self, branch: Branch, clamp: bool, backbone: Backbone) -> bool:
        """Whether the maps are equal on a network, under a branch of it with or without the clamp."""
        kind = backbone.head_kind
        piecewise = self.head == "piecewise_linear" and kind in (*POOLED_LINEAR, "mlp")
        fits = self.head in ("any", kind) or piecewise
        met = {"nonnegative": backbone.nonnegative, "sigmoid": branch == "sigmoid", None: True}[self.needs]
        return fits and met and (clamp or self.clamp != "needed")

    def clamped(self, clamp: bool) -> bool:
        """Whether the other method's map is clamped, where this one is or is not."""
        return clamp or self.clamp == "added"

    def words(self, title: str) -> str:
        """The identity for people; ``title``: of the other method."""
        both = f"with the clamp equals {title} with the clamp"
        equal = {"same": f"equals {title}", "added": f"equals {title} with the clamp", "needed": both}[self.clamp]
        kind = {f"{p}_linear": f"a {p.upper()} + linear head" for p in ("gap", "tap")}
        kind |= {"any": "", "piecewise_linear": "a GAP + linear, TAP + linear or MLP head"}
        where = f"the sigmoid branch of {kind[self.head] or 'any head'}" if self.needs == "sigmoid" else kind[self.head]
        return equal + (f" on {where}" if where else "") + (" with F ≥ 0" if self.needs == "nonnegative" else "")


@dataclass(frozen=True)
class CamMethod:
    """A CAM method: a function over ``Evidence`` and what it needs and returns.

    ``returns``: ``weights`` (B,N,1,1) or (B,N,P,Q), to be clamped, multiplied with the features and summed;
    ``map`` (B,h,w), a finished signed map (attention, input attributions), still subject to the protocol's sign rule;
    ``mask`` (B,h,w) in [0, 1], a finished map that is only resized, never min-max normalised (controls).
    """

    name: str
    fn: Callable[[Evidence], Tensor]
    title: str
    source: str
    needs: frozenset[Need] = frozenset({"features", "gradients"})
    returns: Returns = "weights"
    headless: bool = False
    """The map depends on no head (controls, Eigen-CAM): listed once, under the head ``softmax``."""
    identities: tuple[Identity, ...] = ()
    """Methods whose map is the same by algebra, and where; the first that holds is taken."""
    nonnegative_weights: bool = False
    """The weights are never negative (where F >= 0), so the clamp changes nothing."""
    nonnegative_always: bool = False
    """The weights are never negative, whatever the sign of F."""
    gap_linear_unclamped: bool = False
    """On a GAP + linear head with F >= 0 the weights are never negative, so the clamp changes nothing."""
    cost: str = ""
    """Forwards and backwards of one map alone (``1 + N forwards``, see ``cost.py``); ``declared_cost`` is asked."""
    expensive: bool = False
    """Needs forwards of the network, or one of the head for each channel, beyond the shared pass.

    Such a method is meant to be named: a run that selects methods by a glob should leave it out and say so.
    """
    named: bool = False
    """Cheap, and a glob leaves it out all the same: it came later, and a pattern goes on selecting what it selected."""
    heads: tuple[str, ...] = ()
    """Heads that the method runs under, where it does not run under every one."""
    requires: str = ""
    """Package that it needs, which the extra of that name installs; refused before the run where absent."""
    refuses: Callable[[Backbone], str | None] | None = field(default=None, hash=False, compare=False)
    """Why the method cannot run on a network (None: it can), asked before the run."""
    nearest: tuple[str, ...] = ()
    """Methods to name in its place where it is refused, the nearest first."""
    extra: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)

    @property
    def declared_cost(self) -> str:
        """``cost``, or what ``needs`` says of it: the image's forward, the head's backward; empty where they do not."""
        return declared_cost(self.cost, self.needs)

    @property
    def by_name(self) -> bool:
        """A glob over methods leaves it out; it runs where it is named."""
        return self.expensive or self.named

    @property
    def control(self) -> bool:
        """The map looks at nothing but the image's id (random, center, uniform)."""
        return self.headless and self.returns == "mask"


def _check_cam(name: str, method: CamMethod) -> None:
    if not callable(method.fn):
        raise RegistryError(f"CAM method {name!r} is not callable: register a function of one Evidence")


FAMILIES = (
    "cambench.baselines.cams.gradient.*",
    "cambench.baselines.cams.rescoring.*",
    "cambench.baselines.cams.attribution.*",
    "cambench.baselines.cams.attention.*",
    "cambench.baselines.cams.trained.*",
    "cambench.baselines.cams.controls.*",
)
"""Folders of the built-in methods in the order of the tables, controls last; a new method is a new file in one."""

CAMS: Registry[CamMethod] = Registry("CAM method", "cambench.cams", FAMILIES, _check_cam)


MethodFunction = Callable[["Evidence"], Tensor]


@overload
def register_cam(name: MethodFunction) -> MethodFunction: ...


@overload
def register_cam(
    name: str,
    *,
    title: str | None = None,
    source: str = "",
    needs: Iterable[Need] = ("features", "gradients"),
    returns: Returns = "weights",
    **facts: Any,
) -> Callable[[MethodFunction], MethodFunction]: ...


def register_cam(
    name: str | MethodFunction,
    *,
    title: str | None = None,
    source: str = "",
    needs: Iterable[Need] = ("features", "gradients"),
    returns: Returns = "weights",
    **facts: Any,
) -> MethodFunction | Callable[[MethodFunction], MethodFunction]:
    """Decorator: register a function ``Evidence -> Tensor`` as the CAM method ``name``.

    Written without brackets, ``@register_cam``, it registers the function under its own name.

    Args:
        name: Name in triples; or the function, where the decorator has no brackets.
        title: Name in tables (default: ``name``).
        source: Paper and equation; the first line of the docstring where empty.
        needs: What the function reads beyond the target class.
        returns: ``weights``, ``map`` or ``mask`` (see ``CamMethod``).
        **facts: Further fields of ``CamMethod`` (known identities, cost).

    Raises:
        RegistryError: The name is taken by another module, or the function is not callable.
    """

    if not isinstance(name, str):
        return register_cam(name.__name__)(name)

    def decorate(fn: MethodFunction) -> MethodFunction:
        doc = (fn.__doc__ or "").strip().splitlines()
        method = CamMethod(
            name, fn, title or name, source or (doc[0] if doc else ""), frozenset(needs), returns, **facts
        )
        CAMS.add(name, method, origin=fn.__module__)
        return fn

    return decorate
