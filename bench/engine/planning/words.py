"""The words of a request, answered in a moment: names of data sets, protocols and triples, before torch is imported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from ....declared import Place, declared, registry_of
from ....protocol import PROTOCOLS
from ....registry import UnknownNameError
from ....triple import TIMM, Triple
from ...host.errors import UsageError
from .alternatives import split_pattern
from .config import RunConfig
from .given_triples import given_triples

BACKBONE_PLACE = Place("baselines.contracts", "BACKBONES", "register_backbone")
CAM_PLACE = Place("baselines.cams.method", "CAMS", "register_cam")
HEAD_PLACE = Place("baselines.contracts", "HEADS", "HeadSpec")
WSOL_PLACE = Place("baselines.wsol.wsol_method", "WSOL", "register_wsol")


class _Names(NamedTuple):
    """The names of one kind, and what the kind is called."""

    kind: str
    known: tuple[str, ...]

    def has(self, pattern: str) -> bool:
        if self.kind == "backbone" and pattern.startswith(TIMM):
            return True
        if any(fnmatchcase(name, pattern) for name in self.known):
            return True
        # A network with another pooling, or that a method trained: vgg16_gap+tap, vgg16_gap+adl.
        base, plus, last = pattern.rpartition("+")
        suffixes = _Names("suffix", (*names_of(WSOL_PLACE).known, "tap"))
        return self.kind == "backbone" and bool(plus) and self.has(base) and suffixes.has(last)


def check_request(config: RunConfig) -> None:
    """Raise what a run would raise for a wrong name, triple or root, without torch and without reading data.

    Names that plug-ins bring are not known before these are run: of a request with plug-ins no name is checked here.

    Raises:
        UnknownNameError: No data set, protocol, method or head has this name.
        UsageError: A triple that is none; a file where the tables should go.
        DatasetError: The root is missing.
    """
    if config.dest is not None and config.dest.exists() and not config.dest.is_dir():
        raise UsageError(f"--dest {config.dest}: is a file; give a folder for the tables")
    if config.plugins:
        return
    PROTOCOLS.get(config.protocol)
    check_triples(given_triples(config).patterns)
    config.source.check()


def check_triples(patterns: Iterable[str]) -> None:
    """Raise where a pattern is no triple, or a part of it matches no name; the message says what would be right."""
    kinds = tuple(map(names_of, (BACKBONE_PLACE, CAM_PLACE, HEAD_PLACE)))
    for triple in (t for pattern in patterns for t in split_pattern(pattern)):
        _check(triple, kinds)


def _check(triple: Triple, kinds: tuple[_Names, ...]) -> None:
    parts = triple.names
    wrong = [(part, kind) for part, kind in zip(parts, kinds, strict=True) if not kind.has(part)]
    if not wrong:
        return
    for order in permutations(parts):
        if all(kind.has(part) for part, kind in zip(order, kinds, strict=True)):
            raise UsageError(f"triple {str(triple)!r}: the order is backbone/cam/head; write {'/'.join(order)}")
    part, kind = wrong[0]
    if kind.kind == "backbone" and part in timm_names():
        right = triple.but(backbone=TIMM + part)
        raise UsageError(f"triple {str(triple)!r}: {part} is a network of timm; write {right}")
    base, plus, method = part.rpartition("+")
    if kind.kind == "backbone" and plus and kind.has(base):
        methods = names_of(WSOL_PLACE)
        raise UnknownNameError(methods.kind, method, methods.known)
    raise UnknownNameError(kind.kind, part, kind.known)


def timm_names() -> set[str]:
    """Names of timm's networks, read from its source: importing it takes seconds."""
    spec = find_spec("timm")
    folder = Path(spec.origin).parent / "models" if spec is not None and spec.origin else None
    if folder is None or not folder.is_dir():
        return set()
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in folder.glob("*.py"))
    return {name for text in texts for name in re.findall(r"^@register_model\s+def (\w+)\(", text, re.M)}


def names_of(place: Place) -> _Names:
    """What is registered in a place, where possible without importing it."""
    known = declared(place)
    if known is not None:
        return _Names(known.kind, tuple(known.entries))
    registry = registry_of(place)
    return _Names(registry.kind, tuple(registry))
