"""Roots that are URLs of a file system that fsspec knows; light, as it is asked before anything is read."""

from __future__ import annotations

import re

from ..schema import DatasetError

_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/{1,2}([^/].*)$", re.DOTALL)


def url_of(root: object) -> str | None:
    """The URL that a root is, None for a path; a ``Path`` of ``s3://bucket/data`` has lost a slash."""
    found = _URL.match(str(root))
    return f"{found[1]}://{found[2]}" if found else None


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
