"""Scores of a run, from its records."""

from .comparable import same_images
from .merge import Merged, merge_runs
from .shown import METRICS, Metric, score_run

__all__ = ["METRICS", "Merged", "Metric", "merge_runs", "same_images", "score_run"]
