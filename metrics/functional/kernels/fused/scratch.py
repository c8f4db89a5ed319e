"""Where a program of the fused engine keeps what it works with: int32 words, one row for each map.

Tables of fixed size come first, so that their places are constants; then three arrays of H·W + 1 words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import triton
import triton.language as tl

from .whether import SMALL_TABLES

F = TypeVar("F", bound=Callable[..., Any])

SLOTS = tl.constexpr(64)
"""Basins after plateaus are merged; a map with more is left to the CPU kernels."""
RAW = tl.constexpr(512)
"""Peaks before plateaus are merged."""
MOST_JOINS = tl.constexpr(4096)
"""Pixels that join basins, those of the border of a 512×512 background (2,044) among them."""
RANK_BITS = tl.constexpr(10)
RANK_MASK = tl.constexpr(1023)
INDEX_BITS = tl.constexpr(19)
"""A key is value << 19 | pixel index: sides up to 512, and one index more for the frame."""
INDEX_MASK = tl.constexpr((1 << 19) - 1)
FRAME = tl.constexpr(256)
"""Value of the frame around a background, higher than every pixel."""
FRAME_KEY = tl.constexpr(256 << 19)
LEVELS = tl.constexpr(256)

SERVED = tl.constexpr(0)
RAW_PEAK = tl.constexpr(64)
"""Value of every raw peak (RAW)."""
MERGED = tl.constexpr(576)
"""Raw basin that each is a part of (RAW)."""
INTO = tl.constexpr(1088)
"""Key of the raw basin that each is merged into in this round (RAW)."""
SLOT = tl.constexpr(1600)
"""Slot of a raw basin that is kept (RAW)."""
KEYS = tl.constexpr(2112)
"""Keys of the kept basins (SLOTS)."""
PEAK = tl.constexpr(2176)
"""Highest value of every slot, falling (SLOTS)."""
JOINED = tl.constexpr(2240)
"""Highest value at which two basins are connected (SLOTS,SLOTS)."""
JOINS = tl.constexpr(6336)
"""Pixels that join basins (MOST_JOINS)."""
TABLES = tl.constexpr(10432)
"""Five tables (SLOTS,LEVELS): see ``level_tables``."""
TABLE = tl.constexpr(16384)
PIXELS = tl.constexpr(SMALL_TABLES)
"""Pointers; then basins; then the values of the map with its holes filled."""


def fuse(function: F) -> F:
    """Compile a function for a device when it is first launched there, by Triton."""
    return cast(F, triton.jit(function))


def words(nodes: int) -> int:
    """Words of the row of a map of ``nodes`` pixels."""
    return SMALL_TABLES + 3 * (nodes + 1)
