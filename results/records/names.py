"""File names for any registered name, and text for any bytes."""

from __future__ import annotations

from urllib.parse import quote, unquote


def plain_text(text: str) -> str:
    """``text`` with bytes that are not UTF-8 (names of other encodings) written as ``\\udcNN``, so it can be stored."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def safe_name(name: str) -> str:
    """``name`` as one path component: letters, digits and ``_ . - + ~`` stay, the rest is percent-encoded."""
    encoded = quote(name, safe="+", errors="surrogateescape")
    return encoded.replace(".", "%2E", 1) if encoded.startswith(".") else encoded


def plain_name(component: str) -> str:
    """Inverse of ``safe_name``."""
    return unquote(component, errors="surrogateescape")
