"""Any text as text in Markdown, LaTeX and CSV, whatever characters it holds."""

from __future__ import annotations

import unicodedata

from ...text import visible

_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_[]|~#$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # Braces break the ligatures that would turn these into dashes and quotation marks.
    '"': "''{}",
    "'": "'{}",
    "`": "`{}",
    "-": "{-}",
    # A row that starts with one of these would be read as an option of the line break before it.
    "[": "{[}",
    "*": "{*}",
    "–": "--",
    "—": "---",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "≈": r"$\approx$",
    "▲": r"$\triangle$",
    "▼": r"$\nabla$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≡": r"$\equiv$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "τ": r"$\tau$",
    "δ": r"$\delta$",
    "Δ": r"$\Delta$",
    "σ": r"$\sigma$",
    "−": r"$-$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "²": r"$^2$",
}
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def markdown(text: str) -> str:
    """``text`` as text of a Markdown table cell or paragraph."""
    return visible(text).translate(_MARKDOWN)


def latex(text: str) -> str:
    """``text`` as text of a LaTeX document with no package beyond the kernel; other scripts become ``[U+4E2D]``."""
    return "".join(_latex_char(c) for c in visible(text))


def csv_text(text: str) -> str:
    """``text`` as a CSV cell that no spreadsheet takes for a formula (a leading quote is set before such a start)."""
    plain = visible(text)
    return f"'{plain}" if text.startswith(_FORMULA_START) or plain.startswith(_FORMULA_START) else plain


def _latex_char(char: str) -> str:
    known = _LATEX.get(char)
    if known is not None:
        return known
    if char.isascii():
        return char
    base = unicodedata.normalize("NFD", char)
    if char.isalpha() and ord(char) < 0x180 and len(base) == 2 and base[0].isascii():
        return _ACCENTS[base[1]].format(base[0]) if base[1] in _ACCENTS else base[0]
    return f"{{[}}U+{ord(char):04X}]"


_ACCENTS = {
    "\u0300": r"\`{{{}}}",
    "\u0301": r"\'{{{}}}",
    "\u0302": r"\^{{{}}}",
    "\u0303": r"\~{{{}}}",
    "\u0308": r"\"{{{}}}",
    "\u030a": r"\r{{{}}}",
    "\u030c": r"\v{{{}}}",
    "\u0327": r"\c{{{}}}",
}
