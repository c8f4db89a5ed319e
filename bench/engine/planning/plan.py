"""From patterns to a plan: the maps that each backbone computes, the triples that share them, the impossible ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ....baselines.cams import CAMS, MapKey, canonical, supports
from ....baselines.contracts import HEADS, Backbone, Branch
from ....baselines.wsol import TAP, split_name
from ....protocol import Protocol
from ....triple import Triple
from ...host.errors import UsageError
from ...maps import MAPS
from .triples import Wanted, unasked_methods


@dataclass
class BackbonePlan:
    """What one backbone does: ``maps`` are distinct; ``aliases`` point to one of them."""

    name: str
    triples: list[Triple] = field(default_factory=list)
    maps: list[Triple] = field(default_factory=list)
    aliases: dict[Triple, Triple] = field(default_factory=dict)
    identities: dict[Triple, str] = field(default_factory=dict)
    skipped: dict[Triple, str] = field(default_factory=dict)

    @property
    def branches(self) -> set[Branch]:
        """Branches whose evidence some map reads."""
        return {HEADS.get(t.head).branch for t in self.triples}


def plan_backbone(name: str, wanted: Iterable[Wanted], backbone: Backbone, protocol: Protocol) -> BackbonePlan:
    """Plan of the wanted triples of one backbone; equal maps (by algebra) are computed once.

    Raises:
        UsageError: A triple that was named in full is impossible on this network; the message gives the reason.
    """
    plan = BackbonePlan(name)
    first: dict[MapKey, Triple] = {}
    for triple, explicit in (w for w in wanted if w.triple.backbone == name):
        method, head = CAMS.get(triple.cam), HEADS.get(triple.head)
        reason = supports(method, backbone, head)
        if reason is not None:
            if explicit:
                raise UsageError(f"triple {triple}: {reason}")
            plan.skipped[triple] = reason
            continue
        plan.triples.append(triple)
        key = canonical(method, head, backbone, protocol)
        original = first.setdefault(key, triple)
        if original == triple:
            plan.maps.append(triple)
        else:
            plan.aliases[triple] = original
            plan.identities[triple] = identity(triple, original)
    return plan


def plan_bare(triples: Sequence[Triple]) -> BackbonePlan:
    """Plan of maps that no network stands behind: every folder is a map of its own."""
    return BackbonePlan(MAPS, list(triples), list(triples))


def left_out(plan: BackbonePlan) -> list[str]:
    """What a pattern found and this network cannot do, a line a reason."""
    reasons: dict[str, list[Triple]] = {}
    for triple, why in plan.skipped.items():
        reasons.setdefault(why, []).append(triple)
    lines = []
    for why, triples in reasons.items():
        methods, heads = (", ".join(dict.fromkeys(t.names[at] for t in triples)) for at in (1, 2))
        lines.append(f"{plan.name}: left out {methods} under {heads}: {why}")
    return lines


def unasked(patterns: Iterable[str], networks: Iterable[Backbone]) -> list[str]:
    """A line of the methods that a glob leaves out though a network has what they need, with the way to get them."""
    opened = list(networks)
    methods = [m for m in unasked_methods(patterns) if any(supports(CAMS.get(m), n) is None for n in opened)]
    if not methods:
        return []
    example = f"--triples '{opened[0].name}/{methods[0]}/*'"
    return [
        f"the pattern leaves out methods that are costly or need choices; name them, as in {example}: "
        f"{', '.join(methods)}"
    ]


def needs_branch(plans: Mapping[str, BackbonePlan], protocol: Protocol, branch: Branch) -> list[str]:
    """Backbones whose maps or fidelity scores read ``branch``."""
    always = branch == "softmax" or protocol.fidelity_score == branch
    return [name for name, plan in plans.items() if plan.triples and (always or branch in plan.branches)]


def identity(alias: Triple, original: Triple) -> str:
    """Why the map of ``alias`` is that of ``original``, in words for a footnote."""
    method, head = CAMS.get(alias.cam), HEADS.get(alias.head)
    title, other = method.title, CAMS.get(original.cam).title
    if alias.cam == original.cam:
        if method.returns != "weights":
            return f"{title} has no channel weights, so the clamp changes nothing"
        if method.nonnegative_always:
            return f"{title} has no negative weights, so the clamp changes nothing"
        return f"{title} has no negative weights here (F ≥ 0), so the clamp changes nothing"
    known = [i for i in method.identities if i.equals == original.cam]
    if head.clamp and any(i.clamp == "needed" for i in known):
        return f"with the clamp, {title} equals {other}"
    if head.branch == "sigmoid" and any(i.needs == "sigmoid" for i in known):
        return f"the sigmoid branch's head has no curvature, so {title} equals {other}"
    clamped = " with the clamp" if HEADS.get(original.head).clamp else ""
    pooling = "TAP" if split_name(alias.backbone)[0].endswith(f"+{TAP}") else "GAP"
    return f"on a {pooling} + linear head with F ≥ 0, {title} equals {other}{clamped} after min-max"
