"""Resumable, verified download and safe extraction, for the sets given out over plain HTTPS or on the hub."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...home import expanded
from ..schema import DATASETS, DatasetError
from .http import Track, fetch
from .hub import fetch_hub
from .sources import HUB, SOURCES, SourceFile
from .verify import FileReport, check_space

_BLOCK = 1 << 20


@dataclass(frozen=True)
class DownloadReport:
    """A data set's download. ``manual``: what has to be fetched by hand, and where."""

    dataset: str
    root: Path
    files: tuple[FileReport, ...]
    manual: tuple[str, ...] = ()


def _ignore(_units: int) -> None:
    return None


def download(
    name: str,
    root: str | Path,
    *,
    extract: bool = True,
    optional: bool = False,
    base_url: str = "",
    endpoint: str | None = None,
    track: Track = lambda _title, _total: nullcontext(_ignore),
) -> DownloadReport:
    """Fetch a data set's files into ``root``.

    Args:
        name: Registered name.
        root: Folder; made if absent. Nothing in it is overwritten.
        extract: Unpack archives there.
        optional: Also the files that are not needed for boxes (CUB's segmentations).
        base_url: A mirror: the files are fetched as ``base_url/NAME`` (``http`` allowed), checksums as published.
        endpoint: Another hub for what comes from the Hugging Face hub (default: ``$HF_ENDPOINT``, else the hub).
        track: Shows the progress of one file.

    Raises:
        UnknownNameError: No data set has this name.
        DatasetError: Nothing of it can be fetched this way, or a file is refused, incomplete or of a wrong checksum.
    """
    spec = DATASETS.get(name)
    sources = [s for s in SOURCES.get(name, ()) if optional or not s.optional]
    hub = [h for h in HUB.get(name, ()) if not base_url and (optional or not h.optional)]
    replaced = {file for h in hub for file in h.replaces}
    manual = tuple(s.step for s in sources if not s.url and not base_url and s.name not in replaced)
    wanted = [s for s in sources if s.url or base_url]
    if not wanted and not hub:
        steps = "".join(f"\n  {s}" for s in manual) or f" see {spec.source}"
        raise DatasetError(
            f"{name} cannot be downloaded automatically (its publisher gives no plain HTTPS link):{steps}"
        )
    folder = expanded(root)
    reports: list[FileReport] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for files in hub:
            try:
                reports += fetch_hub(files, folder, track, endpoint)
            except DatasetError as error:
                others = "".join(f"\n  {s.step}" for s in sources if s.name in files.replaces)
                raise DatasetError(f"{error}\nor fetch by hand instead:{others}") from error
        for source in wanted:
            url = f"{base_url.rstrip('/')}/{source.name}" if base_url else source.url
            reports.append(fetch_and_extract(source, url, folder, extract=extract, track=track))
    except OSError as error:
        # A folder that cannot be made or written, a full disk.
        raise DatasetError(
            f"{error.filename or folder}: {error.strerror or error}; run the same command again once that is mended"
        ) from error
    return DownloadReport(name, folder, tuple(reports), manual)


def fetch_and_extract(source: SourceFile, url: str, folder: Path, *, extract: bool, track: Track) -> FileReport:
    """One file of ``download``."""
    path = folder / source.name
    place = folder / source.unpacks_to
    # The folder may be the data set's own, which unpacking made, and not the one above it.
    if source.unpacks_to.startswith(f"{folder.resolve().name}/"):
        place = folder.resolve().parent / source.unpacks_to
    if extract and source.unpacks_to and place.exists() and not path.exists():
        return FileReport(source.name, place, "already there", 0, "")
    outcome = fetch(url, path, source.size, source.checksum, track)
    extracted = 0
    if extract and _is_archive(path) and not (source.unpacks_to and (folder / source.unpacks_to).exists()):
        extracted = unpack(path, folder)
    return FileReport(source.name, path, outcome, path.stat().st_size, source.checksum, extracted)


def _is_archive(path: Path) -> bool:
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path) -> int:
    """Extract a tar or zip archive into ``folder``; number of files.

    All members are checked before the first is written: absolute paths, ``..``, links and devices are refused, and so
    is a member that exists already. Files are written aside and moved into place at the end, so that an interrupted
    extraction never looks like a complete one.

    Raises:
        DatasetError: A member is refused, or the archive is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{archive.name}.extracting"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        count = (
            _unpack_zip(archive, folder, aside) if zipfile.is_zipfile(archive) else _unpack_tar(archive, folder, aside)
        )
        _move_in(aside, folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        # RuntimeError: an encrypted member, or a compression that Python does not know.
        raise DatasetError(f"{archive}: cannot be extracted: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return count


def _unpack_zip(archive: Path, folder: Path, aside: Path) -> int:
    with zipfile.ZipFile(archive) as pack:
        infos = [i for i in pack.infolist() if not i.is_dir()]
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            _check_member(archive, info.filename, kind in (0, stat.S_IFREG), folder)
        check_space(folder, sum(i.file_size for i in infos))
        for info in infos:
            with pack.open(info) as source:
                _write(source.read, aside / info.filename)
    return len(infos)


def _unpack_tar(archive: Path, folder: Path, aside: Path) -> int:
    with tarfile.open(archive) as tar:
        members = [m for m in tar if not m.isdir()]
        for member in members:
            _check_member(archive, member.name, member.isreg(), folder)
        check_space(folder, sum(m.size for m in members))
        for member in members:
            content = tar.extractfile(member)
            assert content is not None
            with content:
                _write(content.read, aside / member.name)
    return len(members)


def _move_in(source: Path, target: Path) -> None:
    """Move everything below ``source`` into ``target``; whole folders where they are new."""
    for entry in source.iterdir() if source.is_dir() else ():
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move_in(entry, place)
        elif place.exists():
            raise FileExistsError(f"{place} appeared during the extraction; it was left untouched")
        else:
            entry.rename(place)


def _check_member(archive: Path, name: str, regular: bool, folder: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts:
        raise DatasetError(f"{archive}: member {name!r} has no name; nothing was extracted")
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise DatasetError(f"{archive}: member {name!r} would be written outside {folder}; nothing was extracted")
    if not regular:
        raise DatasetError(f"{archive}: member {name!r} is a link or a device; nothing was extracted")
    target = folder / path
    if target.exists() or target.is_symlink():
        raise DatasetError(f"{archive}: {target} exists already and is not overwritten; nothing was extracted")
    for parent in path.parents:
        if (folder / parent).is_symlink():
            raise DatasetError(f"{archive}: {folder / parent} is a symbolic link; nothing was extracted")


def _write(read: Callable[[int], bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        while block := read(_BLOCK):
            file.write(block)
