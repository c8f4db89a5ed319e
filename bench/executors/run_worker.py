"""One of the processes that share a piece of work; it finds in the folder of it what is to be done."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from ...baselines.weights import WeightsError
from ...datasets.schema import DatasetError
from ...registry import RegistryError
from ...results.records.record_errors import ResultsError, RunLockedError
from ...version import __version__
from ..host.errors import RunError, UsageError
from ..host.versions import LIBRARIES, library_versions

PRODUCT = __package__.rsplit(".", 2)[0]


class Ending(BaseModel):
    """What a worker's part in the work came to."""

    closed: bool = False
    """It was the last one and saw to the tables, or found them written."""
    paths: tuple[Path, ...] = ()
    """Files that the last one wrote."""
    lost: dict[str, str] = Field(default_factory=dict)
    """What failed -> why."""
    unfinished: dict[str, list[int]] = Field(default_factory=dict)
    """Triple -> shards that nobody computed."""


Job = Callable[[dict[str, Any]], Ending]
"""Does a worker's part, given the fields of the request; a function of a module, found by its name elsewhere."""


class Order(BaseModel):
    """What every worker of a launch is given."""

    job: str
    """``name_of`` what is to be done."""
    fields: dict[str, Any]
    """Of the request; what was not set is the worker's own default."""
    folder: Path = Field(default_factory=Path.cwd)
    """Where names that are relative were given."""
    world: int
    """Workers of the launch."""
    command: list[str] = Field(default_factory=lambda: list(sys.argv))
    """As it was given where the launch was started: what records name, wherever the work is done."""
    versions: dict[str, str]
    """Of cambench and its libraries where the launch was started."""


class WorkerReport(Ending):
    """How a worker ended."""

    rank: int
    host: str = Field(default_factory=socket.gethostname)
    error: str = ""
    wrong_use: bool = False
    """The error is one of the request, not of this worker's machine."""
    again: bool = False
    """It is gone, or could not begin: another one may take its place."""


def name_of(job: Job) -> str:
    """``module:function`` below the product, whatever it is called here."""
    return f"{job.__module__.removeprefix(PRODUCT)}:{job.__name__}"


def run_job(fields: dict[str, Any]) -> Ending:
    """A part of the run of a ``RunConfig``."""
    from ..engine.again import finished_before
    from ..engine.planning.config import RunConfig
    from ..engine.run import run

    config = RunConfig.create(**fields)
    done = run(config)
    closed = not done.others_at_work or finished_before(config) is not None
    return Ending(closed=closed, lost=done.lost, unfinished=done.unfinished)


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
    """Do what is left of the work as one of its workers; returns a ``WorkerReport`` (both sides JSON).

    It may be called again with the same arguments, at any time and anywhere that sees the same folders.
    """
    try:
        # Before anything else of the order, which another version may not understand.
        check_versions(json.loads(order)["versions"])
        asked = Order.model_validate_json(order)
        with _at_the_place_of(asked, rank):
            module, _, name = asked.job.partition(":")
            job: Job = getattr(import_module(f"{PRODUCT}{module}"), name)
            report = WorkerReport(rank=rank, **job(asked.fields).model_dump())
    except RunLockedError as error:
        report = WorkerReport(rank=rank, error=str(error), again=True)
    except (UsageError, RegistryError) as error:
        report = WorkerReport(rank=rank, error=str(error), wrong_use=True)
    except (OSError, RunError, ResultsError, DatasetError, WeightsError) as error:
        report = WorkerReport(rank=rank, error=str(error))
    except Exception as error:
        traceback.print_exc()
        report = WorkerReport(rank=rank, error=f"{type(error).__name__}: {error}")
    return report.model_dump_json()


@contextmanager
def _at_the_place_of(order: Order, rank: int) -> Iterator[None]:
    """The environment of a worker, in the folder in which the command was given, where this machine has it."""
    place = {"RANK": str(rank), "WORLD_SIZE": str(order.world)}
    before, here, command = {name: os.environ.get(name) for name in place}, Path.cwd(), sys.argv
    os.environ.update(place)
    sys.argv = list(order.command)
    with suppress(OSError):
        os.chdir(order.folder)
    try:
        yield
    finally:
        os.chdir(here)
        sys.argv = command
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
