"""``cambench.run``: a run, and its result in the hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...plugins import load_plugin
from ...results.records.load import load_run
from ..engine.again import given_again
from ..engine.from_records import tabled_before
from ..engine.planning.config import RunConfig
from ..engine.run import run as run_benchmark
from ..executors.crew import is_launch
from ..executors.launch import launch
from ..host.errors import RunError
from .result import RunResult


class IncompleteRunError(RunError):
    """A run came to its end without some of what was asked for; all else is on disk.

    Attributes:
        lost: Triple, or ``metric NAME`` -> why, with the image and the line of the file.
        unfinished: Triple -> shards that no process of the launch computed.
        result: The records that there are.
    """

    def __init__(self, lost: Mapping[str, str], unfinished: Mapping[str, list[int]], result: RunResult) -> None:
        said = [_lost(lost)] if lost else []
        said += [_unfinished(unfinished, result)] if unfinished else []
        super().__init__("\n".join(said))
        self.lost, self.unfinished, self.result = dict(lost), dict(unfinished), result


def _lost(lost: Mapping[str, str]) -> str:
    lines = "\n".join(f"  {what}: {why}" for what, why in lost.items())
    return (
        f"{len(lost)} of what was asked for could not be computed; all else is done.\n{lines}\n"
        "Mend it and give the same command again: only what is missing is computed"
    )


def _unfinished(unfinished: Mapping[str, list[int]], result: RunResult) -> str:
    shards = sorted({shard for missing in unfinished.values() for shard in missing})
    return (
        f"shards are missing, and no process of this launch is at work on them: {len(shards)} of "
        f"{result.run.manifest.shards} (first: {shards[0]}), of {len(unfinished)} triples. No table was written. Give "
        "the same command again, with as many processes as you like: only what is missing is computed"
    )


def run(config: RunConfig | None = None, **fields: Any) -> RunResult:
    """Benchmark triples on a data set; continue where an earlier run on the same folder stopped.

    A finished run given again is read, not computed; tables that it lacks, as in a new ``dest``, are made from its
    records.

    Args:
        config: The configuration; or give its fields as keywords (``dataset=…, triples=…, out=…``).
        **fields: Fields of ``RunConfig``.

    Raises:
        UsageError: The request is wrong (unknown field, impossible triple).
        UnknownNameError: A name that nothing has; the message lists the nearest ones.
        DatasetError, WeightsError, ResultsError, RunError: Data, weights or folder that cannot be used.
        IncompleteRunError: A method, metric or network failed, or a rank of the launch is gone; everything else is
            done, and in the error's ``result``.
    """
    config = config or RunConfig.create(**fields)
    finished = given_again(config)
    if finished is not None:
        for file in config.plugins:
            load_plugin(file)
        return RunResult(load_run(config.out), tuple(finished))
    done = tabled_before(config) or (launch(config) if is_launch(config) else run_benchmark(config))
    result = RunResult(done.records, done.paths, done.others_at_work, done.standing)
    if done.lost or done.unfinished:
        raise IncompleteRunError(done.lost, done.unfinished, result)
    return result
