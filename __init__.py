"""cambench: compare class activation maps honestly."""

from __future__ import annotations

__version__ = "0.1.0"
