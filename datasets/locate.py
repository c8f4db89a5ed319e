"""Which folder the user really meant: the data set's own, one above it, or one below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .findings import some
from .schema import DatasetError


@dataclass(frozen=True)
class Expected:
    """How a data set is recognised.

    ``markers``: paths (or glob patterns) of which one lies in the right folder; ``nested``: usual names of that folder
    below what users call the root; ``archives``: file names that are read in place; ``what``: for messages.
    """

    name: str
    markers: tuple[str, ...]
    nested: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    what: str = ""


def find_base(root: Path, expected: Expected) -> Path:
    """The right folder, or the archive to read in place.

    Raises:
        DatasetError: The root is a child or a parent of the right folder (says which to pass), or something else.
    """
    if root.is_file():
        if root.name.endswith((".tgz", ".tar", ".tar.gz")):
            return root
        raise DatasetError(f"{expected.name}: {root} is a file; pass the folder with {expected.what}")
    for folder in (root, *(root / n for n in expected.nested)):
        if _is_base(folder, expected.markers):
            return folder
    for name in expected.archives:
        if (root / name).is_file():
            return root / name
    above = next((p for p in list(root.parents)[:3] if _is_base(p, expected.markers)), None)
    if above is not None:
        raise DatasetError(f"{expected.name}: {root} is inside the data set; pass its folder: --root {above}")
    below = _search(root, expected, depth=3)
    if below:
        raise DatasetError(f"{expected.name}: {root} is above the data set; pass --root {below[0]}")
    markers = " or ".join(expected.markers)
    raise DatasetError(f"{expected.name}: {root} is not {expected.what}: expected {markers} there; {inventory(root)}")


def _is_base(folder: Path, markers: Sequence[str]) -> bool:
    try:
        return any(any(folder.glob(m)) if "*" in m else (folder / m).exists() for m in markers)
    except OSError:
        return False


def _search(root: Path, expected: Expected, depth: int) -> list[Path]:
    """Folders at most ``depth`` below the root that are the data set; symbolic links are not followed."""
    level = [root]
    for _ in range(depth):
        level = [c for folder in level for c in _subfolders(folder)][:2000]
        hits = [c for c in level if _is_base(c, expected.markers)]
        if hits:
            return hits
    return []


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())[:500]
    except OSError:
        return []


def inventory(folder: Path) -> str:
    """What a folder holds, in words."""
    try:
        names = sorted(p.name for p in folder.iterdir())
    except PermissionError:
        return "permission denied: it cannot be listed"
    except OSError as error:
        return f"it cannot be listed: {error.strerror}"
    return f"it holds {some(names)}" if names else "it is empty"
