"""Which file of a folder is the map of which image, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from ...opener import is_picture
from .map_files import SUFFIXES


class TwoFoldersError(ValueError):
    """Files of several folders could be the maps; the message names the folders."""


def matched(files: Iterable[str], image_ids: Sequence[str]) -> dict[str, str]:
    """Image id -> the file that is called as it is, of those with maps; all paths are relative, with ``/``.

    Tried in turn, until some image has a map: the whole id, with or without the picture's own suffix (or another
    picture's); the last part of the id; the whole id below a folder of the files.

    Raises:
        TwoFoldersError: The ids are found below several folders.
    """
    # Suffixes are compared without case; a file of an earlier kind wins.
    order = sorted(files, key=lambda file: SUFFIXES.index(PurePosixPath(file).suffix.lower()))
    by_stem: dict[str, str] = {}
    for file in order:
        by_stem.setdefault(stem_of(file), file)
    return (
        _called(by_stem, {i: i for i in image_ids})
        or _called(by_stem, {i: PurePosixPath(i).name for i in image_ids})
        or _below(by_stem, image_ids)
    )


def folder_above(file_of: dict[str, str]) -> str:
    """The folder in which all files lie below which they are called as their images; empty where there is none."""
    image_id, file = next(iter(file_of.items()))
    more = file.count("/") - image_id.count("/")
    return "/".join(file.split("/")[:more]) + "/" if more > 0 else ""


def stem_of(file: str) -> str:
    """A file's path without its last suffix."""
    return file[: -len(PurePosixPath(file).suffix)]


def plain(image_id: str) -> str:
    """An image's id without the suffix of its file."""
    path = PurePosixPath(image_id)
    return str(path.with_suffix("")) if path.name and path.suffix else image_id


def _called(by_stem: dict[str, str], names: dict[str, str]) -> dict[str, str]:
    """Image id -> its file; ``names``: image id -> how its file is called, by its stem."""
    found = {i: file for i, name in names.items() if (file := by_stem.get(name) or by_stem.get(plain(name)))}
    # A tool may have read copies of the pictures with another suffix, or with this one in other letters.
    taken = set(found.values())
    others = {plain(stem): file for stem, file in by_stem.items() if is_picture(stem) and file not in taken}
    found |= {i: others[plain(name)] for i, name in names.items() if i not in found and plain(name) in others}
    return {i: found[i] for i in names if i in found}


def _below(by_stem: dict[str, str], image_ids: Sequence[str]) -> dict[str, str]:
    """As ``_called``, where all files that belong to images lie in one more folder."""
    wanted = {*image_ids, *map(plain, image_ids)}
    folders = {
        prefix
        for stem in by_stem
        for prefix in _folders(stem)
        if stem[len(prefix) :] in wanted or plain(stem[len(prefix) :]) in wanted
    }
    if len(folders) > 1:
        named = sorted(folders)
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        raise TwoFoldersError(f"{', '.join(named[:3])}{more}")
    return {k: v for prefix in folders for k, v in _called(by_stem, {i: prefix + i for i in image_ids}).items()}


def _folders(stem: str) -> list[str]:
    parts = stem.split("/")
    return ["/".join(parts[:k]) + "/" for k in range(1, len(parts))]
