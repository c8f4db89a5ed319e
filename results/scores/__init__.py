"""Scores of a run, from its records."""

from .comparable import same_images
from .merge import Merged, merge_runs
from .shown import Metric

__all__ = ["Merged", "Metric", "merge_runs", "same_images"]
