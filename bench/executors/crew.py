"""Workers that share a piece of work: started on an engine, watched, started again where they are lost."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...consoles import err as console
from ...datasets.open import url_of
from ...home import expanded
from ...results.records.locks import driving
from ...text import visible
from ..host.device import pick_device, several_devices
from ..host.errors import RunError, UsageError
from ..host.options import WorkerOptions
from .local import LocalWorkers
from .ray_tasks import RayWorkers
from .run_worker import Job, Order, WorkerReport, name_of, versions_here
from .slurm_jobs import SlurmWorkers
from .workers import LostWorkerError, Workers

R = TypeVar("R", bound=WorkerOptions)
POLL_S = 0.2
GRACE_S = 20.0
"""Seconds in which workers end by themselves once the tables are written; one that waits for a machine never would."""


def is_launch(request: WorkerOptions) -> bool:
    """Whether this process is to start others, rather than compute.

    Raises:
        UsageError: ``--on torchrun`` without torchrun, or several processes in one that torchrun started.
    """
    name, among = request.on.partition(":")[0], int(os.environ.get("WORLD_SIZE", "1"))
    if name == "torchrun" and "RANK" not in os.environ:
        raise UsageError("--on torchrun: start the command with it, as in `torchrun --nproc-per-node 8 -m cambench …`")
    several = name in ("ray", "slurm") or (request.processes or 1) > 1 or request.devices is not None
    if several and (among > 1 or name == "torchrun"):
        raise UsageError(
            f"--on {request.on} in one of {among} processes that torchrun started: give the one or the other"
        )
    return several


def share(
    job: Job, request: WorkerOptions, numbers: Sequence[int], out: Path, is_done: Callable[[], bool]
) -> list[WorkerReport]:
    """Have the workers of an engine do a job, and return what each of them says.

    A worker that is lost is started again; its work is done by the others meanwhile. Nothing but what was at hand is
    lost where this process is: the same command continues.

    Args:
        job: What each of them does.
        request: Its fields, and the engine; ``placed``.
        numbers: Of the workers' devices, from there.
        out: The folder in which they find what is to be done.
        is_done: Whether the work is there, whatever the workers said.

    Raises:
        UsageError: The engine is not installed, or has no such option; a wrong request.
        RunLockedError: Another launch is at work on the folder.
        RunError: The engine does not answer, or no worker came to the end; the message has what each of them said.
    """
    with driving(out):
        workers, world = _workers(request, expanded(out).absolute(), numbers)
        fields = request.model_dump(mode="json", exclude_unset=True, exclude=set(WorkerOptions.model_fields))
        order = Order(job=name_of(job), fields=fields, world=world, versions=versions_here())
        try:
            reports = _watch(workers, order)
        finally:
            workers.close()
    failed = [r for r in reports if r.error]
    said = list(dict.fromkeys(f"worker {r.rank}{f' on {r.host}' if r.host else ''}: {r.error}" for r in failed))
    if not any(r.closed for r in reports) and not is_done():
        kind = UsageError if failed and all(r.wrong_use for r in failed) else RunError
        raise kind(
            "\n".join([*said, "no worker came to the end of the run; the same command continues: nothing done is lost"])
        )
    for line in said:
        _say(f"{line}; others did its part")
    return reports


def placed(request: R) -> tuple[R, list[int]]:
    """The request with its paths as they are found from any folder, and the numbers of its processes' devices.

    That of ``--devices`` is one of as many processes; without it the devices are the processes' own.

    Raises:
        UsageError: Devices that are not here, or beside options that they take the place of.
    """
    request = request.model_copy(update={k: _absolute(getattr(request, k)) for k in request.model_fields_set})
    if request.devices is None:
        return request, []
    kind, numbers = several_devices(request.devices)
    one = request.model_dump(include={"device"}).get("device", "auto") != "auto"
    if request.on != "local" or one or request.processes not in (None, len(numbers)):
        raise UsageError("--devices starts a process on each device here: give no --on, --device, --processes")
    # What ``auto`` is here stays ``auto``, so that the record is that of the run without --devices.
    device = "auto" if pick_device("auto") == kind else kind
    return request.model_copy(update={"processes": len(numbers), "devices": None, "device": device}), numbers


def _workers(request: WorkerOptions, out: Path, numbers: Sequence[int]) -> tuple[Workers, int]:
    name, _, address = request.on.partition(":")
    if name == "ray":
        ray = RayWorkers(address, request.on_options)
        return ray, request.processes or ray.processes
    if name == "slurm":
        return SlurmWorkers(out, address or "slurm", request.on_options), request.processes or 1
    return LocalWorkers(numbers), request.processes or 1


def _watch(workers: Workers, order: Order) -> list[WorkerReport]:
    text = order.model_dump_json()
    running = workers.start(text, range(order.world))
    reports, starts, until = list[WorkerReport](), Counter[int](), float("inf")
    while running and time.monotonic() < until:
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
                until = min(until, time.monotonic() + GRACE_S) if report.closed and not report.unfinished else until
        time.sleep(POLL_S)
    return reports


def _absolute(value: Any) -> Any:
    if isinstance(value, Path):
        return value if url_of(value) else expanded(value).absolute()
    if isinstance(value, dict):
        return {k: _absolute(v) for k, v in value.items()}
    return tuple(map(_absolute, value)) if isinstance(value, tuple) else value


def _say(line: str) -> None:
    for part in line.split("\n"):
        console.print(visible(part), markup=False, soft_wrap=True)
