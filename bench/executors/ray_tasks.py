"""Workers that are tasks of a Ray cluster."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ...text import first_line
from ..host.errors import RunError, UsageError
from .run_worker import WorkerReport, work
from .workers import LostWorkerError, Poll, numbers

RETRIES = 20
"""How often Ray starts a task again whose process or machine is lost, unless ``max_retries`` says otherwise."""


CONNECT_S = 10.0
"""Seconds in which a cluster's port must answer; Ray itself tries for minutes."""
_PLACE = re.compile(r"(?:ray://)?(?P<host>\[.+\]|[^/:]+):(?P<port>\d{1,5})")


class RayWorkers:
    """A Ray Core task for each worker; Ray places it, gives it its GPU, and starts it again where it is lost.

    Args:
        address: Of the cluster; empty for ``RAY_ADDRESS``, or for Ray on this machine.
        options: Of the tasks, as ``ray.remote`` has them: ``num_gpus``, ``num_cpus``, ``max_retries``, ``resources`` …

    Raises:
        UsageError: Ray is not installed. RunError: The cluster does not answer.
    """

    retries = 0

    def __init__(self, address: str, options: Mapping[str, Any]) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError("--on ray needs Ray: pip install 'cambench[ray]'") from None
        self._ray = ray
        _check_answers(address or os.environ.get("RAY_ADDRESS", ""))
        # Heads that are trained on the CPU depend on the number of threads; Ray would set its own.
        threads = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
        self._began = not ray.is_initialized()
        if self._began:
            try:
                ray.init(
                    address=address or None,
                    runtime_env={"env_vars": threads} if threads else None,
                    include_dashboard=None if address else False,
                    logging_level="warning",
                )
            except (ConnectionError, ValueError, RuntimeError, OSError) as error:
                raise RunError(f"no Ray cluster answers at {address or 'this machine'}: {first_line(error)}") from error
        gpus = ray.cluster_resources().get("GPU", 0)
        self._options = {"max_retries": RETRIES, **({"num_gpus": 1} if gpus else {}), **numbers(options)}
        self.processes = max(1, int(gpus))
        self._tasks: list[Any] = []

    def start(self, order: str, ranks: Iterable[int]) -> dict[int, Poll]:
        """As of ``Workers``; UsageError of a task option that Ray does not have."""
        try:
            task = self._ray.remote(**self._options)(work)
        except (ValueError, TypeError) as error:
            raise UsageError(f"--on-option: {first_line(error)}") from None
        started = {rank: task.remote(order, rank) for rank in ranks}
        self._tasks += started.values()
        return {rank: partial(self._poll, ref) for rank, ref in started.items()}

    def _poll(self, ref: Any) -> WorkerReport | None:
        ready, _ = self._ray.wait([ref], timeout=0)
        if not ready:
            return None
        try:
            return WorkerReport.model_validate_json(self._ray.get(ref))
        except self._ray.exceptions.RayTaskError as error:
            # Its text ends with what was raised there, such as cambench that is not installed on that machine.
            raise LostWorkerError(str(error).strip().rpartition("\n")[2]) from None
        except self._ray.exceptions.RayError as error:
            raise LostWorkerError(first_line(error)) from None

    def close(self) -> None:
        """As of ``Workers``."""
        for ref in self._tasks:
            self._ray.cancel(ref, force=True)
        if self._began:
            self._ray.shutdown()


def _check_answers(address: str) -> None:
    """RunError unless somebody listens at ``[ray://]HOST:PORT``; other addresses are left to Ray."""
    place = _PLACE.fullmatch(address)
    if place is None:
        return
    try:
        socket.create_connection((place["host"].strip("[]"), int(place["port"])), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise RunError(
            f"no Ray cluster answers at {address} ({error}). Start one with `ray start --head`, or give the address "
            "that it printed; nothing was computed"
        ) from error
