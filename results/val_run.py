"""Whether a run of the val split may choose another run's location threshold."""

from __future__ import annotations

from collections.abc import Collection

from .load import Run
from .manifest import split_triple


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
    have = {val.manifest.canonical(t) for t in val.triples}
    lacking = [t for t in triples if run.manifest.canonical(t) not in have and t not in val.triples]
    if lacking:
        return f"{where}: it has no records of {', '.join(lacking)}"
    backbones = dict.fromkeys(split_triple(t)[0] for t in triples)
    other = [b for b in backbones if _weights(run, b) != _weights(val, b)]
    return f"{where}: it has other weights of {', '.join(other)}" if other else ""


def _weights(run: Run, backbone: str) -> str | None:
    record = run.manifest.backbones.get(backbone)
    return None if record is None else record.weights_sha256
