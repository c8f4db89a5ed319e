"""Micro-benchmarks run in a process that treats memory as the product's own runs do."""

import pytest

from cambench.bench.host.allocator import keep_freed_memory


@pytest.fixture(scope="session", autouse=True)
def _kept_memory() -> None:
    keep_freed_memory()
