"""Roots that are URLs of a file system that fsspec knows; light, as it is asked before anything is read."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from ..schema import DatasetError

_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/{1,2}([^/].*)$", re.DOTALL)


_FILE = re.compile(r"^file:/+(?:localhost/+)?(.*)$", re.DOTALL | re.IGNORECASE)
_DRIVE = re.compile(r"^[A-Za-z]:(/|$)")


def url_of(root: object) -> str | None:
    """The URL that a root is, None for a path and for a ``file:`` URL, which is one (``local_name``).

    A ``Path`` of ``s3://bucket/data`` has lost a slash.
    """
    found = _URL.match(str(root))
    return f"{found[1]}://{found[2]}" if found and found[1].lower() != "file" else None


def local_name(name: str) -> str:
    """The path that a ``file:`` URL stands for (RFC 8089), with any number of slashes; other names as they are.

    A percent sign counts as an escape where no file is called as it is written.
    """
    found = _FILE.match(name)
    if found is None:
        return name
    path = found[1] if _DRIVE.match(found[1]) else f"/{found[1]}"
    return path if "%" not in path or Path(path).exists() else unquote(path)


def check_protocol(url: str) -> None:
    """``DatasetError`` where no file system of this kind is known, or its package is missing; asks nobody."""
    import fsspec

    protocol = url.partition("://")[0]
    if protocol not in fsspec.available_protocols():
        known = ", ".join(sorted({"file", "gs", "hf", "https", "s3", "ssh"} & set(fsspec.available_protocols())))
        raise DatasetError(f"root {url}: fsspec knows no file system {protocol!r}; among those that it knows: {known}")
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise DatasetError(f"root {url}: {error}") from error
