"""One file over HTTP: resumable, verified before it gets its name, never overwriting."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from ..schema import DatasetError
from .verify import Outcome, check_space, verify

Advance = Callable[[int], object]
Track = Callable[[str, int], AbstractContextManager[Advance]]
"""Given a file name and its bytes (0: unknown), a context whose value advances the progress."""
_BLOCK = 1 << 20
_TIMEOUT_S = 60.0


def fetch(url: str, path: Path, size: int, checksum: str, track: Track, *, token: str = "") -> Outcome:
    """Download ``url`` to ``path`` through ``path.part``, continuing a part that is already there.

    ``token``: access token for the server of ``url``; it is not sent on to where that server redirects.

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
    if part.is_symlink() or path.is_symlink():
        raise DatasetError(f"{part if part.is_symlink() else path} is a symbolic link; remove it and run again")
    start = part.stat().st_size if part.exists() else 0
    resumed = start > 0
    if not (size and start == size):
        start = _transfer(url, part, start, size, track, token)
        resumed = resumed and start > 0
    if size and part.stat().st_size < size:
        raise DatasetError(
            f"{url}: ended after {part.stat().st_size:,} of {size:,} bytes; run the same command again to continue"
        )
    try:
        verify(part, size, checksum, "it was removed, run again")
    except DatasetError:
        part.unlink()
        raise
    _name(part, path)
    return "resumed" if resumed else "downloaded"


def _name(part: Path, path: Path) -> None:
    """Give the part its name, without replacing a file that appeared meanwhile."""
    appeared = f"{path} appeared during the download; it was left untouched"
    try:
        os.link(part, path)
    except FileExistsError:
        raise DatasetError(appeared) from None
    except OSError:
        # A file system without hard links (exFAT, some network drives): a rename, which would replace a file.
        if path.exists():
            raise DatasetError(appeared) from None
        part.rename(path)
    else:
        part.unlink()


def _transfer(url: str, part: Path, start: int, size: int, track: Track, token: str) -> int:
    """Append the rest of ``url`` to ``part``; the byte at which the transfer began (0: the server sent all of it)."""
    headers = {"User-Agent": "cambench", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(url, headers=headers)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            if start and response.status != 206:
                start = 0
            length = int(response.headers.get("Content-Length") or 0)
            total = size or (start + length)
            check_space(part.parent, total - start)
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
        if error.code == 416 and error.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
            return start
        if error.code == 416:
            part.unlink()
            raise DatasetError(f"{url}: the partial file is longer than the file; it was removed, run again") from error
        raise DatasetError(f"{url}: the server answered {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        broken = isinstance(error, http.client.HTTPException)
        reason = f"no whole HTTP answer ({type(error).__name__})" if broken else getattr(error, "reason", error)
        raise DatasetError(f"{url}: {reason}; what was received is kept, run the same command again") from error
    return start
