"""A device by name: there, or refused in words."""

import pytest

from cambench.bench.host.device import pick_device
from cambench.bench.host.errors import UsageError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mps", "this machine has no Apple GPU that torch can use; give --device cpu"),
        ("meta", "no map can be computed there; expected auto, cpu, cuda"),
        ("xpu:99", "this machine has 0 XPU device"),
        ("cuda:99", "this machine has [0-9]+ CUDA device"),
        ("gpu", "expected auto, cpu, cuda, cuda:N, mps, xpu or xpu:N"),
    ],
)
def test_a_device_that_cannot_serve_is_refused_in_words(name, said):
    with pytest.raises(UsageError, match=f"device '{name}': {said}"):
        pick_device(name)


def test_the_cpu_is_always_there():
    assert pick_device("cpu") == "cpu"
