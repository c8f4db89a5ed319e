"""The simulated accelerator is a plain module in this folder; the metric tests' batches are one in theirs."""

import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "metrics")]


@pytest.fixture
def simulated():
    from simulated_device import WAITS, Simulated

    # A tensor cannot change its device in place.
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    WAITS.clear()
    with Simulated():
        yield
    torch.__future__.set_overwrite_module_params_on_conversion(before)


@pytest.fixture
def narrow(simulated, monkeypatch):
    """The simulated accelerator without float64, as Apple's are."""
    from simulated_device import NARROW

    from cambench import float64

    monkeypatch.setattr(float64, "LACKING", float64.LACKING | {"sim"})
    NARROW.add("float64")
    yield
    NARROW.clear()
