"""Triples ``backbone/cam/head``: parsing, patterns, and what a backbone supports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

from ....baselines.cams import CAMS
from ....baselines.contracts import BACKBONES, HEADS
from ....triple import TIMM, Triple
from ...host.errors import UsageError
from ...maps.given_method import folder_of
from .alternatives import split_pattern
from .words import check_triples

_PATTERN = re.compile(r"[*?\[{]")


class Wanted(NamedTuple):
    """A triple and whether the user named it in full (then it must be possible) or a pattern found it."""

    triple: Triple
    explicit: bool


def expand_patterns(patterns: Iterable[str]) -> list[Wanted]:
    """Triples that patterns such as ``resnet50/*/{softmax,sigmoid}`` select, in order, without repeats.

    Methods that depend on no head (controls) are listed once, under the head ``softmax``. A glob over methods
    leaves out expensive ones and others that are meant to be named; so does a glob over heads.

    Raises:
        UsageError: A pattern does not have three parts, or selects nothing.
        UnknownNameError: A part matches no name; the message lists the nearest ones.
    """
    patterns = tuple(patterns)
    check_triples(patterns)
    found: dict[Triple, bool] = {}
    for pattern in patterns:
        explicit = not _PATTERN.search(pattern)
        for parts in split_pattern(pattern):
            for triple in _matches(parts):
                # A glob must not start thousands of forwards for each image by accident.
                if CAMS.get(triple.cam).by_name and _PATTERN.search(parts.cam):
                    continue
                if CAMS.get(triple.cam).headless and triple.head != "softmax":
                    if not explicit:
                        continue
                    right = triple.but(head="softmax")
                    raise UsageError(f"triple {triple}: {triple.cam} depends on no head; write {right}")
                if not _heads_fit(triple, parts.head, explicit):
                    continue
                found[triple] = found.get(triple, False) or explicit
    if not found:
        raise UsageError(f"no triple matches {' '.join(patterns) or '(nothing)'}")
    return [Wanted(t, e) for t, e in found.items()]


def unasked_methods(patterns: Iterable[str]) -> list[str]:
    """Methods that globs of the patterns match and leave out, since they are taken by name alone."""
    globs = [parts.cam for pattern in patterns for parts in split_pattern(pattern) if _PATTERN.search(parts.cam)]
    named = {parts.cam for pattern in patterns for parts in split_pattern(pattern)}
    matched = dict.fromkeys(cam for glob in globs for cam in CAMS.match(glob))
    # Maps made elsewhere are asked for by an option, not by a pattern.
    return [c for c in matched if CAMS.get(c).by_name and c not in named and folder_of(CAMS.get(c)) is None]


def _heads_fit(triple: Triple, pattern: str, explicit: bool) -> bool:
    """Whether the method runs under its head; a glob over heads takes named ones with their own methods only."""
    own = CAMS.get(triple.cam).heads
    if own and triple.head not in own:
        if explicit:
            right = triple.but(head=own[0])
            where = ", on a transformer" if "attention" in CAMS.get(triple.cam).needs else ""
            raise UsageError(
                f"triple {triple}: {triple.cam} runs under the head {' or '.join(own)}{where}; write {right}"
            )
        return False
    return bool(own) or not (HEADS.get(triple.head).named and _PATTERN.search(pattern))


def _matches(pattern: Triple) -> Iterator[Triple]:
    backbone, cam, head = pattern.names
    for names in product(_backbones(backbone), CAMS.match(cam), HEADS.match(head)):
        yield Triple(*names)


def _backbones(pattern: str) -> list[str]:
    # A timm name is open-ended: it is not listed in the registry, so only its own library can match it.
    if pattern.startswith(TIMM):
        return [pattern]
    return BACKBONES.match(pattern)
