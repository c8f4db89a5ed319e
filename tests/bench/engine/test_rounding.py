"""What a caller's torch is set to is left outside, and is there again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

import cambench
from cambench.bench.engine.networks import same_numbers
from cambench.torch_state import float32_by, usual_torch

CPU = torch.device("cpu")


def rounding() -> dict[str, Any]:
    """How products of float32 are rounded, by the switches of this torch."""
    old = {"matmul": torch.backends.cuda.matmul.allow_tf32, "conv": torch.backends.cudnn.allow_tf32}
    if not hasattr(torch.backends.cudnn, "conv"):
        return old
    kinds = (torch.backends.cudnn.conv, torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    return old | {str(i): kind.fp32_precision for i, kind in enumerate(kinds)}


@pytest.fixture(params=["highest", "high", "medium"])
def caller(request: Any) -> Iterator[str]:
    """A caller's ``torch.set_float32_matmul_precision``."""
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision("highest")


def test_float32_is_float32_whatever_the_caller_set(caller: str) -> None:
    before = rounding()
    assert before["conv"], "torch rounds convolutions on CUDA unasked"
    with usual_torch():
        inside = rounding()
        assert not inside["conv"]
        assert not inside["matmul"]
        assert {v for k, v in inside.items() if k.isdigit()} <= {"ieee"}
        with float32_by("tf32"):
            assert rounding()["conv"]
            assert rounding()["matmul"]
        assert rounding() == inside
    assert rounding() == before


def test_tf32_is_asked_for() -> None:
    with same_numbers(CPU, "tf32"):
        assert rounding()["conv"]
    with same_numbers(CPU):
        assert not rounding()["conv"]


class Noting(nn.Module):
    """Notes how its products are rounded; its copies too."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 16, 16), nn.Linear(4, 12)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(rounding())
        return self.head(self.body(images).relu().mean((-2, -1)))


def test_new_switches_of_torch_are_left_as_they_were() -> None:
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("torch before 2.9")
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # without the old switch, whose reading torch refuses now
    try:
        with usual_torch():
            assert not rounding()["conv"]
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert torch.backends.cudnn.rnn.fp32_precision == "tf32"
    finally:
        torch.backends.cudnn.conv.fp32_precision = "tf32"


@pytest.mark.parametrize("dtype", ["float32", "tf32"])
def test_a_run_computes_in_what_it_was_asked_for(dtype: str, caller: str, settings: dict[str, Any]) -> None:
    network = cambench.wrap(model=Noting(), layer="body", name=f"noting_{dtype}_{caller}")
    Noting.seen.clear()
    settings |= {"triples": (f"{network.name}/gradcam/softmax",), "limit": 2, "dtype": dtype}
    found = cambench.run(**settings)
    assert {now["conv"] for now in Noting.seen} == {dtype == "tf32"}
    assert found.run.manifest.options["dtype"] == dtype
    assert [("has no tf32" in note) for note in found.run.notes] == [True] * (dtype == "tf32")
