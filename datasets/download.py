"""Resumable, verified download and safe extraction, for the sets that their publishers give out over plain HTTPS."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from .schema import DATASETS, DatasetError
from .sources import SOURCES, SourceFile

Outcome = Literal["downloaded", "resumed", "already there"]
Advance = Callable[[int], object]
Track = Callable[[str, int], AbstractContextManager[Advance]]
"""Given a file name and its bytes (0: unknown), a context whose value advances the progress."""
_BLOCK = 1 << 20
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class FileReport:
    """One file: where it is, how it got there, and what was extracted (number of files; 0: nothing to extract)."""

    name: str
    path: Path
    outcome: Outcome
    size: int
    checksum: str
    extracted: int = 0


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
    track: Track = lambda _title, _total: nullcontext(_ignore),
) -> DownloadReport:
    """Fetch a data set's files into ``root``.

    Args:
        name: Registered name.
        root: Folder; made if absent. Nothing in it is overwritten.
        extract: Unpack archives there.
        optional: Also the files that are not needed for boxes (CUB's segmentations).
        base_url: A mirror: the files are fetched as ``base_url/NAME`` (``http`` allowed), checksums as published.
        track: Shows the progress of one file.

    Raises:
        UnknownNameError: No data set has this name.
        DatasetError: Nothing of it can be fetched this way, or a file is refused, incomplete or of a wrong checksum.
    """
    spec = DATASETS.get(name)
    sources = [s for s in SOURCES.get(name, ()) if optional or not s.optional]
    manual = tuple(s.step for s in sources if not s.url and not base_url)
    wanted = [s for s in sources if s.url or base_url]
    if not wanted:
        steps = "".join(f"\n  {s}" for s in manual) or f" see {spec.source}"
        raise DatasetError(
            f"{name} cannot be downloaded automatically (its publisher gives no plain HTTPS link):{steps}"
        )
    folder = Path(root).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    reports = []
    for source in wanted:
        url = f"{base_url.rstrip('/')}/{source.name}" if base_url else source.url
        reports.append(fetch_and_extract(source, url, folder, extract=extract, track=track))
    return DownloadReport(name, folder, tuple(reports), manual)


def fetch_and_extract(source: SourceFile, url: str, folder: Path, *, extract: bool, track: Track) -> FileReport:
    """One file of ``download``."""
    path = folder / source.name
    if extract and source.unpacks_to and (folder / source.unpacks_to).exists() and not path.exists():
        return FileReport(source.name, folder / source.unpacks_to, "already there", 0, "")
    outcome = fetch(url, path, source.size, source.checksum, track)
    extracted = 0
    if extract and _is_archive(path) and not (source.unpacks_to and (folder / source.unpacks_to).exists()):
        extracted = unpack(path, folder)
    return FileReport(source.name, path, outcome, path.stat().st_size, source.checksum, extracted)


def fetch(url: str, path: Path, size: int, checksum: str, track: Track) -> Outcome:
    """Download ``url`` to ``path`` through ``path.part``, continuing a part that is already there.

    Raises:
        DatasetError: The server refuses, the transfer ends early, or size or checksum differ (the part is kept where
            more can follow, removed where it is wrong).
    """
    if path.exists():
        verify(path, size, checksum)
        return "already there"
    scheme = urlsplit(url).scheme
    if scheme not in ("https", "http"):
        raise DatasetError(f"{url}: only https (or http to a mirror) is fetched")
    part = path.with_name(f"{path.name}.part")
    start = part.stat().st_size if part.exists() else 0
    resumed = start > 0
    if not (size and start == size):
        start = _transfer(url, part, start, size, track)
        resumed = resumed and start > 0
    if size and part.stat().st_size < size:
        raise DatasetError(
            f"{url}: ended after {part.stat().st_size:,} of {size:,} bytes; run the same command again to continue"
        )
    try:
        verify(part, size, checksum)
    except DatasetError:
        part.unlink()
        raise
    # A hard link refuses to replace a file that appeared meanwhile; a rename would not.
    try:
        os.link(part, path)
    except FileExistsError:
        raise DatasetError(f"{path} appeared during the download; it was left untouched") from None
    part.unlink()
    return "resumed" if resumed else "downloaded"


def _transfer(url: str, part: Path, start: int, size: int, track: Track) -> int:
    """Append the rest of ``url`` to ``part``; the byte at which the transfer began (0: the server sent all of it)."""
    headers = {"User-Agent": "cambench", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            if start and response.status != 206:
                start = 0
            length = int(response.headers.get("Content-Length") or 0)
            total = size or (start + length)
            _check_space(part.parent, total - start)
            done = start
            with part.open("ab" if start else "wb") as file, track(part.name.removesuffix(".part"), total) as advance:
                advance(start)
                while block := response.read(_BLOCK):
                    file.write(block)
                    done += len(block)
                    advance(len(block))
            if length and done < start + length:
                raise DatasetError(f"{url}: the connection closed at byte {done:,}; run the same command again")
    except urllib.error.HTTPError as error:
        if error.code == 416:
            part.unlink()
            raise DatasetError(f"{url}: the partial file is longer than the file; it was removed, run again") from error
        raise DatasetError(f"{url}: the server answered {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise DatasetError(f"{url}: {reason}; what was received is kept, run the same command again") from error
    return start


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(f"{folder}: {needed:,} bytes needed, {free:,} free")


def verify(path: Path, size: int, checksum: str) -> None:
    """Size and checksum (``md5:…``, ``sha256:…``) as published; ``DatasetError`` says what differs."""
    found = path.stat().st_size
    if size and found != size:
        raise DatasetError(f"{path}: {found:,} bytes, published are {size:,}; delete it and run again")
    if checksum:
        kind, _, expected = checksum.partition(":")
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, kind).hexdigest()
        if actual != expected:
            raise DatasetError(f"{path}: {kind} {actual}, published is {expected}; delete it and run again")


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
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
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
        _check_space(folder, sum(i.file_size for i in infos))
        for info in infos:
            with pack.open(info) as source:
                _write(source.read, aside / info.filename)
    return len(infos)


def _unpack_tar(archive: Path, folder: Path, aside: Path) -> int:
    with tarfile.open(archive) as tar:
        members = [m for m in tar if not m.isdir()]
        for member in members:
            _check_member(archive, member.name, member.isreg(), folder)
        _check_space(folder, sum(m.size for m in members))
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
