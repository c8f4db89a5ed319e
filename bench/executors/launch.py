"""A run on several workers: started, watched, started again where they are lost; what came of it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...datasets.open import url_of
from ...results.records.load import load_run
from ...results.records.locks import driving
from ...text import visible
from ..engine.again import finished_before
from ..engine.outcome import Done
from ..engine.planning.config import RunConfig
from ..host.consoles import err as console
from ..host.device import pick_device, several_devices
from ..host.errors import RunError, UsageError
from .local import LocalWorkers
from .ray_tasks import RayWorkers
from .run_worker import Order, WorkerReport, versions_here
from .slurm_jobs import SlurmWorkers
from .workers import LostWorkerError, Workers

POLL_S = 0.2
LAUNCH = {"on", "processes", "devices", "on_options"}
"""Fields that are this process's alone."""


def is_launch(config: RunConfig) -> bool:
    """Whether this process is to start others, rather than compute.

    Raises:
        UsageError: ``--on torchrun`` without torchrun, or several processes in one that torchrun started.
    """
    name, among = config.on.partition(":")[0], int(os.environ.get("WORLD_SIZE", "1"))
    if name == "torchrun" and "RANK" not in os.environ:
        raise UsageError(
            "--on torchrun: start the command with it, as in `torchrun --nproc-per-node 8 -m cambench run …`"
        )
    several = name in ("ray", "slurm") or (config.processes or 1) > 1 or config.devices is not None
    if several and (among > 1 or name == "torchrun"):
        raise UsageError(
            f"--on {config.on} in one of {among} processes that torchrun started: give the one or the other"
        )
    return several


def launch(config: RunConfig) -> Done:
    """Work a run off on the workers of an engine; the tables are those of one process.

    A worker that is lost is started again; its work is done by the others meanwhile. Nothing but shards at hand is
    lost where this process is: the same command continues.

    Raises:
        UsageError: The engine is not installed, or has no such option; a wrong request.
        RunLockedError: Another launch is at work on the folder.
        RunError: The engine does not answer, or no worker came to the end; the message has what each of them said.
    """
    config = config.model_copy(update={k: _absolute(getattr(config, k)) for k in config.model_fields_set})
    config, numbers = placed(config)
    with driving(config.out):
        workers, world = _workers(config, numbers)
        fields = config.model_dump(mode="json", exclude_unset=True, exclude=LAUNCH)
        order = Order(fields=fields, world=world, versions=versions_here())
        try:
            reports = _watch(workers, order)
        finally:
            workers.close()
    return _outcome(config, reports)


def placed(config: RunConfig) -> tuple[RunConfig, list[int]]:
    """The request of ``--devices`` as one of as many processes, and the number of the device of each."""
    if config.devices is None:
        return config, []
    kind, numbers = several_devices(config.devices)
    if config.on != "local" or config.device != "auto" or config.processes not in (None, len(numbers)):
        raise UsageError("--devices starts a process on each device here: give no --on, --device, --processes")
    # What ``auto`` is here stays ``auto``, so that the record is that of the run without --devices.
    device = "auto" if pick_device("auto") == kind else kind
    return config.model_copy(update={"processes": len(numbers), "device": device}), numbers


def _workers(config: RunConfig, numbers: Sequence[int]) -> tuple[Workers, int]:
    name, _, address = config.on.partition(":")
    if name == "ray":
        ray = RayWorkers(address, config.on_options)
        return ray, config.processes or ray.processes
    if name == "slurm":
        return SlurmWorkers(config.out, address or "slurm", config.on_options), config.processes or 1
    if config.on_options:
        raise UsageError(f"--on-option: the processes of --on {name} have no options")
    return LocalWorkers(numbers), config.processes or 1


def _watch(workers: Workers, order: Order) -> list[WorkerReport]:
    text = order.model_dump_json()
    # Of one process among one nobody would know that there may be others.
    running = workers.start(text, range(order.world))
    reports, starts = list[WorkerReport](), Counter[int]()
    while running:
        for rank, poll in list(running.items()):
            try:
                report = poll()
            except LostWorkerError as error:
                report = WorkerReport(rank=rank, host="", error=str(error), again=True)
            if report is None:
                continue
            del running[rank]
            if report.again and starts[rank] < workers.retries:
                starts[rank] += 1
                _say(f"worker {rank} is started again ({report.error})")
                running |= workers.start(text, [rank])
            else:
                reports.append(report)
        time.sleep(POLL_S)
    return reports


def _outcome(config: RunConfig, reports: list[WorkerReport]) -> Done:
    """What the run came to; failed workers are told of where others did their part."""
    failed = [r for r in reports if r.error]
    said = list(dict.fromkeys(f"worker {r.rank}{f' on {r.host}' if r.host else ''}: {r.error}" for r in failed))
    lost = {what: why for r in reports for what, why in r.lost.items()}
    unfinished = {what: shards for r in reports for what, shards in r.unfinished.items()}
    tables = finished_before(config)
    if tables is None and not any(r.closed for r in reports):
        kind = UsageError if failed and all(r.wrong_use for r in failed) else RunError
        raise kind(
            "\n".join([*said, "no worker came to the end of the run; the same command continues: nothing done is lost"])
        )
    for line in said:
        _say(f"{line}; others did its part")
    run = load_run(config.out)
    return Done(run, tuple(tables or [config.out / "run.json"]), lost, {} if tables else unfinished)


def _absolute(value: Any) -> Any:
    """Paths as they are found from any folder."""
    if isinstance(value, Path):
        return value if url_of(value) else value.expanduser().absolute()
    if isinstance(value, dict):
        return {k: _absolute(v) for k, v in value.items()}
    return tuple(map(_absolute, value)) if isinstance(value, tuple) else value


def _say(line: str) -> None:
    for part in line.split("\n"):
        console.print(visible(part), markup=False, soft_wrap=True)
