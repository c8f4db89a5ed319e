"""Batches go on while the box kernels are being compiled, as many as may wait in memory, and come out in order."""

from types import SimpleNamespace

import pytest
import torch

from cambench.bench.engine.scoring.clock import StageClock
from cambench.bench.engine.scoring.onepass import AHEAD, OnePass


@pytest.mark.parametrize(("ready", "at_once"), [(True, 2), (False, AHEAD + 1)])
def test_batches_wait_for_the_kernels(ready, at_once, monkeypatch):
    engine = object.__new__(OnePass)
    engine.clock, engine._boxes = StageClock(torch.device("cpu")), SimpleNamespace(pool=SimpleNamespace(ready=ready))
    open_batches, most = [], []
    monkeypatch.setattr(OnePass, "alive", True)

    def begin(_, batch):
        open_batches.append(batch)
        most.append(len(open_batches))
        return batch

    monkeypatch.setattr(OnePass, "_begin_or_say", begin)
    monkeypatch.setattr(OnePass, "finish", lambda _, scores: open_batches.pop(open_batches.index(scores)))
    batches = [[k] for k in range(9)]
    assert list(engine.over([*batches[:4], [], *batches[4:]])) == batches
    assert max(most) == at_once
