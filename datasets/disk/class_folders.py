"""Folders of classes as people keep them: split folders of any name, what other programs left there, files too deep."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ...opener import is_picture
from ..findings import Findings, some
from ..schema import SPLITS, DatasetError, Split

LITTER = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"})
"""Folders, in lower case, that archives, file servers and systems leave among people's own."""
_WORDS: dict[str, Split] = {
    **{split: split for split in SPLITS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "testing": "test",
}
DEEPEST = 8
"""Levels of folders below a class folder that are looked through for pictures."""


def is_litter(name: str) -> bool:
    """Whether a folder is hidden, or none of the user's own."""
    return name.startswith(".") or name.casefold() in LITTER


def folders_in(place: Path) -> list[str]:
    """Names of the user's folders in a folder, sorted."""
    return sorted(p.name for p in place.iterdir() if p.is_dir() and not is_litter(p.name))


def split_folders(root: Path) -> dict[Split, str]:
    """The folder of each split; empty where the folders are classes.

    Words such as ``valid`` and ``Train`` are splits where one of ``train``, ``val``, ``test`` is there too, or where
    all folders are such words.

    Raises:
        DatasetError: Two folders are one split.
    """
    names = folders_in(root)
    said = [(split, name) for name in names if (split := _WORDS.get(name.casefold())) is not None]
    if not set(names) & set(SPLITS) and len(said) < len(names):
        return {}
    found: dict[Split, str] = {}
    for split, name in said:
        if split in found:
            raise DatasetError(f"folder: {root} has two folders of the split {split}: {found[split]} and {name}")
        found[split] = name
    return found


class Depths:
    """Pictures that lie deeper than their class folder, and links that lead nowhere, over all classes."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.deep: list[str] = []
        self.lost: list[str] = []

    def look(self, name: str) -> None:
        """Look through a class folder, or through the base for an empty name (not below it then)."""
        self._look(name, DEEPEST if name else 0, direct=True)

    def _look(self, name: str, depth: int, *, direct: bool) -> None:
        try:
            with os.scandir(self.base / name) as entries:
                found = sorted(entries, key=lambda e: e.name)
        except OSError:
            return
        for entry in found:
            inner = f"{name}/{entry.name}" if name else entry.name
            if direct and is_picture(entry.name) and entry.is_symlink() and not Path(entry.path).exists():
                self.lost.append(inner)
            elif depth and not is_litter(entry.name) and not entry.is_symlink() and entry.is_dir():
                self._look(inner, depth - 1, direct=False)
            elif not direct and is_picture(entry.name):
                self.deep.append(inner)

    def report(self, used: int, findings: Findings) -> None:
        """Say what was found; an error where no class folder has pictures of its own, of ``used`` in all."""
        if self.lost:
            what = f"{len(self.lost):,} symbolic links lead nowhere, or to themselves, and are left out"
            findings.warn(f"{what}: {some(self.lost)}", self.base, "repair the links", len(self.lost))
        if not self.deep:
            return
        what = f"{len(self.deep):,} pictures lie deeper than in the folder of a class"
        if used:
            fix = "move them up into their class folder, if they are of it"
            findings.warn(f"{what}, and are left out: {some(self.deep)}", self.base, fix, len(self.deep))
        else:
            below = Path(self.deep[0]).parts
            findings.error(
                f"{what}: {some(self.deep)}",
                self.base,
                f"is --root one level too high? then pass {self.base / below[0]}; else move them up",
                len(self.deep),
            )


def tell_stray(base: Path, names: Iterable[str], findings: Findings) -> None:
    """Note pictures beside the class folders, which belong to no class."""
    stray = sorted(n for n in names if is_picture(n))
    if stray:
        what = f"{len(stray):,} pictures lie beside the class folders, belong to no class and are left out"
        findings.warn(f"{what}: {some(stray)}", base, "move them into the folder of their class", len(stray))
