"""Which of a run's stored maps another protocol can read, and what it cannot have of them; in words."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...protocol import Protocol
from ...results.records.load import Run
from ...results.records.manifest import RunManifest
from ...triple import Triple
from ..host.errors import RunError
from .stored_maps import GivenFiles

FIDELITY = ("fidelity_score", "fidelity_space", "fidelity_kernel", "fidelity_min_max")
"""Protocol fields that decide Y and O beside the class and the map."""


@dataclass
class Fitting:
    """What of a run can be scored under a protocol.

    Attributes:
        triples: Triples that can.
        left_out: Triple -> why it cannot.
        fidelity: Y and O are the run's.
        said: What else is left out, a sentence each.
    """

    triples: list[Triple] = field(default_factory=list)
    left_out: dict[Triple, str] = field(default_factory=dict)
    fidelity: bool = True
    said: list[str] = field(default_factory=list)


def fitting(run: Run, triples: list[Triple], protocol: Protocol, files: GivenFiles) -> Fitting:
    """What of these triples' stored maps ``protocol`` can be scored of.

    Args:
        run: The run. triples: Of it. protocol: The other one.
        files: Raw maps that can be read again, so that nothing of them was dropped.

    Raises:
        RunError: Nothing: the protocol needs another frame, other channels, maps of another class, or values that were
            dropped.
    """
    old = run.manifest.protocol
    where = f"{run.out} cannot be scored again under {protocol.name} without its networks"
    found = Fitting()
    for triple in triples:
        why = _other_network(run.manifest, triple, protocol)
        if not why and triple.cam not in files.found and (why := _unfit(run.manifest, triple, protocol)):
            why += files.why(triple.cam)
        why = why or _other_class(run, triple, protocol)
        if why:
            found.left_out[triple] = why
        else:
            found.triples.append(triple)
    if not found.triples:
        why = next(iter(found.left_out.values()), "no triple has stored maps")
        raise RunError(f"{where}: {why}")
    changed = [name for name in FIDELITY if getattr(old, name) != getattr(protocol, name)]
    if changed:
        found.fidelity = False
        found.said.append(
            f"fidelity is left out: {protocol.name} has another {', '.join(changed)}, which needs the network"
        )
    return found


def _frame(protocol: Protocol) -> str:
    whole = "" if protocol.crop_from is None else f", the centre of {protocol.crop_from}×{protocol.crop_from}"
    return f"{protocol.size}×{protocol.size} pixels{whole}"


def _other_network(manifest: RunManifest, triple: Triple, protocol: Protocol) -> str:
    """Why a protocol's networks see other images, or are read at other channels; empty where they are the run's.

    Maps that no network stands behind are scored in any frame.
    """
    old = manifest.protocol
    if not manifest.predicts(triple):
        return ""
    if (protocol.size, protocol.crop_from) != (old.size, old.crop_from):
        return (
            f"it needs another frame: the networks saw images of {_frame(old)}, {protocol.name} has {_frame(protocol)}"
        )
    if protocol.score_channels != old.score_channels:
        return f"its maps were made with score_channels={old.score_channels}"
    return ""


def _unfit(manifest: RunManifest, triple: Triple, protocol: Protocol) -> str:
    """Why a triple's stored maps are not those of a protocol; empty where they are."""
    old, cam = manifest.protocol, manifest.cams.get(triple.cam)
    rule, before = protocol.rule_for(triple.cam), old.rule_for(triple.cam)
    finished = cam is not None and cam.finished
    if rule.sign == "signed" and before.sign == "relu" and not finished:
        return f"{protocol.name} keeps negative values, which {old.name} dropped before the maps were stored"
    head = manifest.heads.get(triple.head)
    if head is not None and head.clamp and (triple.cam in old.clamp_exempt) != (triple.cam in protocol.clamp_exempt):
        return f"{old.name} and {protocol.name} differ in whether the clamp is applied to {triple.cam}"
    canonical = manifest.canonical(triple)
    if canonical != triple and protocol.rule_for(canonical.cam) != rule:
        return f"it shares the stored maps of {canonical}, which {protocol.name} treats by another rule"
    return ""


def _other_class(run: Run, triple: Triple, protocol: Protocol) -> str:
    """Why stored maps are of another class than a protocol draws; empty where they are not."""
    if protocol.target == run.manifest.protocol.target or not run.manifest.predicts(triple):
        return ""
    wanted = "predicted" if protocol.target == "predicted" else "label"
    other = int((run.column(triple, "target") != run.column(triple, wanted)).sum())
    if not other:
        return ""
    return (
        f"{other} of {len(run.index)} maps are of another class than {protocol.name} draws (target={protocol.target}); "
        "their networks are needed"
    )
