"""Which triples have the same map by algebra, and which are impossible."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

from ...protocol import MapRule, Protocol
from ..contracts import POOLED_LINEAR, Backbone, Branch, HeadSpec
from ..probes.anatomy import anatomy
from ..probes.in_place import ADVICE
from .method import CAMS, CamMethod, Need
from .score_map import clamps

SUPPLIED: frozenset[Need] = frozenset(
    {
        *("features", "gradients", "head_gradients", "class_weights", "rescoring", "images", "attention"),
        *("layers", "input_gradients"),
    }
)
"""What ``Evidence`` can give today."""


class MapKey(NamedTuple):
    """Identity of a score map on one backbone: triples with equal keys have maps that are equal after min-max."""

    cam: str
    branch: Branch | None
    clamp: bool
    rule: MapRule


def canonical(method: CamMethod, head: HeadSpec, backbone: Backbone, protocol: Protocol) -> MapKey:
    """Key of the map of ``backbone/method/head``.

    On a GAP + linear head: Grad-CAM ≡ CAM, Layer-CAM ≡ clamped CAM, and with F ≥ 0 XGrad-CAM ≡ CAM. Under any head,
    HiRes-CAM with the clamp ≡ Layer-CAM; without curvature, Shapley-CAM of the sigmoid branch ≡ Grad-CAM. Where
    weights are never negative the clamp changes nothing. Controls and Eigen-CAM depend on no head. Maps under
    different rules are different maps.
    """
    rule, clamp = protocol.rule_for(method.name), clamps(method, head, protocol)
    if method.headless:
        return MapKey(method.name, None, False, rule)
    visited = {method.name}
    while True:
        found = next((i for i in method.identities if i.holds(head.branch, clamp, backbone)), None)
        if found is None or found.equals in visited:
            break
        clamp = found.clamped(clamp)
        visited.add(found.equals)
        method = CAMS.get(found.equals)
    unclamped = method.nonnegative_weights or (backbone.head_kind == "gap_linear" and method.gap_linear_unclamped)
    if method.nonnegative_always or (backbone.nonnegative and unclamped):
        clamp = False
    return MapKey(method.name, head.branch, clamp, rule)


def supports(method: CamMethod, backbone: Backbone, head: HeadSpec | None = None) -> str | None:
    """Why ``method`` cannot run on ``backbone`` under ``head`` (with the nearest that can), or None if it can.

    Without a head only the method and the network are asked.
    """
    if head is not None and head.branch == "semantic" and (why := backbone.lacks("semantic")) is not None:
        fits = not method.heads and _refusal(method, backbone) is None
        nearest = method.name if fits else _nearest(method, backbone)
        return f"the head {head.name} does not fit {backbone.name}: {why}; nearest: {nearest} under softmax"
    reason = _refusal(method, backbone)
    return None if reason is None else f"{reason}; nearest: {_nearest(method, backbone)}"


def _refusal(method: CamMethod, backbone: Backbone) -> str | None:
    missing = sorted(method.needs - SUPPLIED)
    if missing:
        return f"{method.name} needs {', '.join(missing)}, which cambench cannot supply yet"
    if "class_weights" in method.needs and backbone.head_kind not in POOLED_LINEAR:
        kind = {"mlp": "an MLP", "other": "another kind of"}.get(backbone.head_kind, backbone.head_kind)
        return f"{method.name} needs a GAP + linear head, and {backbone.name} has {kind} head"
    if "attention" in method.needs and (why := backbone.lacks("attention")) is not None:
        return f"{method.name} needs attention, which {backbone.name} cannot give: {why}"
    if method.requires and find_spec(method.requires) is None:
        return f"{method.name} needs the package {method.requires}: pip install 'cambench[{method.requires}]'"
    if (reason := method.refuses(backbone) if method.refuses is not None else None) is not None:
        return reason
    if method.needs & {"input_gradients", "layers"} and (what := anatomy(backbone).overwritten):
        overwrites = f"{backbone.name} overwrites {what} in place: {ADVICE}"
        return f"{method.name} needs gradients through the network, and {overwrites}"
    return None


def _nearest(method: CamMethod, backbone: Backbone) -> str:
    """The first method that runs on the backbone: its ``nearest``, then those that equal it on a GAP + linear head."""
    others = [CAMS.get(name) for name in CAMS.names() if name != method.name]
    order = {name: place for place, name in enumerate(method.nearest, -len(method.nearest))}
    equal = {m.name: any(i.equals == method.name and i.head == "gap_linear" for i in m.identities) for m in others}
    others.sort(key=lambda m: (order.get(m.name, 0), not equal[m.name]))
    fits = (m.name for m in others if not m.headless and not m.heads and _refusal(m, backbone) is None)
    return next(fits, "none")
