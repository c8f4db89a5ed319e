"""A run on several workers, and what came of it."""

from __future__ import annotations

from ...results.records.load import load_run
from ..engine.again import finished_before
from ..engine.outcome import Done
from ..engine.planning.config import RunConfig
from .crew import placed, share
from .run_worker import run_job


def launch(config: RunConfig) -> Done:
    """Work a run off on the workers of an engine; the tables are those of one process.

    Raises:
        UsageError, RunLockedError, RunError: As ``placed`` and ``share``.
    """
    config, numbers = placed(config)
    reports = share(run_job, config, numbers, config.out, lambda: finished_before(config) is not None)
    lost = {what: why for r in reports for what, why in r.lost.items()}
    unfinished = {what: shards for r in reports for what, shards in r.unfinished.items()}
    tables = finished_before(config)
    return Done(load_run(config.out), tuple(tables or [config.out / "run.json"]), lost, {} if tables else unfinished)
