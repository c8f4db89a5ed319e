"""Intervals, paired tests, ranks."""

from .bootstrap import Bootstrap, Entry, bootstrap
from .comparison import CompareChoices, Comparison, Pair, compare
from .intervals import LEVEL, RESAMPLES, Interval, bootstrap_interval
from .known_standing import KnownStanding
from .paired import ALPHA, Difference
from .standing import Standing, standing

__all__ = [
    "ALPHA",
    "LEVEL",
    "RESAMPLES",
    "Bootstrap",
    "CompareChoices",
    "Comparison",
    "Difference",
    "Entry",
    "Interval",
    "KnownStanding",
    "Pair",
    "Standing",
    "bootstrap",
    "bootstrap_interval",
    "compare",
    "standing",
]
