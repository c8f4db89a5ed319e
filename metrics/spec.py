"""What can be measured: every metric's title, direction, unit and source, and what a metric of one's own may read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, overload
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt

from ..protocol import Protocol
from ..registry import Registry, RegistryError

if TYPE_CHECKING:
    from torch import Tensor


class Redraw(Interface):
    """The maps of a batch drawn once more by the same method and head, for the same images, under a change."""

    def another_class(self) -> Tensor:
        """Maps (B,R,R) as ``MapBatch.maps``, of a class other than the target, a function of the image's id."""
        ...

    def random_weights(self, step: int, steps: int) -> Tensor:
        """Maps (B,R,R) as ``MapBatch.maps``, of the network whose last ``step`` of ``steps`` shares of its layers are
        drawn anew."""
        ...


class NotMeasurableError(ValueError):
    """A metric asks for what a batch of maps cannot give: it is left out for their triple, and nothing else is lost."""


@dataclass(frozen=True)
class MapBatch:
    """What a per-image metric may read: one batch of maps of one triple, on the maps' device.

    ``maps`` (B,R,R) float64 in [0, 1]: resized and min-max normalised, zero where degenerate; ``positive`` (B,R,R)
    float64: resized, negative values dropped, not normalised; ``pixels`` (B,3,R,R) float32 in [0, 1]; ``gt_boxes``: B
    arrays (K,4) int64 in R-pixel coordinates; ``regions`` bool (B,R,R): their union, or None without boxes; ``masks``
    (B,R,R) uint8 {0, 1, 255} or None; ``evidence`` (B,R,R) bool or None; ``score(images, index)``: class score (M,)
    float64 of images (M,3,R,R) in [0, 1] for the targets of the batch's images ``index`` (M,); ``redraw``: the maps
    once more under a change of class or weights, or None where the caller cannot draw them; ``labels`` (B,) int64;
    ``logits`` (B,C) float32 of the softmax branch, or None where no network stands behind the maps.
    """

    image_ids: Sequence[str]
    maps: Tensor
    positive: Tensor
    pixels: Tensor
    gt_boxes: Sequence[npt.NDArray[np.int64]]
    regions: Tensor | None
    masks: Tensor | None
    evidence: Tensor | None
    protocol: Protocol
    score: Callable[[Tensor, Tensor], Tensor]
    redraw: Redraw | None = None
    labels: Tensor | None = None
    logits: Tensor | None = None
    _made: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def once(self, name: str, make: Callable[[MapBatch], Tensor]) -> Tensor:
        """What ``make`` returns of the batch; made once for all metrics that ask for it under ``name``."""
        if name not in self._made:
            self._made[name] = make(self)
        return self._made[name]


PerImage: TypeAlias = "Callable[[MapBatch], Tensor]"
"""In words: what compiles the kernels imports this file, and needs no torch."""


@dataclass(frozen=True)
class MetricSpec:
    """A metric that tables may show.

    ``kind``: ``classification``, ``localisation``, ``pixels`` or ``fidelity``. ``needs``: what it is computed from
    (``boxes``, ``masks``, ``evidence``, ``scores``, ``labels``). ``class_name``: its torchmetrics class.
    ``per_image``: values (B,) of a batch of maps, stored with the records and averaged in tables; None for metrics that
    the engine computes itself. An ``expensive`` one (many forwards) runs only where it is asked for by name;
    so does a ``named`` one, which came later: a pattern goes on selecting what it selected. ``made_from``: the
    per-image metric whose column tables make it from. ``digits``: decimals in tables.
    """

    name: str
    title: str
    higher_is_better: bool
    unit: str
    source: str
    kind: str = "localisation"
    needs: tuple[str, ...] = ()
    class_name: str = ""
    per_image: PerImage | None = None
    expensive: bool = False
    digits: int = 2
    named: bool = False
    made_from: str = ""


METRICS: Registry[MetricSpec] = Registry("metric", "cambench.metrics", ("cambench.metrics.catalogue",))


@overload
def register_metric(spec: MetricSpec, *, origin: str | None = None) -> MetricSpec: ...


@overload
def register_metric(spec: PerImage) -> PerImage: ...


@overload
def register_metric(
    spec: str,
    *,
    origin: str | None = None,
    title: str = "",
    higher_is_better: bool = True,
    unit: str = "",
    source: str = "",
    needs: tuple[str, ...] = (),
    **facts: Any,
) -> Callable[[PerImage], PerImage]: ...


def register_metric(
    spec: MetricSpec | PerImage | str, *, origin: str | None = None, **facts: Any
) -> MetricSpec | PerImage | Callable[[PerImage], PerImage]:
    """Register a metric: a ``MetricSpec``, or as a decorator a function ``MapBatch -> Tensor`` (B,).

    ``@register_metric("map_area", title="Map area", higher_is_better=False, unit="%")``; without brackets,
    ``@register_metric``, the function is registered under its own name.

    Args:
        spec: The metric; or its name in tables and files; or the function, where the decorator has no brackets.
        origin: Module that registers it (default: the function's).
        **facts: Further fields of ``MetricSpec``. ``title``: the name where empty. ``higher_is_better``: True.
            ``unit``: ``%`` for values in [0, 1] that tables show times 100; none. ``source``: the first line of the
            function's docstring where empty.

    Raises:
        RegistryError: The name is taken by another module, or what is decorated is not a function.
        TypeError: A field that ``MetricSpec`` does not have.

    Examples:
        >>> @register_metric("brightest_cell", unit="%")
        ... def brightest_cell(batch):
        ...     "Highest value of the map."
        ...     return batch.maps.amax((1, 2))
        >>> METRICS.get("brightest_cell").source
        'Highest value of the map.'
    """
    if isinstance(spec, MetricSpec):
        return METRICS.add(spec.name, spec, origin=origin)
    if callable(spec):
        return register_metric(getattr(spec, "__name__", ""))(spec)
    name = spec

    def decorate(function: PerImage) -> PerImage:
        if not callable(function):
            raise RegistryError(
                f"metric {name!r}: @register_metric decorates a function of a batch of maps, not a "
                f"{type(function).__name__}"
            )
        first = (function.__doc__ or "").strip().partition("\n")[0]
        given = {"title": name, "higher_is_better": True, "unit": "", "source": first, **facts}
        given |= {"title": given["title"] or name, "source": given["source"] or first}
        METRICS.add(name, MetricSpec(name, per_image=function, **given), origin=origin or function.__module__)
        return function

    return decorate
