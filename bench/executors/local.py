"""Workers that are processes of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from .run_worker import WorkerReport
from .workers import LostWorkerError, Poll

PACKAGE = Path(__file__).resolve().parents[2]
TAIL = 12
"""Last lines of what a lost worker said that are repeated."""


class LocalWorkers:
    """A process for each worker, which ends with this one.

    On CUDA a worker takes the device of its number. The first one speaks here; what the others say is kept and shown
    where they are lost.

    Args:
        numbers: Of the workers' devices, where they are not the workers' own.
    """

    retries = 3

    def __init__(self, numbers: Sequence[int] = ()) -> None:
        self._numbers = tuple(numbers)
        self._folder = Path(tempfile.mkdtemp(prefix="cambench-"))
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, order: str, ranks: Iterable[int]) -> dict[int, Poll]:
        """As of ``Workers``."""
        (self._folder / "order.json").write_text(order, encoding="utf-8")
        return {rank: self._start(rank) for rank in ranks}

    def _start(self, rank: int) -> Poll:
        report, log = self._folder / f"{rank}.json", self._folder / f"{rank}.log"
        report.unlink(missing_ok=True)
        device = self._numbers[rank] if self._numbers else rank
        # The name of the package by which it is imported here, from where it lies.
        path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
        with log.open("wb") as said:
            self._running[rank] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"{__package__}.run_worker",
                    str(self._folder / "order.json"),
                    str(rank),
                    str(report),
                ],
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    "LOCAL_RANK": str(device),
                },
                stdin=subprocess.PIPE,
                stdout=None if rank == 0 else said,
                stderr=None if rank == 0 else subprocess.STDOUT,
            )
        return partial(self._poll, rank, report, log)

    def _poll(self, rank: int, report: Path, log: Path) -> WorkerReport | None:
        code = self._running[rank].poll()
        if code is None:
            return None
        if code == 0 and report.is_file():
            return WorkerReport.model_validate_json(report.read_bytes())
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        raise LostWorkerError("\n  ".join([f"process {self._running[rank].pid}: {how}", *lines]))

    def close(self) -> None:
        """As of ``Workers``."""
        for process in self._running.values():
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        shutil.rmtree(self._folder)
