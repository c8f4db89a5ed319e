"""Workers that are jobs of a Slurm array, submitted through submitit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...results.records.run_folder import JOBS_NAME
from ...text import first_line
from ..host.errors import RunError, UsageError
from .run_worker import WorkerReport, work
from .workers import LostWorkerError, Poll, numbers

TIMEOUT_MIN = 60
"""Minutes of a job unless ``timeout_min`` says otherwise; submitit's own five would end in the middle of a training."""
TIMEOUTS = 100
"""How often a job that reached its limit is queued again: it goes on where it was."""
GENERAL = {"timeout_min", "mem_gb", "nodes", "gpus_per_node", "tasks_per_node", "cpus_per_task"}
"""Options that submitit has for every cluster; all others are Slurm's own."""


class Requeued:
    """``work``, which Slurm may stop (preemption, time limit) and start again; the shard at hand is lost."""

    def __call__(self, order: str, rank: int) -> str:
        """As ``work``."""
        return work(order, rank)

    def checkpoint(self, order: str, rank: int) -> Any:
        """What submitit starts after a stop: the same once more."""
        import submitit

        return submitit.helpers.DelayedSubmission(Requeued(), order, rank)


class SlurmWorkers:
    """A job of an array for each worker.

    Args:
        out: The run folder; scripts and output of the jobs go into its folder ``jobs``.
        cluster: What submitit submits to: ``slurm``, or ``local`` to try it on this machine.
        options: ``partition``, ``account``, ``timeout_min``, ``gpus_per_node``, ``cpus_per_task``, ``mem_gb`` and what
            else ``sbatch`` has.

    Raises:
        UsageError: submitit is not installed, or has no such option. RunError: There is no Slurm here.
    """

    retries = 3

    def __init__(self, out: Path, cluster: str, options: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError:
            raise UsageError("--on slurm needs submitit: pip install 'cambench[slurm]'") from None
        self._submitit = submitit
        given = {key if key in GENERAL else f"slurm_{key}": value for key, value in numbers(options).items()}
        try:
            again = {f"{cluster}_max_num_timeout": TIMEOUTS}
            self._executor = submitit.AutoExecutor(folder=out / JOBS_NAME / "%j", cluster=cluster, **again)
            self._executor.update_parameters(**{"name": "cambench", "timeout_min": TIMEOUT_MIN, **given})
        except (RuntimeError, ValueError) as error:
            raise RunError(f"--on slurm: {error}. Give the command on a machine that has sbatch") from None
        except (NameError, TypeError) as error:
            raise UsageError(f"--on-option: {error}") from None
        self._jobs: list[Any] = []

    def start(self, order: str, ranks: Iterable[int]) -> dict[int, Poll]:
        """As of ``Workers``."""
        numbered = list(ranks)
        jobs = self._executor.map_array(Requeued(), [order] * len(numbered), numbered)
        self._jobs += jobs
        return {rank: partial(self._poll, job) for rank, job in zip(numbered, jobs, strict=True)}

    def _poll(self, job: Any) -> WorkerReport | None:
        if not job.done():
            return None
        try:
            return WorkerReport.model_validate_json(job.result())
        except (self._submitit.core.utils.UncompletedJobError, self._submitit.core.utils.FailedJobError) as error:
            raise LostWorkerError(f"job {job.job_id}: {first_line(error)} ({job.paths.stderr})") from None

    def close(self) -> None:
        """As of ``Workers``."""
        for job in self._jobs:
            if not job.done():
                job.cancel()
