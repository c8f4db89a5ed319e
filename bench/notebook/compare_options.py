"""How a comparison is made: fields for the command line and for the keywords of ``cambench.compare``."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from ..host.options import Flag, IntervalOptions

if TYPE_CHECKING:
    from ...results.statistics import CompareChoices


def _fraction(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"'{value:g}': expected a fraction between 0 and 1")
    return value


Fraction = Annotated[float, AfterValidator(_fraction)]


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
