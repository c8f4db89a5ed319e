"""Which folder the user really meant: the data set's own, one above it, or one below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..findings import WrongFolderError, some
from ..schema import DatasetError

ABOVE = 5
"""Levels above the root that are looked at."""


@dataclass(frozen=True)
class Expected:
    """How a data set is recognised.

    ``markers``: paths (or glob patterns) of which one lies in the right folder; ``nested``: usual names of that folder
    below what users call the root; ``archives``: file names that are read in place; ``what``: for messages;
    ``contents``: patterns of which one must lie in a folder above or further below (default: the markers), for markers
    as common as ``train``; ``strangers``: files that only another data set has, and its name; ``signs``: patterns that
    people's own folders do not have.
    """

    name: str
    markers: tuple[str, ...]
    nested: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    what: str = ""
    contents: tuple[str, ...] = ()
    strangers: tuple[tuple[str, str], ...] = ()
    signs: tuple[str, ...] = ()


KNOWN: dict[str, Expected] = {}
"""The published sets, by name, as their adapters made them known."""


def known(expected: Expected) -> Expected:
    """Make a published set known to ``resembling_set``."""
    KNOWN[expected.name] = expected
    return expected


def resembling_set(root: Path) -> tuple[str, Path] | None:
    """The published set whose signs a folder bears, and that set's own folder; None where it looks like no one's."""
    found = ((name, resembling(root, expected)) for name, expected in KNOWN.items())
    return next(((name, base) for name, base in found if base is not None), None)


def find_base(root: Path, expected: Expected) -> Path:
    """The right folder, or the archive to read in place.

    Raises:
        DatasetError: The root is a child or a parent of the right folder (says which to pass), or something else.
    """
    if root.is_file():
        if root.name.endswith((".tgz", ".tar", ".tar.gz")):
            return root
        raise DatasetError(f"{expected.name}: {root} is a file; pass the folder with {expected.what}")
    for marker, other in expected.strangers:
        if (root / marker).exists():
            raise DatasetError(f"{expected.name}: {root} is not {expected.what}: {marker} belongs to {other}")
    if (whole := _whole(root, expected.markers)) != root:
        raise _inside(root, whole, expected)
    for folder in (root, *(root / n for n in expected.nested)):
        if _is_base(folder, expected.markers):
            return folder
    for name in expected.archives:
        if (root / name).is_file():
            return root / name
    telling = expected.contents or expected.markers
    above = next(
        (p for p in list(root.parents)[:ABOVE] if _is_base(p, telling) and not _is_stranger(p, expected)), None
    )
    if above is not None:
        raise _inside(root, _whole(above, expected.markers), expected)
    below = _search(root, expected, depth=3)
    if below:
        more = f" (or {some(below[1:])})" if below[1:] else ""
        raise WrongFolderError(f"{expected.name}: {root} is above the data set; pass --root {below[0]}{more}", below[0])
    markers = " or ".join(expected.markers)
    raise DatasetError(f"{expected.name}: {root} is not {expected.what}: expected {markers} there; {inventory(root)}")


def resembling(root: Path, expected: Expected) -> Path | None:
    """The data set's folder where the root bears its signs, is above it, or lies in it where a sign does; else None."""
    for folder in (root, *(root / n for n in expected.nested)):
        if _is_base(folder, expected.signs) and not _is_stranger(folder, expected):
            return folder
    for folder in list(root.parents)[:2]:
        try:
            within = any(root in (found, *found.parents) for sign in expected.signs for found in folder.glob(sign))
        except OSError:
            continue
        if within and not _is_stranger(folder, expected):
            return folder
    return None


def _is_base(folder: Path, markers: Sequence[str]) -> bool:
    try:
        return any(any(folder.glob(m)) if "*" in m else (folder / m).exists() for m in markers)
    except OSError:
        return False


def _whole(folder: Path, markers: Sequence[str]) -> Path:
    """The data set's folder where ``folder`` is a part of it that looks like one; else ``folder``.

    A part is named as a marker, and a folder above it has more of the markers.
    """
    best, most, place = folder, max(1, _count(folder, markers)), folder
    while place.name in markers:
        place = place.parent
        if (found := _count(place, markers)) > most:
            best, most = place, found
    return best


def _count(folder: Path, markers: Sequence[str]) -> int:
    return sum(_is_base(folder, (m,)) for m in markers)


def _inside(root: Path, above: Path, expected: Expected) -> WrongFolderError:
    text = f"{expected.name}: {root} is inside the data set; pass its folder: --root {above}"
    return WrongFolderError(text, above)


def _search(root: Path, expected: Expected, depth: int) -> list[Path]:
    """Folders at most ``depth`` below the root that are the data set; symbolic links are not followed."""
    level = [root]
    for _ in range(depth):
        level = [c for folder in level for c in _subfolders(folder)][:2000]
        telling = expected.contents or expected.markers
        wanted = (*telling, *expected.archives)
        hits = [c for c in level if _is_base(c, wanted) and not _is_stranger(c, expected)]
        if hits:
            return hits
    return []


def _is_stranger(folder: Path, expected: Expected) -> bool:
    return any((folder / marker).exists() for marker, _ in expected.strangers)


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
