"""Precisions in which a network can be run."""

from __future__ import annotations

from typing import Literal

Dtype = Literal["float32", "bfloat16", "float16"]
"""Autocast dtype of a network; float32 is none."""
