"""Whether the fused engine can run, asked without Triton."""

from __future__ import annotations

import importlib.util
import os
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import torch

TRIED = (3, 9)
"""The Triton that the programs were tried with; that of torch 2.4 refuses them."""
SMALL_TABLES = 92352
"""Words of a program beside those for its pixels."""


def why_not_fused(device: torch.device) -> str | None:
    """Why Triton cannot run there, in words; None where it can."""
    if importlib.util.find_spec("triton") is None:
        return (
            "the engine 'triton' needs Triton, which comes with torch's builds for CUDA; use 'tensor', 'cpu' or 'auto'"
        )
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return (
            f"the engine 'triton' needs a CUDA device, and the maps are on {device.type}; use 'tensor', 'cpu' or "
            "'auto', or set TRITON_INTERPRET=1 to try it slowly on the CPU"
        )
    # Builds of other names (AMD's) do not say.
    with suppress(PackageNotFoundError):
        found = version("triton")
        if tuple(map(int, re.findall(r"\d+", found)[:2])) < TRIED:
            return (
                f"the engine 'triton' was tried with Triton {TRIED[0]}.{TRIED[1]} and later, and {found} is installed; "
                "use 'tensor', 'cpu' or 'auto', or a later torch"
            )
    return None


def room_of_program(pixels: int) -> int:
    """Bytes that the program of a map of so many pixels works in."""
    return 4 * (SMALL_TABLES + 3 * (pixels + 1)) + 3 * 256 * 8
