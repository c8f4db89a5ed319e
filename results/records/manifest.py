"""``run.json``: what was run, on what, with which weights. Every key says its unit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from ...protocol import Protocol
from ...triple import Triple
from .described import (
    NO_NETWORK,
    BackboneRecord,
    CamRecord,
    DatasetRecord,
    Failure,
    HeadRecord,
    MetricRecord,
    RecordModel,
)
from .timings import Timings

SCHEMA_VERSION = 1
"""Version of ``run.json``, of the shard markers and of the record columns together."""

# The narrow types first: older Pydantic reads false as the number 0.0 where float comes before bool.
Scalar = bool | int | float | str | None


class RunManifest(RecordModel):
    """``run.json``."""

    schema_version: int = SCHEMA_VERSION
    code_version: str
    """Version of cambench that computed the numbers."""
    protocol: Protocol
    dataset: DatasetRecord
    shard_size: int = Field(default=128, ge=1)
    """Images per shard and part file; fixed by the first run on a folder."""
    options: dict[str, Scalar] = Field(default_factory=dict)
    """Options that change numbers (autocast dtype, channels_last …); part of the key."""
    triples: list[Triple] = Field(default_factory=list)
    """``backbone/cam/head`` in table order, aliases included."""
    aliases: dict[Triple, Triple] = Field(default_factory=dict)
    """Triple -> triple whose records it shares, because their maps are equal by algebra."""
    identities: dict[Triple, str] = Field(default_factory=dict)
    """Aliased triple -> the identity, in words, for the footnote."""
    skipped: dict[Triple, str] = Field(default_factory=dict)
    """Triple that was asked for -> why it was not run."""
    backbones: dict[str, BackboneRecord] = Field(default_factory=dict)
    cams: dict[str, CamRecord] = Field(default_factory=dict)
    heads: dict[str, HeadRecord] = Field(default_factory=dict)
    metrics: dict[str, MetricRecord] = Field(default_factory=dict)
    """Metrics of the ``extra:<name>`` columns."""
    seeds: dict[str, int] = Field(default_factory=dict)
    devices: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    """Library -> version (python, torch, numpy …); several, with commas, where a later session had another."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What cannot change a number: workers, threads, batch size, command line. Not part of the key."""
    started: str = ""
    """Start of the first run on the folder, ISO 8601 UTC."""
    durations_s: dict[str, float] = Field(default_factory=dict)
    """Stage -> wall seconds, summed over the runs on the folder."""
    failures: list[Failure] = Field(default_factory=list)
    timings: Timings = Field(default_factory=Timings)
    finished: bool = False
    """All shards of all triples are on disk."""

    @model_validator(mode="after")
    def _check(self) -> RunManifest:
        if len(set(self.triples)) != len(self.triples):
            raise ValueError("triples are listed twice")
        for triple in self.aliases:
            self.canonical(triple)
        return self

    @property
    def key(self) -> str:
        """SHA-256 hex over what every number depends on: protocol, data set, options, code version."""
        return _sha256(
            [
                *(self.protocol.digest, self.dataset.name, self.dataset.split, self.dataset.fingerprint),
                *(self.code_version, self.options, self.schema_version),
            ]
        )

    @property
    def hit_thresholds(self) -> tuple[float, ...]:
        """IoU thresholds of the hits columns' rows: the protocol's ``iou_thresholds`` and ``loc_iou``, ascending."""
        return tuple(sorted({*self.protocol.iou_thresholds, self.protocol.loc_iou}))

    @property
    def shards(self) -> int:
        """Number of shards of a backbone's pass."""
        return -(-self.dataset.rows // self.shard_size)

    def rows_of(self, shard: int) -> range:
        """Data-set rows of a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.dataset.rows))

    @property
    def classified(self) -> bool:
        """A prediction can be right or wrong: every image has one label."""
        return self.dataset.labelled and not self.dataset.class_rows

    def predicts(self, triple: str) -> bool:
        """A network stands behind a triple, so that it has a predicted class."""
        backbone = self.backbones.get(Triple.parse(triple).backbone)
        return backbone is None or backbone.head_kind != NO_NETWORK

    def is_control(self, cam: str) -> bool:
        """The method is a control (random, center, uniform); False where the records do not name it."""
        return cam in self.cams and self.cams[cam].control

    def record_key(self, triple: str) -> str:
        """SHA-256 hex over everything that can change a number of ``triple``'s records: ``key``, weights, method code.

        Raises:
            KeyError: The triple's backbone has no record yet.
        """
        backbone, cam, head = Triple.parse(triple).names
        network = self.backbones[backbone]
        # The softmax branch decides the class of every triple; the sigmoid score may be the protocol's Y and O.
        used = {"softmax", self.heads[head].branch if head in self.heads else head}
        if self.protocol.fidelity_score == "sigmoid":
            used.add("sigmoid")
        weights = {b: network.branches[b].sha256 for b in sorted(used) if b in network.branches}
        code = self.cams[cam].code_sha256 if cam in self.cams else ""
        # The code of other packages' metrics stands beside each part, whose other columns do not depend on it.
        return _sha256([self.key, triple, network.weights_sha256, network.feature_layer, weights, code])

    @property
    def metric_codes(self) -> dict[str, str]:
        """Metric of another package -> SHA-256 of its code; the names of all metrics are in ``key``."""
        return {name: m.code_sha256 for name, m in self.metrics.items() if m.code_sha256}

    def cost(self, backbone: str, cam: str) -> str:
        """The declared cost of a method's map on a network; empty where the records do not say.

        Where a pass of the head runs the network, it is called a network pass.
        """
        declared = self.cams[cam].cost if cam in self.cams else ""
        through = backbone in self.backbones and self.backbones[backbone].through_network
        return re.sub(r"\bhead (forward|backward)", r"network \1", declared) if through else declared

    def canonical(self, triple: str) -> Triple:
        """The triple whose records serve ``triple`` (itself unless it is an alias); ValueError on a circle."""
        seen = [Triple.parse(triple)]
        while (target := self.aliases.get(seen[-1])) is not None:
            if target in seen:
                raise ValueError(f"aliases run in a circle: {' -> '.join([*seen, target])}")
            seen.append(target)
        return seen[-1]

    def recoded(self, theirs: RunManifest) -> list[str]:
        """Methods and metrics of the user, in words, whose code differs between this run and ``theirs``."""
        kinds: list[tuple[str, Mapping[str, CamRecord | MetricRecord], Mapping[str, CamRecord | MetricRecord]]] = [
            ("CAM method", self.cams, theirs.cams),
            ("metric", self.metrics, theirs.metrics),
        ]
        return [
            f"{kind} {name}"
            for kind, ours, others in kinds
            for name in sorted(ours.keys() & others.keys())
            if ours[name].code_sha256 != others[name].code_sha256
        ]

    def differences(self, theirs: RunManifest, *, code: bool = True) -> list[str]:
        """What differs between this run and ``theirs`` and can change a number; empty where they may share a folder.

        ``code=False`` leaves out the code of the user's methods and metrics, which is part of every record's own key.
        """
        found = [
            _line(f"protocol field {field}", ours, other)
            for field, (ours, other) in self.protocol.differences(theirs.protocol).items()
        ]
        if found:
            found.insert(0, _line("protocol", *(f"{p.name} ({p.digest})" for p in (self.protocol, theirs.protocol))))
        pairs: list[tuple[str, Any, Any]] = [
            ("data set", self.dataset.name, theirs.dataset.name),
            ("split", self.dataset.split, theirs.dataset.split),
            ("data-set fingerprint", self.dataset.fingerprint, theirs.dataset.fingerprint),
            ("images", self.dataset.rows, theirs.dataset.rows),
            ("code version", self.code_version, theirs.code_version),
            ("record schema version", self.schema_version, theirs.schema_version),
        ]
        pairs += option_pairs(self, theirs)
        for name in self.backbones.keys() & theirs.backbones.keys():
            pairs += _backbone_pairs(name, self.backbones[name], theirs.backbones[name])
        found += [_line(*pair) for pair in pairs if pair[1] != pair[2]]
        return found + [f"code of {what}: its file differs" for what in self.recoded(theirs) if code]

    def extended(self, newer: RunManifest) -> RunManifest:
        """This run continued by ``newer`` (same key): union of both, ``newer`` winning where both speak."""
        triples = list(dict.fromkeys([*self.triples, *newer.triples]))
        aliases = {t: c for t, c in self.aliases.items() if t not in newer.triples} | newer.aliases
        return newer.model_copy(
            update={
                "shard_size": self.shard_size,
                "triples": triples,
                "aliases": aliases,
                "identities": {t: why for t, why in (self.identities | newer.identities).items() if t in aliases},
                "skipped": {t: why for t, why in (self.skipped | newer.skipped).items() if t not in triples},
                "backbones": {
                    **self.backbones,
                    **{n: _joined(self.backbones.get(n), b) for n, b in newer.backbones.items()},
                },
                "cams": self.cams | newer.cams,
                "heads": self.heads | newer.heads,
                "metrics": self.metrics | newer.metrics,
                "versions": _all_versions(self.versions, newer.versions),
                "devices": list(dict.fromkeys([*self.devices, *newer.devices])),
                "started": self.started or newer.started,
                "durations_s": self.durations_s | newer.durations_s,
                "timings": self.timings.merged(newer.timings),
                "failures": self.failures,
                "finished": self.finished and set(newer.triples) <= set(self.triples),
            },
            deep=True,
        )


_UNNAMED: dict[str, object] = {"compile": "no", "fill_chunks": False, "fidelity": True}
"""What an option is where a manifest does not name it, so that folders from before these options go on."""


def option_pairs(ours: RunManifest, theirs: RunManifest) -> list[tuple[str, Any, Any]]:
    """``option NAME`` and its value in both, for every option that either names."""
    first, second = (_UNNAMED | manifest.options for manifest in (ours, theirs))
    return [(f"option {name}", first.get(name), second.get(name)) for name in sorted(first.keys() | second.keys())]


def _backbone_pairs(name: str, ours: BackboneRecord, theirs: BackboneRecord) -> list[tuple[str, Any, Any]]:
    pairs: list[tuple[str, Any, Any]] = [
        (f"weights of {name}", ours.weights_sha256, theirs.weights_sha256),
        (f"feature layer of {name}", ours.feature_layer, theirs.feature_layer),
    ]
    for branch in sorted(ours.branches.keys() & theirs.branches.keys()):
        pair = ours.branches[branch].sha256, theirs.branches[branch].sha256
        pairs.append((f"weights of {name}'s {branch} branch", *pair))
    return pairs


def _joined(older: BackboneRecord | None, newer: BackboneRecord) -> BackboneRecord:
    if older is None:
        return newer
    return newer.model_copy(update={"branches": older.branches | newer.branches})


def _all_versions(older: dict[str, str], newer: dict[str, str]) -> dict[str, str]:
    joined = {name: f"{older[name]}, {newer[name]}" for name in older.keys() & newer.keys()}
    return {**older, **newer, **{name: ", ".join(dict.fromkeys(text.split(", "))) for name, text in joined.items()}}


def _line(what: str, ours: Any, theirs: Any) -> str:
    return f"{what}: this run has {ours!r}, the folder has {theirs!r}"


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
