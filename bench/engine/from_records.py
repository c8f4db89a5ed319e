"""The end of a run: its tables, from its records."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ...atomic import remove_leftovers_under
from ...consoles import err as console
from ...plugins import load_plugin
from ...results.records.load import Run, load_run
from ...results.records.locks import holders
from ...results.records.record_errors import ResultsError
from ...results.records.run_folder import MANIFEST_NAME
from ...results.scores import merge_runs
from ...results.statistics import KnownStanding
from ...results.tables.leaderboard import write_tables
from .again import closed_before, tables_folder
from .outcome import Done
from .planning.config import RunConfig


def tabled_before(config: RunConfig) -> Done | None:
    """Write the tables of a finished run that lacks nothing but them; None where anything is to be computed.

    Its request must be the same, and every record whole, whatever the times of the files say. Without ``dest`` the
    tables go into the run's folder, of which nothing else is written.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or closed_before(config) is None:
        return None
    for file in config.plugins:
        load_plugin(file)
    # What a process that was killed at the tables left behind.
    with suppress(ResultsError):
        holders(config.out)
    remove_leftovers_under(config.out)
    try:
        found = load_run(config.out)
    except ResultsError:
        return None
    images = len(found.index) + len(found.failures)
    if not len(found.index) or images != found.manifest.dataset.rows or found.problems or found.pending:
        return None
    return tabled(config, found, KnownStanding(), {}, _say)


def tabled(
    config: RunConfig, run: Run, known: KnownStanding, lost: Mapping[str, str], say: Callable[[Sequence[str]], None]
) -> Done:
    """Write the tables of a run whose shards are all there."""
    manifest = config.out / MANIFEST_NAME
    # A location threshold from val needs a second run; `cambench leaderboard` joins both.
    if run.manifest.protocol.loc_threshold == "val":
        return Done(run, (manifest,), dict(lost))
    say(["making the tables: intervals, tests and ranks from the records"])
    merged = merge_runs([run])
    stats = known.of(merged)
    return Done(run, (manifest, *write_tables(merged, stats, tables_folder(config))), dict(lost), standing=stats)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
