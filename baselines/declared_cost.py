"""What the needs of a CAM method say of its cost, where it declares none; loads nothing."""

from __future__ import annotations

from collections.abc import Collection

_KNOWN = frozenset({"features", "gradients", "class_weights"})
"""Needs that the shared pass covers, so that a method's cost follows from them."""


def declared_cost(cost: str, needs: Collection[str]) -> str:
    """``cost``, or what ``needs`` says of it: the image's forward, the head's backward; empty where they do not."""
    if cost or not _KNOWN.issuperset(needs):
        return cost
    if not needs:
        return "0 forwards"
    return "1 forward + 1 head backward" if "gradients" in needs else "1 forward"
