"""Any text as one printable line, and any bytes as text that can be stored."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def visible(text: str) -> str:
    """``text`` on one line, control and format characters spelled ``\\xNN`` or ``\\uNNNN``."""
    return "".join(c if _printable(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def plain_text(text: str) -> str:
    """``text`` with bytes that are not UTF-8 (names of other encodings) written as ``\\udcNN``, so it can be stored."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something; the error's type where none does."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def some(names: Sequence[str], most: int) -> str:
    """The first few of ``names``, and how many more there are: ``a, b, c and 7 more``."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def number_of(count: int, one: str, more: str = "") -> str:
    """A number of things: ``1 image``, ``7 images``; ``more`` where the plural has no plain s."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def _printable(char: str) -> bool:
    # Cf holds the bidirectional overrides that would reorder a table row; Cs are bytes that were not UTF-8.
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
