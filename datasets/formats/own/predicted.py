"""Scores beside boxes: a detector's predictions that are given as annotations."""

from __future__ import annotations

from collections.abc import Iterable

from ...findings import Findings

_WORDS = "confidence conf score scores prob probability certainty objectness detectionscore predictionscore"
SCORES = frozenset(_WORDS.split(" "))
"""Names of columns and fields, without marks between words, in which detectors write how sure they are."""
_SURE = {0.0, 1.0, 100.0}
"""What people's own annotations have there, as Open Images' do."""


def tell_scores(values: Iterable[float], what: str, where: object, findings: Findings) -> None:
    """Warn where boxes carry scores between 0 and 1, or percentages: they are taken for what is true.

    Args:
        values: The scores. what: Where they are found. where: The file. findings: Receives the warning.
    """
    found = list(values)
    if found and min(found) >= 0 and max(found) <= 100 and not set(found) <= _SURE:
        findings.warn(
            f"{what} holds scores ({min(found):g} to {max(found):g}), as a detector writes them: its boxes are taken "
            "for the true ones, and the scores are not read",
            where,
            "if they are predictions, give the annotations, or boxes that somebody has looked at",
        )
