"""Two ways to draw any figure: for a page of print, and for a screen or a talk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from ...registry import UnknownNameError

StyleName = Literal["paper", "screen"]


@dataclass(frozen=True)
class FigureStyle:
    """How a figure is drawn.

    Attributes:
        name: ``paper`` or ``screen``. family: matplotlib's font family. mathtext: Its fonts of symbols.
        text: Factor of every size of type, and of the room that type takes. line: Factor of every width of line.
    """

    name: StyleName
    family: str
    mathtext: str
    text: float
    line: float

    def pt(self, size: float) -> float:
        """A size of type in points."""
        return self.text * size

    def room(self, inches: float) -> float:
        """Height or width in inches of something that holds type."""
        return self.text * inches


PAPER = FigureStyle("paper", "serif", "stix", 1.0, 1.0)
SCREEN = FigureStyle("screen", "sans-serif", "dejavusans", 1.3, 1.35)


def style_named(name: str) -> FigureStyle:
    """The style of a name.

    Raises:
        UnknownNameError: Neither ``paper`` nor ``screen``.
    """
    found = {"paper": PAPER, "screen": SCREEN}.get(name)
    if found is None:
        raise UnknownNameError("style", name, get_args(StyleName))
    return found


@contextmanager
def drawing(style: FigureStyle) -> Iterator[None]:
    """matplotlib's settings while a figure is made and written: type that stays type in PDFs, reproducible SVG ids."""
    from matplotlib import rc_context

    settings = {
        "font.family": style.family,
        "font.serif": ["STIXGeneral", "DejaVu Serif"],
        "mathtext.fontset": style.mathtext,
        "axes.linewidth": 0.7 * style.line,
        "xtick.major.width": 0.7 * style.line,
        "ytick.major.width": 0.7 * style.line,
        "pdf.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "cambench",
    }
    with rc_context(settings):
        yield
