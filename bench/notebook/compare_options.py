"""How a comparison is made: fields for the command line and for the keywords of ``cambench.compare``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from ..host.errors import UsageError
from ..host.options import Flag, IntervalOptions

if TYPE_CHECKING:
    from ...results.statistics import CompareChoices


def _fraction(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"'{value:g}': expected a fraction between 0 and 1")
    return value


Fraction = Annotated[float, AfterValidator(_fraction)]


def placed(word: str | Path) -> tuple[Path | None, str | None]:
    """The run folder and the pattern of triples that a word of a comparison gives; ``FOLDER:TRIPLE`` gives both.

    Raises:
        UsageError: It is neither.
    """
    if Path(word).is_dir():
        return Path(word), None
    if (folder := folder_of(str(word))) is not None:
        return folder, f"{folder}:{str(word).partition(':')[2]}"
    if isinstance(word, str) and word.count("/") >= 2:
        return None, word
    raise UsageError(f"{str(word)!r} is neither a run folder nor a triple backbone/cam/head, nor FOLDER:TRIPLE")


def folder_of(word: str) -> Path | None:
    """The folder of a word ``FOLDER:TRIPLE``; None where it is none."""
    folder, colon, triple = word.partition(":")
    return Path(folder) if colon and triple.count("/") >= 2 and Path(folder).is_dir() else None


class CompareOptions(IntervalOptions):
    """What a comparison is made for, and how it is drawn."""

    metrics: Annotated[tuple[str, ...], Flag(("--metric",))] = Field(
        (), description="What the comparison is made for: only this is tested, and corrected for; repeatable."
    )
    by: Annotated[str | None, Flag(metavar="METRIC")] = Field(None, description="Metric of the image and class lists.")
    intersect: Annotated[bool, Flag(("--intersect",))] = Field(
        False, description="Compare the common images of the runs."
    )
    images: int = Field(5, ge=0, description="Images listed on either side.")
    level: Fraction = Field(0.95, description="Coverage of the intervals.")
    alpha: Fraction = Field(0.05, description="Significance level, after Holm's correction.")

    @property
    def choices(self) -> CompareChoices:
        """The same, as the statistics take it."""
        from ...results.statistics import CompareChoices

        return CompareChoices(**{field.name: getattr(self, field.name) for field in fields(CompareChoices)})
