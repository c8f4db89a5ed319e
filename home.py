"""Paths that begin in somebody's home folder, which need not be known."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: object) -> Path:
    """The path with ``~`` and ``~user`` replaced, and as it is where nobody knows that home.

    ``Path.expanduser`` raises there: for a user that is not, and in containers whose user number has no name.
    """
    return Path(os.path.expanduser(str(path)))  # noqa: PTH111
