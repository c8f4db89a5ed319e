"""Versions of the libraries that compute."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "numba", "datasets", "pillow", "pyarrow")


def library_versions(names: Sequence[str]) -> dict[str, str]:
    """Installed versions of distributions; those that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
