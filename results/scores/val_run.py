"""Whether a run of the val split may choose another run's location threshold."""

from __future__ import annotations

from collections.abc import Collection

from ...triple import Triple
from ..records.load import Run


def val_mismatch(run: Run, val: Run, triples: Collection[str]) -> str:
    """Why ``val`` cannot choose τ for ``triples`` of ``run``, as a sentence; empty where it can.

    It must be of the same protocol, data set and networks, over another split (τ chosen on the evaluated images is the
    oracle's), and have records of every triple.
    """
    where = f"{val.out} cannot be the val run of {run.out}"
    fields = run.manifest.protocol.differences(val.manifest.protocol)
    if fields:
        return f"{where}: its protocol has another {', '.join(fields)}"
    ours, theirs = run.manifest.dataset, val.manifest.dataset
    if ours.name != theirs.name:
        return f"{where}: it is over {theirs.name} {theirs.split}, the run over {ours.name} {ours.split}"
    if ours.split == theirs.split:
        return f"{where}: both are over {ours.name} {ours.split}, and τ must be chosen on other images (--split val)"
    lacking = [t for t in triples if not val_triple(run, val, t)]
    if lacking:
        return f"{where}: it has no records of {', '.join(lacking)}"
    backbones = dict.fromkeys(Triple.parse(t).backbone for t in triples)
    other = [b for b in backbones if _weights(run, b) != _weights(val, b)]
    return f"{where}: it has other weights of {', '.join(other)}" if other else ""


def val_triple(run: Run, val: Run, triple: str) -> str:
    """The triple of ``val`` with the maps of a triple of ``run``: itself, or one equal by algebra; empty if none."""
    # Which of several equal methods has records depends on what else a run computes.
    canonical = run.manifest.canonical(triple)
    equal = [t for t in run.manifest.triples if run.manifest.canonical(t) == canonical]
    return next((t for t in (triple, canonical, *equal) if t in val.triples), "")


def _weights(run: Run, backbone: str) -> str | None:
    record = run.manifest.backbones.get(backbone)
    return None if record is None else record.weights_sha256
