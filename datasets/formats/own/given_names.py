"""File names as people's lists write them: Windows paths, absolute paths, URLs, other Unicode forms, no suffix."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ....opener import is_picture
from ...disk.files import FileIndex
from ...findings import Findings, some
from ...tables.ids import folded_name

_DRIVE = re.compile(r"[A-Za-z]:/")
_BY_END = "by the end of a path or URL of another place"
_LOOKED = 200_000
"""Files below the root that are looked at for those that are not where their names say."""
_BARE = "without the folders before their names"
_LOCAL_FILES = re.compile(r"^.*?[?&]d=")
"""How Label Studio's links to local files begin, before the path."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class GivenNames:
    """Finds the files that a list means, below a root, and says where a name had to be read another way.

    Tried in turn: the name as it is; with slashes for backslashes; an absolute path or a ``file:`` URL as it is, or by
    its end below the root (it was written on another machine), as any URL; without the root's own name; composed and
    decomposed Unicode, upper and lower case; no suffix. Nothing is guessed where two files could be meant.
    """

    def __init__(self, root: Path, index: FileIndex) -> None:
        self.root, self.index = root, index
        self._base = f"{root}/"
        self._kinds: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._folded: dict[str, dict[str, list[str]]] = {}
        self._taken: dict[str, str] = {}
        self._clashes: list[str] = []
        self._unusable: list[str] = []
        self._folders: dict[str, str] = {}

    def find(self, name: str) -> tuple[str, str]:
        """Image id and path of a name; a name without a file keeps its own place below the root."""
        if "\0" in name or any("\ud800" <= c <= "\udfff" for c in name):
            self._unusable.append(repr(name))
            return name, self._base
        if _URL.match(name):
            return self._find_url(name)
        name = self._from_root(_straight(name))
        path = f"{self._base}{name}"
        if not name.startswith("/") and self.index.size(path) >= 0:
            return self._found(name, path, "")
        plain = _LOCAL_FILES.sub("", name.replace("\\", "/")).removeprefix("./")
        absolute = plain.startswith("/") or bool(_DRIVE.match(plain))
        for kind, tail in self._readings(plain, absolute):
            place = self._place(tail if tail.startswith("/") else f"{self._base}{tail}")
            if place is not None:
                return self._found(name, place, kind)
        return plain, plain if plain.startswith("/") else f"{self._base}{plain}"

    def _from_root(self, name: str) -> str:
        """A name that leaves the root and comes back to it (``../photos/a.jpg``), as it is called there."""
        if not name.startswith("../"):
            return name
        straight = posixpath.normpath(f"{self._base}{name}")
        # A root that is a link has another folder above it than its name says.
        here = straight.startswith(self._base) and _is_same(f"{self._base}{name}", straight)
        return straight.removeprefix(self._base) if here else name

    def _find_url(self, url: str) -> tuple[str, str]:
        """Image id and path of the file that a URL means: its own, or the one below the root that ends so."""
        scheme, _, written = url.partition(":")
        for path in dict.fromkeys((written, unquote(written), unquote(re.split("[?#]", written)[0]))):
            for kind, tail in self._readings(f"/{path.lstrip('/')}", absolute=True):
                if not kind and scheme.lower() != "file":
                    continue
                place = self._place(f"{self._base}{tail}" if kind else tail)
                if place is not None:
                    return self._found(url, place, kind)
        return url, f"{self._base}{url}"

    def _readings(self, plain: str, absolute: bool) -> list[tuple[str, str]]:
        if not absolute:
            first, _, rest = plain.partition("/")
            inner = [("without the root's own name", rest)] if rest and first == self.root.name else []
            parts = [p for p in plain.split("/") if p not in ("", ".", "..")]
            ends = ["/".join(parts[i:]) for i in range(0 if plain.startswith("../") else 1, len(parts))]
            return [("in another spelling", plain), *inner, *((_BARE, end) for end in ends)]
        parts = [p for p in plain.split("/") if p]
        ends = ["/".join(parts[i:]) for i in range(1, len(parts))]
        whole = [("", plain)] if plain.startswith("/") else []
        return [*whole, *((_BY_END, end) for end in ends)]

    def _place(self, path: str) -> str | None:
        """The path on disk: as given, or the one file that differs by Unicode form, case, or a missing suffix."""
        if self.index.size(path) >= 0:
            return path
        written, _, name = path.rpartition("/")
        folder = self._folder(written)
        if folder not in self._folded:
            known: dict[str, list[str]] = {}
            for file in self.index.folder(folder):
                known.setdefault(folded_name(file), []).append(file)
                if is_picture(file):
                    known.setdefault(folded_name(file.rpartition(".")[0]), []).append(file)
            self._folded[folder] = known
        found = _alike(name, self._folded[folder].get(folded_name(name), []))
        return f"{folder}/{found}" if found else None

    def _folder(self, path: str) -> str:
        """The folder on disk that is meant; ``path`` itself where there is none."""
        if path not in self._folders:
            self._folders[path] = path
            if len(path) > len(str(self.root)) and not Path(path).is_dir():
                above, _, name = path.rpartition("/")
                above = self._folder(above)
                try:
                    inner = [
                        p.name for p in Path(above).iterdir() if p.is_dir() and folded_name(p.name) == folded_name(name)
                    ]
                except OSError:
                    inner = []
                if found := _alike(name, inner):
                    self._folders[path] = f"{above}/{found}"
        return self._folders[path]

    def _found(self, name: str, path: str, kind: str) -> tuple[str, str]:
        below = path.startswith(self._base)
        if kind:
            self._kinds[kind] += 1
            examples = self._examples.setdefault(kind, [])
            examples += [name] if len(examples) < 6 else []
            other = self._taken.setdefault(path, name)
            if other != name and other.replace("\\", "/") != name.replace("\\", "/"):
                self._clashes.append(f"{other} and {name} are both {path}")
        return (path.removeprefix(self._base) if below else path), path

    def close(self, where: object, findings: Findings) -> None:
        """Say which names were read another way; two names of one file that was only guessed are an error."""
        for kind, count in self._kinds.items():
            what = f"{count:,} images were found {kind}: {some(self._examples[kind], count)}"
            if kind == _BARE:
                # Another folder's picture may have the same name.
                findings.warn(
                    what, where, "are these the pictures that are meant? else pass the --root above them", count
                )
            else:
                findings.note(what, where)
        if self._unusable:
            count = len(self._unusable)
            findings.error(f"{count:,} names can be no file's: {some(self._unusable)}", where, count=count)
        if self._clashes:
            count = len(self._clashes)
            findings.error(f"{count:,} names mean a file that another name means too: {some(self._clashes)}", where)


def found_elsewhere(root: Path, lost: Sequence[str]) -> str:
    """Where below the root files lie that are called as lost ones, whose folders differ; empty where none do."""
    wanted = {PurePosixPath(name.replace("\\", "/")).name for name in lost}
    places: dict[str, list[str]] = {}
    looked = 0
    for folder, _, files in os.walk(root):
        looked += len(files)
        for file in wanted.intersection(files):
            places.setdefault(file, []).append(Path(folder, file).relative_to(root).as_posix())
        if looked > _LOOKED:
            break
    if not places:
        return ""
    name, found = min(places.items())
    return (
        f"files of {len(places):,} of these names lie in other folders, {name} as {some(sorted(found))}: write the "
        "names with their folders, or pass the folder as --root (of COCO's files, as --option images=FOLDER)"
    )


def _straight(name: str) -> str:
    """A name without the steps that lead nowhere (``./a``, ``x//a``, ``x/../a``), so that one file has one name."""
    parts = name.split("/")
    if len(parts) < 2 or not {"", ".", ".."} & set(parts[1:] if name.startswith("/") else parts):
        return name
    return posixpath.normpath(name)


def _is_same(path: str, other: str) -> bool:
    try:
        return Path(path).samefile(other)
    except OSError:
        return False


def _alike(name: str, found: list[str]) -> str:
    """The one of several names that is meant; empty where it could be two."""
    same = [f for f in found if _composed(f) == _composed(name)] or found
    return same[0] if len(same) == 1 else ""


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
