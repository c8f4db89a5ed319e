"""MATLAB files of the publishers' devkits."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from ..schema import DatasetError


def read_mat(data: bytes, where: str) -> dict[str, Any]:
    """Variables of a MATLAB file, singleton dimensions squeezed; ``DatasetError`` where it is damaged."""
    # Half of the time that opening a table from the cache takes would go into this import.
    from scipy.io import loadmat

    try:
        found: dict[str, Any] = loadmat(BytesIO(data), squeeze_me=True)
    except Exception as error:  # scipy raises anything on damaged files
        raise DatasetError(f"{where}: not a readable MATLAB file ({error}); is it truncated?") from error
    return found
