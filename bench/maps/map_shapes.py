"""Whether maps lie as their pictures do: (height, width), not the two exchanged."""

from __future__ import annotations

from collections.abc import Mapping

Size = tuple[int, int]
"""Two sides, in the order that is said."""


def exchanged(shapes: Mapping[str, Size], sizes: Mapping[str, Size]) -> tuple[list[str], list[str]]:
    """Images whose map has the sides of its picture exchanged: to the pixel, and as nearly as few cells can tell.

    Pictures and maps that are square tell nothing, nor do pictures of unknown size. The second list is empty unless
    most of the maps that tell something lie so: maps of one size for pictures of all kinds are no sign.

    Args:
        shapes: Image -> (h, w) of its map.
        sizes: Image -> (width, height) of its picture; 0 where it is not known.
    """
    telling = {i: (*shapes[i], *sizes[i]) for i in shapes if len({*shapes[i]}) > 1 and len({*sizes[i], 0}) == 3}
    exact = [i for i, (h, w, width, height) in telling.items() if (h, w) == (width, height)]
    nearly = [
        i
        for i, (h, w, width, height) in telling.items()
        if _reduced(h, w, width, height) and not _reduced(h, w, height, width)
    ]
    return exact, nearly if 2 * len(nearly) > len(telling) else []


def _reduced(h: int, w: int, high: int, wide: int) -> bool:
    """Whether one factor reduces (high, wide) to (h, w), within less than a cell."""
    low = max(high / (h + 1), wide / (w + 1))
    return low < min(high / (h - 1) if h > 1 else float("inf"), wide / (w - 1) if w > 1 else float("inf"))
