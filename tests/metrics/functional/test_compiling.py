"""What a first use of the box kernels says: that it compiles, where it does; nothing where loading is slow."""

import logging
import threading
import time

import pytest
from numba import njit

from cambench.metrics.functional.kernels import engine as _engine


@pytest.mark.parametrize("compiles", [True, False])
def test_compiling_is_said_where_something_is_compiled(compiles, monkeypatch, caplog):
    def run(*_):
        if compiles:
            njit(lambda x: x + 1)(1)
        else:
            time.sleep(0.05)

    monkeypatch.setattr(_engine, "_ready", threading.Event())
    monkeypatch.setattr(_engine, "PATIENCE", 0.0)
    monkeypatch.setattr(_engine, "_run", run)
    with caplog.at_level(logging.WARNING, "cambench.metrics"):
        _engine.warm_up()
    assert ["compiling the box kernels" in r.message for r in caplog.records] == [True] * compiles


def test_what_another_thread_compiles_is_not_said(monkeypatch, caplog):
    def run(*_):
        other = threading.Thread(target=lambda: njit(lambda x: x + 2)(1))
        other.start()
        other.join()

    monkeypatch.setattr(_engine, "_ready", threading.Event())
    monkeypatch.setattr(_engine, "PATIENCE", 0.0)
    monkeypatch.setattr(_engine, "_run", run)
    with caplog.at_level(logging.WARNING, "cambench.metrics"):
        _engine.warm_up()
    assert not caplog.records
