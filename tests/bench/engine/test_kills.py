"""Killed at any change of a file, any forward, any time, and started again: the same records and tables, no litter.

An attempt is a fork of this process, which has everything imported and compiled. Its changes of files below a folder
(audit events of Python, and ``fsync``) and the forwards of its network are counted; at a given count it kills itself.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from cambench.bench.notebook.runs import IncompleteRunError, run
from cambench.results.records.load import load_run
from cambench.results.records.record_errors import RunLockedError

pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
]
CACHE = "CAMBENCH_CACHE"
FORWARD = "cambench.tests.forward"
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", FORWARD}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
DONE, FAILED, INCOMPLETE, LOCKED, LEFT_TO_OTHERS = range(5)
KILLED = -signal.SIGKILL if hasattr(signal, "SIGKILL") else -9
NETWORK = f"""
import sys
import cambench, torch
from torch import nn

class Cells(nn.Module):
    def forward(self, x):
        sys.audit({FORWARD!r})
        return torch.relu(nn.functional.avg_pool2d(x, 32))

torch.manual_seed(0)
head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 12))
cambench.wrap(name="cells", features=Cells(), head=head, mean=(0.5,) * 3, std=(0.2,) * 3)
"""
RECIPE = """
{name: two, source: a test, epochs: 2, batch_size: 4, size: 224, augment: null, schedule: {kind: cosine},
 optimiser: {name: adamw, lr: 0.01, weight_decay: 0.0}}
"""


def count_changes(below: Path, act: Callable[[int], None]) -> None:
    """Call ``act`` with its number before every change of a file below a folder, and before every forward."""
    done, fsync = 0, os.fsync

    def step() -> None:
        nonlocal done
        done += 1
        act(done)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(args[2], int) and args[2] & WRITES
        if event == FORWARD or ((event in CHANGES or opened) and str(args[0]).startswith(str(below))):
            step()

    def flush(file: int) -> None:
        step()
        fsync(file)

    sys.addaudithook(hook)
    os.fsync = flush


def start(fields: Mapping[str, Any], *, at: int = 0, rank: int = 0, world: int = 1) -> int:
    """Fork an attempt that kills itself at its ``at``-th change (0: never); returns its process number."""
    process = os.fork()
    if process:
        return process
    code = FAILED
    try:
        signal.alarm(240)
        torch.set_num_threads(1)
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), CACHE: str(fields["out"].parent / "cache")}
        if at:
            count_changes(fields["out"].parent, lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == at else None)
        code = LEFT_TO_OTHERS if run(**fields).others_at_work else DONE
    except IncompleteRunError:
        code = INCOMPLETE
    except RunLockedError:
        code = LOCKED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kept(out: Path) -> dict[str, bytes]:
    """What a run is for: its records, the heads that it trained, its scores and intervals."""
    found = [*out.rglob("part-*"), *out.glob("tables/scores.*"), *out.glob("tables/intervals.*")]
    return {str(p.relative_to(out)): p.read_bytes() for p in found}


def names(folder: Path) -> list[str]:
    """All files below a run's folder and its cache, but for the locks' own, which are empty and stay."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(str(p) for p in found if not (p.name.startswith(".lock") and (folder / p).stat().st_size == 0))


class Case:
    """A small run of two branches, one of which it trains, and what it leaves when nothing disturbs it."""

    def __init__(self, settings: Mapping[str, Any], tmp_path: Path) -> None:
        self.folder = tmp_path
        (tmp_path / "cells.py").write_text(NETWORK)
        (tmp_path / "two.yaml").write_text(RECIPE)
        self.fields = {
            **settings,
            "triples": ("cells/{cam,layercam,center}/{softmax,sigmoid}",),
            "plugins": (tmp_path / "cells.py",),
            "head_recipe": str(tmp_path / "two.yaml"),
        }
        whole = self.fresh("whole")
        run(**whole)
        self.expected, self.names = kept(whole["out"]), names(whole["out"].parent)
        assert any("sigmoid" in name for name in self.names), "a head was trained"

    def fresh(self, name: str) -> dict[str, Any]:
        """The run's fields with a folder of their own; a forked attempt has its cache beside it."""
        return {**self.fields, "out": self.folder / name / "out"}

    def steps(self) -> int:
        """How many changes an attempt makes that nothing disturbs."""
        fields, reading, writing = self.fresh("counted"), *os.pipe()
        process = os.fork()
        if not process:
            os.environ[CACHE] = str(fields["out"].parent / "cache")
            count_changes(fields["out"].parent, lambda n: (os.write(writing, b"."), None)[1])
            run(**fields)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            counted = len(stream.read())
        assert ended(process) == DONE
        return counted

    def check(self, fields: Mapping[str, Any]) -> None:
        """A last start that nothing disturbs ends as the whole run did."""
        assert ended(start(fields)) == DONE
        self.same(fields)

    def same(self, fields: Mapping[str, Any]) -> None:
        out = fields["out"]
        assert kept(out) == self.expected
        assert names(out.parent) == self.names, "litter"
        found = load_run(out)
        assert found.manifest.finished
        assert not found.problems
        assert not found.manifest.failures


@pytest.fixture
def case(settings: Any, tmp_path: Path, monkeypatch: Any) -> Iterator[Case]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv(CACHE, str(tmp_path / "whole" / "cache"))
    yield Case(settings, tmp_path)
    torch.set_num_threads(threads)


def kill_at_each(case: Case, points: list[int]) -> None:
    """One attempt that is killed at each point, and one that is not."""
    for at in points:
        fields = case.fresh(f"at{at}")
        code = ended(start(fields, at=at))
        assert code in (KILLED, DONE), f"{at}: {code}"
        case.check(fields)


def kill_again_and_again(case: Case, seed: int, most: int) -> None:
    """Attempts on one folder, each killed somewhere in what is left to do."""
    chance, fields = random.Random(seed), case.fresh(f"chain{seed}")
    for _ in range(most):
        if ended(start(fields, at=chance.randint(5, 90))) == DONE:
            break
    case.check(fields)


def test_a_run_killed_at_some_changes_of_files_ends_the_same(case: Case) -> None:
    steps = case.steps()
    assert steps > 150
    kill_at_each(case, [steps * i // 6 for i in (1, 4)])
    kill_again_and_again(case, seed=0, most=4)


def test_two_processes_on_one_folder_of_which_one_is_killed(case: Case) -> None:
    fields = case.fresh("two")
    first = start(fields, at=case.steps() // 2)
    while not (fields["out"] / ".lock.holder").exists():
        time.sleep(0.01)
    assert ended(start(fields)) in (LOCKED, DONE)
    assert ended(first) == KILLED
    case.check(fields)
    # As two ranks of one launch: one is killed; the other does its work, says what is missing, or was gone before.
    fields = case.fresh("ranks")
    ranks = [start(fields, at=at, rank=rank, world=2) for rank, at in ((0, 60), (1, 0))]
    killed, other = (ended(process) for process in ranks)
    assert killed == KILLED
    assert other in (DONE, INCOMPLETE, LEFT_TO_OTHERS)
    assert (fields["out"] / "tables").exists() == (other == DONE)
    case.check(fields)


@pytest.mark.slow
def test_a_run_killed_at_every_change_of_a_file_ends_the_same(case: Case) -> None:
    kill_at_each(case, list(range(1, case.steps() + 1)))


@pytest.mark.slow
def test_runs_killed_again_and_again_end_the_same(case: Case) -> None:
    for seed in range(1, 31):
        kill_again_and_again(case, seed, most=12)


@pytest.mark.slow
def test_a_run_killed_at_any_time_ends_the_same(case: Case) -> None:
    chance = random.Random(0)
    began = time.monotonic()
    assert ended(start(case.fresh("timed"))) == DONE
    whole = time.monotonic() - began
    for trial in range(80):
        fields = case.fresh(f"time{trial}")
        for _ in range(chance.randint(1, 3)):
            process = start(fields)
            time.sleep(chance.uniform(0, whole))
            os.kill(process, chance.choice([signal.SIGKILL, signal.SIGTERM]))
            assert ended(process) in (KILLED, -signal.SIGTERM, DONE)
        case.check(fields)
