"""One of the processes that work a run off; it finds in the run folder what is to be done."""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from ...registry import RegistryError
from ...results.records.record_errors import ResultsError, RunLockedError
from ...version import __version__
from ..engine.planning.config import RunConfig
from ..host.errors import RunError, UsageError
from ..host.versions import LIBRARIES, library_versions


class Order(BaseModel):
    """What every worker of a launch is given."""

    fields: dict[str, Any]
    """Of the ``RunConfig``; what was not set is the worker's own default."""
    world: int
    """Workers of the launch."""
    versions: dict[str, str]
    """Of cambench and its libraries where the launch was started."""


class WorkerReport(BaseModel):
    """How a worker ended."""

    rank: int
    host: str = Field(default_factory=socket.gethostname)
    closed: bool = False
    """It was the last one and saw to the tables."""
    lost: dict[str, str] = Field(default_factory=dict)
    unfinished: dict[str, list[int]] = Field(default_factory=dict)
    error: str = ""
    wrong_use: bool = False
    """The error is one of the request, not of this worker's machine."""
    again: bool = False
    """It is gone, or could not begin: another one may take its place."""


def versions_here() -> dict[str, str]:
    """Versions of cambench and of the libraries that compute, which all workers of a launch share."""
    return {"cambench": __version__, **library_versions(LIBRARIES)}


def check_versions(theirs: dict[str, str]) -> None:
    """Refuse to compute with other versions than the launch's: their numbers would stand in one table.

    Raises:
        RunError: With both versions of everything that differs.
    """
    ours = versions_here()
    names = [name for name in theirs | ours if theirs.get(name) != ours.get(name)]
    if names:
        said = "; ".join(f"{n} {ours.get(n, 'missing')} here, {theirs.get(n, 'missing')} there" for n in names)
        raise RunError(
            f"other versions than where the run was started ({said}). Install the same ones on every machine: numbers "
            "of different versions do not go into one table"
        )


def work(order: str, rank: int) -> str:
    """Do what is left of a run as one of its workers; returns a ``WorkerReport`` (both sides JSON).

    It may be called again with the same arguments, at any time and anywhere that sees the same folders.
    """
    asked = Order.model_validate_json(order)
    place = {"RANK": str(rank), "WORLD_SIZE": str(asked.world)}
    before = {name: os.environ.get(name) for name in place}
    os.environ.update(place)
    try:
        check_versions(asked.versions)
        from ..engine.run import run

        done = run(RunConfig.create(**asked.fields))
        report = WorkerReport(rank=rank, closed=not done.others_at_work, lost=done.lost, unfinished=done.unfinished)
    except RunLockedError as error:
        report = WorkerReport(rank=rank, error=str(error), again=True)
    except (UsageError, RegistryError) as error:
        report = WorkerReport(rank=rank, error=str(error), wrong_use=True)
    except (OSError, RunError, ResultsError) as error:
        report = WorkerReport(rank=rank, error=str(error))
    except Exception as error:
        traceback.print_exc()
        report = WorkerReport(rank=rank, error=f"{type(error).__name__}: {error}")
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return report.model_dump_json()


def _end_with_the_driver() -> None:
    """End this process when the one that started it is gone, which closes our standard input."""

    def watch() -> None:
        # Not through sys.stdin, whose lock would be held at the interpreter's end.
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    order_file, its_rank, report_file = sys.argv[1:]
    _end_with_the_driver()
    Path(report_file).write_text(work(Path(order_file).read_text(encoding="utf-8"), int(its_rank)), encoding="utf-8")
