"""Colours and marks of heads: the same in every figure and in the report, so that a reader learns them once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class HeadLook:
    """How a head is drawn: ``light`` and ``dark`` are its colours on white and on black, ``marker`` matplotlib's name.

    The shape says the same as the colour, for readers who do not see the difference and for prints without colour.
    """

    light: str
    dark: str
    marker: str


CONTROL_LOOK = HeadLook("#6b7280", "#9ca3af", "X")
"""A control, under any head."""
# Hues of Okabe and Ito (2008), which people with any of the common colour deficiencies tell apart; the sky blue and the
# pale purple of theirs are too light on white and are replaced.
_KNOWN = {
    "softmax": HeadLook("#0072b2", "#56b4e9", "o"),
    "softmax_clamped": HeadLook("#00805d", "#35c9a0", "s"),
    "sigmoid": HeadLook("#c8500a", "#f2955c", "^"),
    "sigmoid_signed": HeadLook("#a02c73", "#e58cc4", "D"),
}
_FURTHER = (
    HeadLook("#7a5c00", "#e0bf4f", "v"),
    HeadLook("#4b4fa6", "#a5a9f5", "P"),
    HeadLook("#2f6b1f", "#8fd07a", "p"),
    HeadLook("#8c1d1d", "#f08c8c", "h"),
)


def head_looks(heads: Iterable[str]) -> dict[str, HeadLook]:
    """Look of each head by its name: fixed for the heads of cambench, in turn for others."""
    names = list(dict.fromkeys(heads))
    further = [name for name in names if name not in _KNOWN]
    own = {name: _FURTHER[i % len(_FURTHER)] for i, name in enumerate(further)}
    return {name: _KNOWN.get(name) or own[name] for name in names}
