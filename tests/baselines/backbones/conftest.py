"""What tests of networks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cambench.baselines.contracts import BACKBONES


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """Names registered here are taken back."""
    before = set(BACKBONES._entries)
    yield
    for name in set(BACKBONES._entries) - before:
        BACKBONES._entries.pop(name), BACKBONES._origin.pop(name)
