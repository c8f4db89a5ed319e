"""A folder of score maps beside the images of a split: which image has which file, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...text import some
from ..host.errors import UsageError
from .map_files import SUFFIXES, Map, MapFileError, map_of, read_map
from .map_names import TwoFoldersError, folder_above, matched, plain, stem_of
from .map_shapes import Size, exchanged

NAMED = 3
"""Files and images that a message names; the rest are counted."""
READERS = 8
"""Threads that look through the files."""
SizesOf = Callable[[Sequence[str]], Mapping[str, Size]]
"""Images -> (width, height) of their pictures; 0 where it is not known."""


@dataclass(frozen=True)
class MapFolder:
    """The maps of one method; made by ``open_folder``.

    Attributes:
        name: Name of the method.
        folder: Where its files are.
        files: Image id -> its file; of images whose file holds a map only.
        missing: Images without a file.
        faults: Files of images that hold no map, each with the reason in brackets.
        not_finite: Images whose map holds NaN or infinity.
        turned: Files of images whose map has the sides of its picture exchanged.
        below: The one of its folders in which the files lie, where their images' ids do not name it; else empty.
        beside: Files of another kind beside the one that is read.
        extra: Files of the folder that belong to no image of the split.
        shape: Cells (h, w) of every map; None where they differ.
        sha256: SHA-256 hex over the content of all files of images.
        images: Images of the split.
    """

    name: str
    folder: Path
    files: dict[str, Path]
    missing: tuple[str, ...]
    faults: tuple[str, ...]
    not_finite: tuple[str, ...]
    turned: tuple[str, ...]
    below: str
    beside: tuple[str, ...]
    extra: tuple[str, ...]
    shape: tuple[int, int] | None
    sha256: str
    images: int

    def read(self, image_ids: Sequence[str]) -> list[Map]:
        """The maps of images; one of NaN, which is scored as an empty map, where an image has none."""
        return [self._one(image_id) for image_id in image_ids]

    def _one(self, image_id: str) -> Map:
        path = self.files.get(image_id)
        if path is None:
            return np.full(self.shape or (1, 1), np.nan, np.float32)
        try:
            return read_map(path)
        except MapFileError as error:
            raise UsageError(f"maps {self.name}: {path}: {error}; it has changed while the run went on") from None

    def findings(self) -> list[str]:
        """What is odd about the folder, a sentence a kind, with the first few names; empty where nothing is."""
        kinds = ", then ".join(SUFFIXES)
        found = [
            (len(self.missing), "image(s) have no map and are scored as empty maps", self.missing),
            (len(self.faults), "file(s) hold no map; their images are scored as empty maps", self.faults),
            (len(self.not_finite), "map(s) hold NaN or infinity and are scored as empty maps", self.not_finite),
            (
                len(self.turned),
                "map(s) have width and height of their picture exchanged, and are scored so; where they are "
                "transposed, save values.T",
                self.turned,
            ),
            (len(self.beside), f"file(s) stand beside one of another kind ({kinds} is read first)", self.beside),
            (len(self.extra), "file(s) belong to no image of the split and are not read", self.extra),
        ]
        said = [f"{count} {what}: {some(names, NAMED)}" for count, what, names in found if count]
        said += [] if self.shape else ["the maps have several sizes; each is resized by itself"]
        said += [f"the files are those of its folder {self.below}"] if self.below else []
        return [f"maps {self.name}: {line}" for line in said]


def open_folder(name: str, folder: Path, image_ids: Sequence[str], sizes_of: SizesOf) -> MapFolder:
    """Look through a folder of maps: every file is read once, so that what is wrong is said before the run.

    A map is called as its image's id with ``.npy``, ``.npz`` or ``.png`` behind it, with or without the image's own
    suffix, in the sub-folders of the id; or, where no file is, by the last part of the id alone (``map_names``).

    Raises:
        UsageError: There is no such folder, it holds no map file, or none that belongs to an image; most maps are
            transposed.
    """
    if not folder.is_dir():
        what = (
            "a file; give the folder of the maps, which has one file an image" if folder.exists() else "no such folder"
        )
        raise UsageError(f"--maps {name}={folder}: {what}")
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if _is_file(p, folder)}
    there = {file: path for file, path in files.items() if path.suffix.lower() in SUFFIXES}
    if not there:
        held = f", but {some(list(files), NAMED)}; save each map with numpy.save" if files else ""
        raise UsageError(f"--maps {name}={folder}: the folder holds no {', '.join(SUFFIXES)} file{held}")
    try:
        file_of = matched(there, image_ids)
    except TwoFoldersError as error:
        raise UsageError(
            f"--maps {name}={folder}: images have files in several of its folders, {error}; give one of these, or each "
            "a name of its own"
        ) from None
    if not file_of:
        raise UsageError(
            f"--maps {name}={folder}: none of the {len(there)} files is called as one of the {len(image_ids)} images: "
            f"files such as {some(list(there), NAMED)}; expected names such as "
            f"{some([plain(i) + '.npy' for i in image_ids], NAMED)}"
        )
    _refuse_shared(name, file_of)
    paths = {image_id: there[file] for image_id, file in file_of.items()}
    looks = dict(zip(paths, _looks(paths.values()), strict=True))
    good = {image_id: look for image_id, look in looks.items() if not look.fault}
    if not good:
        image_id, look = next(iter(looks.items()))
        raise UsageError(f"--maps {name}={folder}: no file holds a map; {file_of[image_id]}: {look.fault}")
    shapes = {i: look.shape for i, look in good.items() if look.shape[0] != look.shape[1]}
    exact, nearly = exchanged(shapes, known := sizes_of(list(shapes)) if shapes else {})
    if 2 * len(exact) > len(shapes):
        _refuse_transposed(name, [file_of[i] for i in exact], shapes[exact[0]], known[exact[0]])
    rest = sorted(set(there) - set(file_of.values()))
    stems = {stem_of(file) for file in file_of.values()}
    beside = [file for file in rest if stem_of(file) in stems]
    sizes = Counter(look.shape for look in good.values())
    digest = hashlib.sha256("".join(f"{i}\0{look.sha256}\n" for i, look in sorted(looks.items())).encode())
    return MapFolder(
        name=name,
        folder=folder,
        files={image_id: paths[image_id] for image_id in good},
        missing=tuple(i for i in image_ids if i not in file_of),
        faults=tuple(f"{file_of[i]} ({look.fault})" for i, look in looks.items() if look.fault),
        not_finite=tuple(file_of[i] for i, look in good.items() if not look.finite),
        turned=tuple(file_of[i] for i in nearly or exact),
        below=folder_above(file_of),
        beside=tuple(beside),
        extra=tuple(file for file in rest if file not in beside),
        shape=next(iter(sizes)) if len(sizes) == 1 else None,
        sha256=digest.hexdigest(),
        images=len(image_ids),
    )


@dataclass(frozen=True)
class _Look:
    sha256: str
    shape: tuple[int, int] = (0, 0)
    finite: bool = True
    fault: str = ""


def _looks(paths: Iterable[Path]) -> Iterator[_Look]:
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(_look, paths)


def _look(path: Path) -> _Look:
    try:
        data = path.read_bytes()
    except OSError as error:
        return _Look("", fault=f"it cannot be read ({error.strerror})")
    digest = hashlib.sha256(data).hexdigest()
    try:
        values = map_of(data, path.suffix)
    except MapFileError as error:
        return _Look(digest, fault=str(error))
    # What is beyond float32 counts as infinite, as with every method.
    with np.errstate(over="ignore"):
        finite = bool(np.isfinite(values.astype(np.float32)).all())
    return _Look(digest, (values.shape[0], values.shape[1]), finite)


def _is_file(path: Path, folder: Path) -> bool:
    inside = path.relative_to(folder).parts
    return not any(p.startswith(".") for p in inside) and path.is_file()


def _refuse_shared(name: str, matched: dict[str, str]) -> None:
    """Raise where two images have one file: their maps cannot both be in it."""
    owners: dict[str, str] = {}
    for image_id, file in matched.items():
        if (other := owners.setdefault(file, image_id)) != image_id:
            raise UsageError(
                f"maps {name}: the file {file} could belong to the image {other} and to {image_id}; call each map as "
                f"its image's whole id, such as {image_id}.npy"
            )


def _refuse_transposed(name: str, files: Sequence[str], shape: Size, size: Size) -> None:
    """Raise where maps have width and height of their pictures exchanged to the pixel: no other maps do."""
    raise UsageError(
        f"maps {name}: {len(files)} maps have width and height of their picture exchanged, such as {files[0]} of shape "
        f"{shape} for a picture of {size[0]}×{size[1]} (width×height): {some(files, NAMED)}. A map is (height, width): "
        "save values.T, or, where the pictures are turned by their EXIF data, run with --option exif=apply"
    )
